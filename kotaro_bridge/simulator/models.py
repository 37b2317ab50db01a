"""Model files of the simulated home folder: GGUF with a true header and no data, Hugging Face folders with a config.

Owns the writer for the shapes in `resources/simulator/data/models.toml`, with the mixture of types of Q4_K_M. Files are
sparse: they have their true size and take almost no room.
"""

from __future__ import annotations

import contextlib
import json
import struct
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from kotaro_bridge.domain.model.ggml_types import GGML_TYPES
from kotaro_bridge.resources import resource

VOCABULARY = 152_064
ALIGNMENT = 32
F32, Q4_K, Q6_K = 0, 12, 14
UINT32, FLOAT32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5


def table() -> dict[str, Any]:
    """The models there are, as data."""
    return tomllib.loads(resource("simulator/data/models.toml").read_text(encoding="utf-8"))


def write_models(folder: Path) -> None:
    """Put all models into `folder`, where they are missing."""
    models = table()
    for shape in models["gguf"]:
        write_gguf(folder / shape["file"], shape)
    for entry in models["hf"]:
        (folder / entry["folder"]).mkdir(parents=True, exist_ok=True)
        (folder / entry["folder"] / "config.json").write_text(config_text(entry["config"]), encoding="utf-8")


def config_text(config: dict[str, Any]) -> str:
    """A config.json, the same wherever one of the simulated PC is written."""
    return json.dumps(config, indent=2, default=str)


def write_gguf(path: Path, shape: dict[str, Any]) -> None:
    """One sparse GGUF file of a Qwen2 shape (layers, hidden, feed_forward, heads, kv_heads, name)."""
    tensors = list(_tensors(shape))
    infos, offset = [], 0
    for name, dims, kind in tensors:
        infos.append(_string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset))
        offset += -(-_size(dims, kind) // ALIGNMENT) * ALIGNMENT
    values = _values(shape)
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(values)) + b"".join(values) + b"".join(infos)
    data_at = -(-len(header) // ALIGNMENT) * ALIGNMENT
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(header)
        _extend(file, data_at + offset)


def _extend(file: BinaryIO, size: int) -> None:
    """Give the file this size and no data. Python's own way writes zeros on Windows: 29 GB for our models."""
    if sys.platform == "win32":
        import msvcrt

        import pywintypes
        import win32file
        import winioctlcon

        file.flush()
        handle = msvcrt.get_osfhandle(file.fileno())
        with contextlib.suppress(pywintypes.error):  # a file system without holes takes the room instead
            win32file.DeviceIoControl(handle, winioctlcon.FSCTL_SET_SPARSE, b"", 0)
        win32file.SetFilePointer(handle, size, win32file.FILE_BEGIN)
        win32file.SetEndOfFile(handle)
    else:
        file.truncate(size)


def _size(dims: tuple[int, ...], kind: int) -> int:
    _, block, block_bytes = GGML_TYPES[kind]
    elements = 1
    for dim in dims:
        elements *= dim
    return elements // block * block_bytes


def _tensors(shape: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Name, dimensions (row length first) and type of every tensor; the mixture is llama.cpp's for Q4_K_M."""
    layers, hidden, forward = shape["layers"], shape["hidden"], shape["feed_forward"]
    kv = hidden // shape["heads"] * shape["kv_heads"]
    yield "token_embd.weight", (hidden, VOCABULARY), Q4_K
    for layer in range(layers):
        more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
        precious = Q6_K if more else Q4_K
        for name, dims, kind in (
            ("attn_norm.weight", (hidden,), F32),
            ("ffn_norm.weight", (hidden,), F32),
            ("attn_q.weight", (hidden, hidden), Q4_K),
            ("attn_q.bias", (hidden,), F32),
            ("attn_k.weight", (hidden, kv), Q4_K),
            ("attn_k.bias", (kv,), F32),
            ("attn_v.weight", (hidden, kv), precious),
            ("attn_v.bias", (kv,), F32),
            ("attn_output.weight", (hidden, hidden), Q4_K),
            ("ffn_gate.weight", (hidden, forward), Q4_K),
            ("ffn_up.weight", (hidden, forward), Q4_K),
            ("ffn_down.weight", (forward, hidden), precious),
        ):
            yield f"blk.{layer}.{name}", dims, kind
    yield "output_norm.weight", (hidden,), F32
    yield "output.weight", (hidden, VOCABULARY), Q6_K


def _values(shape: dict[str, Any]) -> list[bytes]:
    """The key-value pairs; the tokenizer is a token stand-in, so `vocab_size` says how many there are."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return [
        _pair("general.architecture", STRING, _string("qwen2")),
        _pair("tokenizer.ggml.model", STRING, _string("gpt2")),
        _pair("tokenizer.ggml.pre", STRING, _string("qwen2")),
        _pair("tokenizer.ggml.tokens", ARRAY, _array(STRING, [_string(token) for token in tokens])),
        _pair("tokenizer.ggml.token_type", ARRAY, _array(INT32, [struct.pack("<i", 3)] * len(tokens))),
        _pair("tokenizer.ggml.merges", ARRAY, _array(STRING, [_string("i n")])),
        _pair("tokenizer.ggml.eos_token_id", UINT32, struct.pack("<I", 2)),
        _pair("tokenizer.ggml.padding_token_id", UINT32, struct.pack("<I", 0)),
        _pair("tokenizer.ggml.bos_token_id", UINT32, struct.pack("<I", 0)),
        _pair("general.name", STRING, _string(shape["name"])),
        _pair("qwen2.block_count", UINT32, struct.pack("<I", shape["layers"])),
        _pair("qwen2.context_length", UINT32, struct.pack("<I", 32768)),
        _pair("qwen2.embedding_length", UINT32, struct.pack("<I", shape["hidden"])),
        _pair("qwen2.feed_forward_length", UINT32, struct.pack("<I", shape["feed_forward"])),
        _pair("qwen2.attention.head_count", UINT32, struct.pack("<I", shape["heads"])),
        _pair("qwen2.attention.head_count_kv", UINT32, struct.pack("<I", shape["kv_heads"])),
        _pair("qwen2.vocab_size", UINT32, struct.pack("<I", VOCABULARY)),
        _pair("qwen2.rope.freq_base", FLOAT32, struct.pack("<f", 1e6)),
        _pair("qwen2.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", 1e-6)),
        _pair("general.file_type", UINT32, struct.pack("<I", 15)),
    ]


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _array(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _string(key) + struct.pack("<I", kind) + value
