"""What llama-server takes of a card with the whole model on it.

Owns the formulas for everything beside the KV cache (`kv_cache`). Must not read files or cards.

Held against every recorded run that was whole on the GPU (captures full14, full14-32k, full14-np1, full7-8k on H100;
README: 7B, 14B, 32B on H200): each buffer to 0.01 MiB, the total from 0 to 10 MiB above the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.gguf import GgufModel
from kotaro_bridge.domain.kv_cache import CacheRows, ContextShape, cache_rows, estimated_rows
from kotaro_bridge.domain.plan_parts import Figure, GgufPlanned, Origin, PlanRequest
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


@dataclass(frozen=True, slots=True)
class LlamaCosts:
    """The parts of one model at any context: everything that does not depend on it is summed once.

    Args:
        buffers: bytes of the compute buffer without the attention mask.
        vision: a projector's own compute buffer.
    """

    request: PlanRequest
    weights: Figure
    rows: CacheRows
    kv_origin: Origin
    buffers: Figure
    vision: Figure
    overhead: Figure

    def kv(self, context: int) -> Figure:
        """KV cache and recurrent state."""
        return Figure(self.rows.cache_bytes(self._shape(context)), self.kv_origin)

    def compute(self, context: int) -> Figure:
        """The compute buffer with the attention mask: f16, a row for each token of a micro batch (119.01 MiB at 8,192
        and 143.01 MiB at 32,768 tokens in captures full14 and full14-32k).
        """
        mask = 2 * self.request.ubatch * self._shape(context).cells
        return self.buffers + Figure(mask + self._unpacked(context), Origin.FORMULA) + self.vision

    def total(self, context: int) -> int:
        """All of it, in bytes."""
        return (
            self.weights.bytes
            + self.kv(context).bytes
            + self.compute(context).bytes
            + self.overhead.bytes * self.request.cards
        )

    def _unpacked(self, context: int) -> int:
        """A KV cache that is not f16 is unpacked layer by layer for a prompt, into memory that no log line names
        (ggml-cuda/fattn-common.cuh, launch_fattn).
        """
        if self.request.kv_type in (KvType.AUTO, KvType.F16):
            return 0
        shape = self._shape(context)
        return self.rows.largest * shape.cells * shape.streams

    def _shape(self, context: int) -> ContextShape:
        request = self.request
        return ContextShape(
            context, request.parallel, request.kv_type, request.ubatch, request.swa_full, request.unified
        )


def llama_costs(planned: GgufPlanned, request: PlanRequest) -> LlamaCosts:
    """What a model costs in llama-server.

    Raises:
        ProblemError: `plan.split_model` (the file is one of `parts` and does not tell the weights of the others).
    """
    model = planned.model
    if model.split_count > 1:
        raise ProblemError(problem("plan.split_model", parts=model.split_count))
    known = cache_rows(model, request.kv_type)
    rows = estimated_rows(model, request.kv_type) if known is None else known
    return LlamaCosts(
        request=request,
        weights=Figure(model.weights_on_gpu + planned.projector_bytes, Origin.HEADER),
        rows=rows,
        kv_origin=Origin.ESTIMATE if known is None else Origin.FORMULA,
        buffers=Figure(_buffers(model, request.ubatch), Origin.FORMULA),
        vision=_vision(planned.projector_bytes),
        overhead=Figure(OVERHEAD_BYTES, Origin.RECORDED),
    )


def _buffers(model: GgufModel, ubatch: int) -> int:
    """The compute buffer is at its fullest inside the feed-forward block: three f32 rows of its width and three of the
    model's for each token of a micro batch.
    """
    return 3 * 4 * ubatch * (_feed_forward(model) + model.embedding_length)


def _feed_forward(model: GgufModel) -> int:
    """The widest feed-forward block: of all experts that one token uses, where there are any."""
    stated = model.keys.get("feed_forward_length", 0)
    return max(stated, default=0) if isinstance(stated, tuple) else stated


def _vision(projector_bytes: int) -> Figure:
    """An allowance: no projector was measured on a card yet."""
    return Figure(512 * MIB if projector_bytes else 0, Origin.ESTIMATE if projector_bytes else Origin.FORMULA)
