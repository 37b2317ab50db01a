"""The log dialect of llama-server: which line is which event.

Owns: patterns, nothing else. Sources: reference llama-server §3 (format strings of the source), lines marked "seen"
also in the captures; the older forms of §8 are taken too. A line has the shape `M.SS.mmm.uuu L text`, raw lines have no
prefix; patterns are anchored at the start so that a text that quotes a log line is not taken for one.
"""

from __future__ import annotations

from kotaro_bridge.domain.engine.engine_log import Event, EventKind, Gates, LineRule, LogLine, compiled, match_line

_PREFIX = r"(?:\d+\.\d\d\.\d{3}\.\d{3} [IWED] )?"
_TAG = r"(?:(?:srv|cmn)\s+)?(?:\S+:\s+)?"  # `srv  llama_server: `, `cmn  common_param: `, `main: `
_MIB = r"(?P<size_mib>\d+(?:\.\d+)?) MiB"
_BUFFER = rf"\s+(?P<device>\S+)\s+{{kind}} *buffer size\s*=\s*{_MIB}"
# The vision encoder schedules by itself; its lines must not stand in for those of the language model.
_CLIP = r"(?:alloc_compute_meta|reserve_compute_meta|clip\w*)"


def _rule(kind: EventKind, pattern: str) -> LineRule:
    return LineRule(kind, compiled(_PREFIX + pattern))


def _buffer(kind: EventKind, function: str, what: str) -> LineRule:
    return _rule(kind, function + ":" + _BUFFER.format(kind=what))


K = EventKind

