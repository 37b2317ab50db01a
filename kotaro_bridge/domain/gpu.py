"""What is known about a card at one moment. `None` always means unknown, never zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar


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


def cards_at(gpus: Iterable[GpuSnapshot], indices: tuple[int, ...]) -> tuple[GpuSnapshot, ...]:
    """The cards with these indices, in this order; empty if the witness does not name each."""
    by_index = {gpu.index: gpu for gpu in gpus}
    return tuple(by_index[index] for index in indices) if by_index.keys() >= set(indices) else ()


def together(cards: tuple[GpuSnapshot, ...]) -> GpuSnapshot | None:
    """Several cards as one to be shown: memory and power added up, the mean share of work, the highest temperature. The
    card itself if it is one, None if it is none; a figure that one card does not tell is not known of all.
    """
    if len(cards) <= 1:
        return cards[0] if cards else None
    names = list(dict.fromkeys(card.name for card in cards))
    busy = _sum([card.utilization for card in cards])
    temperatures = [card.temperature_c for card in cards if card.temperature_c is not None]
    return GpuSnapshot(
        index=cards[0].index,
        uuid="",
        name=f"{len(cards)} × {names[0]}" if len(names) == 1 else " + ".join(card.name for card in cards),
        total=sum(card.total for card in cards),
        free=_sum([card.free for card in cards]),
        used=_sum([card.used for card in cards]),
        driver=cards[0].driver,
        utilization=None if busy is None else busy / len(cards),
        temperature_c=max(temperatures, default=None),
        power_w=_sum([card.power_w for card in cards]),
    )


_Number = TypeVar("_Number", int, float)


def _sum(values: list[_Number | None]) -> _Number | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


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
