"""Who holds the card's memory: ours, others', free. Must not import Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.run.run_state import RESTING
from kotaro_bridge.domain.run.run_view import RunView


@dataclass(frozen=True, slots=True)
class Shares:
    """Bytes of one card. `ours` is None where runs are live and their part is unknown; `reserved` is the driver's."""

    total: int
    used: int
    ours: int | None
    free: int
    reserved: int

    @property
    def others(self) -> int | None:
        """Bytes of everything that is not a run of ours."""
        return None if self.ours is None else max(0, self.used - self.ours)


def shares(card: GpuSnapshot | None, views: Iterable[RunView]) -> Shares | None:
    """The card's memory divided; None where it is unknown. `views`: the runs on this card."""
    if card is None or card.used is None or card.free is None:
        return None
    live = [view for view in views if view.phase not in RESTING]
    parts = [view.vram_taken for view in live]
    known = [part for part in parts if part is not None]
    ours = None if live and not known else min(card.used, sum(known))
    reserved = max(0, card.total - card.used - card.free)
    return Shares(card.total, card.used, ours, card.free, reserved)
