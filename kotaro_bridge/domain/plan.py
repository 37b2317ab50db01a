"""The plan: does this model, asked for like this, fit this card, and how much would. One rule for the command line, the
editor, the gate and its remedies.

Pure, and quick enough to be asked while a slider moves (below 1 ms). The parts are `plan_llama`'s and `plan_vllm`'s.
"""

from __future__ import annotations

from collections.abc import Callable

from kotaro_bridge.domain.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.kv_cache import context_shape
from kotaro_bridge.domain.plan_llama import CONTEXT_STEP, CUDA_CONTEXT_BYTES, LlamaCosts, llama_costs
from kotaro_bridge.domain.plan_parts import (
    RESERVE_BYTES,
    Figure,
    GgufPlanned,
    HfPlanned,
    Origin,
    Plan,
    PlanCard,
    PlannedModel,
    PlanRequest,
    stated_card,
)
from kotaro_bridge.domain.profile import Profile, VllmOptions

__all__ = (
    "RESERVE_BYTES",
    "Figure",
    "GgufPlanned",
    "HfPlanned",
    "Origin",
    "Plan",
    "PlanCard",
    "PlanRequest",
    "PlannedModel",
    "budget_needs",
    "free_needed",
    "longest_context",
    "plan",
    "request_of",
    "stated_card",
    "vllm_utilization",
)


def plan(model: PlannedModel, request: PlanRequest, card: PlanCard | tuple[PlanCard, ...] | None) -> Plan:
    """What the model takes, and whether it fits.

    Args:
        card: the card, or one for each of `request.cards`; None where there is none to plan for.

    Raises:
        ProblemError: `plan.split_model`, `plan.engine` (the engine does not take such files).
    """
    cards = (card,) if isinstance(card, PlanCard) else card
    if isinstance(model, GgufPlanned) and request.engine is Engine.LLAMA_SERVER:
        return _llama_plan(model, request, cards)
    raise ProblemError(problem("plan.engine", engine=request.engine.value))


def request_of(profile: Profile) -> PlanRequest:
    """What a profile's command asks of its engine."""
    shape = context_shape(profile)
    options = profile.vllm or VllmOptions()
    return PlanRequest(
        engine=profile.engine,
        context=shape.context,
        parallel=shape.parallel,
        kv_type=shape.kv_type,
        ubatch=shape.ubatch,
        swa_full=shape.swa_full,
        max_num_seqs=max(options.max_num_seqs, profile.parallel),
        max_num_batched_tokens=options.max_num_batched_tokens,
        eager="--enforce-eager" in profile.extra_args,
        images=profile.sees_images,
    )


def free_needed(found: Plan) -> int:
    """Bytes that have to be free for such a start: what the gate asks for, and what `fits` means."""
    if found.needed_budget is None:
        return found.total + RESERVE_BYTES
    return budget_needs(found.needed_budget)


def budget_needs(budget: int) -> int:
    """Bytes that have to be free for a budget of vLLM, which makes its CUDA context before it looks."""
    return budget + CUDA_CONTEXT_BYTES + RESERVE_BYTES


def _llama_plan(model: GgufPlanned, request: PlanRequest, cards: tuple[PlanCard, ...] | None) -> Plan:
    costs = llama_costs(model, request)
    limit = model.model.context_length or request.context
    room = sum(card.usable for card in cards) if cards else None
    total = costs.total(request.context)
    return Plan(
        engine=request.engine,
        request=request,
        weights=costs.weights,
        kv=costs.kv(request.context),
        compute=costs.compute(request.context),
        overhead=Figure(costs.overhead.bytes * request.cards, costs.overhead.origin),
        band_bytes=0,
        fits=None if room is None else total <= room,
        margin=None if room is None else room - total,
        max_context=None if room is None else _longest_llama(costs, limit, room),
        per_card=_shares(total, request.cards),
    )


def _longest_llama(costs: LlamaCosts, limit: int, room: int) -> int:
    return longest_context(lambda context: costs.total(context) <= room, limit, CONTEXT_STEP)


def longest_context(fits: Callable[[int], bool], limit: int, step: int) -> int:
    """The longest context up to `limit` that fits, a multiple of `step` or the limit itself; 0 if none does.

    Args:
        fits: of a context that fits every shorter one fits too.
    """
    if fits(limit):
        return limit
    low, high = 0, (limit - 1) // step
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * step) else (low, middle - 1)
    return low * step


def _shares(total: int, cards: int) -> tuple[int, ...]:
    """A total in equal parts."""
    return (total // cards + total % cards, *(total // cards for _ in range(cards - 1)))


def vllm_utilization(budget_bytes: int, total_bytes: int) -> float:
    """The share to pass as `--gpu-memory-utilization`, rounded up to 0.001 so that the whole budget is granted.

    Args:
        total_bytes: memory of the card as the engine sees it, that is without what the driver reserves
            (81,079 of 81,559 MiB in the captures).

    Raises:
        ProblemError: `plan.budget_over_total`.
    """
    if budget_bytes > total_bytes:
        raise ProblemError(problem("plan.budget_over_total", budget_bytes=budget_bytes, total_bytes=total_bytes))
    return -(-budget_bytes * 1000 // total_bytes) / 1000
