"""The safetensors reader: true files (cross-checked with the `safetensors` package), and files that lie."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.safetensors import MAX_HEADER_BYTES, StoredTensor, read_index, read_safetensors
from tests.helpers.gguf_header import reader
from tests.helpers.safetensors_file import header_of, pack, pack_entries, qwen2_tensors

ONE = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def read(data: bytes, size: int | None = None) -> tuple[StoredTensor, ...]:
    return read_safetensors(reader(data, size), len(data) if size is None else size)


def problem_of(data: bytes, size: int | None = None) -> tuple[str, dict[str, Any]]:
    with pytest.raises(ProblemError) as caught:
        read(data, size)
    return caught.value.problem.code, dict(caught.value.problem.params)


def broken_what(data: bytes) -> object:
    code, params = problem_of(data, 1 << 45)
    assert code == "model.broken"
    return params["what"]


_DTYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__" and name.isprintable()),
        st.tuples(st.sampled_from(sorted(_DTYPES)), st.lists(st.integers(0, 5), max_size=4)),
        min_size=1,  # the package writes broken JSON where there is neither a tensor nor metadata
        max_size=8,
    ),
    st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3),
)
def test_agrees_with_the_safetensors_package(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, tuple[str, list[int]]], metadata: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "model.safetensors"
    arrays: dict[str, np.ndarray[Any, Any]] = {
        name: np.zeros(shape, _DTYPES[dtype]) for name, (dtype, shape) in tensors.items()
    }
    save_file(arrays, path, metadata)
    found = {tensor.name: tensor for tensor in read(path.read_bytes())}
    with safe_open(path, "numpy") as theirs:
        assert set(found) == set(theirs.keys())
        for name, tensor in found.items():
            piece = theirs.get_slice(name)
            assert (tensor.dtype, tensor.shape) == (piece.get_dtype(), tuple(piece.get_shape()))
            assert tensor.bytes == arrays[name].nbytes


def test_a_true_shape() -> None:
    tensors = qwen2_tensors(48, 5120, 13824, 40, 8, 152_064)
    header, size = header_of(tensors)
    found = read(header, len(header) + size)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in found] == tensors
    assert sum(tensor.bytes for tensor in found) == 29_540_067_328  # total_size of Qwen2.5-14B-Instruct's own index


def test_the_order_is_that_of_the_data() -> None:
    entries = {"b": ONE | {"data_offsets": [24, 48]}, "__metadata__": {"shape": "round"}, "a": ONE}
    assert [tensor.name for tensor in read(pack_entries(entries) + bytes(48))] == ["a", "b"]


def test_types_smaller_than_a_byte() -> None:
    assert read(pack_entries({"a": {"dtype": "F4", "shape": [3, 2], "data_offsets": [0, 3]}}), 10_000)[0].bytes == 3
    assert broken_what(pack_entries({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}})) == "tensor_shape"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\0\0\0\0\0\0\0",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"GGUF" + bytes(100),
        b"<!DOCTYPE html>",
    ],
)
def test_other_files(data: bytes) -> None:
    assert problem_of(data) == ("model.not_safetensors", {})


@pytest.mark.parametrize("size_known", [True, False])
def test_every_cut_is_told_with_both_sizes(size_known: bool) -> None:
    whole = pack_entries({"a": ONE}) + bytes(24)
    for cut in range(9, len(whole)):
        with pytest.raises(ProblemError) as caught:
            read_safetensors(reader(whole[:cut]), cut if size_known else None)
        found = caught.value.problem
        assert (found.code, found.params["actual_bytes"]) == ("model.truncated", cut)
        assert cut < int(found.params["expected_bytes"]) <= len(whole)
    assert read_safetensors(reader(whole), None)[0].bytes == 24


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, MAX_HEADER_BYTES + 1])
def test_a_header_length_that_lies_is_not_believed(length: int) -> None:
    sizes: list[int] = []

    def read_at(offset: int, size: int) -> bytes:
        sizes.append(size)
        return (length.to_bytes(8, "little") + b'{"a":')[offset : offset + size]

    with pytest.raises(ProblemError) as caught:
        read_safetensors(read_at, 1 << 45)
    assert caught.value.problem.params["what"] == "header_size"
    assert sum(sizes) < 64


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"a": ONE | {"dtype": "F31"}}, "tensor_type"),
        ({"a": ONE | {"dtype": 5}}, "header"),
        ({"a": ONE | {"shape": [2, -3]}}, "header"),
        ({"a": ONE | {"shape": [2, 2**63]}}, "header"),
        ({"a": ONE | {"shape": "x"}}, "header"),
        ({"a": ONE | {"shape": [1] * 9}}, "dimensions"),
        ({"a": ONE | {"shape": [1] * 999}}, "dimensions"),
        ({str(number): {} for number in range(140_000)}, "tensor_count"),
        ({"a": ONE | {"shape": [2**45, 2**45]}}, "tensor_shape"),
        ({"a": ONE | {"data_offsets": [0, 25]}}, "tensor_offset"),
        ({"a": ONE | {"data_offsets": [4, 28]}}, "tensor_offset"),
        ({"a": ONE | {"data_offsets": [24, 0]}}, "tensor_offset"),
        ({"a": ONE | {"data_offsets": [0]}}, "header"),
        ({"a": ONE, "b": ONE}, "tensor_offset"),
        ({"a": ONE, "b": ONE | {"data_offsets": [12, 36]}}, "tensor_offset"),
        ({"a": ONE, "b": ONE | {"data_offsets": [32, 56]}}, "tensor_offset"),
        ({"a": [1]}, "header"),
    ],
)
def test_headers_that_contradict_the_format(entries: dict[str, Any], what: str) -> None:
    assert broken_what(pack_entries(entries)) == what


def test_a_name_that_is_there_twice_leaves_a_hole() -> None:
    one = json.dumps(ONE)
    other = json.dumps(ONE | {"data_offsets": [24, 48]})
    assert broken_what(pack(f'{{"a":{one},"a":{other}}}'.encode())) == "tensor_offset"


@pytest.mark.parametrize("text", [b'{"a":', b"{" + b"\xff" * 10, b'{"a"}', b'{"a":{}} x'])
def test_no_json(text: bytes) -> None:
    assert broken_what(pack(text)) == "header"


VALID = pack_entries({"__metadata__": {"a": "b"}, "a": ONE, "b": ONE | {"data_offsets": [24, 48]}}) + bytes(48)


@settings(max_examples=300)
@given(st.integers(0, len(VALID) - 50), st.binary(min_size=1, max_size=8))
def test_any_damage_ends_in_tensors_or_a_problem(at: int, damage: bytes) -> None:
    data = VALID[:at] + damage + VALID[at + len(damage) :]
    with contextlib.suppress(ProblemError):
        assert sum(tensor.bytes for tensor in read(data)) <= len(data)


def test_the_index_names_each_file_once() -> None:
    text = json.dumps(
        {
            "metadata": {"total_size": 5},
            "weight_map": {"c": "m-2.safetensors", "a": "m-1.safetensors", "b": "m-1.safetensors"},
        }
    )
    assert read_index(text.encode()) == ("m-1.safetensors", "m-2.safetensors")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"weight_map": {}}',
        b'{"weight_map": {"a": 1}}',
        b'{"weight_map": {"a": "../x.safetensors"}}',
        b'{"weight_map": {"a": "/x.safetensors"}}',
        b'{"weight_map": {"a": "\xff"}}',
        b'{"metadata": ' + b"[" * 100_000,
        b" " * (17 << 20),
    ],
)
def test_an_index_that_is_none(text: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        read_index(text)
    assert caught.value.problem.code == "model.index_broken"
