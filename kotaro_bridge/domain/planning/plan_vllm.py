"""What vLLM takes of a card: its reservation arithmetic (reference vllm §8).

vLLM is given a budget, a share of the card, measures what weights and one forward pass take of it, and makes all the
rest its KV cache. What it measures is not what it takes in the end: it leaves out the sampler, and counts CUDA graphs
by an estimate of its own. Both sums are kept apart here. Must not read files or cards.

Held against the captures q14, eager14, kvsmall, tiny, p14awq_12g and p32awq_24g (one H100, vLLM 0.25.0).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from kotaro_bridge.domain.model.hf_config import HfModel
from kotaro_bridge.domain.model.hf_vision import VisionTower
from kotaro_bridge.domain.model.hf_weights import WeightBytes, computed_bytes, stored_bytes
from kotaro_bridge.domain.planning.learned import Learned, model_key, raised
from kotaro_bridge.domain.planning.plan_parts import NOTHING, Figure, HfPlanned, Origin, PlanRequest
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import GIB, MIB

BLOCK = 16
"""Tokens of one block of the KV cache (reference vllm §2)."""

_UNPACKED = 3
"""An AWQ zero point of 4 bits takes 16 once loaded: three times its stored size on top. With `_LOADED_MORE` that gives
5.38, 9.54 and 18.46 GiB; 5.38, 9.53 and 18.49 were measured on Hopper (reference vllm §8). Marlin cards: not measured.
"""
_LOADED_MORE = round(0.11 * GIB)

# Budget less weights and KV cache, in GiB: eager 1.22 (8,192 tokens of a batch), with graphs 1.83 (8,192) and 1.71 to
# 1.72 (2,048; 14B and 32B, whose feed-forward differs by a factor of two). The slope is four bytes of the model's width
# for each token of a batch.
_PROFILED = round(1.675 * GIB)
_PROFILED_EAGER = round(1.064 * GIB)
_PER_BATCHED_TOKEN = 4

# What nvidia-smi shows beyond weights, KV cache and graphs, less the larger of forward pass and sampler: 0.95 (q14),
# 0.97 (eager14) and 0.75 GiB (p32awq_24g), CUDA context included.
OVERHEAD_BYTES = round(0.95 * GIB)
_SAMPLER_COPIES = 3  # of the logits in f32, for each request of a batch
# CUDA graphs: 0.13 GiB with batches up to 32 (p32awq_24g), 1.33 with the largest, 512 (q14).
_GRAPHS, _GRAPHS_PER_SIZE, _LARGEST_GRAPH = round(0.05 * GIB), 2.56 * MIB, 512

_VISION_ITEM_TOKENS = 16_384
"""Tokens of the largest picture where only the processor's file has the limit (Qwen2-VL's default, 12.8 megapixels)."""
_MERGED_PATCHES = 4  # of which such a tower makes one token


@dataclass(frozen=True, slots=True)
class VllmCosts:
    """The parts of one model under one budget.

    Args:
        full, windowed: bytes of KV cache for a token of the layers that see everything, and of those with a window of
            `window` tokens; on all cards together.
        profiled: what vLLM sets aside of its budget beside weights and KV cache.
        compute, overhead: what the start really takes beside weights and KV cache.
    """

    request: PlanRequest
    weights: Figure
    full: int
    windowed: int
    window: int
    profiled: Figure
    compute: Figure
    overhead: Figure

    def kv(self, context: int) -> int:
        """Bytes that the requests need with this context, in whole blocks."""
        tokens = -(-context // BLOCK) * BLOCK
        seen = min(tokens, self.window + self.request.max_num_batched_tokens)
        return (self.full * tokens + self.windowed * seen) * self.request.parallel

    def budget(self, kv_bytes: int) -> int:
        """The budget that leaves so much for KV."""
        return self.weights.bytes + self.profiled.bytes + kv_bytes

    @property
    def overrun(self) -> int:
        """Bytes that a start takes beyond its budget; negative where it stays below (captures: +2.3 GiB with the batch
        limits at their defaults, -0.4 GiB with 2,048 tokens and 16 requests).
        """
        return self.compute.bytes + self.overhead.bytes - self.profiled.bytes


def vllm_costs(planned: HfPlanned, request: PlanRequest, learned: Learned) -> VllmCosts:
    """What a model costs in vLLM.

    Raises:
        ProblemError: `model.unknown_packing` (only the config is there, and how the weights are packed is not known).
    """
    model = planned.model
    full, windowed = _kv_per_token(model, request)
    vision = vision_peak(model.vision, request)
    batched = _PER_BATCHED_TOKEN * model.hidden * request.max_num_batched_tokens
    base = _PROFILED_EAGER if request.eager else _PROFILED
    held = max(_forward_bytes(model, request), _SAMPLER_COPIES * 4 * request.max_num_seqs * model.vocab, vision.bytes)
    costs = VllmCosts(
        request=request,
        weights=vllm_weights(planned),
        full=full,
        windowed=windowed,
        window=model.sliding_window or 0,
        profiled=Figure((base + batched) * request.cards, Origin.RECORDED) + vision,
        compute=Figure((held + _graphs(request)) * request.cards, _least(vision)),
        overhead=Figure(OVERHEAD_BYTES * request.cards, Origin.RECORDED),
    )
    return _corrected(costs, planned, held, learned) if learned.starts else costs


def _corrected(costs: VllmCosts, planned: HfPlanned, held: int, learned: Learned) -> VllmCosts:
    """With what earlier starts of the same model tell: its weights, and with the same limits what was set aside."""
    of_model = learned.of(model_key(planned), lambda _: True)
    if of_model:
        costs = replace(costs, weights=Figure(of_model[0].weights, Origin.MEASURED))
    alike = learned.of(model_key(planned), lambda other: _same_limits(other, costs.request))
    if not alike:
        return costs
    if (budget := alike[0].budget) is not None:
        set_aside = budget - alike[0].weights - alike[0].kv
        costs = replace(costs, profiled=Figure(set_aside, Origin.MEASURED))
    overhead = raised(costs.overhead, (start.beyond - held for start in alike))
    return replace(costs, compute=Figure(held + alike[0].compute, Origin.MEASURED), overhead=overhead)


def _same_limits(one: PlanRequest, other: PlanRequest) -> bool:
    """True if one forward pass is the same: how long the requests are and how many makes no difference to it."""
    return replace(one, context=other.context, parallel=other.parallel, kv_type=other.kv_type) == other


def _least(vision: Figure) -> Origin:
    return Origin.ESTIMATE if vision.bytes else Origin.RECORDED


@lru_cache(maxsize=64)
def vllm_weights(planned: HfPlanned) -> Figure:
    """What the weights take once loaded: from the files' headers, else computed from the config."""
    model = planned.model
    if planned.stored is None:
        found, origin = computed_bytes(model), Origin.FORMULA
    else:
        found, origin = stored_bytes(model, planned.stored), Origin.HEADER
    return Figure(found.total + _more_once_loaded(model, found), origin)


