"""What the VM takes from .wslconfig when it is created, and what wsl.exe warns about then (reference wsl-exe §7)."""

from __future__ import annotations

from typing import Any

from kotaro_bridge.domain.wslconfig import WslConfig, parse
from kotaro_bridge.simulator.state import State

MODES = {"Nat": "nat", "Bridged": "bridged", "Mirrored": "mirrored", "None": "none"}


class VmConfig:
    """The settings of one VM.

    Args:
        values: keys that are validly set, by canonical name.
        warnings: message ids with values, as `wsl: ` lines.
        failure: message id, values and error code of what keeps the VM from starting; None if it starts.
        networking: the word of `wslinfo --networking-mode`.
    """

    def __init__(self, values: dict[str, Any], warnings: list[list[str]], failure: list[Any] | None, mode: str) -> None:
        self.warnings = warnings
        self.failure = failure
        self.networking = mode
        self.gpu = values.get("wsl2.gpuSupport", True) and not values.get("wsl2.safeMode", False)
        # Milliseconds; negative means never (reference wslconfig-keys.json).
        self.distro_idle_s: float = values.get("general.instanceIdleTimeout", 15_000) / 1000
        self.vm_idle_s: float = values.get("wsl2.vmIdleTimeout", 60_000) / 1000


def read(state: State) -> VmConfig:
    """Read the file as it is now; a missing one means the defaults."""
    shown = f"C:\\Users\\{state.windows_user}\\.wslconfig"
    try:
        with open(state.wslconfig_path, "rb") as file:
            config = parse(file.read(), shown)
    except FileNotFoundError:
        config = WslConfig({}, (), ())
    except OSError:
        # Kept open by somebody without read sharing: a warning and the defaults.
        config = WslConfig({}, (("MessageFailedToOpenConfigFile", shown, "SystemSharingViolation"),), ())
    values: dict[str, Any] = dict(config.values)
    warnings = [list(warning) for warning in config.warnings]
    mode = MODES.get(values.get("wsl2.networkingMode", ""), state.scenario["networking"])
    processors = int(values.get("wsl2.processors", 0))
    if processors > state.scenario["processors"]:
        warnings.append(["MessageTooManyProcessors", str(processors), str(state.scenario["processors"])])
    if values.get("wsl2.safeMode"):
        warnings.append(["MessageSafeModeEnabled"])
    if values.get("experimental.sparseVhd"):
        warnings.append(["MessageSparseVhdDisabled"])
    if mode == "mirrored" and "wsl2.localhostForwarding" in values:
        warnings.append(["MessageLocalhostForwardingNotSupportedMirroredMode"])
    return VmConfig(values, warnings, _failure(config, shown), mode)


def _failure(config: WslConfig, shown: str) -> list[Any] | None:
    """Message id, values, error code. No simulated PC has a custom kernel."""
    where = "Wsl/Service/CreateInstance/CreateVm/"
    if config.fatal:
        return [config.fatal[0], list(config.fatal[1:]), where + "ParseConfig/E_INVALIDARG"]
    if kernel := config.values.get("wsl2.kernel"):
        return ["MessageCustomKernelNotFound", [shown, str(kernel)], where + "WSL_E_CUSTOM_KERNEL_NOT_FOUND"]
    if config.values.get("wsl2.kernelModules"):
        return ["MessageMismatchedKernelModulesError", [], where + "WSL_E_CUSTOM_KERNEL_NOT_FOUND"]
    return None
