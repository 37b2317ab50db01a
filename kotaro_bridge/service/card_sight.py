"""A card as somebody who chooses a model sees it: what is free, who could be asked to make room, which engines run.

Owns how these come together. What fits is `domain/planning/catalogue_rank`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuSnapshot, card_at
from kotaro_bridge.domain.planning.advice import engine_limits
from kotaro_bridge.domain.planning.catalogue_rank import CardNow
from kotaro_bridge.domain.planning.closable import closable
from kotaro_bridge.domain.planning.plan_parts import planned_card
from kotaro_bridge.domain.run.gate import GateReport
from kotaro_bridge.domain.run.holders import Holder


@dataclass(frozen=True, slots=True)
class CardSight:
    """One card.

    Args:
        holders: what could be closed; limits: engines that do not run here, and why.
        count: of the cards that this PC has.
    """

    index: int
    now: CardNow
    holders: tuple[Holder, ...]
    limits: dict[Engine, Problem]
    count: int = 1

    @property
    def able(self) -> CardNow:
        """The card with the engines that run on it."""
        return replace(self.now, engines=self.now.engines - self.limits.keys())


def look_at_card(
    snapshot: Callable[[], tuple[GpuSnapshot, ...]], check: Callable[[int | None], GateReport], index: int = 0
) -> CardSight:
    """The card now. Blocking.

    Args:
        check: the gate's answer without a profile for so many bytes of need.

    Raises:
        ProblemError: what keeps the driver from answering, or `catalogue.no_card`.
    """
    # Whoever holds any of the card is named only if all of it is asked for.
    whole = card_at(snapshot(), index)
    report = check(whole.total if whole else None)
    card = card_at(report.gpus, index)
    if card is None or card.free is None:
        raise ProblemError(next((each.message for each in report.blocking), problem("catalogue.no_card", index=index)))
    planned = planned_card(card)
    holders = closable(report.holders)
    now = CardNow(planned, sum(each.bytes or 0 for each in holders), card.bandwidth())
    return CardSight(index, now, holders, engine_limits(card.driver, planned.compute_cap), len(report.gpus))
