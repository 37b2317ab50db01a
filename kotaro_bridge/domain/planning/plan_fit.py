"""Costs against cards: does it fit, what is left, how long could the context be.

Owns these rules for both engines, on one card and on several. What a model costs is `plan_llama`'s and `plan_vllm`'s
business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.planning.card_split import Division, divide, layer_bytes, pipeline_bytes
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan_llama import CONTEXT_STEP, CUDA_CONTEXT_BYTES, LlamaCosts, llama_costs
from kotaro_bridge.domain.planning.plan_parts import (
    Figure,
    GgufPlanned,
    HfPlanned,
    Origin,
    Plan,
    PlanCard,
    PlanRequest,
)
from kotaro_bridge.domain.planning.plan_vllm import BLOCK, VllmCosts, vllm_costs
from kotaro_bridge.domain.units import GIB, MIB

Cards = tuple[PlanCard, ...]

MEASURED_CAP = (9, 0)
"""The compute capability of the cards that were measured (H100, H200)."""
_MARLIN = frozenset({"awq", "gptq", "compressed-tensors"})
# How far a figure may be off where nothing of the kind was measured: another card's CUDA context, attention kernels and
# packed weights (vLLM), and a vision encoder's peak.
_BAND_OTHER_CARD = {True: round(0.5 * GIB), False: 128 * MIB}
_BAND_VISION = {True: 1 * GIB, False: 512 * MIB}
_BAND_MEASURED_VLLM = round(0.15 * GIB)


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


def llama_plan(model: GgufPlanned, request: PlanRequest, cards: Cards | None, learned: Learned) -> Plan:
    """The plan of a GGUF model. Raises as `plan`."""
    costs = llama_costs(model, request, learned)
    spread = _Spread(model, costs, cards)
    limit = model.model.context_length or request.context
    division, margin = spread.at(request.context)
    estimated = Origin.ESTIMATE in (costs.vision.origin, costs.kv_origin)
    kv, overhead = costs.kv(request.context), _times(costs.overhead, request.cards)
    # All that the cards need beside the other parts: on several the pipeline's copies are among it.
    compute = sum(division.needs) - costs.weights.bytes - kv.bytes - overhead.bytes
    return Plan(
        engine=request.engine,
        request=request,
        weights=costs.weights,
        kv=kv,
        compute=Figure(compute, costs.compute(request.context).origin),
        overhead=overhead,
        band_bytes=_band(cards, is_vllm=False, has_vision=costs.vision.origin is Origin.ESTIMATE),
        fits=None if margin is None else margin >= 0 and request.context <= limit,
        margin=margin,
        max_context=longest_context(spread.fits, limit, CONTEXT_STEP) if cards else None,
        per_card=division.needs,
        layers=division.layers,
        notes=_llama_notes(model, request, estimated=estimated),
    )


class _Spread:
    """A GGUF model on its cards: on several each has the layers that the start will give it (`card_split`)."""

    def __init__(self, model: GgufPlanned, costs: LlamaCosts, cards: Cards | None) -> None:
        self._costs = costs
        self._cards = cards
        self._count = costs.request.cards
        self._weights = layer_bytes(model.model, 0) if self._count > 1 else ()
        self._projector = model.projector_bytes
        self._width = model.model.embedding_length

    def at(self, context: int) -> tuple[Division, int | None]:
        """Bytes and layers on each card, and what is left on the one with the least; None without cards."""
        costs, cards = self._costs, self._cards
        if self._count == 1:
            total = costs.total(context)
            return Division((), (total,)), cards[0].usable - total if cards else None
        request = costs.request
        fixed = costs.compute(context).bytes + costs.overhead.bytes
        fixed += pipeline_bytes(self._width, request.ubatch, context * request.parallel)
        share = -(-costs.kv(context).bytes // (len(self._weights) - 1))
        sizes = (*(size + share for size in self._weights[:-1]), self._weights[-1])
        # Without cards like ones, with room enough: the layers are then divided alike.
        rooms = [card.usable for card in cards] if cards else [sum(sizes) + fixed + self._projector] * self._count
        found = divide(sizes, fixed, self._projector, rooms)
        if not cards:
            return found, None
        return found, min(card.usable - size for card, size in zip(cards, found.needs, strict=True))

    def fits(self, context: int) -> bool:
        """Asked with cards only."""
        margin = self.at(context)[1]
        return margin is not None and margin >= 0


def _times(figure: Figure, count: int) -> Figure:
    return replace(figure, bytes=figure.bytes * count)


def vllm_plan(model: HfPlanned, request: PlanRequest, cards: Cards | None, learned: Learned) -> Plan:
    """The plan of a Hugging Face model. Raises as `plan`.

    vLLM fills its budget: what it leaves for KV is taken, whether the requests need it or not.
    """
    costs = vllm_costs(model, request, learned)
    needed = costs.kv(request.context)
    room = None if cards is None else _room(costs, cards)
    available = None if room is None else room - costs.budget(0)
    budget = None if room is None else max(0, room)
    limit = model.model.context_length

    def enough(context: int) -> bool:
        return available is not None and costs.kv(context) <= available

    kv = needed if available is None else max(needed, available)
    total = costs.weights.bytes + kv + costs.compute.bytes + costs.overhead.bytes
    return Plan(
        engine=request.engine,
        request=request,
        weights=costs.weights,
        kv=Figure(kv, Origin.FORMULA if kv == needed else Origin.REST),
        compute=costs.compute,
        overhead=costs.overhead,
        band_bytes=_band(cards, is_vllm=True, has_vision=costs.profiled.origin is Origin.ESTIMATE),
        fits=None if available is None else enough(request.context) and request.context <= limit,
        margin=None if available is None else available - needed,
        max_context=None if available is None else longest_context(enough, limit, BLOCK),
        per_card=tuple(total // request.cards for _ in range(request.cards)),
        budget=budget,
        needed_budget=costs.budget(needed),
        utilization=None if budget is None or cards is None else _share_of(budget, cards),
        available_kv=available,
        max_concurrency=None if available is None else max(0, available) * request.parallel / needed,
        overrun=costs.overrun,
        notes=_vllm_notes(model, request, costs, cards),
    )


def _room(costs: VllmCosts, cards: Cards) -> int:
    """The largest budget, on all cards together, with which neither vLLM's own check nor what it really takes goes
    beyond the room of a card; negative where the card has not even room for those. The check comes after the CUDA
    context is made.
    """
    count = costs.request.cards
    each = min(card.usable - (0 if card.all_ours else CUDA_CONTEXT_BYTES) for card in cards)
    really = min(card.usable for card in cards) - max(0, costs.overrun) // count
    return min(each, really) * count


def _share_of(budget: int, cards: Cards) -> float:
    """The utilization, rounded down to 0.001: a share that is not free would end the start."""
    return max(0.001, budget // len(cards) * 1000 // min(card.total for card in cards) / 1000)


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


def _band(cards: Cards | None, *, is_vllm: bool, has_vision: bool) -> int:
    measured = _BAND_MEASURED_VLLM if is_vllm else 0
    return (measured if _all_measured(cards) else _BAND_OTHER_CARD[is_vllm]) + (
        _BAND_VISION[is_vllm] if has_vision else 0
    )


def _llama_notes(model: GgufPlanned, request: PlanRequest, *, estimated: bool) -> tuple[Problem, ...]:
    notes = []
    if estimated and not model.projector_bytes:
        notes.append(problem("plan.note.architecture", architecture=model.model.architecture))
    if model.projector_bytes:
        notes += [problem("plan.note.projector"), *_uncovered(request)]
    if 0 < model.model.context_length < request.context:
        notes.append(problem("plan.note.beyond_training", context=model.model.context_length))
    return tuple(notes)


def _vllm_notes(model: HfPlanned, request: PlanRequest, costs: VllmCosts, cards: Cards | None) -> tuple[Problem, ...]:
    notes, shape = [], model.model
    packed = shape.quantization is not None and shape.quantization.method in _MARLIN
    if packed and costs.weights.origin is not Origin.MEASURED and not _all_measured(cards):
        notes.append(problem("plan.note.marlin"))
    if shape.vision is not None and request.images:
        notes += [problem("plan.note.vision"), *_uncovered(request)]
    if shape.context_length < request.context:
        notes.append(problem("plan.note.beyond_training", context=shape.context_length))
    if costs.overrun > 0:
        notes.append(problem("plan.note.overrun", more_bytes=costs.overrun))
    if request.cards > 1:
        notes.append(problem("plan.note.cards"))
    return tuple(notes)


def _uncovered(request: PlanRequest) -> Iterator[Problem]:
    if request.uncovered:
        yield problem("plan.note.uncovered", names=", ".join(request.uncovered))


def _all_measured(cards: Cards | None) -> bool:
    return cards is not None and all(card.compute_cap == MEASURED_CAP for card in cards)
