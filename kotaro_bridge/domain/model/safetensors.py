"""Safetensors headers: which tensors a file holds, read through a function, with bounds; and the index of a cut model.

Owns both formats. Must not open files and must not trust a number of the header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Annotated, Final, NoReturn

import msgspec

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.gguf_cursor import ReadAt, find_size

# The format allows 100 MB. 8 MiB hold some 60,000 tensors of one file, more than the largest models have in one of
# theirs, and decode within the memory that a hostile header may cost.
MAX_HEADER_BYTES: Final = 8 << 20
MAX_INDEX_BYTES: Final = 16 << 20  # 145,000 tensors of a quantized 235B with experts take 12 MiB
_READ_BYTES = 1 << 20
_MAX_ENTRIES = 1 << 17
_MAX_ENTRY_BYTES = 1024
_MAX_DIMENSIONS = 8
_MAX_DATA_BYTES = 1 << 50

# Bits of an element. Source: enum Dtype in safetensors/src/tensor.rs.
_BITS: Final = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor. `dtype` as the format names it (`BF16`), `shape` outermost first, `bytes` without padding."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


_Size = Annotated[int, msgspec.Meta(ge=0, le=_MAX_DATA_BYTES)]


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """What the header says of one tensor."""

    dtype: str
    shape: tuple[_Size, ...]
    data_offsets: tuple[_Size, _Size]


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])  # `__metadata__` is another kind of value
_ENTRY = msgspec.json.Decoder(_Entry)
_INDEX = msgspec.json.Decoder(_Index)
_FILE_NAME = re.compile(r"[A-Za-z0-9_.=-]{1,200}")  # no folders: an index names files beside itself


def read_safetensors(read_at: ReadAt, file_size: int | None) -> tuple[StoredTensor, ...]:
    """The tensors of a file, in the order of their data. Reads the header alone, 8 MiB at most.

    Args:
        read_at: reads the file; called with blocks of 1 MiB at most.
        file_size: bytes of the file if known; if not, one byte is read at its end.

    Raises:
        ProblemError: `model.not_safetensors`, `model.truncated` (`expected_bytes`, `actual_bytes`), `model.broken`
            (`what`, `offset`: the header contradicts itself or the format, or is larger than any model's).
    """
    start = _read(read_at, 0, 9)
    if start[8:] != b"{":  # also the pointer file of a model that was not downloaded
        raise ProblemError(problem("model.not_safetensors"))
    length = int.from_bytes(start[:8], "little")
    if length > MAX_HEADER_BYTES:
        _broken("header_size", 0)
    header = _read(read_at, 8, length)
    if len(header) < length:
        raise ProblemError(problem("model.truncated", expected_bytes=8 + length, actual_bytes=8 + len(header)))
    tensors = _tensors(header)
    _demand_size(read_at, file_size, 8 + length + sum(tensor.bytes for tensor in tensors))
    return tensors


def read_index(text: bytes) -> tuple[str, ...]:
    """Names of the files that hold a model, from its `model.safetensors.index.json`, each once, in order.

    Raises:
        ProblemError: `model.index_broken` (`detail`).
    """
    if len(text) > MAX_INDEX_BYTES:
        raise ProblemError(problem("model.index_broken", detail="size"))
    try:
        names = sorted(set(_INDEX.decode(text).weight_map.values()))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(problem("model.index_broken", detail=str(error))) from None
    if not names or not all(_FILE_NAME.fullmatch(name) for name in names):
        raise ProblemError(problem("model.index_broken", detail="weight_map"))
    return tuple(names)


def _read(read_at: ReadAt, offset: int, size: int) -> bytearray:
    """`size` bytes, fewer at the end of the file."""
    found = bytearray()
    while len(found) < size and (data := read_at(offset + len(found), min(size - len(found), _READ_BYTES))):
        found += data
    return found


def _broken(what: str, offset: int) -> NoReturn:
    raise ProblemError(problem("model.broken", what=what, offset=offset))


def _tensors(header: bytearray) -> tuple[StoredTensor, ...]:
    if header.count(b"{") > _MAX_ENTRIES:
        _broken("tensor_count", 8)
    try:
        named = _NAMES.decode(header)
        named.pop("__metadata__", None)
        if any(memoryview(raw).nbytes > _MAX_ENTRY_BYTES for raw in named.values()):
            _broken("dimensions", 8)
        entries = [(name, _ENTRY.decode(raw)) for name, raw in named.items()]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _broken("header", 8)
    tensors: list[StoredTensor] = []
    end = 0
    # The format wants the data without holes and overlaps; that also finds a name that is there twice.
    for name, entry in sorted(entries, key=lambda item: item[1].data_offsets):
        size = _size(entry)
        if entry.data_offsets != (end, end + size):
            _broken("tensor_offset", 8)
        tensors.append(StoredTensor(name, entry.dtype, entry.shape, size))
        end += size
    return tuple(tensors)


def _size(entry: _Entry) -> int:
    bits = _BITS.get(entry.dtype)
    if bits is None:
        _broken("tensor_type", 8)
    if len(entry.shape) > _MAX_DIMENSIONS:
        _broken("dimensions", 8)
    size, rest = divmod(prod(entry.shape) * bits, 8)
    if rest or size > _MAX_DATA_BYTES:
        _broken("tensor_shape", 8)
    return size


def _demand_size(read_at: ReadAt, file_size: int | None, size: int) -> None:
    """Make sure that the file has the data that its header tells of."""
    if file_size is not None and file_size < size:
        raise ProblemError(problem("model.truncated", expected_bytes=size, actual_bytes=file_size))
    if file_size is None and not read_at(size - 1, 1):
        raise ProblemError(problem("model.truncated", expected_bytes=size, actual_bytes=find_size(read_at, size)))
