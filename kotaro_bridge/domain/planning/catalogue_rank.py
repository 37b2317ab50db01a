"""Which entries of the catalogue fit a card, the best first, with the longest context and the speed to expect.

Owns the order and what "fits after closing something" means. What fits is the plan's answer, never a table's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.planning.plan import plan
from kotaro_bridge.domain.planning.plan_parts import Plan, PlanCard, PlanRequest
from kotaro_bridge.domain.planning.speed_forecast import SpeedRange, forecast

LEAST_CONTEXT = 4096
"""Tokens that a conversation needs at least: what an entry has to hold to count as one that fits."""
PARALLEL_REQUESTS = 4
"""What "several at once" is planned with: as many as llama-server serves by itself (reference llama-server §2)."""


class Use(StrEnum):
    """What the model is for."""

    ONE = "one"
    """One person, one request at a time."""
    PARALLEL = "parallel"
    """Several requests at once."""
    IMAGES = "images"
    """Requests with pictures."""
    GAMES = "games"
    """The card is shared with games or other programs."""


class Fit(StrEnum):
    """Whether an entry fits the card, the best first."""

    NOW = "now"
    AFTER_CLOSING = "after_closing"
    NO = "no"


_FITS = tuple(Fit)


@dataclass(frozen=True, slots=True)
class CardNow:
    """A card as the ranking sees it.

    Args:
        card: with what is free now.
        closable_bytes: what programs hold that a person can close.
        bandwidth: of its memory, bytes per second; None where the driver does not tell.
        engines: those that run on it.
    """

    card: PlanCard
    closable_bytes: int = 0
    bandwidth: float | None = None
    engines: frozenset[Engine] = frozenset(Engine)

    @property
    def closed(self) -> PlanCard:
        """The card once everything closable is closed."""
        return replace(self.card, free=min(self.card.total, self.card.free + self.closable_bytes))

    def for_use(self, use: Use) -> CardNow:
        """The part of the card that the use leaves: half of it beside a game. A choice: games differ in what they take,
        and a card whose `total` is only what somebody named as free is halved like any other.
        """
        if use is not Use.GAMES:
            return self
        left = max(0, self.card.free - self.card.total // 2)
        return replace(self, card=replace(self.card, free=left, total=self.card.total - self.card.total // 2))


@dataclass(frozen=True, slots=True)
class Ranked:
    """An entry on a card.

    Args:
        context: tokens that a request was asked to hold.
        found: the plan with that context, on the card now or, AFTER_CLOSING, on the closed one; None where the card
            does not run the engine, or where among many the weights alone are too large.
        need_bytes: what has to be free there for it. max_context: the longest context of a request. 0 without a plan.
        speed: None where it cannot be told.
    """

    entry: CatalogueEntry
    fit: Fit
    context: int
    found: Plan | None
    need_bytes: int
    max_context: int
    speed: SpeedRange | None


def rank(
    entries: Iterable[CatalogueEntry], now: CardNow, use: Use = Use.ONE, context: int = LEAST_CONTEXT
) -> tuple[Ranked, ...]:
    """All entries that suit the use, the best first: what fits now before what fits after closing something, then for
    several requests at once what vLLM runs, then the larger model, then the finer quantization.

    Args:
        context: tokens that a request has to hold.
    """
    seen = now.for_use(use)
    stages = _stages(seen)
    asked = (entry for entry in entries if use is not Use.IMAGES or entry.sees_images)
    # Weights that are too large alone need no plan; most entries are out by that on a small card.
    room = stages[-1][1].usable
    found = (
        _placed(entry, seen, stages if entry.weights_bytes <= room else (), request_for(entry, use, context))
        for entry in asked
    )
    return tuple(sorted(found, key=lambda each: _place(each, use)))


def ranked(entry: CatalogueEntry, now: CardNow, use: Use = Use.ONE, context: int = LEAST_CONTEXT) -> Ranked:
    """One entry on a card, with at least so many tokens. The card is taken as it is (`CardNow.for_use`)."""
    return _placed(entry, now, _stages(now), request_for(entry, use, context))


def _stages(now: CardNow) -> tuple[tuple[Fit, PlanCard], ...]:
    """The card as it is, and as it could be."""
    return ((Fit.NOW, now.card), *(((Fit.AFTER_CLOSING, now.closed),) if now.closable_bytes else ()))


def _placed(
    entry: CatalogueEntry, now: CardNow, stages: tuple[tuple[Fit, PlanCard], ...], request: PlanRequest
) -> Ranked:
    speed = forecast(entry.engine, entry.read_bytes, now.bandwidth)
    refused: Ranked | None = None
    for fit, card in stages if entry.engine in now.engines else ():
        found = plan(entry.planned, request, card)
        answer = fit if found.fits else Fit.NO
        need, longest = needed_on(card, found), found.max_context or 0
        each = Ranked(entry, answer, request.context, found, need, longest, speed)
        if found.fits:
            return each
        refused = refused or each
    return refused or Ranked(entry, Fit.NO, request.context, None, 0, 0, speed)


def needed_on(card: PlanCard, found: Plan) -> int:
    """Bytes that have to be free on this card for a plan that was made for it, whatever of it is kept back."""
    return card.free - (found.margin or 0)


def request_for(entry: CatalogueEntry, use: Use, context: int = LEAST_CONTEXT) -> PlanRequest:
    """What such a use asks of the entry's engine."""
    parallel = PARALLEL_REQUESTS if use is Use.PARALLEL else 1
    return PlanRequest(entry.engine, context, parallel, images=entry.sees_images)


def _place(each: Ranked, use: Use) -> tuple[object, ...]:
    entry = each.entry
    # A model for pictures writes no better than its language part: where none are asked for it stands behind.
    beside_the_point = use is not Use.IMAGES and entry.sees_images
    other_engine = use is Use.PARALLEL and entry.engine is not Engine.VLLM
    return (
        _FITS.index(each.fit),
        other_engine,
        beside_the_point,
        -entry.parameters,
        -entry.weights_bytes,
        entry.name,
    )
