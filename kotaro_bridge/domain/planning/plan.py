"""The plan: does this model, asked for like this, fit this card, and how much would. One rule for the command line, the
editor, the gate and its remedies.

Pure, and quick enough to be asked while a slider moves (below 1 ms). The parts are `plan_llama`'s and `plan_vllm`'s.
"""

from __future__ import annotations

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.context_shape import context_shape
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan_fit import llama_plan, vllm_plan, vllm_utilization
from kotaro_bridge.domain.planning.plan_llama import CUDA_CONTEXT_BYTES
from kotaro_bridge.domain.planning.plan_parts import (
    RESERVE_BYTES,
    Figure,
    GgufPlanned,
    HfPlanned,
    Origin,
    Plan,
    PlanCard,
    PlannedModel,
    PlanRequest,
    planned_card,
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
    "plan",
    "planned_card",
    "request_of",
    "stated_card",
    "vllm_utilization",
)


def plan(
    model: PlannedModel,
    request: PlanRequest,
    card: PlanCard | tuple[PlanCard, ...] | None,
    learned: Learned | None = None,
) -> Plan:
    """What the model takes, and whether it fits.

    Args:
        card: the card, or one for each of `request.cards`; None where there is none to plan for.
        learned: earlier starts on this PC; starts on several cards teach nothing.

    Raises:
        ProblemError: `plan.engine` (the engine does not take such files), `plan.split_model`,
            `plan.more_cards_than_layers`, `model.unknown_packing`.
    """
    cards = (card,) if isinstance(card, PlanCard) else card
    known = learned if learned and request.cards == 1 else Learned()
    if isinstance(model, GgufPlanned):
        if request.engine is Engine.LLAMA_SERVER:
            return llama_plan(model, request, cards, known)
    elif request.engine is Engine.VLLM:
        return vllm_plan(model, request, cards, known)
    raise ProblemError(problem("plan.engine", engine=request.engine.value))


_OF_PICTURES = ("--image-min-tokens", "--image-max-tokens", "--mm-processor-kwargs")


def request_of(profile: Profile) -> PlanRequest:
    """What a profile's command asks of its engine."""
    shape = context_shape(profile)
    options = profile.vllm or VllmOptions()
    named = {word.partition("=")[0].replace("_", "-") for word in profile.extra_args}
    return PlanRequest(
        engine=profile.engine,
        context=shape.context,
        parallel=shape.parallel,
        kv_type=shape.kv_type,
        ubatch=shape.ubatch,
        swa_full=shape.swa_full,
        cards=len(profile.gpus),
        max_num_seqs=max(options.max_num_seqs, profile.parallel),
        max_num_batched_tokens=options.max_num_batched_tokens,
        eager="--enforce-eager" in profile.extra_args,
        images=profile.sees_images,
        uncovered=tuple(name for name in _OF_PICTURES if name in named),
    )


def free_needed(found: Plan) -> int:
    """Bytes that have to be free for a start on one card: what the gate asks for."""
    if found.needed_budget is None:
        return found.total + RESERVE_BYTES
    return max(budget_needs(found.needed_budget), found.needed_budget + found.overrun + RESERVE_BYTES)


def budget_needs(budget: int) -> int:
    """Bytes that have to be free for a budget of vLLM, which makes its CUDA context before it looks."""
    return budget + CUDA_CONTEXT_BYTES + RESERVE_BYTES
