"""What the weights of a Hugging Face model take: from its shape alone, or from the headers of its files.

Owns the matrices of each family and how a packed one is stored. Must not read files.

Source: modeling_*.py of transformers 5.23; packed forms: AutoAWQ 0.2.9 (modules/linear/gemm.py), AutoGPTQ
0.7.1 (qlinear_cuda.py), compressed-tensors 0.20 (compressors/). Not from a source at hand: the names of fp8's scales.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.hf_config import Experts, HfModel, Mla
from kotaro_bridge.domain.model.hf_families import FAMILIES, MoeStyle
from kotaro_bridge.domain.model.hf_quantization import Quantization
from kotaro_bridge.domain.model.safetensors import StoredTensor

_FULL_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "I64": 8, "F8_E4M3": 1, "I8": 1}


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """What an engine holds of a model on its cards, all cards together.

    Args:
        total: bytes of all tensors that are loaded, in the form in which they are stored.
        zero_points: those of them that are packed zero points (measured on Hopper: unpacked to 16 bits at load).
    """

    total: int
    zero_points: int


def computed_weights(model: HfModel) -> int:
    """Bytes of the weights by formula, for a model whose `config.json` alone is there.

    Raises:
        ProblemError: `model.unknown_packing` (`method`: how this method stores a matrix is not known).
    """
    return computed_bytes(model).total


@lru_cache(maxsize=256)
def computed_bytes(model: HfModel) -> WeightBytes:
    """As `computed_weights`, with the zero points apart."""
    return _sum(tuple(computed_tensors(model)))


def stored_bytes(model: HfModel, stored: tuple[StoredTensor, ...]) -> WeightBytes:
    """What is loaded of the tensors of a model's files.

    Not loaded are rotary tables, an output layer that is the embedding, layers that predict further tokens (stored
    behind the last layer), and biases that AutoGPTQ stores for matrices that have none; 32-bit weights become 16-bit
    ones, scales do not. (How vllm loads; reference vllm §2 for the 16 bits, the rest was not read in its source.)
    """
    return _sum(tuple(_loaded(model, stored)))


def _sum(tensors: tuple[StoredTensor, ...]) -> WeightBytes:
    zeros = sum(tensor.bytes for tensor in tensors if tensor.name.endswith(("qzeros", "zero_point")))
    return WeightBytes(sum(tensor.bytes for tensor in tensors), zeros)


_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_OUTPUT = re.compile(r"(?:^|\.)lm_head\.")
_NO_BIAS = re.compile(r"\.(?:o_proj|mlp\..*)\.bias$")
_VISION_PARTS = ("visual.", "vpm.", "vision_tower.", "vision_model.", "resampler.")


def _loaded(model: HfModel, stored: tuple[StoredTensor, ...]) -> Iterator[StoredTensor]:
    for tensor in stored:
        name = tensor.name
        layer = _LAYER.search(name)
        if name.endswith("rotary_emb.inv_freq") or (model.tied_embeddings and _OUTPUT.search(name)):
            continue
        if model.quantization is not None and model.quantization.method == "gptq" and _NO_BIAS.search(name):
            continue
        sees = any(part in name for part in _VISION_PARTS)
        if layer is not None and int(layer[1]) >= model.layers and not sees:
            continue
        if tensor.dtype == "F32" and name.endswith((".weight", ".bias")):
            yield StoredTensor(name, model.dtype, tensor.shape, tensor.bytes // 4 * model.dtype_bytes)
        else:
            yield tensor


def computed_tensors(model: HfModel) -> Iterator[StoredTensor]:
    """The tensors that the shape implies. Experts of a layer are one tensor, a vision part is one."""
    return _Matrices(model).all()


class _Matrices:
    """The tensors of one model."""

    def __init__(self, model: HfModel) -> None:
        self._model = model
        self._family = FAMILIES[model.family]
        self._full = "F16" if model.dtype in ("float16", "float32") else "BF16"  # as loaded, see `HfModel.dtype_bytes`

    def all(self) -> Iterator[StoredTensor]:
        model = self._model
        yield self._plain("model.embed_tokens.weight", model.vocab, model.hidden)
        for layer in range(model.layers):
            name = f"model.layers.{layer}"
            if model.mla is not None:
                yield from self._latent(f"{name}.self_attn", model.mla)
            else:
                yield from self._attention(f"{name}.self_attn", layer)
            experts = model.experts
            if experts is not None and experts.sparse[layer]:
                yield from self._sparse(f"{name}.mlp", experts)
            else:
                yield from self._feed_forward(f"{name}.mlp", model.intermediate)
            for number in range(self._family.norms):
                yield self._plain(f"{name}.norm{number}.weight", model.hidden)
        yield self._plain("model.norm.weight", model.hidden)
        if not model.tied_embeddings:
            packed = model.quantization is not None and model.quantization.lm_head
            yield from self._linear("lm_head", model.vocab, model.hidden, may_pack=packed)
        if model.vision is not None:
            yield self._plain("vision", model.vision.parameters)

    def _tensor(self, name: str, dtype: str, shape: tuple[int, ...]) -> StoredTensor:
        return StoredTensor(name, dtype, shape, prod(shape) * _FULL_BYTES[dtype])

    def _plain(self, name: str, *shape: int) -> StoredTensor:
        return self._tensor(name, self._full, shape)

    def _attention(self, name: str, layer: int) -> Iterator[StoredTensor]:
        model = self._model
        queries, kv = model.heads * model.head_dim, model.kv_heads[layer] * model.head_dim
        yield from self._linear(f"{name}.q_proj", queries, model.hidden, bias=model.qkv_bias)
        yield from self._linear(f"{name}.k_proj", kv, model.hidden, bias=model.qkv_bias)
        yield from self._linear(f"{name}.v_proj", kv, model.hidden, bias=model.qkv_bias)
        yield from self._linear(f"{name}.o_proj", model.hidden, queries, bias=model.output_bias)
        if self._family.head_norms:
            yield self._plain(f"{name}.q_norm.weight", model.head_dim)
            yield self._plain(f"{name}.k_norm.weight", model.head_dim)

    def _latent(self, name: str, mla: Mla) -> Iterator[StoredTensor]:
        model = self._model
        queries = model.heads * (mla.nope_dim + mla.rope_dim)
        if mla.q_rank:
            yield from self._linear(f"{name}.q_a_proj", mla.q_rank, model.hidden)
            yield self._plain(f"{name}.q_a_layernorm.weight", mla.q_rank)
            yield from self._linear(f"{name}.q_b_proj", queries, mla.q_rank)
        else:
            yield from self._linear(f"{name}.q_proj", queries, model.hidden)
        yield from self._linear(f"{name}.kv_a_proj_with_mqa", mla.kv_rank + mla.rope_dim, model.hidden)
        yield self._plain(f"{name}.kv_a_layernorm.weight", mla.kv_rank)
        yield from self._linear(f"{name}.kv_b_proj", model.heads * (mla.nope_dim + mla.value_dim), mla.kv_rank)
        yield from self._linear(f"{name}.o_proj", model.hidden, model.heads * mla.value_dim)

    def _feed_forward(self, name: str, width: int, copies: int = 1) -> Iterator[StoredTensor]:
        hidden, bias = self._model.hidden, self._model.mlp_bias and copies == 1
        yield from self._linear(f"{name}.gate_proj", width, hidden, bias=bias, copies=copies)
        yield from self._linear(f"{name}.up_proj", width, hidden, bias=bias, copies=copies)
        yield from self._linear(f"{name}.down_proj", hidden, width, bias=bias, copies=copies)

    def _sparse(self, name: str, experts: Experts) -> Iterator[StoredTensor]:
        model, style = self._model, self._family.moe
        yield self._plain(f"{name}.gate.weight", experts.count, model.hidden)
        if style is MoeStyle.DEEPSEEK and model.family == "deepseek_v3":
            yield self._tensor(f"{name}.gate.e_score_correction_bias", "F32", (experts.count,))
        yield from self._feed_forward(f"{name}.experts", experts.intermediate, experts.count)
        if experts.shared_intermediate:
            yield from self._feed_forward(f"{name}.shared_expert", experts.shared_intermediate)
            if style is MoeStyle.QWEN:
                yield self._plain(f"{name}.shared_expert_gate.weight", 1, model.hidden)

    def _linear(
        self, name: str, rows: int, columns: int, *, bias: bool = False, copies: int = 1, may_pack: bool = True
    ) -> Iterator[StoredTensor]:
        packing = self._model.quantization if may_pack else None
        if packing is None or _is_excluded(name, packing):
            yield self._plain(f"{name}.weight", *_stack(copies, rows, columns))
        else:
            for part, dtype, shape in _packed(packing, self._full, rows, columns):
                yield self._tensor(f"{name}.{part}", dtype, _stack(copies, *shape))
        if bias:
            yield self._plain(f"{name}.bias", rows)


def _stack(copies: int, *shape: int) -> tuple[int, ...]:
    return shape if copies == 1 else (copies, *shape)


def _is_excluded(name: str, packing: Quantization) -> bool:
    """Whether a matrix stays as it is: a list holds parts of names, or regular expressions after `re:`."""
    for part in packing.excluded:
        if part.startswith("re:"):
            try:
                if re.match(part[3:], name):
                    return True
            except re.error:
                continue
        elif part and part in name:
            return True
    return False


_Part = tuple[str, str, tuple[int, ...]]


def _packed(packing: Quantization, full: str, rows: int, columns: int) -> Iterator[_Part]:
    """Tensors of one packed matrix: name, dtype, shape."""
    method, bits = packing.method, packing.bits
    groups = -(-columns // packing.group_size) if packing.group_size else 1
    if method in ("awq", "gptq") and bits in (2, 3, 4, 8):
        yield "qweight", "I32", (rows * columns * bits // 32,)
        if packing.zero_point:
            yield "qzeros", "I32", (groups * rows * bits // 32,)
        yield "scales", "F16", (groups, rows)
        if method == "gptq":
            yield "g_idx", "I32", (columns,)
    elif method == "fp8":
        yield "weight", "F8_E4M3", (rows, columns)
        if packing.block:
            yield "weight_scale_inv", "F32", (-(-rows // packing.block[0]), -(-columns // packing.block[1]))
        else:
            yield "weight_scale", "F32", (1,)
            if packing.static_inputs:
                yield "input_scale", "F32", (1,)
    elif method == "compressed-tensors" and packing.layout == "pack-quantized" and bits in (2, 3, 4, 8):
        yield "weight_packed", "I32", (rows * columns * bits // 32,)
        yield "weight_scale", full, (rows, groups)
        yield "weight_shape", "I64", (2,)
        if packing.zero_point:
            yield "weight_zero_point", "I32", (rows * bits // 32, groups)
        if packing.reordered:
            yield "weight_g_idx", "I32", (columns,)
    elif method == "compressed-tensors" and packing.layout in ("float-quantized", "int-quantized", "naive-quantized"):
        yield "weight", "I8" if packing.layout.startswith("int") else "F8_E4M3", (rows, columns)
        yield "weight_scale", full, (rows, 1) if packing.per_channel else (1,)
        if packing.static_inputs:
            yield "input_scale", full, (1,)
    else:
        raise ProblemError(problem("model.unknown_packing", method=method or "?"))
