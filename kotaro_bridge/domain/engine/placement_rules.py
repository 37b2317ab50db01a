"""The GPU-only rule as tables: what takes the verdict `gpu` away, and what has to be there for it.

Owns: every condition, each with its source (L is reference llama-server, V is reference vllm). Order, dry run and
verdict are `placement`'s. A line that is expected and absent is never read as "fine" (L §0).

Which accept rule is held where (`D` DISQUALIFIERS, `E` EVIDENCE, `S` sums and `shortfalls`):

    L §5.1.1  device               D DEVICE_USED, CUDA_INIT_FAILED, NO_USABLE_GPU, device table (placement); E device;
                                   with several, D OFFLOADED, by which time each has been named
    L §5.1.2  layers               D OFFLOADED; E layers
    L §5.1.3  weights              D MODEL_BUFFER, TENSOR_FALLBACK; E weights, host_weights, file_size; S weights, host
    L §5.1.4  KV, recurrent state  D KV_BUFFER; E kv, kv_total; S kv of the engine and of the header
    L §5.1.5  compute              D COMPUTE_BUFFER; E compute
    L §5.1.6  splits               D SPLITS; E splits; S splits that are too few
    L §5.1.7  warnings, vision     D FUSED_OPS, LORA_*, TENSOR_OVERRIDE, CLIP_*; E vision; S projector
    L §5.1.8  context, slots       E slots; S shortfalls; the HTTP answer (prover)
    L §5.1.9  the machine          not here: VRAM growth and shared memory are the prover's
    V §6      several cards        D VERSION: the configuration names how many share the model
    V §5.2    config line, weights, KV memory, KV size: E; options, offloaders, host KV, CPU builds: D
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from kotaro_bridge.domain.engine.engine_log import Engine, Event, EventKind, LogLine, Value
from kotaro_bridge.domain.engine.evidence import Evidence
from kotaro_bridge.domain.engine.model_load import ROUNDING_BYTES, is_gpu, is_host
from kotaro_bridge.domain.engine.reasons import Expectation, ReasonCode

Params: TypeAlias = Mapping[str, Value]


class Finding(NamedTuple):
    """What is wrong; `line` where another one than that of the event proves it."""

    code: ReasonCode
    params: Params
    line: LogLine | None = None


C = ReasonCode
K = EventKind

# No weights, KV cache or compute can be on a GPU after one of these.
NO_GPU = frozenset({C.CUDA_INIT_FAILED, C.NO_GPU_DEVICE, C.CPU_PLATFORM})
# These forbid `gpu` but do not tell where the model is.
INDECISIVE = frozenset({C.DEVICE_UNEXPECTED, C.CARDS_UNUSED, C.ROUTER_MODE})
# Not about placement: kept beside any verdict, and a run refuses them (architecture §5).
NOTICES: Mapping[EventKind, ReasonCode] = {
    K.CONTEXT_REDUCED: C.CONTEXT_REDUCED,  # L §1.3, V §3: the context was cut to fit; captures starve-ctx0
    K.CONFIG_FILE: C.CONFIG_FILE_READ,  # L §1.4: a stray file can set anything
    K.FIT_FAILED: C.FIT_FAILED,  # L §1.3: a failed fit does not stop the load; captures starve-ngl999-fiton
}

# Llama-server: a dense model that is whole on one GPU has 2 splits, the host's embedding lookup and the rest (measured:
# captures full14, full7-8k); each further GPU adds one (L §5.1.6; ggml-backend.cpp, ggml_backend_sched_split_graph: a
# split begins where the next node is another backend's; layers are in order, so N GPUs make N + 1. The four copies of a
# pipeline are of what goes from split to split, and cut nothing).
_HOST_SPLITS = 1
_ONLY_DEVICE = "CUDA0"
# One vision graph on one backend (L §5.1.7).
_CLIP_SPLITS = 1
# V §1.4: these keep n-gram tables in pinned host memory unless they are told not to.
_ENGRAM_ARCHITECTURES = ("DeepseekV41ForCausalLM", "Qwen4Exp")


def _device(event: Event, expected: Expectation | None, on_host: ReasonCode | None) -> Finding | None:
    """A device that is host memory, no CUDA device at all, or not one of ours."""
    name = event.text("device")
    if is_host(name):
        return Finding(on_host, event.values) if on_host else None
    if not is_gpu(name) or (expected is not None and name not in expected.devices):
        return Finding(C.DEVICE_UNEXPECTED, event.values)
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
    sizes = {"size_bytes": load.host_bytes, "allowed_bytes": round(limit)}
    return Finding(C.WEIGHTS_ON_CPU, {**event.values, **sizes})


def _fallback(event: Event, _evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    """L §3: normal for the input tables (CUDA_Host to CPU), but a tensor that was to go to CUDA stayed behind."""
    return Finding(C.WEIGHTS_ON_CPU, event.values) if is_gpu(event.text("preferred")) else None


def _device_entry(event: Event, _evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    """With GGML_CUDA_ENABLE_UNIFIED_MEMORY the free memory of a card is that of the system (source: ggml-cuda.cu,
    ggml_backend_cuda_device_get_memory), which gives itself away where it is more than the card has.
    """
    too_much = is_gpu(event.text("device")) and event.number("free_bytes") > event.number("total_bytes")
    return Finding(C.UNIFIED_MEMORY, event.values) if too_much else None


def _layers(event: Event, evidence: Evidence, expected: Expectation | None) -> Finding | None:
    """L §5.1.2; a full count proves nothing: captures nodevice-env claims 29/29 on the CPU. Each device that is used
    has been named by now.
    """
    if event.number("layers") < event.number("total"):
        return Finding(C.LAYERS_ON_CPU, event.values)
    wanted, used = set(expected.devices if expected else ()), set(evidence.devices_used)
    if wanted & used and wanted - used:
        return Finding(C.CARDS_UNUSED, {"wanted": len(wanted), "found": len(wanted & used)})
    return None


def expected_splits(evidence: Evidence) -> int:
    """Splits of a model that is whole on the GPUs. A second table in host memory (Gemma 3n and 4) is looked up behind
    the first work of the GPU and may cut twice more: reasoned from the graph, not measured.
    """
    tables = 2 if any(load.per_layer_width for load in evidence.loads) else 0
    return _HOST_SPLITS + tables + max(1, len(evidence.devices_used))


def _splits(event: Event, evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    """Measured: KV cache in host memory 98, 20 of 49 layers `408 / 2`: the worse figure counts."""
    worst = max(event.number("splits"), int(event.values.get("splits_tg", 0)))
    limit = expected_splits(evidence)
    return Finding(C.SPLITS_TOO_MANY, {"splits": worst, "expected": limit}) if worst > limit else None


def _vision_settled(_event: Event, evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    """Which schedule of an encoder is the last one shows only in what follows: a first one with flash attention is
    dropped where the card cannot do it (clip.cpp, warmup).
    """
    for encoder in evidence.encoders:
        if encoder.splits is not None and encoder.splits > _CLIP_SPLITS:
            return Finding(C.VISION_ON_CPU, {"splits": encoder.splits}, encoder.splits_line)
    return None


def _architecture(event: Event, evidence: Evidence, _expected: Expectation | None) -> Finding | None:
    affected = event.text("architecture").startswith(_ENGRAM_ARCHITECTURES)
    return Finding(C.ENGRAM_ON_CPU, event.values) if affected and not evidence.engram_on_gpu else None


def _options(event: Event, _evidence: Evidence, expected: Expectation | None) -> Finding | None:
    """V §3: a CPU wheel says so in its version and configuration. V §5.2: no option that moves anything off the GPU.
    Over how many cards the model is spread, the configuration says too.
    """
    device, option = str(event.values.get("device", "cuda")), str(event.values.get("option", ""))
    if "cpu" in str(event.values.get("version", "")) or device == "cpu":
        return Finding(C.CPU_PLATFORM, event.values)
    if device.partition(":")[0] != "cuda":
        return Finding(C.DEVICE_UNEXPECTED, event.values)
    if not option:
        return _spread(event, expected)
    if option.startswith("ec_transfer"):
        return Finding(C.ENCODER_TRANSFER_ACTIVE, {"option": option})
    is_kv = option.startswith("kv_") or "hisparse" in option
    return Finding(C.KV_OFFLOAD_ACTIVE if is_kv else C.OFFLOADER_ACTIVE, {"option": option})


def _spread(event: Event, expected: Expectation | None) -> Finding | None:
    wanted, found = len(expected.devices) if expected else 1, event.values.get("cards")
    if expected is None or found is None or found == wanted:
        return None
    return Finding(C.CARDS_UNUSED, {"wanted": wanted, "found": found})


Check: TypeAlias = Callable[[Event, Evidence, Expectation | None], Finding | None]


def _always(code: ReasonCode) -> Check:
    return lambda event, _evidence, _expected: Finding(code, event.values)


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
    K.CLIP_COMPUTE: _placed(None),  # some of its input is always prepared in host memory
    K.CLIP_SETTLED: _vision_settled,  # L §5.1.7
    K.READY: _vision_settled,
    K.CLIP_UNSUPPORTED: _always(C.VISION_ON_CPU),  # L §5.2
    K.VERSION: _options,
    K.OPTIONS: _options,
    K.CPU_PLATFORM: _always(C.CPU_PLATFORM),  # V §3
    K.ARCHITECTURE: _architecture,
    K.OFFLOADER: _always(C.OFFLOADER_ACTIVE),  # V §5.1
    K.KV_ON_HOST: _always(C.KV_OFFLOAD_ACTIVE),  # V §5.1 HiSparse
}


def _wanted(evidence: Evidence, expected: Expectation | None) -> tuple[str, ...]:
    """The devices that have to hold something. Builds until 2024 named none; where there was one, it is that one."""
    if expected:
        return expected.devices
    return tuple(evidence.devices_used) or ((_ONLY_DEVICE,) if evidence.devices_found == 1 else ())


def _vision_proven(evidence: Evidence, expected: Expectation | None) -> bool:
    wanted = expected or Expectation()
    if not (evidence.vision or evidence.encoders or wanted.vision):
        return True
    sized = wanted.projector_bytes is None or all(encoder.file_bytes is not None for encoder in evidence.encoders)
    return bool(evidence.encoders) and sized and all(encoder.is_proven for encoder in evidence.encoders)


def _kv_known(evidence: Evidence, _expected: Expectation | None) -> bool:
    return bool(evidence.loads) and all(load.kv_bytes > 0 for load in evidence.loads)


def _kv_totals_known(evidence: Evidence, _expected: Expectation | None) -> bool:
    return bool(evidence.loads) and all(load.caches_complete for load in evidence.loads)


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
    return bool(wanted) and (expected is None or set(wanted) <= set(evidence.devices_used))


def _spread_known(evidence: Evidence, expected: Expectation | None) -> bool:
    return expected is None or len(expected.devices) == 1 or evidence.cards is not None


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
        ("kv", _kv_known),  # L §5.1.4
        ("kv_total", _kv_totals_known),
        ("compute", _per_device("compute")),  # L §5.1.5
        ("splits", lambda e, _x: e.splits is not None),  # L §5.1.6
        ("vision", _vision_proven),  # L §5.1.7
        ("slots", _slots_known),  # L §5.1.8
    ),
    Engine.VLLM: (  # V §5.2
        ("config", lambda e, _x: e.engine_device is not None),
        ("cards", _spread_known),
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
    """A size that has to be reached. More is no way off the GPU: tensors and caches are padded to what a card likes."""

    code: ReasonCode
    size_bytes: int
    expected_bytes: int | None
    lines: int = 1

    def finding(self) -> Finding | None:
        if self.expected_bytes is None or self.size_bytes >= self.expected_bytes - ROUNDING_BYTES * self.lines:
            return None
        return Finding(self.code, {"size_bytes": self.size_bytes, "expected_bytes": self.expected_bytes})


def contradictions(evidence: Evidence, expected: Expectation | None) -> list[Finding]:
    """Llama-server: evidence that is there but does not add up to a whole model on the GPU."""
    wanted = expected or Expectation()
    main = evidence.loads[0]  # what is expected is the model's, not that of a draft behind it
    weights = wanted.weights_on_gpu_bytes
    sums = [
        # L §5.1.3 and 4: the engine's own totals, and the header's where there is one
        *(_Sum(C.WEIGHTS_INCOMPLETE, x.gpu_bytes + x.host_bytes, x.expected_bytes, 3) for x in evidence.loads),
        _Sum(C.WEIGHTS_INCOMPLETE, main.gpu_bytes, None if weights is None else weights - main.unused_bytes),
        *(_Sum(C.KV_INCOMPLETE, x.kv_bytes, x.kv_total, x.kv_lines + x.caches) for x in evidence.loads),
        _Sum(C.KV_INCOMPLETE, main.kv_bytes, wanted.kv_bytes, main.kv_lines),
    ]
    found = [finding for item in sums if (finding := item.finding())]
    if wanted.host_allowed_bytes is None:
        unexplained = [load.host_bytes for load in evidence.loads if not load.host_explained]
        found += [Finding(C.HOST_BUFFER_UNEXPLAINED, {"size_bytes": size}) for size in unexplained]
    if evidence.splits is not None and evidence.splits < _HOST_SPLITS + max(1, len(evidence.devices_used)):
        # Measured: 1 is a model that is whole on the CPU (captures cuda-hidden).
        found.append(Finding(C.SPLITS_UNEXPECTED, {"splits": evidence.splits}))
    return found + _strange_projectors(evidence, wanted.projector_bytes)


def _strange_projectors(evidence: Evidence, expected_bytes: int | None) -> list[Finding]:
    """L §5.1.7: the encoder that was loaded is the file whose header was read."""
    sizes = [encoder.file_bytes for encoder in evidence.encoders if encoder.file_bytes is not None]
    return [
        Finding(C.PROJECTOR_UNEXPECTED, {"size_bytes": size, "expected_bytes": expected_bytes})
        for size in sizes
        if expected_bytes is not None and abs(size - expected_bytes) > ROUNDING_BYTES
    ]


def shortfalls(evidence: Evidence, expected: Expectation | None) -> list[Finding]:
    """L §5.1.8: on the GPU, but with less room than was asked for."""
    pairs = (
        (C.CONTEXT_REDUCED, expected.n_ctx if expected else None, evidence.n_ctx_slot),
        (C.PARALLEL_REDUCED, expected.parallel if expected else None, evidence.n_parallel),
    )
    return [
        Finding(code, {"from": asked, "to": got})
        for code, asked, got in pairs
        if asked is not None and got is not None and got < asked
    ]
