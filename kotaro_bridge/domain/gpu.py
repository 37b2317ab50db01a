"""What is known about a card at one moment. `None` always means unknown, never zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuSnapshot:
    """One card as one witness (NVML, or nvidia-smi inside the target) sees it. Sizes in bytes.

    Args:
        index: position in the witness's own list.
        total: whole memory; `free` and `used` as reported now (`used` without what the driver reserves).
        utilization: share of time with work, 0 to 1.
        power_w: board power in watts.
        memory_clock_max_mhz, bus_width_bits: for the bandwidth limit; the maximum clock, since an idle card reports a
            low one.
    """

    index: int
    uuid: str
    name: str
    total: int
    free: int | None = None
    used: int | None = None
    driver: str | None = None
    compute_cap: str | None = None
    utilization: float | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    memory_clock_max_mhz: int | None = None
    bus_width_bits: int | None = None

    def bandwidth(self) -> float | None:
        """Memory bandwidth limit in bytes per second: bus width x memory clock x 2 / 8 (double data rate)."""
        if self.memory_clock_max_mhz is None or self.bus_width_bits is None:
            return None
        return self.memory_clock_max_mhz * 1e6 * 2 * self.bus_width_bits / 8


def card_at(gpus: Iterable[GpuSnapshot], index: int) -> GpuSnapshot | None:
    """The card with this index; None if the witness does not name one."""
    return next((gpu for gpu in gpus if gpu.index == index), None)


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One Windows process and what it holds of the card, from the performance counters. Sizes in bytes."""

    pid: int
    name: str
    dedicated: int
    shared: int


@dataclass(frozen=True, slots=True)
class GpuCounters:
    """Windows performance counters of the GPU adapter.

    Args:
        shared: bytes of system RAM that the adapter uses as GPU memory, all processes together.
        processes: holders of GPU memory, largest first.
    """

    shared: int | None
    processes: tuple[GpuProcess, ...] = ()