def _more_once_loaded(model: HfModel, found: WeightBytes) -> int:
    if model.quantization is None:
        return round(0.06 * GIB)  # rotary tables and buffers; the 7B FP16 as the profile that ran
    unpacked = _UNPACKED * found.zero_points if model.quantization.method == "awq" else 0
    return unpacked + _LOADED_MORE


def _kv_per_token(model: HfModel, request: PlanRequest) -> tuple[int, int]:
    """Bytes per token on all cards together: a KV head is never cut, MLA's compressed keys are on every card."""
    size, cards = 1 if request.kv_type is KvType.FP8 else model.dtype_bytes, request.cards
    if model.mla is not None:
        return (model.mla.kv_rank + model.mla.rope_dim) * size * model.layers * cards, 0
    full = windowed = 0
    for heads, narrow in zip(model.kv_heads, model.windowed, strict=True):
        layer = 2 * max(1, -(-heads // cards)) * cards * model.head_dim * size
        full, windowed = (full, windowed + layer) if narrow else (full + layer, windowed)
    return full, windowed


def _forward_bytes(model: HfModel, request: PlanRequest) -> int:
    """One layer over a whole batch: gate and up side by side, their product, and three rows of the model's width."""
    width = model.intermediate
    if model.experts is not None:
        used = model.experts.per_token * model.experts.intermediate + model.experts.shared_intermediate
        width = max(width, used)
    return request.max_num_batched_tokens * (3 * width // request.cards + 3 * model.hidden) * model.dtype_bytes


def _graphs(request: PlanRequest) -> int:
    if request.eager:
        return 0
    return round(_GRAPHS + _GRAPHS_PER_SIZE * min(2 * request.max_num_seqs, _LARGEST_GRAPH))


def vision_peak(vision: VisionTower | None, request: PlanRequest) -> Figure:
    """The encoder's peak: as many of the largest pictures as a batch holds (reference vllm §8). Not measured: rows of
    the encoder's widths, half as much again for its attention.
    """
    if vision is None or not request.images:
        return NOTHING
    if vision.image_size is None or vision.tokens_per_image is None:
        tokens, patches = _VISION_ITEM_TOKENS, _VISION_ITEM_TOKENS * _MERGED_PATCHES
    else:
        tokens = vision.tokens_per_image
        patches = (vision.slices + 1) * (vision.image_size // vision.patch_size) ** 2
    items = max(1, min(request.max_num_batched_tokens // max(1, tokens), request.max_num_seqs))
    rows = 2 * vision.intermediate + 8 * vision.hidden
    return Figure(items * patches * rows * 3, Origin.ESTIMATE)
