"""Hugging Face `config.json`: the shape of a model.

Owns what the fields mean for each architecture. Must not open files and must not guess: a type that is not known is a
problem, because its KV cache and its weights would be anybody's guess.

Source: configuration_*.py of transformers 5.23 (reference vllm §8 for what the engine makes of it).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.hf_families import FAMILIES, Family, MoeStyle, Windows, family_name
from kotaro_bridge.domain.model.hf_fields import ConfigFields, decode_fields
from kotaro_bridge.domain.model.hf_quantization import Quantization, read_quantization
from kotaro_bridge.domain.model.hf_vision import VisionTower, read_vision

_MAX_LAYERS = 4096


@dataclass(frozen=True, slots=True)
class Mla:
    """Compressed attention (DeepSeek): the cache keeps `kv_rank + rope_dim` elements for each token and layer.

    Args:
        q_rank: width of the compressed queries, None where they are not compressed.
        rope_dim, nope_dim: elements of a key with and without position; value_dim: of a value. Each for one head.
    """

    kv_rank: int
    q_rank: int | None
    rope_dim: int
    nope_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True)
class Experts:
    """Mixture of experts.

    Args:
        count: experts of a layer; per_token: how many of them one token uses.
        intermediate: width of one; shared_intermediate: width of those that every token uses, 0 without.
        sparse: for each layer, whether it has experts.
    """

    count: int
    per_token: int
    intermediate: int
    shared_intermediate: int
    sparse: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class HfModel:
    """What a `config.json` says.

    Args:
        architecture: class that the file names, "" if none; model_type: as the file says it.
        family: kind of the text part, a key of `hf_families.FAMILIES`.
        hidden, intermediate: widths; heads: attention heads; kv_heads: KV heads of each layer.
        head_dim: elements of a head, of keys and values alike (not with `mla`).
        context_length: tokens that the model was made for.
        dtype: `bfloat16`, `float16`, `float32`; dtype_bytes: bytes of an element once loaded. vLLM loads float32 as
            float16 (reference vllm §2).
        tied_embeddings: the output layer is the token embedding.
        sliding_window: tokens, None if no layer has one; windowed: for each layer, whether it sees the window only.
        qkv_bias, output_bias, mlp_bias: which matrices have one.
    """

    architecture: str
    model_type: str
    family: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: tuple[int, ...]
    head_dim: int
    vocab: int
    context_length: int
    dtype: str
    dtype_bytes: int
    tied_embeddings: bool
    sliding_window: int | None
    windowed: tuple[bool, ...]
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    mla: Mla | None
    experts: Experts | None
    quantization: Quantization | None
    vision: VisionTower | None


def decode_hf_config(text: bytes) -> HfModel:
    """The shape that a `config.json` tells of.

    Raises:
        ProblemError: `model.config_broken` (`detail`: no JSON, or a field of the wrong kind), `model.config_field`
            (`field`: missing, or a value that cannot be), `model.unknown_type` (`model_type`),
            `model.not_config` (no `model_type`: the file is another JSON file).
    """
    fields = decode_fields(text)
    if not fields.model_type:
        raise ProblemError(problem("model.not_config"))
    name = family_name(fields)
    if name is None:
        known_as = f"{fields.model_type} {fields.version}" if fields.version is not None else fields.model_type
        raise ProblemError(problem("model.unknown_type", model_type=known_as))
    inner = fields.text_config or fields
    return _Reading(fields, inner, name, FAMILIES[name]).model()


class _Reading:
    """One file being read: fields, and the defaults of the family for what they leave out."""

    def __init__(self, outer: ConfigFields, inner: ConfigFields, name: str, family: Family) -> None:
        self._outer = outer
        self._inner = inner
        self._name = name
        self._family = family

    def _number(self, field: str, default: int | None = None) -> int:
        """A field that must be there and above 0."""
        value = getattr(self._inner, field)
        if value is None:
            value = self._family.defaults.get(field, default)
        if not value:
            raise ProblemError(problem("model.config_field", field=field))
        return int(value)

    def model(self) -> HfModel:
        inner, outer = self._inner, self._outer
        layers = self._number("num_hidden_layers")
        if layers > _MAX_LAYERS:
            raise ProblemError(problem("model.config_field", field="num_hidden_layers"))
        heads, hidden = self._number("num_attention_heads"), self._number("hidden_size")
        mla, experts = self._mla(), self._experts(layers)
        dtype = inner.dtype or inner.torch_dtype or outer.dtype or outer.torch_dtype or "float16"
        window, windowed = self._windows(layers)
        packed = outer.quantization_config or inner.quantization_config or outer.compression_config
        bias = bool(inner.attention_bias) and self._family.biases_by_config
        qkv_bias = bias or (self._family.qkv_bias and inner.qkv_bias is not False)
        return HfModel(
            architecture=(outer.architectures or [""])[0],
            model_type=outer.model_type,
            family=self._name,
            layers=layers,
            hidden=hidden,
            intermediate=self._number("intermediate_size"),
            heads=heads,
            kv_heads=self._kv_heads(layers, heads),
            head_dim=mla.nope_dim + mla.rope_dim if mla else self._number("head_dim", hidden // heads),
            vocab=self._number("vocab_size"),
            context_length=self._number("max_position_embeddings"),
            dtype=dtype.removeprefix("torch."),
            dtype_bytes=2,
            tied_embeddings=self._tied(),
            sliding_window=window,
            windowed=windowed,
            qkv_bias=qkv_bias,
            output_bias=bias,
            mlp_bias=bool(inner.mlp_bias) and self._family.biases_by_config,
            mla=mla,
            experts=experts,
            quantization=read_quantization(packed) if packed else None,
            vision=read_vision(outer, hidden),
        )

    def _kv_heads(self, layers: int, heads: int) -> tuple[int, ...]:
        stated = self._inner.num_key_value_heads
        if isinstance(stated, list):
            if len(stated) != layers:
                raise ProblemError(problem("model.config_field", field="num_key_value_heads"))
            return tuple(stated)
        return (self._number("num_key_value_heads", heads),) * layers

    def _tied(self) -> bool:
        for stated in (self._inner.tie_word_embeddings, self._outer.tie_word_embeddings):
            if stated is not None:
                return stated
        return bool(self._family.defaults.get("tie_word_embeddings", False))

    def _windows(self, layers: int) -> tuple[int | None, tuple[bool, ...]]:
        """Window in tokens, and which layers have it."""
        inner, rule = self._inner, self._family.windows
        window = inner.sliding_window
        if window is msgspec.UNSET:
            window = self._family.defaults.get("sliding_window")
        if rule is Windows.LATE and not inner.use_sliding_window:
            window = None
        if not window or rule is Windows.NONE:
            return None, (False,) * layers
        windowed = self._windowed(layers)
        return (int(window), windowed) if any(windowed) else (None, windowed)

    def _windowed(self, layers: int) -> tuple[bool, ...]:
        inner, rule = self._inner, self._family.windows
        if inner.layer_types is not None:
            if len(inner.layer_types) != layers:
                raise ProblemError(problem("model.config_field", field="layer_types"))
            return tuple(kind == "sliding_attention" for kind in inner.layer_types)
        if rule is Windows.LATE:
            first = self._number("max_window_layers")
            return tuple(layer >= first for layer in range(layers))
        every = (inner.sliding_window_pattern or self._family.window_every) if rule is Windows.MOST else layers + 1
        return tuple((layer + 1) % every != 0 for layer in range(layers))

    def _mla(self) -> Mla | None:
        inner = self._inner
        if self._family.moe is not MoeStyle.DEEPSEEK:
            return None
        return Mla(
            kv_rank=self._number("kv_lora_rank", 512),
            q_rank=1536 if inner.q_lora_rank is msgspec.UNSET else inner.q_lora_rank,
            rope_dim=self._number("qk_rope_head_dim", 64),
            nope_dim=self._number("qk_nope_head_dim", 128),
            value_dim=self._number("v_head_dim", 128),
        )

    def _experts(self, layers: int) -> Experts | None:
        inner, style = self._inner, self._family.moe
        if style is None:
            return None
        if style is MoeStyle.MIXTRAL:
            return Experts(
                self._number("num_local_experts", 8),
                self._number("num_experts_per_tok", 2),
                self._number("intermediate_size"),
                0,
                (True,) * layers,
            )
        width = self._number("moe_intermediate_size")
        if style is MoeStyle.QWEN:
            step, dense = inner.decoder_sparse_step or 1, set(inner.mlp_only_layers or ())
            return Experts(
                inner.num_local_experts or self._number("num_experts"),
                self._number("num_experts_per_tok"),
                width,
                self._number("shared_expert_intermediate_size") if self._name == "qwen2_moe" else 0,
                tuple(layer not in dense and (layer + 1) % step == 0 for layer in range(layers)),
            )
        first, step = inner.first_k_dense_replace or 0, inner.moe_layer_freq or 1
        return Experts(
            self._number("n_routed_experts"),
            self._number("num_experts_per_tok"),
            width,
            width * (inner.n_shared_experts or 0),
            tuple(layer >= first and layer % step == 0 for layer in range(layers)),
        )
