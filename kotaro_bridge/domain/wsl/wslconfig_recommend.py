"""What this PC makes of .wslconfig: the defaults that WSL computes, and the values we would choose, with the reason.

Pure rules on facts that are handed in. Must not read the PC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.domain.wsl.wslconfig_catalogue import DEFAULTS
from kotaro_bridge.domain.wsl.wslconfig_values import Value, number

MIN_MEMORY_BYTES = 256 * MIB
"""WSL raises a smaller `memory` to this without a word (reference wslconfig-keys.json)."""
SWAP_NOT_SET = 2**64 - 1
"""What `swap=-1` comes to: WSL's own mark for "not set"."""
LOAD_HEADROOM_GIB = 2
"""What Linux and the engine need beside the weights while a model passes through memory: an allowance, not measured."""
_LEFT_MIN_GIB = 4
_SMALLEST_PC_GIB = 8
_SPARED_PROCESSORS = 2
_FEW_PROCESSORS = 8


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """A model in use: what it is called, and the bytes of its files, which pass through memory when it is loaded."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The PC, as far as it is known.

    Args:
        ram_bytes: physical memory of Windows; processors: its logical processors.
        swap_disk_free_bytes: free on the disk of the swap file.
        networking: mode that WSL takes where the file names none (a policy can choose one), in canonical spelling.
        models: those that the profiles in use load.
    """

    ram_bytes: int | None = None
    processors: int | None = None
    swap_disk_free_bytes: int | None = None
    networking: str | None = None
    models: tuple[ModelLoad, ...] = ()


NOTHING_KNOWN = HostFacts()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A value we would choose.

    Args:
        reason: why, as a code with parameters; up_to: the value may go up to this, None where there is no such room.
    """

    value: Value
    reason: Problem
    up_to: Value | None = None


def networking_mode(values: Mapping[str, Value], facts: HostFacts) -> str:
    """The mode that the file asks for, or what WSL takes without it; safe mode has none."""
    if values.get("wsl2.safeMode"):
        return "None"
    return str(values.get("wsl2.networkingMode") or facts.networking or DEFAULTS["wsl2.networkingMode"])


def effective_memory(values: Mapping[str, Value], facts: HostFacts) -> int | None:
    """Bytes that the VM gets: half of the PC's without a setting, within WSL's limits; None where that is unknown."""
    asked = number(values, "wsl2.memory") or 0
    if facts.ram_bytes is None:
        return max(asked, MIN_MEMORY_BYTES) if asked else None
    return min(max(asked or facts.ram_bytes // 2, MIN_MEMORY_BYTES), facts.ram_bytes)


def default_value(key: str, values: Mapping[str, Value], facts: HostFacts) -> Value | None:
    """What WSL takes without the key on this PC; None where it has no default, or it cannot be told.

    Args:
        values: the other settings: the swap's default follows the memory.
    """
    if key == "wsl2.memory":
        return effective_memory({}, facts)
    if key == "wsl2.processors":
        return facts.processors
    if key == "wsl2.swap":
        return _default_swap(values, facts)
    return DEFAULTS.get(key)


def effective_swap(values: Mapping[str, Value], facts: HostFacts) -> int | None:
    """Bytes of the swap that the VM gets; None where that is unknown."""
    if values.get("wsl2.safeMode"):
        return 0
    asked = number(values, "wsl2.swap")
    return _default_swap(values, facts) if asked is None or asked == SWAP_NOT_SET else asked


def _default_swap(values: Mapping[str, Value], facts: HostFacts) -> int | None:
    memory = effective_memory(values, facts)
    return None if memory is None else -(-memory // (4 * GIB)) * GIB


def memory_limits(ram_bytes: int) -> tuple[int, int] | None:
    """(recommended, highest sensible) `memory` in bytes; None for a PC that has none to spare.

    A quarter of the PC stays with Windows, at least 4 GiB; three sixteenths at the least (32 GiB: 24 up to 26).
    """
    host = round(ram_bytes / GIB)  # what firmware and graphics keep is missing from a full number
    if host < _SMALLEST_PC_GIB:
        return None
    return (host - max(_LEFT_MIN_GIB, host // 4)) * GIB, (host - max(_LEFT_MIN_GIB, host * 3 // 16)) * GIB


def recommend(key: str, values: Mapping[str, Value], facts: HostFacts) -> Recommendation | None:
    """The value we would choose on this PC; None where the default does, or too little is known.

    Args:
        values: the other settings that the file asks for.
    """
    match key:
        case "wsl2.memory":
            return _memory(facts)
        case "wsl2.processors":
            return _processors(facts)
        case "wsl2.swap":
            return _swap(values, facts)
        case "wsl2.localhostForwarding":
            mirrored = networking_mode(values, facts) == "Mirrored"
            return None if mirrored else Recommendation(True, problem("wslconfig.recommend.localhost"))
        case "experimental.autoMemoryReclaim":
            return Recommendation("DropCache", problem("wslconfig.recommend.reclaim"))
        case _:
            return None


def _memory(facts: HostFacts) -> Recommendation | None:
    limits = memory_limits(facts.ram_bytes) if facts.ram_bytes is not None else None
    if facts.ram_bytes is None or limits is None:
        return None
    low, high = limits
    host_gib = round(facts.ram_bytes / GIB)
    model = max(facts.models, key=lambda each: each.size_bytes, default=None)
    need = -(-model.size_bytes // GIB) * GIB + LOAD_HEADROOM_GIB * GIB if model else 0
    value = max(low, min(need, high))
    gib = {"host_gib": host_gib, "value_gib": value // GIB, "left_gib": host_gib - value // GIB}
    if model is None or need <= low:
        reason = problem("wslconfig.recommend.memory", **gib, high_gib=high // GIB)
    elif need <= high:
        reason = problem("wslconfig.recommend.memory_for_model", **gib, model=model.name, need_gib=need // GIB)
    else:
        reason = problem("wslconfig.recommend.memory_short", **gib, model=model.name, need_gib=need // GIB)
    return Recommendation(value, reason, high)


def _processors(facts: HostFacts) -> Recommendation | None:
    if facts.processors is None or facts.processors < _FEW_PROCESSORS:
        return None
    value = facts.processors - _SPARED_PROCESSORS
    reason = problem("wslconfig.recommend.processors", host=facts.processors, spared=_SPARED_PROCESSORS)
    return Recommendation(value, reason)


def _swap(values: Mapping[str, Value], facts: HostFacts) -> Recommendation | None:
    usual, free = _default_swap(values, facts), facts.swap_disk_free_bytes
    if usual is None:
        return None
    if free is None or usual <= free // 4:
        return Recommendation(usual, problem("wslconfig.recommend.swap"))
    return Recommendation(free // 4 // GIB * GIB, problem("wslconfig.recommend.swap_disk", free_bytes=free))
