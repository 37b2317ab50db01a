"""What weights take: against published counts, against headers in the true shapes, and in each packed form."""

from __future__ import annotations

from typing import Any

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.hf_config import HfModel, decode_hf_config
from kotaro_bridge.domain.model.hf_weights import (
    WeightBytes,
    computed_bytes,
    computed_tensors,
    computed_weights,
    stored_bytes,
)
from kotaro_bridge.domain.model.safetensors import StoredTensor, read_safetensors
from tests.helpers.gguf_header import reader
from tests.helpers.hf_models import (
    DEEPSEEK3,
    LLAMA8,
    PUBLISHED,
    QWEN7,
    QWEN14,
    QWEN32,
    QWEN_SMALL,
    Config,
    text,
)
from tests.helpers.safetensors_file import Stored, header_of, packed, qwen2_tensors

GIB = 2**30
SHAPES = {
    "7B": (QWEN7, (28, 3584, 18944, 28, 4, 152_064)),
    "14B": (QWEN14, (48, 5120, 13824, 40, 8, 152_064)),
    "32B": (QWEN32, (64, 5120, 27648, 40, 8, 152_064)),
}
AWQ: Config = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ: Config = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}


def decode(config: Config, **changes: Any) -> HfModel:
    return decode_hf_config(text(config | changes))


def stored(tensors: list[Stored]) -> tuple[StoredTensor, ...]:
    header, size = header_of(tensors)
    return read_safetensors(reader(header, len(header) + size), len(header) + size)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_published_parameters(name: str) -> None:
    config, parameters = PUBLISHED[name]
    assert computed_weights(decode(config)) == 2 * parameters


def test_the_router_of_deepseek_v3_has_a_column_of_32_bits() -> None:
    model = decode(DEEPSEEK3)
    columns = [tensor for tensor in computed_tensors(model) if tensor.dtype == "F32"]
    assert sum(tensor.bytes for tensor in columns) == 58 * 256 * 4
    assert computed_weights(model) == 2 * 671_026_419_200 + 58 * 256 * 2  # what the page counts, without layer 61


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_as_the_files_of_the_plain_model(name: str) -> None:
    config, shape = SHAPES[name]
    model = decode(config)
    tensors = stored(qwen2_tensors(*shape))
    assert computed_weights(model) == sum(tensor.bytes for tensor in tensors)
    assert stored_bytes(model, tensors) == WeightBytes(computed_weights(model), 0)


@pytest.mark.parametrize(("name", "gib"), [("7B", 5.19), ("14B", 9.29), ("32B", 18.00)])
def test_the_same_as_the_files_packed_with_awq(name: str, gib: float) -> None:
    config, shape = SHAPES[name]
    model = decode(config, torch_dtype="float16", quantization_config=AWQ)
    tensors = stored(packed(qwen2_tensors(*shape), "awq"))
    assert computed_bytes(model) == stored_bytes(model, tensors)
    assert computed_weights(model) == sum(tensor.bytes for tensor in tensors)
    assert computed_weights(model) / GIB == pytest.approx(gib, abs=0.006)  # stored bytes of reference vllm §8
    assert computed_bytes(model).zero_points == sum(t.bytes for t in tensors if t.name.endswith("qzeros"))


@pytest.mark.parametrize("bits", [4, 8])
def test_the_same_as_the_files_packed_with_gptq(bits: int) -> None:
    config, shape = SHAPES["7B"]
    model = decode(config, torch_dtype="float16", quantization_config=GPTQ | {"bits": bits})
    tensors = stored(packed(qwen2_tensors(*shape), "gptq", bits))
    assert computed_bytes(model) == stored_bytes(model, tensors)


def test_biases_that_gptq_stores_and_nobody_loads() -> None:
    config, shape = SHAPES["7B"]
    model = decode(config, torch_dtype="float16", quantization_config=GPTQ)
    tensors = packed(qwen2_tensors(*shape), "gptq")
    more: list[Stored] = [("model.layers.0.mlp.down_proj.bias", "F16", (3584,))]
    assert stored_bytes(model, stored([*tensors, *more])) == computed_bytes(model)


def test_what_is_stored_and_not_loaded() -> None:
    model = decode(QWEN_SMALL)
    tensors = qwen2_tensors(24, 896, 4864, 14, 2, 151_936, tied=True)
    more: list[Stored] = [
        ("lm_head.weight", "BF16", (151_936, 896)),
        ("language_model.lm_head.weight", "BF16", (151_936, 896)),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", (32,)),
        ("model.layers.24.mlp.up_proj.weight", "BF16", (4864, 896)),
    ]
    assert stored_bytes(model, stored([*tensors, *more])).total == computed_weights(model)
    seen: Stored = ("vpm.encoder.layers.26.mlp.fc1.weight", "BF16", (100, 100))
    assert stored_bytes(model, stored([*tensors, seen])).total == computed_weights(model) + 20_000


def test_weights_of_32_bits_are_loaded_with_16() -> None:
    model = decode(QWEN_SMALL, torch_dtype="float32")
    tensors = [(name, "F32", dims) for name, _, dims in qwen2_tensors(24, 896, 4864, 14, 2, 151_936, tied=True)]
    assert stored_bytes(model, stored(tensors)).total == computed_weights(model) == 2 * 494_032_768
    scale: Stored = ("model.layers.0.mlp.up_proj.weight_scale", "F32", (1,))
    assert stored_bytes(model, stored([*tensors, scale])).total == computed_weights(model) + 4


