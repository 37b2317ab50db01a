"""The words of a placement verdict: verdicts, reason codes and the line that proves a reason.

Owns: the vocabulary that `placement` and its parts share. Must not hold rules or user-facing words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kotaro_bridge.domain.engine.engine_log import Json, LogFacts, LogLine, Stream, Value


class Verdict(StrEnum):
    """Where the model is, judged in the order of `placement.judge` (architecture §5)."""

    GPU = "gpu"
    PARTIAL = "partial"
    CPU = "cpu"
    FAILED = "failed"
    UNKNOWN = "unknown"


class ReasonCode(StrEnum):
    """Why a verdict is what it is. Stable: scripts and texts rely on the words; parameters stand behind each."""

    # something is not on the GPU
    LAYERS_ON_CPU = "layers_on_cpu"  # layers (on the GPU), total
    WEIGHTS_ON_CPU = "weights_on_cpu"  # device, size_bytes, allowed_bytes | tensor, device
    KV_ON_CPU = "kv_on_cpu"  # device, size_bytes
    VISION_ON_CPU = "vision_on_cpu"  # device | splits |
    SPLITS_TOO_MANY = "splits_too_many"  # splits, expected
    FUSED_OPS_ON_CPU = "fused_ops_on_cpu"  # cause
    TENSOR_OVERRIDE = "tensor_override"  # device, tensor
    UNIFIED_MEMORY = "unified_memory"  # device, free_bytes, total_bytes
    LORA_ON_CPU = "lora_on_cpu"  # tensor | device, size_bytes
    OFFLOADER_ACTIVE = "offloader_active"  # offloader | option
    KV_OFFLOAD_ACTIVE = "kv_offload_active"  # option |
    ENCODER_TRANSFER_ACTIVE = "encoder_transfer_active"  # option
    ENGRAM_ON_CPU = "engram_on_cpu"  # architecture
    # no GPU at all
    NO_GPU_DEVICE = "no_gpu_device"
    CUDA_INIT_FAILED = "cuda_init_failed"  # cause
    CPU_PLATFORM = "cpu_platform"  # version | device |
    # not what was asked, or not provable
    DEVICE_UNEXPECTED = "device_unexpected"  # device
    CARDS_UNUSED = "cards_unused"  # wanted, found
    ROUTER_MODE = "router_mode"
    NOT_READY = "not_ready"
    PLACEMENT_NOT_LOGGED = "placement_not_logged"  # flag (to add), missing (comma separated)
    OTHER_ENGINE = "other_engine"  # engine
    NOT_A_LOG = "not_a_log"
    EVIDENCE_MISSING = "evidence_missing"  # missing (comma separated)
    HOST_BUFFER_UNEXPLAINED = "host_buffer_unexplained"  # size_bytes
    WEIGHTS_INCOMPLETE = "weights_incomplete"  # size_bytes, expected_bytes
    KV_INCOMPLETE = "kv_incomplete"  # size_bytes, expected_bytes
    PROJECTOR_UNEXPECTED = "projector_unexpected"  # size_bytes, expected_bytes
    SPLITS_UNEXPECTED = "splits_unexpected"  # splits
    # on the GPU, but not as asked; a run refuses these
    CONTEXT_REDUCED = "context_reduced"  # from, to
    PARALLEL_REDUCED = "parallel_reduced"  # from, to
    CONFIG_FILE_READ = "config_file_read"  # path
    FIT_FAILED = "fit_failed"  # cause
    # the engine died before it was ready
    OUT_OF_GPU_MEMORY = "out_of_gpu_memory"  # wanted_bytes, device |
    KV_CACHE_TOO_SMALL = "kv_cache_too_small"  # asked, needed_bytes, available_bytes, max_len
    NO_KV_CACHE_MEMORY = "no_kv_cache_memory"
    BUDGET_NOT_FREE = "budget_not_free"  # device, free_bytes, total_bytes, wanted_bytes, utilization
    MEMORY_CHANGED = "memory_changed"
    GPU_RESIDENCY_REFUSED = "gpu_residency_refused"
    CONTEXT_TOO_LONG = "context_too_long"  # asked, max_len
    HEADS_NOT_DIVISIBLE = "heads_not_divisible"  # heads, cards
    TOO_FEW_GPUS = "too_few_gpus"  # wanted, available
    PORT_IN_USE = "port_in_use"  # port |
    MODEL_MISSING = "model_missing"  # path
    MODEL_UNREADABLE = "model_unreadable"  # path, cause
    MODEL_NOT_GGUF = "model_not_gguf"
    MODEL_TRUNCATED = "model_truncated"
    MODEL_IS_PROJECTOR = "model_is_projector"
    ARCHITECTURE_UNKNOWN = "architecture_unknown"  # architecture
    MODEL_LOAD_FAILED = "model_load_failed"  # cause
    VISION_FAILED = "vision_failed"
    DEVICE_INVALID = "device_invalid"  # device
    DRIVER_FAILED = "driver_failed"  # cause
    CUDA_ERROR = "cuda_error"  # cause
    ARGUMENT_INVALID = "argument_invalid"  # cause
    ENGINE_CRASHED = "engine_crashed"  # cause
    ENGINE_KILLED = "engine_killed"  # signal
    ENGINE_EXITED = "engine_exited"  # cause |


@dataclass(frozen=True, slots=True)
class Reason:
    """A code, its parameters (bytes as int under `_bytes`) and the line that proves it; no line when one is absent."""

    code: ReasonCode
    stream: Stream | None = None
    line_no: int | None = None
    line: str | None = None
    params: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def at(cls, code: ReasonCode, line: LogLine, params: Mapping[str, Value]) -> Reason:
        return cls(code, line.stream, line.number, line.text, params)

    def to_json(self) -> Json:
        """An item of `reasons` on the command line (architecture §5)."""
        return {
            "code": self.code.value,
            "stream": self.stream.value if self.stream else None,
            "line_no": self.line_no,
            "line": self.line,
            "params": dict(self.params),
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reasons, the main one first, and what else the log told."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    facts: LogFacts


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the launcher knows and the log is held against; None where it does not know.

    Args:
        devices: the devices to use, no other.
        weights_on_gpu_bytes: all tensors but those of the input layer.
        kv_bytes: KV cache and recurrent state.
        n_ctx: tokens per slot; parallel: number of slots.
        vision: a projector is loaded with the model.
        host_allowed_bytes: the tensors of the input layer, which llama.cpp always keeps in host memory.
        projector_bytes: all tensors of the projector.
    """

    devices: tuple[str, ...] = ("CUDA0",)
    weights_on_gpu_bytes: int | None = None
    kv_bytes: int | None = None
    n_ctx: int | None = None
    parallel: int | None = None
    vision: bool = False
    host_allowed_bytes: int | None = None
    projector_bytes: int | None = None
