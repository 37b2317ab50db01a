"""`config.json` of each family: shapes, windows, experts, pictures, packing; and files that are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.hf_config import Experts, HfModel, Mla, decode_hf_config
from kotaro_bridge.domain.model.hf_families import FAMILIES
from kotaro_bridge.domain.model.hf_quantization import Quantization
from tests.helpers.hf_models import (
    DEEPSEEK3,
    DEEPSEEK_LITE,
    GEMMA2_9,
    GEMMA3_4,
    LLAMA8,
    MINICPMV,
    MISTRAL7,
    MIXTRAL,
    PHI3,
    PUBLISHED,
    QWEN2_VL,
    QWEN3_8,
    QWEN3_MOE,
    QWEN3_VL,
    QWEN7,
    QWEN14,
    QWEN25_VL,
    QWEN_MOE,
    QWEN_SMALL,
    Config,
    shape,
    text,
)


def decode(config: Config, **changes: Any) -> HfModel:
    return decode_hf_config(text(config | changes))


def problem_of(data: bytes) -> tuple[str, dict[str, Any]]:
    with pytest.raises(ProblemError) as caught:
        decode_hf_config(data)
    return caught.value.problem.code, dict(caught.value.problem.params)


def without(config: Config, *names: str) -> Config:
    return {key: value for key, value in config.items() if key not in names}


def packing(config: Config) -> Quantization | None:
    return decode(QWEN14, quantization_config=config).quantization


def test_a_plain_model() -> None:
    model = decode(QWEN14)
    assert (model.architecture, model.model_type, model.family) == ("ForCausalLM", "qwen2", "qwen2")
    assert (model.layers, model.hidden, model.intermediate, model.heads, model.head_dim) == (48, 5120, 13824, 40, 128)
    assert (model.kv_heads, model.vocab, model.context_length) == ((8,) * 48, 152_064, 32_768)
    assert (model.dtype, model.dtype_bytes, model.tied_embeddings) == ("bfloat16", 2, False)
    assert (model.qkv_bias, model.output_bias, model.mlp_bias) == (True, False, False)
    assert (model.sliding_window, model.windowed) == (None, (False,) * 48)
    assert (model.mla, model.experts, model.quantization, model.vision) == (None, None, None, None)


def test_the_same_file_gives_the_same_shape_which_can_be_a_key() -> None:
    assert len({decode(QWEN14), decode(QWEN14), decode(QWEN7)}) == 2


def test_tied_embeddings() -> None:
    assert decode(QWEN_SMALL).tied_embeddings
    assert decode(GEMMA2_9).tied_embeddings  # by the family's default
    assert decode(GEMMA3_4).tied_embeddings
    assert not decode(GEMMA3_4, tie_word_embeddings=False).tied_embeddings
    assert not decode(without(LLAMA8, "tie_word_embeddings")).tied_embeddings


def test_a_head_count_that_is_left_out() -> None:
    assert decode(without(LLAMA8, "num_key_value_heads")).kv_heads == (32,) * 32
    assert decode(without(MISTRAL7, "num_key_value_heads")).kv_heads == (8,) * 32
    assert decode(LLAMA8, num_key_value_heads=None).kv_heads == (32,) * 32
    assert decode(LLAMA8, num_key_value_heads=[8, 4] * 16).kv_heads == (8, 4) * 16


def test_head_sizes() -> None:
    assert decode(LLAMA8, head_dim=None).head_dim == 128
    assert decode(QWEN3_8, head_dim=96).head_dim == 96
    assert decode(without(QWEN3_8, "head_dim"), hidden_size=2560).head_dim == 128  # not 80: Qwen3-4B
    assert decode(GEMMA2_9).head_dim == 256


def test_biases() -> None:
    both = decode(LLAMA8, attention_bias=True, mlp_bias=True)
    assert (both.qkv_bias, both.output_bias, both.mlp_bias) == (True, True, True)
    assert not decode(QWEN3_8).qkv_bias
    assert not decode(QWEN_MOE, qkv_bias=False).qkv_bias


@pytest.mark.parametrize(
    ("stated", "dtype"),
    [({"torch_dtype": "float16"}, "float16"), ({"dtype": "torch.float32"}, "float32"), ({}, "float16")],
)
def test_types_of_the_weights(stated: Config, dtype: str) -> None:
    assert decode(without(QWEN7, "torch_dtype"), **stated).dtype == dtype


def test_the_type_of_a_nested_model_may_stand_outside() -> None:
    assert decode(GEMMA3_4).dtype == "bfloat16"


# --- windows


def test_windows_of_every_layer() -> None:
    assert decode(MISTRAL7).sliding_window is None
    old = decode(MISTRAL7, sliding_window=4096)
    assert (old.sliding_window, old.windowed) == (4096, (True,) * 32)
    assert decode(without(MISTRAL7, "sliding_window")).sliding_window == 4096  # the library's default
    assert decode(PHI3).sliding_window == 2047
    assert decode(MIXTRAL).sliding_window is None


def test_windows_of_the_late_layers() -> None:
    on = {"use_sliding_window": True, "sliding_window": 1000}
    assert decode(QWEN14, **on, max_window_layers=40).windowed == (False,) * 40 + (True,) * 8
    assert decode(QWEN14, **on, max_window_layers=48).sliding_window is None
    assert (
        decode(without(QWEN14, "max_window_layers", "sliding_window"), use_sliding_window=True).sliding_window == 4096
    )
    assert decode(QWEN14).sliding_window is None


def test_windows_of_most_layers() -> None:
    second = decode(GEMMA2_9)
    assert (second.sliding_window, second.windowed) == (4096, (True, False) * 21)
    third = decode(GEMMA3_4)
    assert third.sliding_window == 1024
    assert third.windowed == tuple((layer + 1) % 6 != 0 for layer in range(34))
    inner = GEMMA3_4["text_config"] | {"sliding_window_pattern": 2}
    assert decode(GEMMA3_4, text_config=inner).windowed == (True, False) * 17


def test_the_list_of_layers_wins() -> None:
    kinds = ["full_attention", "sliding_attention"] * 21
    assert decode(GEMMA2_9, layer_types=kinds).windowed == (False, True) * 21
    assert problem_of(text(GEMMA2_9 | {"layer_types": kinds[1:]})) == ("model.config_field", {"field": "layer_types"})


# --- experts and compressed attention


def test_experts() -> None:
    assert decode(MIXTRAL).experts == Experts(8, 2, 14336, 0, (True,) * 32)
    assert decode(QWEN3_MOE).experts == Experts(128, 8, 768, 0, (True,) * 48)
    assert decode(QWEN_MOE).experts == Experts(60, 4, 1408, 5632, (True,) * 24)
    assert decode(DEEPSEEK_LITE).experts == Experts(64, 6, 1408, 2816, (False,) + (True,) * 26)
    assert decode(DEEPSEEK3).experts == Experts(256, 8, 2048, 2048, (False,) * 3 + (True,) * 58)


def test_layers_without_experts() -> None:
    experts = decode(QWEN3_MOE, decoder_sparse_step=2, mlp_only_layers=[3]).experts
    assert experts is not None
    assert experts.sparse == tuple(layer % 2 == 1 and layer != 3 for layer in range(48))
    every_other = decode(DEEPSEEK_LITE, moe_layer_freq=2).experts
    assert every_other is not None
    assert every_other.sparse == (False, False) + (True, False) * 12 + (True,)


def test_compressed_attention() -> None:
    assert decode(DEEPSEEK_LITE).mla == Mla(512, None, 64, 128, 128)
    assert decode(DEEPSEEK3).mla == Mla(512, 1536, 64, 128, 128)
    assert decode(without(DEEPSEEK3, "q_lora_rank")).mla == Mla(512, 1536, 64, 128, 128)
    assert decode(DEEPSEEK3).head_dim == 192


# --- pictures


def test_pictures_of_minicpmv() -> None:
    model = decode(MINICPMV)
    assert (model.family, model.vocab) == ("qwen2", 151_666)
    vision = model.vision
    assert vision is not None
    assert (vision.layers, vision.hidden, vision.heads, vision.intermediate) == (27, 1152, 16, 4304)
    assert (vision.image_size, vision.patch_size, vision.slices, vision.tokens_per_image) == (448, 14, 9, 640)
    assert vision.parameters == 486_411_504  # 8,099,175,152 in all, less a Qwen2-7B with 151,666 tokens
    whole = decode(without(MINICPMV, "slice_config", "image_size")).vision
    assert whole is not None
    assert (whole.slices, whole.image_size) == (9, 448)
    unsliced = decode(MINICPMV, slice_config={"max_slice_nums": 0}).vision
    assert unsliced is not None
    assert unsliced.tokens_per_image == 64


def test_pictures_of_other_families() -> None:
    gemma = decode(GEMMA3_4).vision
    assert gemma is not None
    assert (gemma.tokens_per_image, gemma.image_size, gemma.slices) == (256, 896, 0)
    assert decode(without(GEMMA3_4, "vision_config")).vision is None
    for config in (QWEN2_VL, QWEN25_VL, QWEN3_VL):
        vision = decode(config).vision
        assert vision is not None
        assert (vision.image_size, vision.tokens_per_image) == (None, None)  # the processor's file has the limit


def test_defaults_of_the_qwen_towers() -> None:
    """A file keeps only what differs from the library's defaults: these are the published models' own values."""
    small = {"hidden_size": 1280, "out_hidden_size": 3584}
    for config, left in ((QWEN2_VL, {}), (QWEN25_VL, small), (QWEN3_VL, {"out_hidden_size": 4096})):
        assert decode(config, vision_config=left).vision == decode(config).vision
    assert decode(without(QWEN2_VL, "vision_config")).vision == decode(QWEN2_VL).vision


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (without(MINICPMV, "query_num"), "vision_config.query_num"),
        (without(MINICPMV, "vision_config"), "vision_config.num_hidden_layers"),
        (QWEN25_VL | {"vision_config": {}}, "vision_config.hidden_size"),
    ],
)
def test_a_vision_part_that_is_not_described(config: Config, field: str) -> None:
    assert problem_of(text(config)) == ("model.config_field", {"field": field})


# --- packing


def test_nothing_is_packed() -> None:
    assert decode(QWEN14).quantization is None
    assert decode(QWEN14, quantization_config=None).quantization is None
    assert packing({"quant_method": "compressed-tensors", "config_groups": {}}) is None


def test_awq() -> None:
    found = packing({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"})
    assert found == Quantization("awq", 4, 128, True, False)
    assert packing({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}) == Quantization("awq", 4, 64, True, False)
    kept = packing({"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["visual"]})
    assert kept is not None
    assert kept.excluded == ("visual",)
    symmetric = packing({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": False})
    assert symmetric is not None
    assert not symmetric.zero_point


def test_gptq() -> None:
    found = packing({"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": True, "lm_head": True})
    assert found == Quantization("gptq", 8, 0, True, True)


def test_fp8() -> None:
    blocks = packing({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]})
    assert blocks == Quantization("fp8", 8, 0, False, False, block=(128, 128))
    one = packing({"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]})
    assert one == Quantization("fp8", 8, 0, False, False, static_inputs=True, excluded=("lm_head",))
    assert packing({"quant_method": "fp8", "weight_block_size": [0, 1]}) == Quantization("fp8", 8, 0, False, False)


def group(weights: Config, inputs: Config | None = None) -> Config:
    return {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": inputs}}


def test_compressed_tensors() -> None:
    four = {"num_bits": 4, "type": "int", "group_size": 128, "symmetric": True, "strategy": "group"}
    method: Config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"]}
    layout = "pack-quantized"
    found = packing(method | {"config_groups": group(four)})
    assert found == Quantization("compressed-tensors", 4, 128, False, False, layout, excluded=("lm_head",))
    uneven = packing(method | {"config_groups": group(four | {"symmetric": False, "actorder": "group"}), "ignore": []})
    assert uneven == Quantization("compressed-tensors", 4, 128, True, True, layout, reordered=True)
    assert packing({"format": layout, "config_groups": group(four), "ignore": ["lm_head"]}) == found
    eight = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}
    fp8 = packing(method | {"format": "float-quantized", "config_groups": group(eight, {"dynamic": False})})
    assert fp8 is not None
    assert (fp8.layout, fp8.per_channel, fp8.static_inputs, fp8.bits) == ("float-quantized", True, True, 8)
    outside = decode(QWEN14, compression_config=method | {"config_groups": group(four)}).quantization
    assert outside == found


def test_methods_that_are_not_known_are_named() -> None:
    found = packing({"quant_method": "bitsandbytes", "load_in_4bit": True})
    assert found is not None
    assert (found.method, found.bits) == ("bitsandbytes", None)


# --- files that are none


@pytest.mark.parametrize("kind", ["gpt_bigcode", "qwen3_next", "mamba", "x" * 100])
def test_a_type_that_is_not_known(kind: str) -> None:
    assert problem_of(text(QWEN14 | {"model_type": kind})) == ("model.unknown_type", {"model_type": kind})


def test_a_version_that_is_not_known() -> None:
    assert problem_of(text(MINICPMV | {"version": 9.5})) == ("model.unknown_type", {"model_type": "minicpmv 9.5"})
    assert decode(MINICPMV, version="2.5").family == "llama"


def test_another_json_file() -> None:
    assert problem_of(b'{"temperature": 0.7}') == ("model.not_config", {})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe{",
        b'{"model_type": 5}',
        b'{"hidden_size": "x"}',
        b'{"hidden_size": -1}',
        b'{"hidden_size": 1e400}',
        b'{"hidden_size": 9223372036854775808}',
        b'{"text_config": ' * 50_000,
        b'{"x": ' + b"[" * 1_000_000,
        b'{"x": "' + b"y" * (3 << 20) + b'"}',
    ],
)
def test_no_config(data: bytes) -> None:
    code, params = problem_of(data)
    assert code == "model.config_broken"
    assert 0 < len(params["detail"]) < 300


def test_a_mark_of_utf_8_in_front_is_stepped_over() -> None:
    assert decode_hf_config(b"\xef\xbb\xbf" + text(QWEN14)) == decode(QWEN14)


@pytest.mark.parametrize(
    "field",
    [
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
    ],
)
def test_a_field_that_is_missing_or_zero(field: str) -> None:
    for config in (without(QWEN14, field), QWEN14 | {field: 0}, QWEN14 | {field: None}):
        assert problem_of(text(config)) == ("model.config_field", {"field": field})


def test_values_that_cannot_be() -> None:
    layers = ("model.config_field", {"field": "num_hidden_layers"})
    assert problem_of(text(QWEN14 | {"num_hidden_layers": 5000})) == layers
    heads = ("model.config_field", {"field": "num_key_value_heads"})
    assert problem_of(text(QWEN14 | {"num_key_value_heads": [8]})) == heads
    assert problem_of(text(LLAMA8 | {"hidden_size": 8})) == ("model.config_field", {"field": "head_dim"})


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_is_read(name: str) -> None:
    more = {"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2}
    widths = {"moe_intermediate_size": 64, "shared_expert_intermediate_size": 64}
    model = decode(shape(name, 2, 256, 512, 4, 2, 1000, **more, **widths))
    assert (model.family, model.layers, model.kv_heads) == (name, 2, (2, 2))


SAMPLE = text(PUBLISHED["MiniCPM-V-2_6"][0])


@settings(max_examples=300)
@given(st.integers(0, len(SAMPLE)), st.binary(min_size=1, max_size=6))
def test_any_damage_ends_in_a_shape_or_a_problem(at: int, damage: bytes) -> None:
    try:
        found: object = decode_hf_config(SAMPLE[:at] + damage + SAMPLE[at + len(damage) :])
    except ProblemError as error:
        found = error.problem.code.startswith("model.")
    assert found is True or isinstance(found, HfModel)
