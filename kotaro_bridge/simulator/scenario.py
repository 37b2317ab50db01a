"""Scenarios: the typed form of `resources/simulator/*.toml`. A scenario may name a `base` and then holds what differs.

Decodes strictly. Is used when a PC is made; its programs read the plain form from the state folder (`state.py`).
"""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.resources import resource

DEFAULT = "rtx4070-12gb"


class Distro(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registered distro. `running`: somebody else uses it from the start on; `state` other than Stopped is shown."""

    name: str
    user: str
    default: bool = False
    running: bool = False
    version: int = 2
    state: str = "Stopped"


class DesktopProcess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Windows process that holds VRAM."""

    name: str
    pid: int
    mib: int


class Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The card. `reserved_mib`: what the driver keeps; `efficiency`: share of the bandwidth limit that engines get."""

    name: str
    uuid: str
    driver: str
    smi_version: str
    cuda: str
    compute_cap: str
    pci_bus: str
    total_mib: int
    reserved_mib: int
    memory_clock_mhz: int
    bus_width_bits: int
    power_limit_w: float
    shared_mib: int
    cuda_context_mib: int
    efficiency: float
    desktop: tuple[DesktopProcess, ...]
    more_desktop: tuple[DesktopProcess, ...] = ()


class Engines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the engines are: loading times in seconds of the real PC."""

    vllm_version: str
    llama_load_s: float
    vllm_load_s: float


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One PC. `switches` start with the values of `state.SWITCHES`.

    Args:
        gpu: the first card, which shows the desktop; more_gpus: further ones, in a file with what differs from it.
    """

    title: str
    language: str
    windows_user: str
    host_ram_gib: int
    processors: int
    networking: str
    wsl1: bool
    vm_boot_s: float
    distro_boot_s: float
    versions: dict[str, str]
    distros: tuple[Distro, ...]
    gpu: Gpu
    engines: Engines
    more_gpus: tuple[Gpu, ...] = ()
    wslconfig: str | None = None
    switches: dict[str, Any] = {}


def names() -> tuple[str, ...]:
    """All scenarios, the default first."""
    found = sorted(path.stem for path in resource("simulator").glob("*.toml"))
    return (DEFAULT, *(name for name in found if name != DEFAULT))


def load(name: str) -> Scenario:
    """A scenario by name.

    Raises:
        ProblemError: `simulator.no_scenario` with the names there are; `simulator.scenario` for a broken file.
    """
    if name not in names():
        raise ProblemError(problem("simulator.no_scenario", name=name, known=", ".join(names())))
    try:
        plain = _merged(name)
        further = [_over({**plain["gpu"], **_NO_DESKTOP}, own) for own in plain.get("more_gpus", ())]
        return msgspec.convert({**plain, "more_gpus": further}, Scenario)
    except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
        raise ProblemError(problem("simulator.scenario", name=name, detail=str(error))) from None


_NO_DESKTOP: dict[str, Any] = {"desktop": [], "more_desktop": [], "shared_mib": 0}


def _merged(name: str) -> dict[str, Any]:
    own = tomllib.loads(resource(f"simulator/{name}.toml").read_text(encoding="utf-8"))
    base = own.pop("base", None)
    return own if base is None else _over(_merged(base), own)


def _over(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `own` in it, tables within tables."""
    merged = dict(base)
    for key, value in own.items():
        merged[key] = _over(merged[key], value) if isinstance(value, dict) and key in merged else value
    return merged
