"""The fields of a `config.json` that matter here, as they are written, with bounds.

Owns names and types of the fields. Must not know what they mean for a model (`hf_config`).

Source of the names: configuration_*.py of transformers 5.23; `version`, `query_num` and
`slice_config` are those of MiniCPM-V.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

from kotaro_bridge.domain.errors import ProblemError, problem

MAX_CONFIG_BYTES: Final = 2 << 20  # the longest have lists of unquantized modules, some 100 KiB

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
MaybeCount: TypeAlias = Count | None


class WeightScheme(msgspec.Struct, frozen=True):
    """`config_groups.*.weights` of compressed-tensors."""

    num_bits: MaybeCount = None
    group_size: Annotated[int, msgspec.Meta(ge=-1, le=1 << 24)] | None = None
    symmetric: bool | None = None
    strategy: str | None = None
    type: str | None = None
    actorder: str | bool | None = None


class InputScheme(msgspec.Struct, frozen=True):
    """`config_groups.*.input_activations` of compressed-tensors."""

    dynamic: bool | str | None = None


class Group(msgspec.Struct, frozen=True):
    """One of the `config_groups` of compressed-tensors."""

    weights: WeightScheme | None = None
    input_activations: InputScheme | None = None


class QuantizationFields(msgspec.Struct, frozen=True):
    """`quantization_config`."""

    quant_method: str = ""
    bits: MaybeCount = None
    w_bit: MaybeCount = None
    group_size: Annotated[int, msgspec.Meta(ge=-1, le=1 << 24)] | None = None
    q_group_size: Annotated[int, msgspec.Meta(ge=-1, le=1 << 24)] | None = None
    zero_point: bool | None = None
    sym: bool | None = None
    lm_head: bool | None = None
    modules_to_not_convert: list[str] | None = None
    ignored_layers: list[str] | None = None
    ignore: list[str] | None = None
    activation_scheme: str | None = None
    weight_block_size: list[Count] | None = None
    format: str | None = None
    config_groups: dict[str, Group] | None = None


class VisionFields(msgspec.Struct, frozen=True):
    """`vision_config`."""

    model_type: str = ""
    hidden_size: MaybeCount = None
    embed_dim: MaybeCount = None
    intermediate_size: MaybeCount = None
    out_hidden_size: MaybeCount = None
    num_hidden_layers: MaybeCount = None
    depth: MaybeCount = None
    num_attention_heads: MaybeCount = None
    num_heads: MaybeCount = None
    image_size: MaybeCount = None
    patch_size: MaybeCount = None
    spatial_merge_size: MaybeCount = None
    temporal_patch_size: MaybeCount = None
    num_position_embeddings: MaybeCount = None
    deepstack_visual_indexes: list[Count] | None = None
    mlp_ratio: Annotated[float, msgspec.Meta(ge=0, le=1024)] | None = None


class SliceFields(msgspec.Struct, frozen=True):
    """`slice_config` of MiniCPM-V."""

    max_slice_nums: MaybeCount = None


class ConfigFields(msgspec.Struct, frozen=True):
    """The file, or its `text_config`."""

    model_type: str = ""
    architectures: list[str] | None = None
    version: str | float | None = None
    hidden_size: MaybeCount = None
    intermediate_size: MaybeCount = None
    num_hidden_layers: MaybeCount = None
    num_attention_heads: MaybeCount = None
    num_key_value_heads: Count | list[Count] | None = None
    head_dim: MaybeCount = None
    vocab_size: MaybeCount = None
    max_position_embeddings: MaybeCount = None
    torch_dtype: str | None = None
    dtype: str | None = None
    tie_word_embeddings: bool | None = None
    sliding_window: MaybeCount | msgspec.UnsetType = msgspec.UNSET
    use_sliding_window: bool | None = None
    max_window_layers: MaybeCount = None
    layer_types: list[str] | None = None
    sliding_window_pattern: MaybeCount = None
    attention_bias: bool | None = None
    mlp_bias: bool | None = None
    qkv_bias: bool | None = None
    kv_lora_rank: MaybeCount = None
    q_lora_rank: MaybeCount | msgspec.UnsetType = msgspec.UNSET
    qk_nope_head_dim: MaybeCount = None
    qk_rope_head_dim: MaybeCount = None
    v_head_dim: MaybeCount = None
    num_experts: MaybeCount = None
    num_local_experts: MaybeCount = None
    n_routed_experts: MaybeCount = None
    num_experts_per_tok: MaybeCount = None
    n_shared_experts: MaybeCount = None
    moe_intermediate_size: MaybeCount = None
    shared_expert_intermediate_size: MaybeCount = None
    first_k_dense_replace: MaybeCount = None
    moe_layer_freq: MaybeCount = None
    decoder_sparse_step: MaybeCount = None
    mlp_only_layers: list[Count] | None = None
    mm_tokens_per_image: MaybeCount = None
    image_size: MaybeCount = None
    query_num: MaybeCount = None
    slice_config: SliceFields | None = None
    quantization_config: QuantizationFields | None = None
    compression_config: QuantizationFields | None = None
    vision_config: VisionFields | None = None
    text_config: ConfigFields | None = None


_DECODER = msgspec.json.Decoder(ConfigFields)


def decode_fields(text: bytes) -> ConfigFields:
    """What a `config.json` says; of a key that is there twice the last one counts, as for the engines.

    Raises:
        ProblemError: `model.config_broken` (`detail`: which field is of the wrong kind, or that it is no JSON).
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise ProblemError(problem("model.config_broken", detail=f"{len(text)} bytes"))
    try:
        return _DECODER.decode(text.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(problem("model.config_broken", detail=str(error))) from None
