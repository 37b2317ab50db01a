"""What llama-server takes of a card with the whole model on it.

Owns the formulas for everything beside the KV cache (`kv_cache`). Must not read files or cards.

Held against every recorded run that was whole on the GPU (captures full14, full14-32k, full14-np1, full7-8k on H100;
README: 7B, 14B, 32B on H200): each buffer to 0.01 MiB, the total from 0 to 10 MiB above the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.gguf import GgufModel
from kotaro_bridge.domain.kv_cache import CacheRows, ContextShape, cache_rows, estimated_rows
from kotaro_bridge.domain.learned import Learned, model_key, raised
from kotaro_bridge.domain.plan_parts import NOTHING, Figure, GgufPlanned, Origin, PlanRequest
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import MIB

OVERHEAD_BYTES = 610 * MIB
"""CUDA context, library handles and scratch memory, beyond all buffers that the log names: memory.used less those is
599 to 605 MiB on H100 (captures) and 603 to 610 on H200 (README; its 32B: 21,365 less 20,756). The largest, for every
card.
"""
CUDA_CONTEXT_BYTES = 527 * MIB
"""Of these the context alone, which an engine makes before anything else (captures nodevice-env)."""
CONTEXT_STEP = 256
"""llama-server rounds a context up to a multiple of it (reference llama-server §7)."""

_F32 = 4
_VISION_BYTES = 512 * MIB  # an allowance for a projector's compute buffer: none was measured on a card yet


# Head sizes with flash attention in default CUDA builds (reference llama-server §5.5). Without it all scores of a micro
# batch are written down.
_FLASH_HEADS = frozenset({40, 64, 72, 80, 96, 112, 128, 192, 256, 320, 512, 576})


@dataclass(frozen=True, slots=True)
class LlamaCosts:
    """The parts of one model at any context: everything that does not depend on it is summed once.

    Args:
        attention: bytes of the compute buffer while attention is computed, without what grows with the context;
            feed_forward: in the feed-forward block or at the logits, whichever is more.
        scores: query heads of which all scores are kept; 0 with flash attention.
        correction: bytes by which the engine's own figure for this model differed from the formula; None without one.
        vision: a projector's own compute buffer.
        overhead: of one card.
    """

    request: PlanRequest
    weights: Figure
    rows: CacheRows
    kv_origin: Origin
    attention: int
    feed_forward: int
    scores: int
    compute_origin: Origin
    vision: Figure
    overhead: Figure
    correction: int = 0

    def kv(self, context: int) -> Figure:
        """KV cache and recurrent state."""
        return Figure(self.rows.cache_bytes(_shape(self.request, context)), self.kv_origin)

    def compute(self, context: int) -> Figure:
        """The compute buffer, and a vision encoder's."""
        return Figure(self._buffer(context) + self.correction, self.compute_origin) + self.vision

    def total(self, context: int) -> int:
        """All of it on one card, in bytes."""
        return self.weights.bytes + self.kv(context).bytes + self.compute(context).bytes + self.overhead.bytes

    def _buffer(self, context: int) -> int:
        """Its parts that grow with the context: the attention masks, f16, a row for each token of a micro batch (119.01
        MiB at 8,192 and 143.01 MiB at 32,768 tokens in captures full14 and full14-32k), one for layers with a window
        and one for the others; and keys and values of one layer as f16, where they are kept as something else
        (ggml-cuda/fattn.cu, ggml_cuda_flash_attn_ext_get_alloc_size).
        """
        request, rows = self.request, self.rows
        shape = _shape(request, context)
        cells = (shape.cells if rows.full else 0) + (rows.window_cells(shape) if rows.windowed else 0)
        unpacked = 0 if request.kv_type in (KvType.AUTO, KvType.F16) else rows.largest * shape.cells * shape.streams
        scores = 4 * self.scores * shape.cells * request.ubatch
        return 2 * request.ubatch * cells + max(self.feed_forward, self.attention + unpacked + scores)


def _shape(request: PlanRequest, context: int) -> ContextShape:
    return ContextShape(context, request.parallel, request.kv_type, request.ubatch, request.swa_full, request.unified)


def llama_costs(planned: GgufPlanned, request: PlanRequest, learned: Learned) -> LlamaCosts:
    """What a model costs in llama-server.

    Raises:
        ProblemError: `plan.split_model` (the file is one of `parts` and does not tell the weights of the others).
    """
    model = planned.model
    if not model.is_whole:
        raise ProblemError(problem("plan.split_model", parts=model.split_count))
    known = cache_rows(model, request.kv_type)
    vision = planned.projector_bytes
    costs = LlamaCosts(
        request=request,
        weights=Figure(model.weights_on_gpu + vision, Origin.HEADER),
        rows=estimated_rows(model, request.kv_type) if known is None else known,
        kv_origin=Origin.ESTIMATE if known is None else Origin.FORMULA,
        attention=_F32 * request.ubatch * _attention_width(model),
        feed_forward=_F32 * max(request.ubatch * _forward_width(model), request.parallel * model.vocab_size),
        scores=0 if model.key_length in _FLASH_HEADS else model.head_count,
        compute_origin=Origin.ESTIMATE if known is None else Origin.FORMULA,
        vision=Figure(_VISION_BYTES, Origin.ESTIMATE) if vision else NOTHING,
        overhead=Figure(OVERHEAD_BYTES, Origin.RECORDED),
    )
    return _corrected(costs, planned, learned) if learned.starts else costs


def _corrected(costs: LlamaCosts, planned: GgufPlanned, learned: Learned) -> LlamaCosts:
    """With what earlier starts tell: the engine's own compute buffer, and what it took beyond its log."""
    overhead = raised(costs.overhead, (start.beyond for start in learned.starts))
    alike = learned.of(model_key(planned), lambda other: _same_graph(other, costs.request))
    if not alike:
        return replace(costs, overhead=overhead)
    # The vision encoder's buffer is in the log's figure too.
    formula = costs.compute(alike[0].request.context).bytes
    correction = alike[0].compute - formula
    vision = replace(costs.vision, origin=Origin.MEASURED)
    return replace(costs, overhead=overhead, correction=correction, compute_origin=Origin.MEASURED, vision=vision)


def _same_graph(one: PlanRequest, other: PlanRequest) -> bool:
    """True if only the context may differ."""
    return replace(one, context=other.context) == other


def _attention_width(model: GgufModel) -> int:
    """f32 elements per token: queries, their product and a copy; keys and values; two rows of the model's width."""
    kv = max(model.head_count_kv) * (model.key_length + model.value_length)
    return 3 * model.head_count * max(model.key_length, model.value_length) + kv + 2 * model.embedding_length


def _forward_width(model: GgufModel) -> int:
    """f32 elements per token where the compute buffer is at its fullest: three of the feed-forward block's width and
    three of the model's.

    Held against the real engine for models of each kind (tests/e2e/test_compute_real.py). Of experts each one used has
    a row of its own of both widths, which errs upwards; a recurrent block holds six rows of its inner width.
    """
    width = model.embedding_length
    dense = 3 * (_largest(model, "feed_forward_length") + width)
    used = _largest(model, "expert_used_count")
    expert = _largest(model, "expert_feed_forward_length") or _largest(model, "feed_forward_length")
    sparse = used * (3 * expert + 2 * width) + 3 * width if used else 0
    recurrent = 6 * _largest(model, "ssm.inner_size") + width
    return max(dense, sparse, recurrent)


def _largest(model: GgufModel, key: str) -> int:
    stated = model.keys.get(key, 0)
    return max(stated, default=0) if isinstance(stated, tuple) else stated