GATES: Gates = (
    (
        "size",
        (
            _buffer(K.MODEL_BUFFER, r"\w*load_tensors", "(?:model)?"),
            # recurrent state (RS) and DeepSeek V4's compressed state hold the context as the KV cache does
            _buffer(K.KV_BUFFER, r"\w+", r"(?:KV|RS|DSV4 \S+ state)"),
            _buffer(K.LORA_BUFFER, r"\w+", "LoRA"),
            _buffer(K.CLIP_COMPUTE, _CLIP, "compute"),
            _buffer(K.COMPUTE_BUFFER, r"\w+", "compute"),
            _buffer(K.OUTPUT_BUFFER, r"\w+", "output"),
            _rule(K.KV_TOTAL, rf"\w+: size =\s+{_MIB} \(\s*\d+ cells,(?:.*\bR \((?P<state>\w+)\))?"),
            _rule(K.KV_ANNOUNCED, r"\w+: creating\s+(?:non-)?SWA KV cache, size = \d+ cells"),
            _rule(K.CLIP_SIZE, rf"load_hparams: model size:\s+{_MIB}"),
            _rule(K.KV_TOTAL, rf"\w+: KV self size\s+=\s+{_MIB}"),
            _rule(K.CONTEXT_REDUCED, r"\w+: context size reduced from (?P<from_n>\d+) to (?P<to_n>\d+)"),
            # upstream llama-model.cpp; the MTP blocks of a model that is run without speculation
            _rule(K.UNUSED_TENSOR, r"model has unused tensor \S+ \(size = (?P<size_bytes_n>\d+) bytes\)"),
        ),
    ),
    (
        "splits = ",
        (
            _rule(K.CLIP_SPLITS, rf"{_CLIP}: graph splits = (?P<splits_n>\d+)"),
            # `splits = 2`, `splits = 408 / 2` (seen), `graph splits = 66 (with bs=512), 3 (with bs=1)` (before 2026-09)
            _rule(
                K.SPLITS,
                r"\w+: graph\b.*?\bsplits = (?P<splits_n>\d+)(?:(?: \(with bs=\d+\),| /) (?P<splits_tg_n>\d+))?",
            ),
        ),
    ),
    (" layers to GPU", (_rule(K.OFFLOADED, r"\w+: offloaded (?P<layers_n>\d+)/(?P<total_n>\d+) layers to GPU"),)),
    (
        "using ",
        (
            _rule(K.DEVICE_USED, r"\w+: using device (?P<device>\S+) "),
            _rule(K.CLIP_BACKEND, r"\w+: CLIP using (?P<device>\S+) backend"),
            _rule(K.CONFIG_FILE, _TAG + r"using config file: (?P<path>.*)"),
        ),
    ),
    (
        "print_info: ",
        (
            _rule(
                K.MODEL_DIMENSION, r"print_info: (?P<key>n_vocab|n_embd|n_layer|ssm_d_state)\s+= (?P<value_n>\d+)\s*$"
            ),
            _rule(K.FILE_SIZE, rf"print_info: file size\s+= {_MIB}"),
            _rule(K.FILE_SIZE, r"print_info: file size\s+= (?P<size_gib>\d+(?:\.\d+)?) GiB"),
            _rule(K.ALLOCATION, r"print_info: no_alloc\s+= (?P<no_alloc_n>\d)"),
            _rule(K.VERBOSITY, _TAG + r"common_params_print_info: verbosity = (?P<level_n>\d+)"),
            _rule(K.VERSION, _TAG + r"common_params_print_info: build (?P<version>\d+ \([^)]*\))"),
        ),
    ),
    (
        "llama_model_loader: ",
        (
            _rule(K.MODEL_START, r"llama_model_loader: loaded meta data with "),
            _rule(K.TENSOR_TYPE, r"llama_model_loader: - type\s+(?P<type>\w+):\s+\d+ tensors"),
            _rule(
                K.PER_LAYER_EMBEDDING,
                r"llama_model_loader: - kv\s+\d+:\s+\w+\.embedding_length_per_layer_input u32\s+= (?P<width_n>\d+)",
            ),
            _rule(K.TENSOR_OVERRIDE, r"llama_model_loader: tensor overrides to (?P<device>CPU) are used"),
        ),
    ),
    (
        "n_ctx",
        (
            _rule(K.CONTEXT, r"llama_\w+: n_ctx\s+= (?P<n_ctx_n>\d+)\s*$"),
            _rule(
                K.SLOTS,
                r"srv\s+\S+: initializing,? (?:slots, )?n_slots = (?P<slots_n>\d+), n_ctx_slot = (?P<n_ctx_n>\d+)"
                r"(?:, kv_unified = '(?P<unified>true|false)')?",
            ),
        ),
    ),
    (
        "print_meta: ",  # until 2025
        (
            _rule(K.MODEL_DIMENSION, r"llm_load_print_meta: (?P<key>n_vocab|n_embd|n_layer)\s+= (?P<value_n>\d+)\s*$"),
            _rule(K.FILE_SIZE, rf"llm_load_print_meta: model size\s+= {_MIB}"),
            _rule(K.FILE_SIZE, r"llm_load_print_meta: model size\s+= (?P<size_gib>\d+(?:\.\d+)?) GiB"),
        ),
    ),
    (
        "build",
        (
            _rule(K.START, r"build: \d+ \("),
            _rule(K.START, r"main: build = \d+ \("),
            _rule(K.START, r"INFO \[\s*main\] build info \|"),
        ),
    ),
    ("initializing ...", (_rule(K.START, r"srv\s+\S+: initializing \.\.\.\s*$"),)),
    (
        "level=INFO ",  # Ollama's own lines around those of its llama.cpp
        (
            _rule(K.START, r'time=\S+ level=INFO source=\S+ msg="starting (?:llama server|(?:\w+ )?runner)'),
            _rule(K.READY, r'time=\S+ level=INFO source=\S+ msg="llama runner started in '),
        ),
    ),
    ("model loaded |", (_rule(K.READY, r"INFO \[\s*main\] model loaded \|"),)),  # 2024
    ("CUDA devices", (_rule(K.DEVICES_FOUND, r"ggml_cuda_init: found (?P<devices_n>\d+) CUDA devices"),)),
    ("listening on ", (_rule(K.READY, r"(?:srv\s+\S+|main:) (?:server is )?listening on (?P<url>\S+)"),)),
    (
        " params to ",
        (
            _rule(K.DRY_RUN_START, r"(?:cmn\s+)?\w+: fitting params to device memory"),
            _rule(K.DRY_RUN_END, r"\w+: fitting params to free memory took"),
            _rule(K.FIT_FAILED, r"\w+: failed to fit params to free device memory: (?P<cause>.*)"),
        ),
    ),
    ("device_info:", (_rule(K.DEVICE_TABLE, _TAG + r"device_info:\s*$"),)),
    (
        " MiB free)",
        (
            _rule(
                K.DEVICE_ENTRY,
                _TAG + r"\s*- (?P<device>\S+)\s*: .*\((?P<total_mib>\d+) MiB, (?P<free_mib>\d+) MiB free\)\s*$",
            ),
        ),
    ),
    ("initialize CUDA", (_rule(K.CUDA_INIT_FAILED, r"ggml_cuda_init: failed to initialize CUDA: (?P<cause>.*)"),)),
    ("usable GPU", (_rule(K.NO_USABLE_GPU, r"warning: no usable GPU found"),)),
    (
        "cannot ",
        (
            _rule(
                K.TENSOR_FALLBACK,
                r"\w+: tensor '(?P<tensor>[^']*)' .*cannot be used with preferred buffer type (?P<preferred>\S+), "
                r"using (?P<device>\S+) instead",
            ),
            _rule(K.LORA_FALLBACK, r"(?:\w+: )?lora for '(?P<tensor>[^']*)' cannot use buft .*fallback to CPU"),
        ),
    ),
    (
        "overridden",
        (_rule(K.TENSOR_OVERRIDE, r"(?:\w+: )?tensor (?P<tensor>\S+) .*buffer type overridden to (?P<device>\S+)"),),
    ),
    (
        "resolve_fused_ops",
        (_rule(K.FUSED_OPS, r"resolve_fused_ops: (?P<cause>.*(?:is assigned to device|, set to disabled).*)"),),
    ),
    ("multimodal", (_rule(K.MULTIMODAL, _TAG + r"loaded multimodal model, "),)),
    (
        "flash attention is ",
        (_rule(K.CLIP_SETTLED, r"(?:warmup|clip_ctx|clip_init): flash attention is (?:en|dis)abled"),),
    ),
    (
        "falling back to CPU",
        (
            _rule(
                K.CLIP_UNSUPPORTED, r"\w+: flash attention is not supported by the current backend; falling back to CPU"
            ),
        ),
    ),
    ("CLIP graph", (_rule(K.CLIP_UNSUPPORTED, r"\w+: WARNING: the CLIP graph uses unsupported operators"),)),
    ("router", (_rule(K.ROUTER, _TAG + r"starting (?:server in router mode|router server)"),)),
)


# Lines of requests, nearly all of a long log: no rule above fits one and none tells a failure. Knowing them at their
# start spares the rest.
CHATTER = compiled(r"\d+\.\d\d\.\d{3}\.\d{3} [IWD] (?:slot|que|res|srv +(?:update_slots|log_server_r):) ").match


def parse(line: LogLine) -> Event | None:
    """The event of a line of llama-server (stdout or stderr), or None."""
    return match_line(GATES, line)
