"""Safetensors headers made by hand: shapes without weights, and files that lie."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, TypeAlias

Stored: TypeAlias = tuple[str, str, tuple[int, ...]]
"""Name, dtype, shape."""

_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "I64": 8, "U8": 1, "I8": 1, "F8_E4M3": 1}


def pack(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


def pack_entries(entries: Mapping[str, Any]) -> bytes:
    return pack(json.dumps(entries).encode())


def header_of(tensors: Iterable[Stored]) -> tuple[bytes, int]:
    """A header, and the bytes of data that belong behind it."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, dtype, shape in tensors:
        size = prod(shape) * _BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    return pack_entries(entries), at


def qwen2_tensors(
    layers: int, hidden: int, feed: int, heads: int, kv_heads: int, vocab: int, *, tied: bool = False
) -> list[Stored]:
    """As Qwen2ForCausalLM names its tensors."""
    kv = hidden // heads * kv_heads
    tensors: list[Stored] = [("model.embed_tokens.weight", "BF16", (vocab, hidden))]
    for layer in range(layers):
        tensors += [
            (f"model.layers.{layer}.{name}", "BF16", dims)
            for name, dims in (
                ("self_attn.q_proj.weight", (hidden, hidden)),
                ("self_attn.q_proj.bias", (hidden,)),
                ("self_attn.k_proj.weight", (kv, hidden)),
                ("self_attn.k_proj.bias", (kv,)),
                ("self_attn.v_proj.weight", (kv, hidden)),
                ("self_attn.v_proj.bias", (kv,)),
                ("self_attn.o_proj.weight", (hidden, hidden)),
                ("mlp.gate_proj.weight", (feed, hidden)),
                ("mlp.up_proj.weight", (feed, hidden)),
                ("mlp.down_proj.weight", (hidden, feed)),
                ("input_layernorm.weight", (hidden,)),
                ("post_attention_layernorm.weight", (hidden,)),
            )
        ]
    tensors.append(("model.norm.weight", "BF16", (hidden,)))
    return tensors if tied else [*tensors, ("lm_head.weight", "BF16", (vocab, hidden))]


def packed(tensors: Iterable[Stored], method: str, bits: int = 4, group: int = 128) -> list[Stored]:
    """The same with the matrices of the layers as AutoAWQ or AutoGPTQ store them."""
    found: list[Stored] = []
    for name, _, shape in tensors:
        stem, _, last = name.rpartition(".")
        if last != "weight" or "_proj" not in stem:
            found.append((name, "F16", shape))
            continue
        rows, columns = shape
        found.append((f"{stem}.qzeros", "I32", (columns // group, rows * bits // 32)))
        found.append((f"{stem}.scales", "F16", (columns // group, rows)))
        if method == "awq":
            found.append((f"{stem}.qweight", "I32", (columns, rows * bits // 32)))
        else:
            found.append((f"{stem}.qweight", "I32", (columns * bits // 32, rows)))
            found.append((f"{stem}.g_idx", "I32", (columns,)))
    return found
