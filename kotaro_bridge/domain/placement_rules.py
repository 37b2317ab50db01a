"""The GPU-only rule as tables: what takes the verdict `gpu` away, and what has to be there for it.

Owns: every condition, each with its source (L is reference llama-server, V is reference vllm). Order, dry run and
verdict are `placement`'s. A line that is expected and absent is never read as "fine" (L §0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kotaro_bridge.domain.engine_log import Engine, Event, EventKind, Value
from kotaro_bridge.domain.evidence import ROUNDING_BYTES, Evidence, is_gpu, is_host
from kotaro_bridge.domain.reasons import Expectation, ReasonCode

Params: TypeAlias = Mapping[str, Value]
Finding: TypeAlias = tuple[ReasonCode, Params]

C = ReasonCode
K = EventKind

# No weights, KV cache or compute can be on a GPU after one of these.
NO_GPU = frozenset({C.CUDA_INIT_FAILED, C.NO_GPU_DEVICE, C.CPU_PLATFORM})
# These forbid `gpu` but do not tell where the model is.
INDECISIVE = frozenset({C.DEVICE_UNEXPECTED, C.ROUTER_MODE})
# Not about placement: kept beside any verdict, and a run refuses them (architecture §5).
NOTICES: Mapping[EventKind, ReasonCode] = {
    K.CONTEXT_REDUCED: C.CONTEXT_REDUCED,  # L §1.3, V §3: the context was cut to fit; captures starve-ctx0
    K.CONFIG_FILE: C.CONFIG_FILE_READ,  # L §1.4: a stray file can set anything
    K.FIT_FAILED: C.FIT_FAILED,  # L §1.3: a failed fit does not stop the load; captures starve-ngl999-fiton
}

# Llama-server: a dense model that is whole on one GPU has 2 splits, the host's embedding lookup and the rest (measured:
# captures full14, full7-8k); each further GPU adds one (L §5.1.6: the scheduler cuts at backend changes).
_HOST_SPLITS = 1
# One vision graph on one backend (L §5.1.7).
_CLIP_SPLITS = 1
# V §1.4: these keep n-gram tables in pinned host memory unless they are told not to.
_ENGRAM_ARCHITECTURES = ("DeepseekV41ForCausalLM", "Qwen4Exp")


def _device(event: Event, expected: Expectation | None, on_host: ReasonCode | None) -> Finding | None:
    """A device that is host memory, no CUDA device at all, or not one of ours."""
    name = event.text("device")
    if is_host(name):
        return (on_host, event.values) if on_host else None
    if not is_gpu(name) or (expected is not None and name not in expected.devices):
        return C.DEVICE_UNEXPECTED, event.values
    return None


def _weights(event: Event, evidence: Evidence, expected: Expectation | None) -> Finding | None:
    """L §5.1.3: host-side model buffers hold the input tables and nothing else."""
    if not is_host(event.text("device")):
        return _device(event, expected, None)
    load = evidence.load
    allowed = expected.host_allowed_bytes if expected else None
    limit = load.widest_host_bytes() if allowed is None else allowed
    if limit is None or load.host_bytes <= limit + load.slack_bytes:
        return None
    return C.WEIGHTS_ON_CPU, {**event.values, "size_bytes": load.host_bytes, "allowed_bytes": round(limit)}


def _fallback(event: Event, _evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    """L §3: normal for the input tables (CUDA_Host to CPU), but a tensor that was to go to CUDA stayed behind."""
    return (C.WEIGHTS_ON_CPU, event.values) if is_gpu(event.text("preferred")) else None


def _device_entry(event: Event, _evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    """With GGML_CUDA_ENABLE_UNIFIED_MEMORY the free memory of a card is that of the system (source: ggml-cuda.cu,
    ggml_backend_cuda_device_get_memory), which gives itself away where it is more than the card has.
    """
    too_much = is_gpu(event.text("device")) and event.number("free_bytes") > event.number("total_bytes")
    return (C.UNIFIED_MEMORY, event.values) if too_much else None


def _layers(event: Event, _evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    """L §5.1.2; a full count proves nothing: captures nodevice-env claims 29/29 on the CPU."""
    return (C.LAYERS_ON_CPU, event.values) if event.number("layers") < event.number("total") else None


def expected_splits(evidence: Evidence) -> int:
    return _HOST_SPLITS + max(1, len(evidence.devices_used))


def _splits(event: Event, evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    """Measured: KV cache in host memory 98, 20 of 49 layers `408 / 2`: the worse figure counts."""
    worst = max(event.number("splits"), int(event.values.get("splits_tg", 0)))
    limit = expected_splits(evidence)
    return (C.SPLITS_TOO_MANY, {"splits": worst, "expected": limit}) if worst > limit else None


def _clip_splits(event: Event, _evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    return (C.VISION_ON_CPU, event.values) if event.number("splits") > _CLIP_SPLITS else None


def _architecture(event: Event, evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    affected = event.text("architecture").startswith(_ENGRAM_ARCHITECTURES)
    return (C.ENGRAM_ON_CPU, event.values) if affected and not evidence.engram_on_gpu else None


def _options(event: Event, _evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    """V §3: a CPU wheel says so in its version and configuration. V §5.2: no option that moves anything off the GPU."""
    device, option = str(event.values.get("device", "cuda")), str(event.values.get("option", ""))
    if "cpu" in str(event.values.get("version", "")) or device == "cpu":
        return C.CPU_PLATFORM, event.values
    if device.partition(":")[0] != "cuda":
        return C.DEVICE_UNEXPECTED, event.values
    if not option:
        return None
    if option.startswith("ec_transfer"):
        return C.ENCODER_TRANSFER_ACTIVE, {"option": option}
    is_kv = option.startswith("kv_") or "hisparse" in option
    return (C.KV_OFFLOAD_ACTIVE if is_kv else C.OFFLOADER_ACTIVE), {"option": option}


Check: TypeAlias = Callable[[Event, Evidence, Expectation | None], Finding | None]


def _always(code: ReasonCode) -> Check:
    return lambda event, _evidence, _expected: (code, event.values)


def _placed(on_host: ReasonCode | None) -> Check:
    return lambda event, _evidence, expected: _device(event, expected, on_host)


# What a single line can prove against `gpu`, the moment it is seen.
DISQUALIFIERS: Mapping[EventKind, Check] = {
    K.CUDA_INIT_FAILED: _always(C.CUDA_INIT_FAILED),  # L §3: the server goes on, on the CPU; captures cuda-hidden
    K.NO_USABLE_GPU: _always(C.NO_GPU_DEVICE),  # L §3, raw stderr
    K.ROUTER: _always(C.ROUTER_MODE),  # L §2: healthy with nothing loaded
    K.DEVICE_ENTRY: _device_entry,
    K.DEVICE_USED: _placed(C.NO_GPU_DEVICE),  # L §5.1.1: none unexpected; Vulkan may be software (L §7)
    K.OFFLOADED: _layers,
    K.MODEL_BUFFER: _weights,
    K.TENSOR_FALLBACK: _fallback,
    K.TENSOR_OVERRIDE: _placed(C.TENSOR_OVERRIDE),  # L §5.1.7
    K.LORA_FALLBACK: _always(C.LORA_ON_CPU),  # L §5.1.7
    K.LORA_BUFFER: _placed(C.LORA_ON_CPU),
    K.KV_BUFFER: _placed(C.KV_ON_CPU),  # L §5.1.4; captures nokvoffload
    K.COMPUTE_BUFFER: _placed(None),  # L §5.1.5: plain CPU means that pinning was not available
    K.SPLITS: _splits,
    K.FUSED_OPS: _always(C.FUSED_OPS_ON_CPU),  # L §5.1.7
    K.CLIP_BACKEND: _placed(C.VISION_ON_CPU),  # L §5.1.7
    K.CLIP_SPLITS: _clip_splits,
    K.CLIP_UNSUPPORTED: _always(C.VISION_ON_CPU),  # L §5.2
    K.VERSION: _options,
    K.OPTIONS: _options,
    K.CPU_PLATFORM: _always(C.CPU_PLATFORM),  # V §3
    K.ARCHITECTURE: _architecture,
    K.OFFLOADER: _always(C.OFFLOADER_ACTIVE),  # V §5.1
    K.KV_ON_HOST: _always(C.KV_OFFLOAD_ACTIVE),  # V §5.1 HiSparse
}


def _wanted(evidence: Evidence, expected: Expectation | None) -> tuple[str, ...]:
    return expected.devices if expected else tuple(evidence.devices_used)


def _vision_proven(evidence: Evidence, expected: Expectation | None) -> bool:
    if not (evidence.vision or (expected is not None and expected.vision)):
        return True
    return evidence.clip_device is not None and evidence.clip_splits is not None


def _host_known(evidence: Evidence, expected: Expectation | None) -> bool:
    given = expected is not None and expected.host_allowed_bytes is not None
    return bool(evidence.loads) and all(
        load.host_lines and (given or load.host_sizes() is not None) for load in evidence.loads
    )


def _weights_known(evidence: Evidence, expected: Expectation | None) -> bool:
    given = expected is not None and expected.weights_on_gpu_bytes is not None
    return bool(evidence.loads) and all(given or load.file_bytes is not None for load in evidence.loads)


def _per_device(kind: str) -> Callable[[Evidence, Expectation | None], bool]:
    def holds(evidence: Evidence, expected: Expectation | None) -> bool:
        wanted = _wanted(evidence, expected)
        return bool(wanted) and all(evidence.has_buffer(device, kind) for device in wanted)

    return holds


def _devices_used(evidence: Evidence, expected: Expectation | None) -> bool:
    wanted = _wanted(evidence, expected)
    return bool(wanted) and set(wanted) <= set(evidence.devices_used)


def _slots_known(evidence: Evidence, expected: Expectation | None) -> bool:
    asked = expected is not None and (expected.n_ctx is not None or expected.parallel is not None)
    return not asked or evidence.n_ctx_slot is not None


Presence: TypeAlias = tuple[str, Callable[[Evidence, Expectation | None], bool]]

# What has to be in the log, by the word that names it when it is missing.
EVIDENCE: Mapping[Engine, tuple[Presence, ...]] = {
    Engine.LLAMA_SERVER: (
        ("device", _devices_used),  # L §5.1.1
        ("layers", lambda e, _x: e.layers is not None),  # L §5.1.2
        ("weights", _per_device("model")),  # L §5.1.3
        ("host_weights", _host_known),
        ("file_size", _weights_known),
        ("kv", lambda e, _x: e.kv_bytes() > 0),  # L §5.1.4
        ("kv_total", lambda e, _x: e.kv_total is not None),
        ("compute", _per_device("compute")),  # L §5.1.5
        ("splits", lambda e, _x: e.splits is not None),  # L §5.1.6
        ("vision", _vision_proven),  # L §5.1.7
        ("slots", _slots_known),  # L §5.1.8
    ),
    Engine.VLLM: (  # V §5.2
        ("config", lambda e, _x: e.engine_device is not None),
        ("weights", lambda e, _x: (e.weights or 0) > 0),
        ("available_kv", lambda e, _x: (e.available_kv or 0) > 0),
        ("kv_tokens", lambda e, _x: (e.kv_tokens or 0) > 0),
    ),
}

# The flag that makes an engine print what is missing (L §1.1; V §3).
FLAGS = {Engine.LLAMA_SERVER: "-lv 4", Engine.VLLM: "VLLM_LOGGING_LEVEL=INFO"}
LLAMA_VERBOSITY = 4


@dataclass(frozen=True, slots=True)
class _Sum:
    code: ReasonCode
    size_bytes: int
    expected_bytes: int | None
    lines: int = 1

    def finding(self) -> Finding | None:
        if self.expected_bytes is None or self.size_bytes >= self.expected_bytes - ROUNDING_BYTES * self.lines:
            return None
        return self.code, {"size_bytes": self.size_bytes, "expected_bytes": self.expected_bytes}


def contradictions(evidence: Evidence, expected: Expectation | None) -> list[Finding]:
    """Llama-server: evidence that is there but does not add up to a whole model on the GPU."""
    wanted = expected or Expectation()
    on_gpu = sum(load.gpu_bytes for load in evidence.loads)
    sums = [
        # L §5.1.3 and 4: the engine's own totals, and the plan's where there is one
        *(_Sum(C.WEIGHTS_INCOMPLETE, x.gpu_bytes + x.host_bytes, x.expected_bytes, 3) for x in evidence.loads),
        _Sum(C.WEIGHTS_INCOMPLETE, on_gpu, wanted.weights_on_gpu_bytes),
        _Sum(C.KV_INCOMPLETE, evidence.kv_bytes(), evidence.kv_total, 4),
        _Sum(C.KV_INCOMPLETE, evidence.kv_bytes(), wanted.kv_bytes),
    ]
    found = [finding for item in sums if (finding := item.finding())]
    if wanted.host_allowed_bytes is None:
        unexplained = [load.host_bytes for load in evidence.loads if not load.host_explained]
        found += [(C.HOST_BUFFER_UNEXPLAINED, {"size_bytes": size}) for size in unexplained]
    if evidence.splits is not None and evidence.splits <= _HOST_SPLITS:
        # Measured: 1 is a model that is whole on the CPU (captures cuda-hidden).
        found.append((C.SPLITS_UNEXPECTED, {"splits": evidence.splits}))
    return found


def shortfalls(evidence: Evidence, expected: Expectation | None) -> list[Finding]:
    """L §5.1.8: on the GPU, but with less room than was asked for."""
    pairs = (
        (C.CONTEXT_REDUCED, expected.n_ctx if expected else None, evidence.n_ctx_slot),
        (C.PARALLEL_REDUCED, expected.parallel if expected else None, evidence.n_parallel),
    )
    return [
        (code, {"from": asked, "to": got})
        for code, asked, got in pairs
        if asked is not None and got is not None and got < asked
    ]
