"""GGUF headers: what a model file says of itself, read in blocks through a function, with bounds.

Owns the file format (versions 2 and 3) and which tensors an engine keeps out of the GPU. Must not open files (the
caller hands in `ReadAt`, local or through a slow channel) and must not trust a number of the header.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TypeAlias

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.ggml_types import GGML_TYPES
from kotaro_bridge.domain.model.gguf_cursor import Cursor, ReadAt

_MAX_KEYS = 16_384
_MAX_TENSORS = 32_768
_MAX_ELEMENTS = 16 << 20
_MAX_KEPT_BYTES = 4096
_MAX_KEPT_KEYS = 256  # the keys of one architecture are some forty
_MAX_LAYERS = 4096
_MAX_DIMENSION = 1 << 40
_MAX_DATA_BYTES = 1 << 50
_MAX_TENSOR_NAME = 64  # GGML_MAX_NAME in ggml.h
_DEFAULT_ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT in gguf.h

# Value types of the format: number -> struct format; 8 is a string, 9 an array (gguf.h, enum gguf_type).
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING = 8
_ARRAY = 9

# What stays in host memory even at full offload (reference llama-server §1.11; LLM_TENSOR_LAYER_INPUT, llama-arch.cpp).
_INPUT_PREFIXES = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.")

_PROJECTOR = "clip"
_TOKENS = "tokenizer.ggml.tokens"
_GENERAL = {"general.architecture", "general.name", "general.file_type", "general.alignment", _TOKENS}
_GENERAL |= {"split.no", "split.count", "split.tensors.count"}  # gguf-split.cpp
_OF_ARCHITECTURE = {  # reference llama-server §7, "GGUF keys"; names: LLM_KV_NAMES in llama-arch.cpp
    "block_count",
    "context_length",
    "embedding_length",
    "vocab_size",
    "feed_forward_length",
    "nextn_predict_layers",
    "leading_dense_block_count",
    "expert_count",
    "expert_used_count",
    "expert_feed_forward_length",
    "expert_shared_count",
    "full_attention_interval",
    "token_shift_count",
    "wkv.head_size",
    "rope.dimension_count",
    "shortconv.l_cache",
    "ssm.conv_kernel",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.time_step_rank",
    "ssm.group_count",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.key_length_mla",
    "attention.value_length_mla",
    "attention.kv_lora_rank",
    "attention.key_length_swa",
    "attention.value_length_swa",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.shared_kv_layers",
    "attention.recurrent_layers",
}

_ARCHITECTURE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")

Value: TypeAlias = int | float | str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of the table. `dims` row length first, `type` a ggml type name, `bytes` without padding."""

    name: str
    dims: tuple[int, ...]
    type: str
    bytes: int