def parts(config: Config, name: str, base: Config = QWEN7) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Tensors of one matrix, by the last part of their names."""
    model = decode(base, quantization_config=config)
    found = (tensor for tensor in computed_tensors(model) if tensor.name.startswith(f"{name}."))
    return {tensor.name.rpartition(".")[2]: (tensor.dtype, tensor.shape) for tensor in found}


UP = "model.layers.1.mlp.up_proj"


def test_fp8_in_blocks() -> None:
    fp8: Config = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    assert parts(fp8, UP) == {"weight": ("F8_E4M3", (18944, 3584)), "weight_scale_inv": ("F32", (148, 28))}
    assert parts(fp8, "lm_head") == {"weight": ("BF16", (152_064, 3584))}
    assert parts(fp8, "model.layers.3.mlp.gate", DEEPSEEK3)["weight"] == ("BF16", (256, 7168))
    experts = parts(fp8, "model.layers.3.mlp.experts.up_proj", DEEPSEEK3)
    assert experts == {"weight": ("F8_E4M3", (256, 2048, 7168)), "weight_scale_inv": ("F32", (256, 16, 56))}


def test_fp8_with_one_scale() -> None:
    fp8: Config = {"quant_method": "fp8", "activation_scheme": "static"}
    assert parts(fp8, UP)["input_scale"] == ("F32", (1,))
    assert set(parts(fp8 | {"activation_scheme": "dynamic"}, UP)) == {"weight", "weight_scale"}


def compressed(layout: str, weights: Config, inputs: Config | None = None, ignore: list[str] | None = None) -> Config:
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "ignore": ["lm_head"] if ignore is None else ignore,
        "config_groups": {"group_0": {"weights": weights, "input_activations": inputs}},
    }


def test_compressed_tensors_of_four_bits() -> None:
    four: Config = {"num_bits": 4, "type": "int", "group_size": 128, "symmetric": True, "strategy": "group"}
    found = parts(compressed("pack-quantized", four), UP)
    assert found == {
        "weight_packed": ("I32", (18944 * 3584 // 8,)),
        "weight_scale": ("BF16", (18944, 28)),
        "weight_shape": ("I64", (2,)),
    }
    uneven = parts(compressed("pack-quantized", four | {"symmetric": False, "actorder": "group"}), UP)
    assert uneven["weight_zero_point"] == ("I32", (2368, 28))
    assert uneven["weight_g_idx"] == ("I32", (3584,))
    model = decode(QWEN7, quantization_config=compressed("pack-quantized", four | {"symmetric": False}))
    assert computed_bytes(model).zero_points > 0


def test_compressed_tensors_of_eight_bits() -> None:
    eight: Config = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}
    by_row = parts(compressed("float-quantized", eight, {"dynamic": True}), UP)
    assert by_row == {"weight": ("F8_E4M3", (18944, 3584)), "weight_scale": ("BF16", (18944, 1))}
    whole = parts(compressed("int-quantized", eight | {"strategy": "tensor"}, {"dynamic": False}), UP)
    assert whole == {"weight": ("I8", (18944, 3584)), "weight_scale": ("BF16", (1,)), "input_scale": ("BF16", (1,))}


def test_the_output_layer_may_be_packed_too() -> None:
    assert set(parts(GPTQ | {"lm_head": True}, "lm_head")) == {"qweight", "qzeros", "scales", "g_idx"}


def test_matrices_that_stay_as_they_are() -> None:
    assert set(parts(AWQ | {"modules_to_not_convert": ["layers.1.mlp"]}, UP)) == {"weight"}
    assert set(parts(AWQ | {"modules_to_not_convert": ["", "visual"]}, UP)) == {"qweight", "qzeros", "scales"}
    assert set(parts(AWQ | {"zero_point": False}, UP)) == {"qweight", "scales"}
    four: Config = {"num_bits": 4, "group_size": 128, "symmetric": True}
    named = compressed("pack-quantized", four, ignore=["re:(", "re:.*mlp[.]up_proj$"])
    assert set(parts(named, UP)) == {"weight"}
    assert "weight_packed" in parts(named, "model.layers.1.mlp.down_proj")


def test_biases_of_experts_and_matrices() -> None:
    plain, with_biases = decode(LLAMA8), decode(LLAMA8, attention_bias=True, mlp_bias=True)
    each_layer = 4096 + 1024 + 1024 + 4096 + 2 * 14336 + 4096
    assert computed_weights(with_biases) - computed_weights(plain) == 2 * 32 * each_layer


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 5, "group_size": 128}, "gptq"),
        ({"bits": 4}, "?"),
        (compressed("marlin-24", {"num_bits": 4}), "compressed-tensors"),
    ],
)
def test_a_packing_that_is_not_known_is_no_guess(config: Config, method: str) -> None:
    with pytest.raises(ProblemError) as caught:
        computed_weights(decode(QWEN7, quantization_config=config))
    assert (caught.value.problem.code, dict(caught.value.problem.params)) == (
        "model.unknown_packing",
        {"method": method},
    )
