"""The GGUF file that llama.cpp makes of a model: its header from shape and quantization, before anything is downloaded.

Owns which tensors of a Qwen2 language model get which element type. Must not know a model by name.

Source: llama_tensor_get_type_impl and tensor_allows_quantization in llama-quant.cpp of llama.cpp v0.5.0-dev (norms and
biases stay f32), and the tensors of src/models/qwen2.cpp. Checked: the files of Qwen's own repositories are larger than
their tensors here by the same header for each quantization (12 files, to the byte; tests), and the weights on the card
are those of the captures (full14 8148.38 MiB, full7-8k 4168.09 MiB).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from types import MappingProxyType
from typing import Final

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.ggml_types import GGML_TYPES
from kotaro_bridge.domain.model.gguf import GgufModel, TensorInfo
from kotaro_bridge.domain.model.hf_config import HfModel

FAMILY: Final = "qwen2"
"""The only architecture whose mix is known here."""

EVERY_LAYER: Final = "blk.*."
"""How the names of tensors begin that stand for those of all layers together."""

_ALIGNMENT = 32
_BLOCKS: Final = {name: (elements, size_bytes) for name, elements, size_bytes in GGML_TYPES.values()}


class Mix(StrEnum):
    """A mix of element types, as llama-quantize names it."""

    Q4_K_M = "Q4_K_M"
    Q5_K_M = "Q5_K_M"
    Q6_K = "Q6_K"
    Q8_0 = "Q8_0"


@dataclass(frozen=True, slots=True)
class _Types:
    """Element types of a mix: of most matrices, of every third value and down matrix and those at both ends, and of the
    output layer. `file_type` is the number of `general.file_type` (enum llama_ftype in llama.h).
    """

    plain: str
    more: str
    output: str
    file_type: int


_MIXES: Final = {
    Mix.Q4_K_M: _Types("Q4_K", "Q6_K", "Q6_K", 15),
    Mix.Q5_K_M: _Types("Q5_K", "Q6_K", "Q6_K", 17),
    Mix.Q6_K: _Types("Q6_K", "Q6_K", "Q6_K", 18),
    Mix.Q8_0: _Types("Q8_0", "Q8_0", "Q8_0", 7),
}


def gguf_of(model: HfModel, mix: Mix, name: str) -> GgufModel:
    """The header of the language part of a model in a quantization.

    The tensors of one kind and type are given as one, stacked over the layers: every sum over them stays what it is,
    and a plan is made from some 20 tensors instead of up to 800.

    Raises:
        ProblemError: `catalogue.recipe` (`family`: a model of another family than Qwen2).
    """
    if model.family != FAMILY or model.tied_embeddings or model.experts is not None:
        raise ProblemError(problem("catalogue.recipe", family=model.family))
    types = _MIXES[mix]
    return GgufModel(
        architecture=FAMILY,
        name=name,
        block_count=model.layers,
        head_count=model.heads,
        head_count_kv=model.kv_heads,
        key_length=model.head_dim,
        value_length=model.head_dim,
        embedding_length=model.hidden,
        context_length=model.context_length,
        vocab_size=model.vocab,
        file_type=types.file_type,
        keys=MappingProxyType(
            {
                "block_count": model.layers,
                "context_length": model.context_length,
                "embedding_length": model.hidden,
                "feed_forward_length": model.intermediate,
                "attention.head_count": model.heads,
                "attention.head_count_kv": model.kv_heads[0],
            }
        ),
        split_count=1,
        alignment=_ALIGNMENT,
        data_offset=0,
        tensors=tuple(_tensors(model, types)),
    )


def _tensors(model: HfModel, types: _Types) -> Iterator[TensorInfo]:
    yield _tensor("token_embd.weight", (model.hidden, model.vocab), types.plain)
    layers = sorted(tensor for layer in range(model.layers) for tensor in _layer(model, types, layer))
    for (kind, element), same in groupby(layers, key=lambda each: each[:2]):
        rows = [dims for _, _, dims in same]
        yield _tensor(f"{EVERY_LAYER}{kind}", (rows[0][0], sum(dims[1] for dims in rows)), element)
    yield _tensor("output_norm.weight", (model.hidden, 1), "F32")
    yield _tensor("output.weight", (model.hidden, model.vocab), types.output)


def _layer(model: HfModel, types: _Types, layer: int) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Kind, element type, and row length with rows, of each tensor of a layer."""
    width, wide, kept = model.hidden, model.intermediate, model.kv_heads[layer] * model.head_dim
    asked = model.heads * model.head_dim
    lifted = types.more if _has_more_bits(layer, model.layers) else types.plain
    yield "attn_norm.weight", "F32", (width, 1)
    yield "attn_q.weight", types.plain, (width, asked)
    yield "attn_q.bias", "F32", (asked, 1)
    yield "attn_k.weight", types.plain, (width, kept)
    yield "attn_k.bias", "F32", (kept, 1)
    yield "attn_v.weight", lifted, (width, kept)
    yield "attn_v.bias", "F32", (kept, 1)
    yield "attn_output.weight", types.plain, (asked, width)
    yield "ffn_norm.weight", "F32", (width, 1)
    yield "ffn_gate.weight", types.plain, (width, wide)
    yield "ffn_up.weight", types.plain, (width, wide)
    yield "ffn_down.weight", lifted, (wide, width)


def _has_more_bits(layer: int, layers: int) -> bool:
    """`use_more_bits`: the first and the last eighth, and every third layer between them."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _tensor(name: str, dims: tuple[int, int], element: str) -> TensorInfo:
    block, size_bytes = _BLOCKS[element]
    if dims[0] % block:  # llama-quantize takes another type then
        raise ProblemError(problem("catalogue.recipe", family=FAMILY))
    return TensorInfo(name, dims, element, dims[0] // block * size_bytes * dims[1])
