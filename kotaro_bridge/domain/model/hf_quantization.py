"""How the weights of a Hugging Face model are packed.

Owns the meaning of `quantization_config`. Must not know a model's matrices (`hf_weights`).

Source: what AutoAWQ 0.2.9, AutoGPTQ 0.7.1 and compressed-tensors 0.20 write (config/base.py of the latter).
"""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.model.hf_fields import Group, QuantizationFields


@dataclass(frozen=True, slots=True)
class Quantization:
    """What is packed, and how.

    Args:
        method: `awq`, `gptq`, `fp8`, `compressed-tensors`, or as the file says.
        bits: of one weight; None where the file does not say.
        group_size: weights of a row that share a scale; 0 where a whole row or matrix does.
        zero_point: zero points are stored beside the scales.
        lm_head: the output layer is packed too.
        layout: how the tensors are stored: `format` of compressed-tensors, else "".
        block: rows and columns of a block that shares a scale (fp8 of DeepSeek), None elsewhere.
        static_inputs: a scale for the inputs is stored with each matrix.
        per_channel: each row has a scale of its own (compressed-tensors), not the whole matrix.
        excluded: parts of names of matrices that stay as they are, `re:` in front of a regular expression.
    """

    method: str
    bits: int | None
    group_size: int
    zero_point: bool
    lm_head: bool
    layout: str = ""
    block: tuple[int, int] | None = None
    static_inputs: bool = False
    per_channel: bool = False
    reordered: bool = False
    excluded: tuple[str, ...] = ()


def read_quantization(fields: QuantizationFields) -> Quantization | None:
    """What `quantization_config` says; None if it says that nothing is packed."""
    method = fields.quant_method.lower().replace("_", "-")
    group = next(iter((fields.config_groups or {}).values()), None)
    if method == "compressed-tensors" or (not method and group is not None):
        return _compressed(fields, group)
    excluded = (*(fields.modules_to_not_convert or ()), *(fields.ignored_layers or ()))
    block = fields.weight_block_size
    return Quantization(
        method=method,
        bits=fields.bits or fields.w_bit or (8 if method == "fp8" else None),
        group_size=max(0, fields.group_size or fields.q_group_size or 0),
        # GPTQ stores zero points even where they are all the same.
        zero_point=method == "gptq" or (fields.zero_point is not False if method == "awq" else bool(fields.zero_point)),
        lm_head=bool(fields.lm_head),
        block=(block[0], block[1]) if block is not None and len(block) == 2 and all(block) else None,
        static_inputs=fields.activation_scheme == "static",
        excluded=excluded,
    )


def _compressed(fields: QuantizationFields, group: Group | None) -> Quantization | None:
    if group is None or group.weights is None:
        return None
    weights, inputs, ignored = group.weights, group.input_activations, tuple(fields.ignore or ())
    return Quantization(
        method="compressed-tensors",
        bits=weights.num_bits,
        group_size=max(0, weights.group_size or 0),
        zero_point=weights.symmetric is False,
        lm_head=not any("lm_head" in each for each in ignored),
        layout=fields.format or "",
        static_inputs=inputs is not None and inputs.dynamic is False,
        per_channel=weights.strategy == "channel",
        reordered=bool(weights.actorder) and weights.actorder not in ("static", "weight"),
        excluded=ignored,
    )