@dataclass(frozen=True, slots=True)
class GgufModel:
    """What a header says. Sizes in bytes.

    Args:
        block_count: layers, with those that predict further tokens (`nextn_predict_layers`).
        head_count: attention heads of the first layer; head_count_kv: KV heads of each layer.
        key_length, value_length: elements per head, of layers that see the whole context.
        file_type: the number of `general.file_type`, None if absent.
        keys: the values of `_OF_ARCHITECTURE` that the header gives, without the architecture in front: a number, or
            one for each layer. What they mean depends on the architecture (`kv_cache`).
        split_count: files the model is cut into.
        part_tensors: how many of the `tensors` are in each file of a split model that was read; () for one file.
        alignment: each tensor starts at a multiple of this.
        data_offset: where tensor data starts in the file.
    """

    architecture: str
    name: str
    block_count: int
    head_count: int
    head_count_kv: tuple[int, ...]
    key_length: int
    value_length: int
    embedding_length: int
    context_length: int
    vocab_size: int
    file_type: int | None
    keys: Mapping[str, int | tuple[int, ...]]
    split_count: int
    alignment: int
    data_offset: int
    tensors: tuple[TensorInfo, ...]
    part_tensors: tuple[int, ...] = ()

    @property
    def is_whole(self) -> bool:
        """True if all files were read; if not, `tensors` and all sums lack those of the others."""
        return max(1, len(self.part_tensors)) == max(1, self.split_count)

    @property
    def tied_embeddings(self) -> bool:
        """True if the output layer uses the token embedding (no `output.weight`): it is then held twice."""
        return all(tensor.name != "output.weight" for tensor in self.tensors)

    @property
    def weights_total(self) -> int:
        """Bytes of all tensors of the file."""
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def input_bytes(self) -> int:
        """Bytes that stay in host memory even at full offload (input layer)."""
        return sum(tensor.bytes for tensor in self.tensors if tensor.name.startswith(_INPUT_PREFIXES))

    @property
    def input_span(self) -> int:
        """Bytes from the first to the last input tensor: what a buffer for them shows when the file is mapped
        (`CPU_Mapped`; reference llama-server §5.1). Other tensors in between are in it, and on the GPU all the same.
        """
        tensors = iter(self.tensors)
        counts = self.part_tensors or (len(self.tensors),)
        return sum(self._span(islice(tensors, count)) for count in counts)

    def _span(self, tensors: Iterable[TensorInfo]) -> int:
        """`input_span` of one file."""
        at, first, end = 0, None, 0
        for tensor in tensors:
            if tensor.name.startswith(_INPUT_PREFIXES):
                first, end = at if first is None else first, at + tensor.bytes
            at += -(-tensor.bytes // self.alignment) * self.alignment
        return end - (first or 0)

    @property
    def weights_on_gpu(self) -> int:
        """Bytes on the GPU at full offload: all but the input layer, and a copy of a tied token embedding.

        Source: reference llama-server §7; 8148.38 MiB for a 14B Q4_K_M, as measured (captures full14).
        """
        embedding = sum(tensor.bytes for tensor in self.tensors if tensor.name == "token_embd.weight")
        copy = embedding if self.tied_embeddings else 0  # asked once: the plan is made anew while a slider moves
        return self.weights_total - self.input_bytes + copy


def read_gguf(read_at: ReadAt, file_size: int | None) -> GgufModel:
    """The header of a GGUF file.

    Args:
        read_at: reads the file; called with blocks of 4 MiB, 64 MiB in all.
        file_size: bytes of the file if known; if not, its end is looked for with one-byte reads.

    Raises:
        ProblemError: `model.not_gguf` (other magic), `model.truncated` (`expected_bytes`, `actual_bytes`),
            `model.broken` (`what`, `offset`: the header contradicts itself or the format),
            `model.not_language_model` (`architecture`: a projector or the like; no `block_count`),
            `model.split_part` (a later part of a split model; only the first part carries the header).
    """
    cursor = Cursor(read_at, file_size)
    return _model(cursor, *read_header(cursor))


def read_projector(read_at: ReadAt, file_size: int | None) -> int:
    """Bytes of all tensors of a picture or sound encoder's file, which llama-server logs as `model size` (clip.cpp).

    Args:
        read_at, file_size: as for `read_gguf`.

    Raises:
        ProblemError: as `read_gguf`, and `model.not_projector` (`architecture`: a language model or the like).
    """
    cursor = Cursor(read_at, file_size)
    values, tensors, _ = read_header(cursor)
    architecture = values.get("general.architecture")
    if architecture != _PROJECTOR:
        raise ProblemError(problem("model.not_projector", architecture=str(architecture or "?")))
    return sum(tensor.bytes for tensor in tensors)


def read_header(cursor: Cursor) -> tuple[dict[str, Value], tuple[TensorInfo, ...], int]:
    """The values that matter here, tensors, and where their data starts; the file is long enough for them.

    Raises:
        ProblemError: `model.not_gguf`, `model.truncated`, `model.broken`, see `read_gguf`.
    """
    if cursor.magic() != b"GGUF":
        raise ProblemError(problem("model.not_gguf"))
    version = cursor.uint32()
    if version not in (2, 3):  # 1 is refused by llama.cpp too; a big-endian file reads as a huge number
        cursor.broken("version")
    tensor_count = cursor.count("tensor_count", _MAX_TENSORS)
    values = _read_values(cursor, cursor.count("key_count", _MAX_KEYS))
    alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        cursor.broken("alignment")
    tensors, data_size = _read_tensors(cursor, tensor_count, alignment)
    data_offset = -(-cursor.position // alignment) * alignment
    cursor.demand_size(data_offset + data_size)
    return values, tensors, data_offset


def _read_values(cursor: Cursor, key_count: int) -> dict[str, Value]:
    """The values that matter here; all others are stepped over."""
    values: dict[str, Value] = {}
    for _ in range(key_count):
        key = cursor.text("key", 65_535)
        kind = cursor.uint32()
        if key in _GENERAL or key.partition(".")[2] in _OF_ARCHITECTURE:
            if key in values:
                cursor.broken("duplicate_key")
            if len(values) >= _MAX_KEPT_KEYS:
                cursor.broken("key_count")
            values[key] = _read_value(cursor, key, kind)
        else:
            _skip_value(cursor, kind)
    return values


def _read_value(cursor: Cursor, key: str, kind: int) -> Value:
    if kind == _STRING:
        return cursor.text("string_length", _MAX_KEPT_BYTES)
    if kind != _ARRAY:
        return cursor.number(_scalar_form(cursor, kind))
    item, count = _array_head(cursor)
    if key == _TOKENS:
        _skip_items(cursor, item, count)
        return count
    form = _scalar_form(cursor, item)
    if count > _MAX_LAYERS or form in ("f", "d"):
        cursor.broken("array")
    return tuple(map(int, cursor.numbers(form, count)))


def _skip_value(cursor: Cursor, kind: int) -> None:
    if kind == _ARRAY:
        _skip_items(cursor, *_array_head(cursor))
    else:
        _skip_items(cursor, kind, 1)


def _array_head(cursor: Cursor) -> tuple[int, int]:
    item = cursor.uint32()
    return item, cursor.count("array_length", _MAX_ELEMENTS)


def _skip_items(cursor: Cursor, item: int, count: int) -> None:
    if item == _STRING:
        cursor.skip_strings(count)
    else:
        cursor.skip(count * struct.calcsize(_scalar_form(cursor, item)))


def _scalar_form(cursor: Cursor, kind: int) -> str:
    form = _SCALARS.get(kind)
    if form is None:  # also an array of arrays, which the format does not have (gguf.cpp refuses it)
        cursor.broken("value_type")
    return form


def _read_tensors(cursor: Cursor, count: int, alignment: int) -> tuple[tuple[TensorInfo, ...], int]:
    """The table and the size of the data, padding included. Offsets must follow each other as gguf.cpp demands."""
    tensors: dict[str, TensorInfo] = {}
    end = 0
    for _ in range(count):
        tensor = _read_tensor(cursor)
        if tensor.name in tensors:
            cursor.broken("duplicate_tensor")
        if cursor.number("Q") != end:
            cursor.broken("tensor_offset")
        tensors[tensor.name] = tensor
        end += -(-tensor.bytes // alignment) * alignment
        if end > _MAX_DATA_BYTES:
            cursor.broken("data_size")
    return tuple(tensors.values()), end


def _read_tensor(cursor: Cursor) -> TensorInfo:
    name = cursor.text("tensor_name", _MAX_TENSOR_NAME - 1)
    dimensions = cursor.uint32()
    if dimensions > 4:
        cursor.broken("dimensions")
    dims = tuple(cursor.count("dimension", _MAX_DIMENSION) for _ in range(dimensions))
    known = GGML_TYPES.get(cursor.uint32())
    if known is None:
        cursor.broken("tensor_type")
    type_name, block, block_bytes = known
    elements = 1
    for size in dims:
        elements *= size
    if (dims[0] if dims else 1) % block:
        cursor.broken("tensor_shape")
    return TensorInfo(name, dims, type_name, elements // block * block_bytes)


def _numbers(values: dict[str, Value], prefix: str) -> Mapping[str, int | tuple[int, ...]]:
    """The whole numbers under a prefix that is taken off. An engine refuses a key of another type by itself."""
    return MappingProxyType(
        {
            key.removeprefix(prefix): value
            for key, value in values.items()
            if key.startswith(prefix) and isinstance(value, int | tuple)
        }
    )


def _model(cursor: Cursor, values: dict[str, Value], tensors: tuple[TensorInfo, ...], data_offset: int) -> GgufModel:
    architecture = values.get("general.architecture")
    if architecture is None and "split.count" in values:
        raise ProblemError(problem("model.split_part"))
    if not isinstance(architecture, str) or not _ARCHITECTURE.match(architecture):
        cursor.broken("architecture")
    if f"{architecture}.block_count" not in values:
        raise ProblemError(problem("model.not_language_model", architecture=architecture))

    def integer(key: str, default: int | None = None) -> int:
        value = values.get(key, default)
        if not isinstance(value, int) or not 0 <= value <= _MAX_DIMENSION:
            cursor.broken(key)
        return value

    layers = integer(f"{architecture}.block_count")
    if not 1 <= layers <= _MAX_LAYERS:
        cursor.broken("block_count")

    def per_layer(key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        value = values.get(key, default)
        found = value if isinstance(value, tuple) else (integer(key),) * layers
        if len(found) != layers or not all(0 <= heads <= _MAX_DIMENSION for heads in found):
            cursor.broken(key)
        return found

    attention = f"{architecture}.attention"
    embedding = integer(f"{architecture}.embedding_length")
    heads = per_layer(f"{attention}.head_count", (0,) * layers)
    head_length = embedding // heads[0] if heads[0] else 0  # llama-model.cpp, load_hparams
    name, file_type = values.get("general.name", ""), values.get("general.file_type")
    return GgufModel(
        architecture=architecture,
        name=name if isinstance(name, str) else "",
        block_count=layers,
        head_count=heads[0],
        head_count_kv=per_layer(f"{attention}.head_count_kv", heads),
        key_length=integer(f"{attention}.key_length", head_length),
        value_length=integer(f"{attention}.value_length", head_length),
        embedding_length=embedding,
        context_length=integer(f"{architecture}.context_length"),
        vocab_size=integer(f"{architecture}.vocab_size", integer(_TOKENS, 0)),
        file_type=file_type if isinstance(file_type, int) else None,
        keys=_numbers(values, f"{architecture}."),
        split_count=integer("split.count", 1),
        alignment=integer("general.alignment", _DEFAULT_ALIGNMENT),
        data_offset=data_offset,
        tensors=tensors,
    )
