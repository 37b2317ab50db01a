"""What llama-server takes of a card with the whole model on it.

Owns the formulas for everything beside the KV cache (`kv_cache`). Must not read files or cards.

Held against every recorded run that was whole on the GPU (tests/unit/domain/test_plan_measured.py): the captures, 27
more starts on an H100 (tests/data/measured), and the README's on an H200. The truth is what is in use after the first
long prompt, for which the engine takes some more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.context_shape import ContextShape
from kotaro_bridge.domain.model.gguf import GgufModel
from kotaro_bridge.domain.model.kv_cache import CacheRows, cache_rows, estimated_rows
from kotaro_bridge.domain.planning.learned import Learned, model_key, raised
from kotaro_bridge.domain.planning.plan_parts import NOTHING, Figure, GgufPlanned, Origin, PlanRequest
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import MIB

OVERHEAD_BYTES = 620 * MIB
"""CUDA context, library handles and scratch memory, beyond all buffers that the log names: memory.used less those is
597 to 603 MiB on H100 at health 200 and 603 to 610 on H200, and some 10 more after the first long prompt. The largest,
for every card.
"""
CUDA_CONTEXT_BYTES = 527 * MIB
"""Of these the context alone, which an engine makes before anything else (captures nodevice-env)."""
CONTEXT_STEP = 256
"""llama-server rounds a context up to a multiple of it (reference llama-server §7)."""

_F32 = 4
# A prompt's activations as q8_1, for the widest matrix (ggml-cuda/mmq.cu): bytes of an element. 10, 20 and 41 MiB for a
# 7B with 512, 1,024 and 2,048 tokens of a micro batch, as measured.
_Q8_1 = 36 / 32
# Matrices that are not quantized, or scores without flash attention, make the engine load cuBLAS with the first prompt:
# 104 MiB for a 0.5B as F16, where quantized models take 14 to 24 (10 of them are in the overhead).
_CUBLAS_BYTES = 94 * MIB
_PLAIN = frozenset({"F32", "F16", "BF16"})
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
        scratch: bytes beside the buffer that the first prompt takes.
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
    scratch: int
    scores: int
    compute_origin: Origin
    vision: Figure
    overhead: Figure
    correction: int = 0

    def kv(self, context: int) -> Figure:
        """KV cache and recurrent state."""
        return Figure(self.rows.cache_bytes(_shape(self.request, context)), self.kv_origin)

    def compute(self, context: int) -> Figure:
        """The compute buffer, a vision encoder's, and what a prompt takes beside them."""
        return Figure(self._buffer(context) + self.correction + self.scratch, self.compute_origin) + self.vision

    def logged(self, context: int) -> int:
        """The compute buffers as the log names them, by the formula."""
        return self._buffer(context) + self.vision.bytes

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
        scores = _F32 * self.scores * shape.cells * request.ubatch
        mask = (_F32 if self.scores else 2) * request.ubatch * cells
        return mask + max(self.feed_forward, self.attention + unpacked + scores)


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
    scores = 0 if model.key_length in _FLASH_HEADS else model.head_count
    costs = LlamaCosts(
        request=request,
        weights=Figure(model.weights_on_gpu + vision, Origin.HEADER),
        rows=estimated_rows(model, request.kv_type) if known is None else known,
        kv_origin=Origin.ESTIMATE if known is None else Origin.FORMULA,
        attention=_F32 * request.ubatch * _attention_width(model),
        feed_forward=_F32 * max(request.ubatch * _forward_width(model), request.parallel * model.vocab_size),
        scratch=_scratch(model, request.ubatch, has_scores=bool(scores)),
        scores=scores,
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
    correction = alike[0].compute - costs.logged(alike[0].request.context)
    vision = replace(costs.vision, origin=Origin.MEASURED)
    return replace(costs, overhead=overhead, correction=correction, compute_origin=Origin.MEASURED, vision=vision)


def _same_graph(one: PlanRequest, other: PlanRequest) -> bool:
    """True if only the context may differ."""
    return replace(one, context=other.context) == other


def _attention_width(model: GgufModel) -> int:
    """f32 elements per token: queries and their product, and two rows of the model's width (12.0 MiB for a 1.5B). With
    compressed keys the queries are there twice, before and after they are brought to that form.
    """
    copies = 3 if _largest(model, "attention.key_length_mla") else 2
    return copies * model.head_count * max(model.key_length, model.value_length) + 2 * model.embedding_length


def _scratch(model: GgufModel, ubatch: int, *, has_scores: bool) -> int:
    plain = any(len(t.dims) > 1 and t.type in _PLAIN and t.name.startswith("blk.") for t in model.tensors)
    widest = max(_largest(model, "feed_forward_length"), model.embedding_length)
    return round(_Q8_1 * widest * ubatch) + (_CUBLAS_BYTES if plain or has_scores else 0)


def _forward_width(model: GgufModel) -> int:
    """f32 elements per token where the compute buffer is at its fullest: three of the feed-forward block's width and
    three of the model's.

    Held against the real engine for models of each kind (tests/e2e/test_compute_real.py). Of experts each one used has
    a row of its own of both widths, and a recurrent block eight of its inner width; both err upwards.
    """
    width = model.embedding_length
    dense = 3 * (_largest(model, "feed_forward_length") + width)
    used = _largest(model, "expert_used_count")
    expert = _largest(model, "expert_feed_forward_length") or _largest(model, "feed_forward_length")
    sparse = used * (3 * expert + 2 * width) + 3 * width if used else 0
    recurrent = 8 * _largest(model, "ssm.inner_size") + 2 * width
    return max(dense, sparse, recurrent)


def _largest(model: GgufModel, key: str) -> int:
    stated = model.keys.get(key, 0)
    return max(stated, default=0) if isinstance(stated, tuple) else stated
