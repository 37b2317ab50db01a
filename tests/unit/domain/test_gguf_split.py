"""Models in several files: as the `gguf` package writes them, and files that do not belong together."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.gguf import GgufModel, TensorInfo, read_gguf
from kotaro_bridge.domain.model.gguf_split import GgufPart, join_parts, part_names, read_gguf_part
from tests.helpers.gguf_header import Value, pack_header, reader

KINDS = {"F32": np.float32, "F16": np.float16}


def problem_of(error: pytest.ExceptionInfo[ProblemError]) -> tuple[str, dict[str, Any]]:
    return error.value.problem.code, dict(error.value.problem.params)


def read_parts(paths: Sequence[Path]) -> GgufModel:
    data = [path.read_bytes() for path in paths]
    first = read_gguf(reader(data[0]), len(data[0]))
    return join_parts(first, [read_gguf_part(reader(each), len(each)) for each in data[1:]])


def write(folder: Path, shapes: list[tuple[str, tuple[int, ...]]], per_file: int, *, empty_first: bool) -> list[Path]:
    """A model written by the `gguf` package in parts of `per_file` tensors (0: in one)."""
    for old in folder.glob("m*.gguf"):
        old.unlink()
    writer = gguf.GGUFWriter(
        folder / "m.gguf", "llama", split_max_tensors=per_file, small_first_shard=empty_first and per_file > 0
    )
    writer.add_block_count(2)
    writer.add_context_length(4096)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_token_list(["a", "b", "c"])
    for number, (kind, shape) in enumerate(shapes):
        name = "token_embd.weight" if number == 0 else f"blk.{number}.weight"
        writer.add_tensor(name, np.zeros(shape, KINDS[kind]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("m*.gguf"))


@pytest.mark.allow_log("not splitting", reason="fewer tensors than one part holds: the package writes one file")
@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)),
        min_size=2,
        max_size=9,
    ),
    st.integers(1, 8),
    st.booleans(),
)
def test_all_parts_make_the_model_that_was_cut(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: list[tuple[str, tuple[int, ...]]],
    per_file: int,
    empty_first: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "split"
    folder.mkdir(exist_ok=True)
    whole = read_parts(write(folder, shapes, 0, empty_first=False))
    paths = write(folder, shapes, per_file, empty_first=empty_first)
    joined = read_parts(paths)
    theirs = [tensor for path in paths for tensor in gguf.GGUFReader(path).tensors]
    assert [(tensor.name, tensor.bytes) for tensor in joined.tensors] == [(t.name, t.n_bytes) for t in theirs]
    assert joined.tensors == whole.tensors
    assert (joined.weights_on_gpu, joined.input_bytes, joined.keys) == (
        whole.weights_on_gpu,
        whole.input_bytes,
        whole.keys,
    )
    assert joined.input_span == joined.input_bytes
    assert joined.is_whole
    if len(paths) > 1:
        assert [path.name for path in paths] == list(part_names(paths[0].name, joined.split_count))


def test_a_first_part_alone_is_not_whole(tmp_path: Path) -> None:
    first = write(tmp_path, [("F16", (8, 64))] * 4, 2, empty_first=False)[0].read_bytes()
    model = read_gguf(reader(first), len(first))
    assert (model.split_count, model.is_whole, len(model.tensors)) == (2, False, 2)


def test_the_span_of_input_tensors_counts_each_file_by_itself() -> None:
    inputs = [TensorInfo("token_embd.weight", (8,), "F32", 32), TensorInfo("token_types.weight", (8,), "F32", 32)]
    other = TensorInfo("blk.0.weight", (100,), "F32", 400)
    first = replace(MODEL, tensors=(inputs[0], other), split_count=2)
    joined = join_parts(first, [GgufPart(1, 2, (other_named("b"), inputs[1]), 4)])
    assert joined.input_span == 64
    assert replace(first, tensors=joined.tensors, split_count=1).input_span > 800


def other_named(name: str) -> TensorInfo:
    return TensorInfo(name, (100,), "F32", 400)


BASE: dict[str, Value | bytes] = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 4096,
    "llama.embedding_length": 256,
}
MODEL = read_gguf(reader(pack_header(BASE)), 10_000)
FIRST = replace(MODEL, tensors=(other_named("a"),), split_count=3)
LATER = [GgufPart(1, 3, (other_named("b"),), 3), GgufPart(2, 3, (other_named("c"),), 3)]


@pytest.mark.parametrize(
    ("later", "number"),
    [
        ([replace(LATER[0], number=2), LATER[1]], 2),
        ([LATER[0], replace(LATER[1], number=1)], 3),
        ([LATER[0], replace(LATER[1], count=4)], 3),
        ([LATER[0], replace(LATER[1], all_tensors=4)], 3),
        ([LATER[0], replace(LATER[1], tensors=(other_named("a"),))], 3),
        ([LATER[0], replace(LATER[1], tensors=(other_named("b"),))], 3),
        ([LATER[0], replace(LATER[1], tensors=())], 2),
    ],
)
def test_a_part_of_another_model(later: list[GgufPart], number: int) -> None:
    assert join_parts(FIRST, LATER).weights_total == 1200
    with pytest.raises(ProblemError) as caught:
        join_parts(FIRST, later)
    assert problem_of(caught) == ("model.foreign_part", {"number": number})


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"split.no": 1, "split.count": 3}, "split.tensors.count"),
        ({"split.no": 1, "split.tensors.count": 3}, "split.count"),
        ({"split.no": "x", "split.count": 3, "split.tensors.count": 3}, "split.no"),
        (BASE, "split.no"),
    ],
)
def test_a_file_that_is_no_part(values: dict[str, Value | bytes], what: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read_gguf_part(reader(pack_header(values)), 10_000)
    code, params = problem_of(caught)
    assert (code, params["what"]) == ("model.broken", what)


def test_numbers_as_the_splitting_tool_writes_them() -> None:
    """gguf-split.cpp: 16 bits for the numbers, a signed 32 for the tensors."""
    values: dict[str, Value | bytes] = {
        "split.no": struct.pack("<IH", 2, 1),
        "split.count": struct.pack("<IH", 2, 3),
        "split.tensors.count": struct.pack("<Ii", 5, 579),
    }
    assert read_gguf_part(reader(pack_header(values)), 10_000) == GgufPart(1, 3, (), 579)


def test_names_of_the_parts() -> None:
    assert part_names("/m/q-00001-of-00003.gguf", 3) == (
        "/m/q-00001-of-00003.gguf",
        "/m/q-00002-of-00003.gguf",
        "/m/q-00003-of-00003.gguf",
    )


@pytest.mark.parametrize(
    "name", ["q.gguf", "q-00001-of-00004.gguf", "q-00002-of-00003.gguf", "q-1-of-3.gguf", "q-00001-of-00003.GGUF.bak"]
)
def test_a_name_that_does_not_lead_to_the_others(name: str) -> None:
    with pytest.raises(ProblemError) as caught:
        part_names(name, 3)
    assert problem_of(caught) == ("model.part_name", {"name": name, "parts": 3})


def test_more_parts_than_any_model_has() -> None:
    with pytest.raises(ProblemError) as caught:
        part_names("q-00001-of-65535.gguf", 65_535)
    assert problem_of(caught) == ("model.part_count", {"parts": 65_535})
