"""The dialect of llama-server: forms that the captures do not hold, and texts that only look like log lines."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.engine.engine_log import EventKind, LogLine, Stream, Value
from kotaro_bridge.domain.engine.engine_log_llama import parse
from kotaro_bridge.domain.units import MIB

K = EventKind
FORMS: list[tuple[str, EventKind, dict[str, Value]]] = [
    # older builds (reference llama-server §8)
    (
        "main: server is listening on http://127.0.0.1:8080 - starting the main loop",
        K.READY,
        {"url": "http://127.0.0.1:8080"},
    ),
    (
        "llm_load_tensors:      CUDA0 buffer size =  4.50 MiB",
        K.MODEL_BUFFER,
        {"device": "CUDA0", "size_bytes": 4718592},
    ),
    (
        "llama_kv_cache_unified:        CPU KV buffer size =   512.00 MiB",
        K.KV_BUFFER,
        {"device": "CPU", "size_bytes": 512 * MIB},
    ),
    ("llama_new_context_with_model: KV self size  =  512.00 MiB, K (f16)", K.KV_TOTAL, {"size_bytes": 512 * MIB}),
    (
        "llama_new_context_with_model:      CUDA0 compute buffer size =   8.00 MiB",
        K.COMPUTE_BUFFER,
        {"device": "CUDA0", "size_bytes": 8 * MIB},
    ),
    ("llama_context: graph splits = 66 (with bs=512), 3 (with bs=1)", K.SPLITS, {"splits": 66, "splits_tg": 3}),
    ("sched_reserve: graph splits = 2", K.SPLITS, {"splits": 2}),
    ("srv    load_model: initializing slots, n_slots = 4, n_ctx_slot = 8192", K.SLOTS, {"slots": 4, "n_ctx": 8192}),
    # state that is no KV cache by name
    (
        "llama_memory_recurrent:      CUDA0 RS buffer size =    62.50 MiB",
        K.KV_BUFFER,
        {"device": "CUDA0", "size_bytes": 65536000},
    ),
    (
        "llama_kv_cache_dsv4:        CPU DSV4 idx state buffer size =    1.00 MiB",
        K.KV_BUFFER,
        {"device": "CPU", "size_bytes": MIB},
    ),
    (
        "llama_memory_recurrent: size =   1.00 MiB (     4 cells,  65 layers,  4 seqs), R (f32)",
        K.KV_TOTAL,
        {"size_bytes": MIB, "state": "f32"},
    ),
    ("llama_kv_cache_iswa: creating non-SWA KV cache, size = 8192 cells", K.KV_ANNOUNCED, {}),
    ("llama_kv_cache_iswa: creating     SWA KV cache, size = 1024 cells", K.KV_ANNOUNCED, {}),
    (
        "llama_adapter_lora_init_impl:        CPU LoRA buffer size =    2.00 MiB",
        K.LORA_BUFFER,
        {"device": "CPU", "size_bytes": 2 * MIB},
    ),
    # vision
    ("0.01.000.000 I clip_ctx: CLIP using CUDA0 backend", K.CLIP_BACKEND, {"device": "CUDA0"}),
    ("0.01.000.000 I reserve_compute_meta: graph splits = 1, nodes = 823", K.CLIP_SPLITS, {"splits": 1}),
    (
        "0.01.000.000 W warmup: WARNING: the CLIP graph uses unsupported operators by the backend",
        K.CLIP_UNSUPPORTED,
        {},
    ),
    (
        "0.01.000.000 W warmup: flash attention is not supported by the current backend; falling back to CPU "
        "(performance will be degraded)",
        K.CLIP_UNSUPPORTED,
        {},
    ),
    ("0.01.000.000 I warmup: flash attention is enabled", K.CLIP_SETTLED, {}),
    ("0.01.000.000 I load_hparams: model size:         1.50 MiB", K.CLIP_SIZE, {"size_bytes": 3 * MIB // 2}),
    (
        "0.01.000.000 I reserve_compute_meta:      CUDA0 compute buffer size =    24.00 MiB",
        K.CLIP_COMPUTE,
        {"device": "CUDA0", "size_bytes": 24 * MIB},
    ),
    ("0.01.000.000 I srv    load_model: loaded multimodal model, 'mmproj.gguf'", K.MULTIMODAL, {}),
    # model shape
    ("0.00.900.000 I print_info: file size   = 512.50 MiB (4.87 BPW) ", K.FILE_SIZE, {"size_bytes": 537395200}),
    (
        "0.00.900.000 W model has unused tensor blk.32.nextn.eh_proj.weight (size = 23068672 bytes) -- ignoring",
        K.UNUSED_TENSOR,
        {"size_bytes": 23068672},
    ),
    (
        "0.00.900.000 I llama_model_loader: - kv  20:    gemma3n.embedding_length_per_layer_input u32  = 256",
        K.PER_LAYER_EMBEDDING,
        {"width": 256},
    ),
    # ways off the GPU
    (
        "0.00.900.000 W llama_model_loader: tensor overrides to CPU are used with mmap enabled",
        K.TENSOR_OVERRIDE,
        {"device": "CPU"},
    ),
    (
        "1.00.900.000 D create_tensor: tensor blk.0.ffn_up.weight (38 MiB q4_K) buffer type overridden to CPU",
        K.TENSOR_OVERRIDE,
        {"tensor": "blk.0.ffn_up.weight", "device": "CPU"},
    ),
    (
        "1.00.900.000 W load: lora for 'blk.0.attn_q.weight' cannot use buft 'CUDA0', fallback to CPU",
        K.LORA_FALLBACK,
        {"tensor": "blk.0.attn_q.weight"},
    ),
    (
        "1.00.900.000 D done_getting_tensors: tensor 'output.weight' (q6_K) (and 0 others) cannot be used with "
        "preferred buffer type CUDA0, using CPU instead",
        K.TENSOR_FALLBACK,
        {"tensor": "output.weight", "preferred": "CUDA0", "device": "CPU"},
    ),
    (
        "0.02.179.506 W resolve_fused_ops: Flash Attention not supported, set to disabled",
        K.FUSED_OPS,
        {"cause": "Flash Attention not supported, set to disabled"},
    ),
    (
        "0.00.100.000 I srv  llama_server: starting server in router mode. models will be loaded",
        K.ROUTER,
        {},
    ),
    (
        "0.00.100.000 I cmn  common_param: using config file: /etc/llama.cpp/config.ini",
        K.CONFIG_FILE,
        {"path": "/etc/llama.cpp/config.ini"},
    ),
    ("using config file: /etc/llama.cpp/config.ini", K.CONFIG_FILE, {"path": "/etc/llama.cpp/config.ini"}),
    ("12.34.567.890 I srv  llama_server: listening on http://[::1]:9931", K.READY, {"url": "http://[::1]:9931"}),
]


@pytest.mark.parametrize(("text", "kind", "values"), FORMS)
def test_form(text: str, kind: EventKind, values: dict[str, Value]) -> None:
    event = parse(LogLine(Stream.STDERR, 1, text))
    assert event is not None
    assert (event.kind, event.values) == (kind, values)


@pytest.mark.parametrize(
    "text",
    [
        "the server says: 0.01.171.125 I load_tensors: offloaded 49/49 layers to GPU",
        "'0.01.171.125 I load_tensors: offloaded 49/49 layers to GPU",
        "0.02.972.693 D ~llama_context:        CPU compute buffer size is 119.0099 MiB, matches expectation",
        "0.00.673.218 I common_memory_breakdown_print: |   - CUDA0 (H100 80GB HBM3) | 81079 = 80552 |",
        "0.02.179.506 I resolve_fused_ops: Flash Attention enabled",
        "0.00.146.033 I print_info: n_embd_inp            = 5120",
        "0.00.146.033 I print_info: n_ctx_train           = 32768",
        "0.02.533.120 I slot   operator(): id  3 | task 0 | new prompt, n_ctx_slot = 8192, n_keep = 0",
        "0.02.258.075 I slot   load_model: id  0 | task -1 | new slot, n_ctx = 8192",
    ],
)
def test_no_event(text: str) -> None:
    assert parse(LogLine(Stream.STDERR, 1, text)) is None
