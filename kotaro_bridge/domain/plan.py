"""How much VRAM a start needs, thin until the planner exists: weights, KV cache, and one figure for everything else.

Owns the formulas. The estimates err upwards: sliding windows count as full attention, MLA as if values were stored too,
layers without attention as if they had it, unless `kv_cache` knows the architecture. Must not read files or cards.
"""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.gguf import GgufModel
from kotaro_bridge.domain.kv_cache import ContextShape, cache_bytes, kv_row_bytes
from kotaro_bridge.domain.units import MIB

# CUDA context, cuBLAS and the part of the compute buffer that does not grow with the context: 713 MiB for the 14B, 731
# for the 7B (memory.used less weights, KV and mask; captures full14, full14-32k, full7-8k, H100), 795 for a 32B (21,359
# MiB used, 18,508 weights, 2,048 KV; H200, v0.5.0-dev, 2026-11-21), rounded up.
OVERHEAD_BYTES = 800 * MIB
# A CUDA context before the first weight: 525 MiB (6,143 free by nvidia-smi, 5,618 by the log; captures, H100), rounded
# up.
CUDA_CONTEXT_BYTES = 528 * MIB
# The attention mask grows with the context: the rows of a micro batch x 2 bytes (119.01 MiB at 8,192 and 143.01 MiB at
# 32,768 tokens with 512 rows in captures full14 and full14-32k).
_MASK_BYTES = 2
# Compute buffer of a vision encoder: an allowance, not measured.
_PROJECTOR_COMPUTE_BYTES = 512 * MIB


@dataclass(frozen=True, slots=True)
class NeedParts:
    """Bytes of VRAM that a GGUF model takes, by kind. `weights` holds the projector too."""

    weights: int
    kv: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.overhead


def kv_estimate(model: GgufModel, shape: ContextShape) -> int:
    """Bytes of the KV cache if every layer kept the whole context (reference llama-server §7)."""
    per_cell = sum(
        kv_row_bytes(heads * length, shape.kv_type) for heads in model.head_count_kv for length in _lengths(model)
    )
    return per_cell * shape.cells * shape.parallel


def _lengths(model: GgufModel) -> tuple[int, int]:
    """Elements per head of keys and values, the larger figure where layers with a sliding window differ."""

    def longer(length: int, key: str) -> int:
        other = model.keys.get(key, 0)
        return max(length, other) if isinstance(other, int) else length

    return (
        longer(model.key_length, "attention.key_length_swa"),
        longer(model.value_length, "attention.value_length_swa"),
    )


def gguf_need(model: GgufModel, shape: ContextShape, projector_bytes: int) -> NeedParts:
    """What llama-server takes of the card with the whole model on it.

    Args:
        projector_bytes: size of the projector's file, 0 without one.

    Raises:
        ProblemError: `plan.split_model` (the file is one of `parts` and does not tell the weights of the others).
    """
    if model.split_count > 1:
        raise ProblemError(problem("plan.split_model", parts=model.split_count))
    projector_compute = _PROJECTOR_COMPUTE_BYTES if projector_bytes else 0
    exact = cache_bytes(model, shape)
    return NeedParts(
        weights=model.weights_on_gpu + projector_bytes,
        kv=kv_estimate(model, shape) if exact is None else exact,
        overhead=OVERHEAD_BYTES + projector_compute + _MASK_BYTES * shape.ubatch * shape.cells * shape.parallel,
    )


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
