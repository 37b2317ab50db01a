"""Headers that lie end in a clear problem within 1 s and 64 MiB, each measured in a process of its own."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.gguf_header import Value, pack_header, pack_string
from tests.helpers.hf_models import QWEN14, text
from tests.helpers.safetensors_file import pack, pack_entries

MAX_S, MAX_MIB = 1.0, 64.0
MIB = 1 << 20
FAR = 1 << 45
_U64 = struct.Struct("<Q")
_ARCHITECTURE: dict[str, Value | bytes] = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 2,
    "qwen2.embedding_length": 64,
}


def tensors(count: int) -> bytes:
    """A table of so many tensors of one element, each padded to 32 bytes."""
    head = pack_header({**_ARCHITECTURE, "qwen2.context_length": 9}).rstrip(b"\0") + bytes(3)
    table = b"".join(pack_string(f"{n:063}") + struct.pack("<IQQQQIQ", 4, 1, 1, 1, 1, 0, 32 * n) for n in range(count))
    return head[:8] + _U64.pack(count) + head[16:] + table


GGUF: dict[str, Callable[[], bytes]] = {
    "tensor count 2^63": lambda: b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 1) + bytes(MIB),
    "key count 2^63": lambda: b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 63) + bytes(MIB),
    "key length 2^63": lambda: b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 1 << 63) + bytes(MIB),
    "string length 2^63": lambda: pack_header({"a.b": struct.pack("<IQ", 8, 1 << 63)}),
    "array length 2^63": lambda: pack_header({"a.b": struct.pack("<IIQ", 9, 10, 1 << 63)}),
    "arrays in arrays": lambda: pack_header({"a.b": struct.pack("<IIQ", 9, 9, 1) * 100_000}),
    "leaps": lambda: pack_header({f"k{n}": struct.pack("<IIQ", 9, 10, 16 << 20) for n in range(16_384)}),
    "empty strings": lambda: pack_header({"k": struct.pack("<IIQ", 9, 8, 3 << 19)}),
    "long strings": lambda: pack_header(
        {"k": struct.pack("<IIQ", 9, 8, 4) + (_U64.pack(16 * MIB) + bytes(16 * MIB)) * 4}
    ),
    "long keys": lambda: pack_header({"k" * 60_000 + str(n): 1 for n in range(1200)}),
    "kept strings": lambda: pack_header({f"qwen2.{n}.block_count": "x" for n in range(16_000)}),
    "arrays for each layer": lambda: pack_header(
        {f"a{n}.attention.head_count": struct.pack("<IIQ", 9, 4, 4096) + bytes(4 * 4096) for n in range(3000)}
    ),
    "as many tensors as are allowed": lambda: tensors(32_768),
    "dimensions 2^63": lambda: (
        tensors(0)[:8] + _U64.pack(1) + tensors(0)[16:] + pack_string("t") + b"\4\0\0\0" + b"\x80" * 64
    ),
    "zeros": lambda: b"GGUF" + struct.pack("<IQQ", 3, 32_768, 16_384),
}  # fmt: skip
SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "header length 2^63": lambda: _U64.pack(1 << 63) + b"{" + bytes(100),
    "header of 100 MB": lambda: _U64.pack(100_000_000) + b"{" + b" " * 100_000_000,
    "lists in lists": lambda: pack(b'{"a":' + b"[" * (8 * MIB - 10)),
    "objects in objects": lambda: pack(b'{"a":' * 1_600_000),
    "lists in the metadata": lambda: pack(b'{"__metadata__":' + b"[" * 7_000_000 + b"]" * 7_000_000 + b"}"),
    "a shape of some hundred": lambda: pack_entries(
        {"a": {"dtype": "F32", "shape": [1] * 300, "data_offsets": [0, 4]}}
    ),
    "a shape of 4 million": lambda: pack(
        b'{"a":{"dtype":"F32","shape":[' + b"1," * 4_000_000 + b'1],"data_offsets":[0,4]}}'
    ),
    "130,000 tensors": lambda: pack_entries(
        {f"{n:x}": {"dtype": "U8", "shape": [], "data_offsets": [n, n + 1]} for n in range(130_000)}
    ),
    "800,000 empty entries": lambda: pack(b"{" + b",".join(b'"%x":{}' % n for n in range(750_000)) + b"}"),
    "one name 800,000 times": lambda: pack(b"{" + b",".join([b'"a":[]'] * 1_100_000) + b"}"),
    "numbers of a million digits": lambda: pack(b'{"a":{"dtype":"U8","shape":[' + b"9" * MIB + b"]}}"),
    "overlapping offsets": lambda: pack_entries(
        {str(n): {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]} for n in range(100_000)}
    ),
    "a name of 8 MB": lambda: pack(b'{"' + b"\\u0041" * 1_300_000 + b'":{}}'),
}
CONFIG: dict[str, Callable[[], bytes]] = {
    "lists in lists": lambda: b'{"x":' + b"[" * 2_000_000,
    "objects in objects": lambda: b'{"text_config":' * 130_000,
    "20 MB": lambda: b'{"x":"' + b"y" * 20_000_000 + b'"}',
    "a list of half a million": lambda: text(QWEN14)[:-1] + b',"layer_types":[' + b'"",' * 600_000 + b'""]}',
    "kv heads without end": lambda: text(QWEN14)[:-1] + b',"num_key_value_heads":[' + b"300," * 500_000 + b"8]}",
    "fields without end": lambda: b"{" + b",".join(b'"%x":{}' % n for n in range(190_000)) + b"}",
    "a number of a million digits": lambda: b'{"hidden_size":' + b"9" * MIB + b"}",
}
INDEX: dict[str, Callable[[], bytes]] = {
    "20 MB": lambda: b'{"weight_map":{' + b'"a":"b",' * 2_500_000 + b'"a":"b"}}',
    "lists in lists": lambda: b'{"metadata":' + b"[" * 16_000_000,
    "names of folders": lambda: json.dumps({"weight_map": {f"{n:x}": "../x" for n in range(150_000)}}).encode(),
}
CASES = {
    f"{kind}: {name}": (kind, make)
    for kind, cases in (("gguf", GGUF), ("safetensors", SAFETENSORS), ("config", CONFIG), ("index", INDEX))
    for name, make in cases.items()
}

# Large, and true to their format.
WHOLE = ("gguf: as many tensors as are allowed", "config: a list of half a million")


def cost(kind: str, data: bytes, folder: Path, size: int) -> tuple[str, float, float, int]:
    """Code, seconds of processor time, growth in MiB, and bytes read."""
    path = folder / "header"
    path.write_bytes(data)
    command = [sys.executable, "-m", "tests.helpers.header_cost", kind, str(path), str(size)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    code, seconds, grown, read = answer.stdout.split("\t")
    return code, float(seconds), float(grown), int(read)


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_header_costs_little(name: str, tmp_path: Path) -> None:
    kind, make = CASES[name]
    data = make()
    code, seconds, grown, read = cost(kind, data, tmp_path, FAR)
    assert code.startswith("model.") is (name not in WHOLE), code
    assert seconds < (MAX_S if sys.gettrace() is None else 5 * MAX_S)  # coverage follows each line
    assert grown < MAX_MIB
    assert read <= 64 * MIB + 4
