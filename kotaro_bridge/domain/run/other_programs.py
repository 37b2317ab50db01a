"""What the other programs of Windows hold of the card, and by how much that changed between two readings. Pure rules.

Windows counts shared GPU memory per adapter, over all programs: a browser that opens moves it by hundreds of MiB. So a
rise is laid at the door of programs that certainly are not WSL, as far as they grew, and only the rest can be a spill.

Which process carries WSL's share is unverified (the counters have never been read beside a running WSL2 by us), so
every process that might is left out, by name:

- names without `.exe`: the kernel's own (`System`, `Registry`, `Memory Compression`), the VM's memory (`vmmem`,
  `vmmemWSL`), and those whose name Windows does not tell (`pid 4711`);
- `vmmem*`, `vmwp*`, `vmcompute*`: the VM, its worker process and their service;
- `wsl*`, `msrdc*`: WSL's programs and the remote desktop client of WSLg.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess

WSL_MACHINE = ("vmmem", "vmwp")
"""How Windows' names for the virtual machine of WSL and for the program that runs it begin."""

_MAY_BE_WSL = (*WSL_MACHINE, "vmcompute", "wsl", "msrdc")


@dataclass(frozen=True, slots=True)
class Growth:
    """One program (all its processes together) that holds more than before.

    Args:
        grown: bytes more; held: bytes now.
    """

    name: str
    grown: int
    held: int


def is_other(name: str) -> bool:
    """True for a process that certainly is not WSL's."""
    lower = name.lower()
    return lower.endswith(".exe") and not lower.startswith(_MAY_BE_WSL)


def dedicated_growth(before: GpuCounters, now: GpuCounters) -> tuple[Growth, ...]:
    """Other programs that hold more video memory than before, the one that grew most first."""
    return _growth(before, now, lambda process: process.dedicated)


def shared_growth(before: GpuCounters, now: GpuCounters) -> tuple[Growth, ...]:
    """Other programs that hold more shared memory than before, the one that grew most first."""
    return _growth(before, now, lambda process: process.shared)


def shared_by_others(counters: GpuCounters) -> int:
    """Bytes of shared memory that other programs hold."""
    return sum(_by_program(counters, lambda process: process.shared).values())


def explained(before: GpuCounters, now: GpuCounters) -> int:
    """Bytes of a rise of shared memory that other programs account for.

    The sum over all of them, not only over those that grew: what one gave back is room that a spill may have filled.
    Never negative: programs excuse a rise, they do not make one.
    """
    return max(0, shared_by_others(now) - shared_by_others(before))


def _growth(before: GpuCounters, now: GpuCounters, size: Callable[[GpuProcess], int]) -> tuple[Growth, ...]:
    was = _by_program(before, size)
    grown = (Growth(name, held - was.get(name, 0), held) for name, held in _by_program(now, size).items())
    return tuple(sorted((each for each in grown if each.grown > 0), key=lambda each: (-each.grown, each.name)))


def _by_program(counters: GpuCounters, size: Callable[[GpuProcess], int]) -> Mapping[str, int]:
    sums: dict[str, int] = {}
    for process in counters.processes:
        if is_other(process.name):
            sums[process.name] = sums.get(process.name, 0) + size(process)
    return sums
