"""How a plan adds up for a person: what has to be free, what of it no part of the total names, and what is left.

Owns the sums that are shown; the figures themselves are the plan's.
"""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Param, Problem, problem
from kotaro_bridge.domain.planning.plan_parts import Plan, PlanCard


@dataclass(frozen=True, slots=True)
class PlanSums:
    """Bytes that agree with each other: `free` - `needed` is the plan's margin, and on one card the total, `set_aside`
    and `reserve` together are `needed`, or `free` where vLLM fills the rest of its budget with KV cache.

    Args:
        free: on the tightest card; vLLM: on all cards together, each counted as the tightest.
        reserve: of that, what is left alone.
        set_aside: vLLM: what has to be free for a start beside what it takes in the end. It measures more than it
            then uses, and checks its budget with a CUDA context already made (`plan_vllm`).
        needed: what has to be free for what is asked, and no more.
    """

    free: int
    reserve: int
    set_aside: int
    needed: int


def plan_sums(found: Plan, cards: tuple[PlanCard, ...] | None) -> PlanSums | None:
    """The sums of a plan that was made for these cards; None without any."""
    if cards is None or found.margin is None:
        return None
    if found.engine is Engine.LLAMA_SERVER:
        rooms = zip(cards, found.per_card, strict=True)
        card = min(rooms, key=lambda room: room[0].usable - room[1])[0]
        return PlanSums(card.free, card.reserve, 0, card.free - found.margin)
    card = min(cards, key=lambda each: each.usable)
    free, reserve = (size * len(cards) for size in (card.free, card.reserve))
    surplus = max(0, found.margin)  # KV cache that nobody asked for
    needed = free - found.margin
    return PlanSums(free, reserve, needed + surplus - reserve - found.total, needed)


def verdict(found: Plan, sums: PlanSums) -> Problem:
    """Whether it fits, as a code of `plan.verdict` with the sums."""
    left = sums.free - sums.needed
    longest = found.max_context or 0
    figures: dict[str, Param] = {"free_bytes": sums.free, "needed_bytes": sums.needed, "longest": longest}
    if left < 0:
        return problem("plan.verdict.missing", short_bytes=-left, **figures)
    if not found.fits:
        return problem("plan.verdict.too_long", longest=longest)
    figures["left_bytes"] = left
    if found.engine is Engine.VLLM:
        return problem("plan.verdict.fits_vllm", **figures)
    if sums.reserve:
        return problem("plan.verdict.fits_kept", reserve_bytes=sums.reserve, **figures)
    return problem("plan.verdict.fits", **figures)
