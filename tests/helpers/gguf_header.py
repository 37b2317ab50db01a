"""GGUF headers made by hand, byte by byte: shapes without weights, and files that lie."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from kotaro_bridge.domain.model.ggml_types import GGML_TYPES
from kotaro_bridge.domain.model.gguf_cursor import ReadAt

Value: TypeAlias = int | str | float | list[int] | list[str]
Tensor: TypeAlias = tuple[str, tuple[int, ...], str]

TYPE_NUMBERS = {name: number for number, (name, _, _) in GGML_TYPES.items()}


def pack_string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def pack_value(value: Value) -> bytes:
    """Type number and value, as GGUF stores it: integers as u32, lists as arrays."""
    if isinstance(value, str):
        return struct.pack("<I", 8) + pack_string(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    strings = bool(value) and isinstance(value[0], str)
    items = (pack_string(item) if isinstance(item, str) else struct.pack("<I", item) for item in value)
    return struct.pack("<IIQ", 9, 8 if strings else 4, len(value)) + b"".join(items)


def tensor_bytes(dims: tuple[int, ...], kind: str) -> int:
    _, block, block_bytes = GGML_TYPES[TYPE_NUMBERS[kind]]
    elements = 1
    for size in dims:
        elements *= size
    return elements // block * block_bytes


def pack_header(
    values: Mapping[str, Value | bytes], tensors: Iterable[Tensor] = (), *, version: int = 3, alignment: int = 32
) -> bytes:
    """A header up to the start of the data. Values given as bytes are taken as they are, with their type number."""
    listed = list(tensors)
    parts = [b"GGUF", struct.pack("<IQQ", version, len(listed), len(values))]
    for key, value in values.items():
        parts += [pack_string(key), value if isinstance(value, bytes) else pack_value(value)]
    offset = 0
    for name, dims, kind in listed:
        parts += [pack_string(name), struct.pack(f"<I{len(dims)}Q", len(dims), *dims)]
        parts.append(struct.pack("<IQ", TYPE_NUMBERS[kind], offset))
        offset += -(-tensor_bytes(dims, kind) // alignment) * alignment
    header = b"".join(parts)
    return header + b"\0" * (-len(header) % alignment)


def qwen2_shape(
    layers: int,
    hidden: int,
    feed_forward: int,
    heads: int,
    kv_heads: int,
    more_values: Mapping[str, Value] | None = None,
    *,
    vocab: int = 152_064,
    types: tuple[str, str] = ("Q4_K", "Q6_K"),
) -> bytes:
    """Header of the random-weight models of the captures. `types`: of most matrices, and of the finer ones."""
    kv, (coarse, fine) = hidden // heads * kv_heads, types
    tensors: list[Tensor] = [("token_embd.weight", (hidden, vocab), coarse)]
    for layer in range(layers):
        more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
        finer = fine if more else coarse
        tensors += [
            (f"blk.{layer}.{name}", dims, kind)
            for name, dims, kind in (
                ("attn_norm.weight", (hidden,), "F32"),
                ("ffn_norm.weight", (hidden,), "F32"),
                ("attn_q.weight", (hidden, hidden), coarse),
                ("attn_q.bias", (hidden,), "F32"),
                ("attn_k.weight", (hidden, kv), coarse),
                ("attn_k.bias", (kv,), "F32"),
                ("attn_v.weight", (hidden, kv), finer),
                ("attn_v.bias", (kv,), "F32"),
                ("attn_output.weight", (hidden, hidden), coarse),
                ("ffn_gate.weight", (hidden, feed_forward), coarse),
                ("ffn_up.weight", (hidden, feed_forward), coarse),
                ("ffn_down.weight", (feed_forward, hidden), finer),
            )
        ]
    tensors += [("output_norm.weight", (hidden,), "F32"), ("output.weight", (hidden, vocab), fine)]
    values: dict[str, Value | bytes] = {
        "general.architecture": "qwen2",
        "general.name": f"random-{layers}L",
        "qwen2.block_count": layers,
        "qwen2.context_length": 32768,
        "qwen2.embedding_length": hidden,
        "qwen2.feed_forward_length": feed_forward,
        "qwen2.attention.head_count": heads,
        "qwen2.attention.head_count_kv": kv_heads,
        "general.file_type": 15,
    }
    return pack_header(values | dict(more_values or {}), tensors)


def reader(data: bytes, size: int | None = None) -> ReadAt:
    """Reads `data` as if zero bytes followed up to `size`."""
    end = len(data) if size is None else size

    def read_at(offset: int, count: int) -> bytes:
        count = max(0, min(count, end - offset))
        return data[offset : offset + count].ljust(count, b"\0")

    return read_at


Q14 = (48, 5120, 13824, 40, 8)
Q32 = (64, 5120, 27648, 40, 8)
Q7 = (28, 3584, 18944, 28, 4)
Q1 = (28, 1536, 8960, 12, 2)
Q05 = (24, 896, 4864, 14, 2)
