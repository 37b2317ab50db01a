"""Which engine for which use, with reasons; and what to say where a common recommendation does not hold on this card.

Owns the rules and their codes (`advice.*`). What fits is asked of the plan, never quoted; the measured figures in the
reasons are those of the captures (H100): one request at a time a 14B made 140 tokens a second in llama-server and 142
in vLLM, and was ready after 2 s and 112 s (first start).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from kotaro_bridge.domain.engine.engine_devices import CUDA_NEEDS, VLLM_CAPABILITY
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Param, Problem, problem
from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.planning.catalogue_rank import (
    LEAST_CONTEXT,
    CardNow,
    Fit,
    Ranked,
    Use,
    needed_on,
    rank,
    ranked,
    request_for,
)
from kotaro_bridge.domain.planning.plan import plan
from kotaro_bridge.domain.planning.plan_parts import PlanCard

_VLLM_CUDA = 13  # of its wheels since 0.25 (reference vllm §7)
_CLAIM_TOLERANCE = 0.1  # a "12 GB" card has 12,282 MiB
_LEAST_SHORTER = 1024  # tokens: a shorter context is no offer
_OFFERS = 3

NAMES = MappingProxyType({Engine.VLLM: "vLLM", Engine.LLAMA_SERVER: "llama-server"})
"""What the engines call themselves, for sentences."""


@dataclass(frozen=True, slots=True)
class Objection:
    """A model that does not fit with the context that it was named with.

    Args:
        said: `advice.often_said` where the context is what is often said of it.
        why: `advice.too_full` (it would fit the empty card), `advice.too_large` (it would not, but a shorter context
            would) or `advice.far_too_large` (no context would).
        instead: what does fit now, the nearest to it first; may be empty.
    """

    entry: CatalogueEntry
    said: Problem | None
    why: Problem
    instead: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """What a person is told.

    Args:
        engine: None where none runs on this card.
        reasons: the weightiest first.
        objections: to what is often said of cards of this size.
        offers: the best that the engine can serve on this card now; if nothing fits now, after closing something.
    """

    engine: Engine | None
    reasons: tuple[Problem, ...]
    objections: tuple[Objection, ...] = ()
    offers: tuple[Ranked, ...] = ()


def engine_limits(driver: str | None, compute_cap: tuple[int, int] | None) -> dict[Engine, Problem]:
    """The engines that cannot run with this driver on this card, and why. What is not known limits nothing."""
    limits: dict[Engine, Problem] = {}
    for engine, needs in ((Engine.VLLM, CUDA_NEEDS[_VLLM_CUDA]), (Engine.LLAMA_SERVER, CUDA_NEEDS[min(CUDA_NEEDS)])):
        capability = max(needs.capability, VLLM_CAPABILITY) if engine is Engine.VLLM else needs.capability
        major = int(driver.partition(".")[0]) if driver and driver.partition(".")[0].isdecimal() else None
        if compute_cap is not None and compute_cap < capability:
            limits[engine] = problem(
                "advice.card_too_old", engine=NAMES[engine], found=_dotted(compute_cap), needed=_dotted(capability)
            )
        elif major is not None and major < needs.driver:
            limits[engine] = problem(
                "advice.driver_too_old", engine=NAMES[engine], found=str(driver), needed=needs.driver
            )
    return limits


def advise(
    entries: Sequence[CatalogueEntry],
    now: CardNow,
    use: Use,
    limits: dict[Engine, Problem] | None = None,
    context: int = LEAST_CONTEXT,
) -> Advice:
    """Which engine for this use on this card.

    Args:
        limits: as `engine_limits` says.
        context: tokens that a request has to hold.
    """
    limits = limits or {}
    able = replace(now, engines=now.engines - limits.keys())
    places = rank(entries, able, use, context)
    fitting = [each for each in places if each.fit is Fit.NOW] or [e for e in places if e.fit is Fit.AFTER_CLOSING]
    engine, reasons = _engine(use, able, fitting)
    offers = _best([each for each in fitting if each.entry.engine is engine])
    objections = _objections(entries, able) if use is not Use.IMAGES else ()
    return Advice(engine, (*reasons, *limits.values()), tuple(objections), offers)


def _objections(entries: Sequence[CatalogueEntry], able: CardNow) -> Iterator[Objection]:
    """To what is often said of cards of this size, of engines that run here."""
    for entry in entries:
        claim = entry.claim
        if claim is None or entry.engine not in able.engines:
            continue
        if abs(able.card.total / claim.card_bytes - 1) > _CLAIM_TOLERANCE:
            continue
        if against := objection(entries, entry, claim.context, able):
            said = problem("advice.often_said", name=entry.name, context=claim.context, card_gib=claim.card_gib)
            yield replace(against, said=said)


def _engine(use: Use, able: CardNow, fitting: Sequence[Ranked]) -> tuple[Engine | None, tuple[Problem, ...]]:
    if not able.engines:
        return None, ()
    wanted = Engine.VLLM if use is Use.PARALLEL else Engine.LLAMA_SERVER
    if use is Use.IMAGES and fitting:
        wanted = fitting[0].entry.engine
    reason = problem(f"advice.{use.value}", engine=NAMES[wanted])
    if wanted not in able.engines:
        return next(iter(able.engines)), ()
    if fitting and all(each.entry.engine is not wanted for each in fitting):
        other = fitting[0].entry.engine
        return other, (problem("advice.only_fits", engine=NAMES[other], wanted=NAMES[wanted]), reason)
    return wanted, (reason,)


def for_entry(entry: CatalogueEntry) -> Problem:
    """Why a model has the engine that it has: its files."""
    return problem("advice.gguf" if entry.engine is Engine.LLAMA_SERVER else "advice.safetensors", name=entry.name)


def objection(
    entries: Iterable[CatalogueEntry], entry: CatalogueEntry, context: int, now: CardNow, use: Use = Use.ONE
) -> Objection | None:
    """What speaks against a model with so many tokens on this card, and what fits in its place; None if it fits."""
    request, card = request_for(entry, use, context), now.for_use(use).card
    found = plan(entry.planned, request, card)
    if found.fits:
        return None
    empty = plan(entry.planned, request, _emptied(card))
    figures: dict[str, Param] = {
        "name": entry.name,
        "engine": NAMES[entry.engine],
        "context": context,
        "need_bytes": needed_on(card, found),
        "free_bytes": card.free,
        "total_bytes": card.total,
    }
    if empty.fits:
        why = problem("advice.too_full", **figures)
    elif empty.max_context:
        why = problem("advice.too_large", longest=empty.max_context, **figures)
    else:
        why = problem("advice.far_too_large", **figures)
    return Objection(entry, None, why, tuple(_instead(entries, entry, context, now, use)))


def _emptied(card: PlanCard) -> PlanCard:
    """The card with nothing on it, not even Windows."""
    return replace(card, free=card.total, reserve=0)


def _instead(
    entries: Iterable[CatalogueEntry], entry: CatalogueEntry, context: int, now: CardNow, use: Use
) -> Iterator[Problem]:
    holding = [each for each in rank(entries, now, use, context) if each.fit is Fit.NOW]
    suits = [each for each in holding if set(entry.good_at) <= set(each.entry.good_at)]
    same = [each for each in suits if each.entry.model == entry.model]
    if best := next(iter(same or suits), None):
        yield problem(
            "advice.instead_same" if same else "advice.instead_other",
            name=best.entry.name,
            engine=NAMES[best.entry.engine],
            context=context,
            longest=best.max_context,
            need_bytes=best.need_bytes,
        )
    here = ranked(entry, now.for_use(use), use, _LEAST_SHORTER)
    if here.fit is Fit.NOW:
        yield problem("advice.instead_shorter", name=entry.name, context=here.max_context)


def _best(places: Sequence[Ranked]) -> tuple[Ranked, ...]:
    """The best of each model, the first few."""
    by_model: dict[str, Ranked] = {}
    for each in places:
        by_model.setdefault(each.entry.model, each)
    return tuple(by_model.values())[:_OFFERS]


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
