"""How many bytes the KV cache and the recurrent state of a model take, from its header alone.

Owns the formulas, by architecture. Must not guess: where the architecture is not in the tables (a header does not tell
how a model uses its keys, the program does), the answer is None, and a proof rests on the engine's own total.

Source: llama.cpp v0.5.0-dev (the build of the captures): `load_arch_hparams` of each file in src/models, create_memory
in llama-model.cpp, llama-kv-cache.cpp, llama-kv-cache-iswa.cpp, llama-memory-recurrent.cpp, n_embd_r and n_embd_s in
llama-hparams.cpp. Checked against the real server for each kind (tests/e2e/test_kv_cache_real.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from kotaro_bridge.domain.model.context_shape import ContextShape, padded
from kotaro_bridge.domain.model.gguf import GgufModel
from kotaro_bridge.domain.profile import KvType

# Elements and bytes of a block (reference llama-server §7). AUTO is the engine's own default, f16.
_BLOCKS = {
    KvType.AUTO: (1, 2),
    KvType.F16: (1, 2),
    KvType.BF16: (1, 2),
    KvType.Q8_0: (32, 34),
    KvType.Q4_0: (32, 18),
    KvType.FP8: (1, 1),
}
_STATE_BYTES = 4  # recurrent state is f32 whatever the KV type is


def kv_row_bytes(elements: int, kv_type: KvType) -> int:
    """Bytes of one token's keys or values."""
    block, size_bytes = _BLOCKS[kv_type]
    return -(-elements // block) * size_bytes


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one layer keeps: elements per token of keys and values, whether in a window only, and elements of state."""

    keys: int = 0
    values: int = 0
    window: bool = False
    state: int = 0


@dataclass(frozen=True, slots=True)
class _Layers:
    layers: tuple[_Layer, ...]
    window: int = 0


@dataclass(frozen=True, slots=True)
class CacheRows:
    """What a model keeps, summed over its layers: bytes that do not depend on how long the context is.

    Args:
        full: bytes per token of the layers that see the whole context; windowed: of those with a window of `window`
            tokens.
        state: bytes of recurrent state per request.
        largest: bytes per token of the layer that keeps the most, as f16.
    """

    full: int
    windowed: int
    window: int
    state: int
    largest: int

    def cache_bytes(self, shape: ContextShape) -> int:
        """Bytes of KV cache and recurrent state together."""
        kept = self.full * shape.cells + self.windowed * self.window_cells(shape)
        return kept * shape.streams + self.state * shape.parallel

    def window_cells(self, shape: ContextShape) -> int:
        """Tokens that one cache holds of the layers with a window."""
        window = self.window * (shape.parallel if shape.unified else 1)
        return shape.cells if shape.swa_full else padded(min(shape.cells, window + shape.ubatch))


@dataclass(frozen=True, slots=True)
class _Window:
    """How an architecture uses sliding windows.

    Args:
        every: each `every`-th layer sees the whole context, unless the header has its own pattern; None: the header
            must have a list.
        dense_first: the first layer of each group is the one that sees everything, not the last.
        size: the window where the header has none; None: the model then has no windows.
        fixed: the window whatever the header says.
    """

    every: int | None
    dense_first: bool = False
    size: int | None = None
    fixed: int | None = None


# Every layer keeps keys and values of the whole context, whatever keys are in the header. phi3 reads a window and then
# switches it off.
# fmt: off
_PLAIN: Final = frozenset((
    "llama", "deci", "falcon", "grok", "gpt2", "gptneox", "mpt", "baichuan", "starcoder", "refact", "bloom",
    "stablelm", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "phi2",
    "phi3", "phimoe", "plamo", "codeshell", "orion", "internlm2", "minicpm", "minicpm3", "gemma", "starcoder2",
    "xverse", "command-r", "dbrx", "olmo", "olmoe", "openelm", "arctic", "deepseek", "deepseek2-ocr", "chatglm",
    "glm4", "glm4moe", "bitnet", "jais", "jais2", "nemotron", "exaone", "granite", "granitemoe", "chameleon", "plm",
    "bailingmoe", "bailingmoe2", "dots1", "arcee", "ernie4_5", "ernie4_5-moe", "hunyuan-moe", "hunyuan-dense",
    "hunyuan_vl", "hy_v3", "smollm3", "seed_oss", "grovemoe", "apertus", "minimax-m2", "cogvlm", "pangu-embedded",
    "mistral3", "paddleocr", "maincoder", "talkie",
))
# fmt: on
# Latent attention: where the header has both lengths, only the compressed keys are kept.
_LATENT: Final = frozenset(("deepseek2", "mistral4"))
_WINDOWED: Final[Mapping[str, _Window]] = {
    "afmoe": _Window(4),
    "cohere2": _Window(4),
    "cohere2moe": _Window(4, dense_first=True),
    "exaone-moe": _Window(4),
    "gemma2": _Window(2, size=4096),
    "gemma3": _Window(6),
    "gemma3n": _Window(5),
    "gemma4": _Window(None),
    "gpt-oss": _Window(2),
    "granite_swa": _Window(None),
    "laguna": _Window(4, dense_first=True),
    "llama4": _Window(4, size=8192, fixed=8192),
    "maple": _Window(None),
    "mellum": _Window(4),
    "mimo2": _Window(None),
    "muse-glimmer": _Window(4),
    "olmo2": _Window(4),
    "plamo3": _Window(8),
    "smallthinker": _Window(4, dense_first=True, fixed=4096),
    "spark2_5": _Window(None),
    "step35": _Window(None),
}
_SOME_WITHOUT_HEADS: Final = frozenset(("deci",))  # layers without attention (deci.cpp)
_GEMMA3N_OWN_KV = 20  # layers from here on use the cache of an earlier one (gemma3n.cpp)
_EXAONE4_WINDOWED_LAYERS = 64  # the 32B; the smaller ones have no windows (exaone4.cpp)
_FULL_ATTENTION_INTERVAL = 4  # of the qwen3next family


def cache_bytes(model: GgufModel, shape: ContextShape) -> int | None:
    """Bytes of KV cache and recurrent state together; None where the header does not tell."""
    rows = cache_rows(model, shape.kv_type)
    return None if rows is None else rows.cache_bytes(shape)


def cache_rows(model: GgufModel, kv_type: KvType) -> CacheRows | None:
    """What the model keeps per token and request; None where the header does not tell."""
    known = _layers_of(model)
    return None if known is None else _summed(known, kv_type)


def keeps_nothing(model: GgufModel) -> bool:
    """True if a layer that has to keep keys and values, or a state, keeps none: the header cannot be right."""
    known = _layers_of(model)
    if known is None:
        return not estimated_rows(model, KvType.AUTO).full
    has_values = model.architecture not in _LATENT
    kept = [bool(layer.state or (layer.keys and (layer.values or not has_values))) for layer in known.layers]
    if model.architecture in _SOME_WITHOUT_HEADS:
        return not any(kept)
    is_plain = model.architecture not in _RECURRENT
    return not all(kept) or (is_plain and not model.head_count)


def estimated_rows(model: GgufModel, kv_type: KvType) -> CacheRows:
    """The same if every layer kept keys and values of the whole context (reference llama-server §7): errs upwards."""
    keys, values = (
        max(length, _number(model, key))
        for length, key in (
            (model.key_length, "attention.key_length_swa"),
            (model.value_length, "attention.value_length_swa"),
        )
    )
    return _summed(_Layers(tuple(_Layer(heads * keys, heads * values) for heads in model.head_count_kv)), kv_type)


def _summed(known: _Layers, kv_type: KvType) -> CacheRows:
    full, windowed, state, largest = 0, 0, 0, 0
    # Most layers are one and the same, and 200 models are planned at once.
    counts = Counter(map(id, known.layers))
    for layer in {id(layer): layer for layer in known.layers}.values():
        count = counts[id(layer)]
        row = (kv_row_bytes(layer.keys, kv_type) + kv_row_bytes(layer.values, kv_type)) * count
        full, windowed = (full, windowed + row) if layer.window else (full + row, windowed)
        state += layer.state * count
        largest = max(largest, layer.keys + layer.values)
    return CacheRows(full, windowed, known.window, state * _STATE_BYTES, largest * 2)


def _layers_of(model: GgufModel) -> _Layers | None:
    architecture = model.architecture
    if architecture in _PLAIN:
        return _attention(model, None)
    if architecture in _LATENT:
        return _latent(model)
    if architecture == "exaone4":
        is_windowed = _trunk(model) == _EXAONE4_WINDOWED_LAYERS
        return _attention(model, _Window(4, size=4096) if is_windowed else None)
    if architecture in _WINDOWED:
        return _attention(model, _WINDOWED[architecture])
    build = _RECURRENT.get(architecture)
    return build(model) if build else None


def _number(model: GgufModel, key: str, default: int = 0) -> int:
    """A key that is one number for the whole model."""
    value = model.keys.get(key, default)
    return value if isinstance(value, int) else default


def _trunk(model: GgufModel) -> int:
    """Layers without those that predict further tokens, which a plain start does not use."""
    return model.block_count - min(_number(model, "nextn_predict_layers"), model.block_count - 1)


def _attention(model: GgufModel, spec: _Window | None) -> _Layers | None:
    window = _window_size(model, spec)
    pattern = _pattern(model, spec) if spec and window else (False,) * model.block_count
    if pattern is None:
        return None
    owners = _trunk(model)
    if model.architecture == "gemma3n":
        owners = min(owners, _GEMMA3N_OWN_KV)
    elif model.architecture == "gemma4":
        owners = min(owners, model.block_count - _number(model, "attention.shared_kv_layers"))
    alike = tuple(zip(model.head_count_kv[:owners], pattern[:owners], strict=True))
    made = {key: _heads_layer(model, *key) for key in set(alike)}
    return _Layers(tuple(map(made.__getitem__, alike)), window)


def _kv_layer(model: GgufModel, index: int, window: bool) -> _Layer:
    return _heads_layer(model, model.head_count_kv[index], window)


def _heads_layer(model: GgufModel, heads: int, window: bool) -> _Layer:
    keys, values = model.key_length, model.value_length
    if window:
        keys = _number(model, "attention.key_length_swa", keys)
        values = _number(model, "attention.value_length_swa", values)
    return _Layer(heads * keys, heads * values, window)


def _window_size(model: GgufModel, spec: _Window | None) -> int:
    """0 for a model that has no windows."""
    if spec is None:
        return 0
    stated = _number(model, "attention.sliding_window", spec.size or 0)
    return (spec.fixed or stated) if stated else 0


def _pattern(model: GgufModel, spec: _Window) -> tuple[bool, ...] | None:
    """Which layers have a window (load_swa_pattern and set_swa_pattern)."""
    stated = model.keys.get("attention.sliding_window_pattern", spec.every)
    if isinstance(stated, tuple):
        return tuple(bool(item) for item in stated) if len(stated) == model.block_count else None
    if spec.every is None or stated is None:
        return None
    dense = 0 if spec.dense_first else stated - 1
    return tuple(stated == 0 or index % stated != dense for index in range(model.block_count))


def _latent(model: GgufModel) -> _Layers | None:
    plain = _attention(model, None)
    lengths = (_number(model, "attention.key_length_mla"), _number(model, "attention.value_length_mla"))
    if plain is None or not any(lengths):
        return plain  # files from before the compressed form
    return _Layers(tuple(_Layer(layer.keys) for layer in plain.layers)) if all(lengths) else None


def _state(model: GgufModel, *, groups: bool = True) -> int:
    """Elements of the state of one recurrent layer (n_embd_r and n_embd_s).

    Args:
        groups: the architecture reads `ssm.group_count`.
    """
    width = model.embedding_length
    if head := _number(model, "wkv.head_size"):
        return _number(model, "token_shift_count", 2) * width + width * head
    size, inner = _number(model, "ssm.state_size"), _number(model, "ssm.inner_size")
    if cache := _number(model, "shortconv.l_cache"):
        return width * (cache - 1) + size * inner
    group = _number(model, "ssm.group_count") if groups else 0
    convolution = max(0, _number(model, "ssm.conv_kernel") - 1) * (inner + 2 * group * size)
    return convolution + size * inner


def _recurrent(*, groups: bool = True) -> Callable[[GgufModel], _Layers]:
    """State in every layer, and nothing per token."""
    return lambda model: _Layers((_Layer(state=_state(model, groups=groups)),) * _trunk(model))


def _both(model: GgufModel) -> _Layers:
    """falcon-h1: every layer has attention and state side by side."""
    state = _state(model)
    kept = (_kv_layer(model, index, False) for index in range(model.block_count))
    return _Layers(tuple(_Layer(layer.keys, layer.values, state=state) for layer in kept))


def _hybrid(is_recurrent: tuple[bool, ...], model: GgufModel, *, groups: bool = True) -> _Layers:
    state = _state(model, groups=groups)
    return _Layers(
        tuple(
            _Layer(state=state) if recurrent else _kv_layer(model, index, False)
            for index, recurrent in enumerate(is_recurrent)
        )
    )


def _without_heads(*, groups: bool = True) -> Callable[[GgufModel], _Layers | None]:
    """Layers without KV heads are the recurrent ones. Windows and blocks for further tokens are not in these models."""

    def build(model: GgufModel) -> _Layers | None:
        if _number(model, "nextn_predict_layers") or _number(model, "attention.sliding_window"):
            return None
        return _hybrid(tuple(heads == 0 for heads in model.head_count_kv), model, groups=groups)

    return build


def _by_interval(model: GgufModel) -> _Layers | None:
    """The qwen3next family: a list of the recurrent layers, or every so many layers one with attention."""
    trunk = _trunk(model)
    stated = model.keys.get("attention.recurrent_layers")
    if isinstance(stated, tuple):
        return _hybrid(tuple(map(bool, stated[:trunk])), model) if len(stated) == model.block_count else None
    if stated is not None:
        return _hybrid((bool(stated),) * trunk, model)
    every = _number(model, "full_attention_interval", _FULL_ATTENTION_INTERVAL)
    return _hybrid(tuple((index + 1) % every != 0 for index in range(trunk)), model) if every else None


def _by_feed_forward(model: GgufModel) -> _Layers | None:
    """nemotron_h: a layer is feed-forward, attention or recurrent; only the last two keep anything."""
    widths = model.keys.get("feed_forward_length")
    if not isinstance(widths, tuple) or len(widths) != model.block_count or _number(model, "nextn_predict_layers"):
        return None
    layers = _hybrid(tuple(heads == 0 for heads in model.head_count_kv), model).layers
    return _Layers(tuple(layer for layer, width in zip(layers, widths, strict=True) if not width))


_Build: TypeAlias = Callable[[GgufModel], _Layers | None]
_RECURRENT: Final[Mapping[str, _Build]] = {
    "mamba": _recurrent(groups=False),
    "mamba2": _recurrent(),
    "rwkv6": _recurrent(),
    "rwkv6qwen2": _recurrent(),
    "rwkv7": _recurrent(),
    "arwkv7": _recurrent(),
    "falcon-h1": _both,
    "jamba": _without_heads(groups=False),
    "granitehybrid": _without_heads(),
    "plamo2": _without_heads(),
    "lfm2": _without_heads(),
    "lfm2moe": _without_heads(),
    "nemotron_h": _by_feed_forward,
    "nemotron_h_moe": _by_feed_forward,
    "qwen3next": _by_interval,
    "qwen35": _by_interval,
    "qwen35moe": _by_interval,
}
