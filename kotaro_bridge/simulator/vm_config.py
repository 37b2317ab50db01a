"""What the VM takes from .wslconfig when it is created, and what wsl.exe warns about then (reference wsl-exe §7)."""

from __future__ import annotations

import time
import uuid
from typing import Any

from kotaro_bridge.domain.units import GIB, KIB, MIB
from kotaro_bridge.domain.wsl.wslconfig import parse
from kotaro_bridge.domain.wsl.wslconfig_findings import after_reading
from kotaro_bridge.domain.wsl.wslconfig_reading import WslConfig
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts, effective_memory, effective_swap
from kotaro_bridge.simulator.state import State
from kotaro_bridge.simulator.wsl_text import text

MODES = {"Nat": "nat", "Bridged": "bridged", "Mirrored": "mirrored", "None": "none"}


class VmConfig:
    """The settings of one VM.

    Args:
        values: keys that are validly set, by canonical name.
        warnings: message ids with values, as `wsl: ` lines.
        failure: message id, values and error code of what keeps the VM from starting; None if it starts.
        networking: the word of `wslinfo --networking-mode`; proc: what Linux shows in /proc, by file name.
    """

    def __init__(
        self,
        values: dict[str, Any],
        warnings: list[list[str]],
        failure: list[Any] | None,
        mode: str,
        proc: dict[str, str],
    ) -> None:
        self.proc = proc
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
    switches = state.switches()
    for key in switches["policy"]:
        if values.pop(key, None) is not None:
            warnings.append(["MessageSettingOverriddenByPolicy", key])
    mode = MODES.get(values.get("wsl2.networkingMode", ""), state.scenario["networking"])
    mode = "none" if values.get("wsl2.safeMode") else mode
    word = next(word for word, shown_as in MODES.items() if shown_as == mode)
    warnings += [list(warning) for warning in after_reading(config.values, word, state.scenario["processors"])]
    if mode == "mirrored" and switches["mirrored"] == "refused":
        reason = text(state.scenario["language"], "MessageHyperVFirewallNotSupported")
        warnings.append(["MessageMirroredNetworkingNotSupportedReason", reason])
        mode = "nat"
    return VmConfig(values, warnings, _failure(config, shown), mode, _proc(state, values))


def _proc(state: State, values: dict[str, Any]) -> dict[str, str]:
    """What Linux shows: memory without what the kernel keeps for itself, and an id of this start."""
    host: int = state.scenario["processors"]
    facts = HostFacts(state.scenario["host_ram_gib"] * GIB, host)
    memory, cap = effective_memory(values, facts) or 0, state.switches()["memory_cap_mib"]
    memory = memory if cap is None else min(memory, cap * MIB)
    swap = effective_swap(values, facts) or 0
    processors = min(max(values.get("wsl2.processors", 0), 0) or host, host)
    command = f"initrd=\\initrd.img WSL_ROOT_INIT=1 panic=-1 {values.get('wsl2.kernelCommandLine', '')}"
    seen = memory - memory // 64 - 96 * MIB
    ticks = "".join(f"cpu{number} 0 0 0 0 0 0 0 0 0 0\n" for number in range(processors))
    return {
        "meminfo": f"MemTotal:       {seen // KIB} kB\nSwapTotal:      {swap // KIB} kB\n",
        "stat": f"cpu  0 0 0 0 0 0 0 0 0 0\n{ticks}btime {int(time.time())}\n",
        "cmdline": f"{command.strip()}\n",
        "sys/kernel/random/boot_id": f"{uuid.uuid4()}\n",
        "sys/kernel/osrelease": f"{state.scenario['versions']['kernel']}-microsoft-standard-WSL2\n",
    }


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
