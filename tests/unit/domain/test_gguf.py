"""The header reader: true files (cross-checked with the `gguf` package), true shapes, and files that lie."""

from __future__ import annotations

import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.model.ggml_types import GGML_TYPES
from kotaro_bridge.domain.model.gguf import GgufModel, read_gguf, read_projector
from kotaro_bridge.domain.model.gguf_cursor import MAX_READ_BYTES
from tests.helpers.gguf_header import Q7, Q14, Value, pack_header, pack_string, qwen2_shape, reader

MIB = 2**20
BASE: dict[str, Value | bytes] = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 2,
    "qwen2.context_length": 4096,
    "qwen2.embedding_length": 256,
    "qwen2.attention.head_count": 4,
}


def read(data: bytes, size: int | None = None) -> GgufModel:
    return read_gguf(reader(data, size), len(data) if size is None else size)


def problem_of(read_it: Callable[[], object]) -> tuple[str, dict[str, Any]]:
    with pytest.raises(ProblemError) as caught:
        read_it()
    return caught.value.problem.code, dict(caught.value.problem.params)


def broken_what(data: bytes, size: int | None = None) -> object:
    code, params = problem_of(lambda: read(data, size))
    assert code == "model.broken"
    return params["what"]


def with_base(**changes: Value | bytes) -> dict[str, Value | bytes]:
    """The base keys with others; `__` stands for a dot and a leading `q_` for `qwen2.`."""
    named = {key.replace("q_", "qwen2.", 1) if key.startswith("q_") else key: value for key, value in changes.items()}
    return BASE | {key.replace("__", "."): value for key, value in named.items()}


# --- true files


def test_type_sizes_are_those_of_the_gguf_package() -> None:
    theirs = {
        kind.value: (kind.name, *gguf.constants.GGML_QUANT_SIZES[kind]) for kind in gguf.constants.GGMLQuantizationType
    }
    assert {number: GGML_TYPES[number] for number in theirs} == theirs
    assert set(GGML_TYPES) - set(theirs) <= {42}  # Q2_0 is newer than some released versions of the package


@pytest.mark.parametrize("tied", [True, False])
def test_agrees_with_the_gguf_package_on_a_written_file(tmp_path: Path, tied: bool) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("written")
    writer.add_block_count(2)
    writer.add_context_length(8192)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv([2, 1])
    writer.add_key_length(24)
    writer.add_value_length(20)
    writer.add_file_type(1)
    writer.add_token_list([f"token {n}" for n in range(300)])
    writer.add_token_scores([0.5] * 300)
    writer.add_bool("llama.odd", True)
    writer.add_array("llama.names", ["one", "two"])
    tensors = {"token_embd.weight": (300, 64), "blk.0.attn_q.weight": (64, 64), "blk.0.norm": (7,)}
    if not tied:
        tensors["output.weight"] = (300, 64)
    for name, shape in tensors.items():
        writer.add_tensor(name, np.zeros(shape, np.float16))
    writer.add_tensor("blk.1.q", np.zeros((3, 68), np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = read(path.read_bytes())
    theirs = gguf.GGUFReader(path)
    assert [(t.name, t.dims, t.type, t.bytes) for t in model.tensors] == [
        (t.name, tuple(int(d) for d in t.shape), t.tensor_type.name, t.n_bytes) for t in theirs.tensors
    ]
    assert model.data_offset == theirs.data_offset
    assert (model.architecture, model.name, model.block_count, model.file_type) == ("llama", "written", 2, 1)
    assert (model.head_count, model.head_count_kv, model.key_length, model.value_length) == (4, (2, 1), 24, 20)
    assert (model.embedding_length, model.context_length, model.vocab_size) == (64, 8192, 300)
    assert model.split_count == 1
    assert model.tied_embeddings is tied
    embedding = 300 * 64 * 2
    assert model.input_bytes == embedding
    assert model.weights_total == embedding * (1 if tied else 2) + 64 * 64 * 2 + 14 + 204
    assert model.weights_on_gpu == embedding + 64 * 64 * 2 + 14 + 204


def test_the_14b_of_the_captures_has_the_sizes_that_the_engine_reported() -> None:
    header = qwen2_shape(*Q14)
    model = read(header, 9 * 10**9)
    assert model.weights_total == 8_982_142_976  # `size` of /v1/models in captures llama-http.txt
    assert model.weights_on_gpu / MIB == pytest.approx(8148.38, abs=0.005)  # CUDA0 buffer of captures full14.log
    assert model.input_bytes / MIB == pytest.approx(417.66, abs=0.005)  # CPU_Mapped buffer of the same log
    assert (model.block_count, model.head_count, model.head_count_kv) == (48, 40, (8,) * 48)
    assert (model.key_length, model.value_length) == (128, 128)
    assert not model.tied_embeddings


def test_the_7b_of_the_captures_has_the_sizes_that_the_engine_reported() -> None:
    model = read(qwen2_shape(*Q7), 5 * 10**9)
    assert model.weights_on_gpu / MIB == pytest.approx(4168.09, abs=0.005)
    assert model.input_bytes / MIB == pytest.approx(292.36, abs=0.005)


def test_defaults_where_keys_are_absent() -> None:
    model = read(pack_header(BASE))
    assert model.head_count_kv == (4, 4)
    assert (model.key_length, model.value_length) == (64, 64)
    assert (model.vocab_size, model.file_type, model.name, model.split_count) == (0, None, "", 1)
    assert model.weights_on_gpu == 0


def test_a_model_without_attention_heads() -> None:
    values = {key: value for key, value in BASE.items() if not key.endswith("head_count")}
    model = read(pack_header(values))
    assert (model.head_count, model.head_count_kv, model.key_length) == (0, (0, 0), 0)


def test_heads_per_layer_and_sliding_window_lengths() -> None:
    model = read(
        pack_header(
            with_base(
                q_attention__head_count=[4, 0],
                q_attention__key_length=32,
                q_attention__key_length_swa=48,
                q_attention__value_length_swa=16,
            )
        )
    )
    assert (model.head_count, model.head_count_kv) == (4, (4, 0))
    assert (model.key_length, model.value_length) == (32, 64)
    assert (model.keys["attention.key_length_swa"], model.keys["attention.value_length_swa"]) == (48, 16)


def test_vocabulary_key_wins_over_the_token_list() -> None:
    assert read(pack_header(with_base(tokenizer__ggml__tokens=["a", "b"], q_vocab_size=99))).vocab_size == 99


def test_all_input_tensors_stay_off_the_gpu() -> None:
    names = ("token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight")
    tensors = [(name, (32,), "F32") for name in (*names, "output.weight", "output_norm.weight")]
    model = read(pack_header(BASE, tensors), 10_000)
    assert model.input_bytes == 4 * 128
    assert model.weights_on_gpu == 2 * 128


def test_a_value_of_the_wrong_kind_for_a_word_is_no_word() -> None:
    model = read(pack_header(with_base(general__name=7, general__file_type="x")))
    assert (model.name, model.file_type) == ("", None)


def test_own_alignment() -> None:
    tensors = [("a", (3,), "F32"), ("b", (1,), "F32")]
    data = pack_header(with_base(general__alignment=64), tensors, alignment=64)
    assert read(data, len(data) + 128).data_offset == len(data)
    assert problem_of(lambda: read(data, len(data) + 64)) == (
        "model.truncated",
        {"expected_bytes": len(data) + 128, "actual_bytes": len(data) + 64},
    )


def test_scalars_have_no_dimensions() -> None:
    assert read(pack_header(BASE, [("s", (), "F32")]), 10_000).weights_total == 4


def test_reads_whatever_size_the_channel_gives() -> None:
    header = qwen2_shape(*Q7)
    whole = reader(header, 5 * 10**9)
    assert read_gguf(lambda offset, size: whole(offset, min(size, 7)), 5 * 10**9) == read(header, 5 * 10**9)


def test_a_tokenizer_costs_few_calls_and_is_not_kept() -> None:
    tokens: list[str] = [f"a token of some length {n:06d}" for n in range(250_000)]
    data = pack_header(with_base(tokenizer__ggml__tokens=tokens, tokenizer__ggml__scores=[1] * 250_000))
    calls: list[int] = []

    def read_at(offset: int, size: int) -> bytes:
        calls.append(offset)
        return data[offset : offset + size]

    tracemalloc.start()
    model = read_gguf(read_at, len(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert model.vocab_size == 250_000
    assert len(calls) == -(-len(data) // (4 * MIB))
    assert peak < 16 * MIB


# --- wrong files


@pytest.mark.parametrize("data", [b"", b"GG", b"GGML" + bytes(100), b"<!DOCTYPE html>", b"version https://git-lfs"])
def test_other_files(data: bytes) -> None:
    assert problem_of(lambda: read(data)) == ("model.not_gguf", {})


@pytest.mark.parametrize("size_known", [True, False])
def test_every_cut_is_told_with_both_sizes(size_known: bool) -> None:
    tensors = [("token_embd.weight", (256, 4), "F16"), ("output_norm.weight", (256,), "F32")]
    whole = pack_header(with_base(tokenizer__ggml__tokens=["ab", "cd"]), tensors) + bytes(2048 + 1024)
    assert read_gguf(reader(whole), len(whole) if size_known else None).weights_total == 3072
    for cut in range(4, len(whole)):
        read_it = partial(read_gguf, reader(whole[:cut]), cut if size_known else None)
        code, params = problem_of(read_it)
        assert code == "model.truncated"
        assert params["actual_bytes"] == cut
        assert cut < params["expected_bytes"] <= len(whole)


def test_a_file_that_shrinks_while_it_is_read() -> None:
    data = pack_header(BASE)
    code, params = problem_of(lambda: read_gguf(reader(data[:50]), 10**6))
    assert (code, params["actual_bytes"]) == ("model.truncated", 50)


@pytest.mark.parametrize("version", [0, 1, 4, 0x03000000])
def test_unknown_versions(version: int) -> None:
    assert broken_what(pack_header(BASE, version=version)) == "version"


def test_version_2_is_read() -> None:
    assert read(pack_header(BASE, version=2)).block_count == 2


@pytest.mark.parametrize("huge", [2**63, 2**64 - 1, 2**40, 32_769])
def test_counts_that_lie(huge: int) -> None:
    assert broken_what(b"GGUF" + struct.pack("<IQQ", 3, huge, 1) + bytes(1000)) == "tensor_count"
    assert broken_what(b"GGUF" + struct.pack("<IQQ", 3, 1, huge) + bytes(1000)) == "key_count"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (struct.pack("<IIQ", 9, 8, 2**63), "array_length"),
        (struct.pack("<IIQ", 9, 4, 2**63), "array_length"),
        (struct.pack("<IIQ", 9, 8, 3 << 20), "string_count"),
        (struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 9, 1) * 1000, "value_type"),
        (struct.pack("<I", 99), "value_type"),
        (struct.pack("<IQ", 8, 2**63), "string_length"),
        (struct.pack("<IIQQ", 9, 8, 1, 2**62), "string_length"),
    ],
)
def test_values_that_lie(value: bytes, what: str) -> None:
    assert broken_what(pack_header(with_base(some__key=value + bytes(64)))) == what


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"general__architecture": ""}, "architecture"),
        ({"general__architecture": "../x"}, "architecture"),
        ({"general__architecture": 5}, "architecture"),
        ({"general__architecture": "x" * 5000}, "string_length"),
        ({"general__architecture": struct.pack("<I", 8) + pack_string(b"\xff")}, "string_length"),
        ({"general__alignment": 0}, "alignment"),
        ({"general__alignment": 48}, "alignment"),
        ({"general__alignment": "x"}, "alignment"),
        ({"q_block_count": 0}, "block_count"),
        ({"q_block_count": 5000}, "block_count"),
        ({"q_block_count": "two"}, "qwen2.block_count"),
        ({"q_block_count": 2.0}, "qwen2.block_count"),
        ({"q_embedding_length": struct.pack("<Iq", 11, -1)}, "qwen2.embedding_length"),
        ({"q_attention__head_count": [4, 4, 4]}, "qwen2.attention.head_count"),
        ({"q_attention__head_count_kv": "x"}, "qwen2.attention.head_count_kv"),
        ({"q_attention__head_count_kv": struct.pack("<IIQii", 9, 5, 2, 1, -1)}, "qwen2.attention.head_count_kv"),
        ({"q_attention__head_count_kv": struct.pack("<IIQff", 9, 6, 2, 1, float("nan"))}, "array"),
        ({"q_attention__head_count_kv": [1] * 5000}, "array"),
        ({"q_attention__head_count_kv": ["a", "b"]}, "value_type"),
    ],
)
def test_keys_that_contradict_the_format(changes: dict[str, Value | bytes], what: str) -> None:
    assert broken_what(pack_header(with_base(**changes))) == what


def test_duplicate_key() -> None:
    twice = pack_header({"a": 1, "b": 2}).replace(pack_string("a"), pack_string("b"))
    assert broken_what(twice.replace(pack_string("b"), pack_string("llama.block_count"))) == "duplicate_key"


def test_more_keys_than_an_architecture_has() -> None:
    assert broken_what(pack_header({f"a{number}.block_count": 1 for number in range(300)})) == "key_count"


def test_missing_embedding_length() -> None:
    values = {key: value for key, value in BASE.items() if not key.endswith("embedding_length")}
    assert broken_what(pack_header(values)) == "qwen2.embedding_length"


def test_no_architecture() -> None:
    assert broken_what(pack_header({"general.name": "x"})) == "architecture"


def test_a_projector_is_no_language_model() -> None:
    data = pack_header({"general.architecture": "clip", "clip.has_vision_encoder": struct.pack("<I?", 7, True)})
    assert problem_of(lambda: read(data)) == ("model.not_language_model", {"architecture": "clip"})


def test_parts_of_a_split_model() -> None:
    assert read(pack_header(with_base(split__count=3))).split_count == 3
    assert problem_of(lambda: read(pack_header({"split.count": 3, "split.no": 1}))) == ("model.split_part", {})


def tensor_entry(name: str = "t", dims: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return pack_string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ([tensor_entry("n" * 64)], "tensor_name"),
        ([tensor_entry(dims=(1,) * 5)], "dimensions"),
        ([tensor_entry(dims=(2**63,))], "dimension"),
        ([tensor_entry(dims=(2**40,) * 4)], "data_size"),
        ([tensor_entry(kind=4)], "tensor_type"),
        ([tensor_entry(dims=(48,), kind=2)], "tensor_shape"),
        ([tensor_entry(offset=32)], "tensor_offset"),
        ([tensor_entry("a"), tensor_entry("a", offset=128)], "duplicate_tensor"),
        ([tensor_entry("a"), tensor_entry("b", offset=0)], "tensor_offset"),
    ],
)
def test_tensors_that_contradict_the_format(entries: list[bytes], what: str) -> None:
    values = pack_header(BASE)
    body = values[:8] + struct.pack("<Q", len(entries)) + values[16:].rstrip(b"\0") + bytes(3)
    assert broken_what(body + b"".join(entries) + bytes(4096)) == what


@pytest.mark.parametrize(
    "hostile",
    [
        pack_header({f"k{n}": struct.pack("<IIQ", 9, 10, 16 << 20) for n in range(16_384)}),  # leaps of 128 MiB
        pack_header({"k": struct.pack("<IIQ", 9, 8, 3 << 19)}),  # as many empty strings as are allowed
        pack_header({"k" * 60_000 + str(n): 1 for n in range(1200)}),  # 72 MB of keys
    ],
    ids=["leaps", "strings", "keys"],
)
def test_a_hostile_header_ends_soon_and_in_little_memory(hostile: bytes) -> None:
    sizes: list[int] = []
    whole = reader(hostile, 1 << 45)

    def read_at(offset: int, size: int) -> bytes:
        sizes.append(size)
        return whole(offset, size)

    started = time.process_time()
    code, _ = problem_of(lambda: read_gguf(read_at, 1 << 45))
    assert time.process_time() - started < (1.0 if sys.gettrace() is None else 5.0)  # coverage traces each line
    assert code == "model.broken"
    assert sum(sizes) <= MAX_READ_BYTES
    tracemalloc.start()
    problem_of(lambda: read_gguf(read_at, 1 << 45))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * MIB


VALID = pack_header(
    with_base(tokenizer__ggml__tokens=["ab", "cd"], q_attention__head_count_kv=[1, 2]),
    [("token_embd.weight", (256, 4), "Q4_K"), ("output_norm.weight", (256,), "F32")],
) + bytes(2048)


def outcome(data: bytes) -> GgufModel | Problem:
    try:
        return read(data)
    except ProblemError as error:
        return error.problem


@settings(max_examples=300)
@given(st.integers(0, len(VALID) - 2100), st.binary(min_size=1, max_size=8))
def test_any_damage_ends_in_a_model_or_a_problem(at: int, damage: bytes) -> None:
    data = VALID[:at] + damage + VALID[at + len(damage) :]
    found = outcome(data)
    if isinstance(found, GgufModel):
        assert found.data_offset + found.weights_total <= len(data)
    else:
        assert found.code.startswith("model.")


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_problem(data: bytes) -> None:
    code, _ = problem_of(lambda: read(b"GGUF\x03\0\0\0" + data))
    assert code.startswith("model.")


def test_what_the_context_keeps_is_there_by_key() -> None:
    """A number, or one for each layer; keys of other types are left to the engine, which refuses them."""
    pattern = struct.pack("<IIQ??", 9, 7, 2, True, False)
    values = with_base(q_attention__sliding_window=300, q_feed_forward_length=[7, 8], q_ssm__state_size=1.5)
    model = read(pack_header(values | {"qwen2.attention.sliding_window_pattern": pattern}))
    assert model.keys["attention.sliding_window"] == 300
    assert model.keys["attention.sliding_window_pattern"] == (1, 0)
    assert model.keys["feed_forward_length"] == (7, 8)
    assert "ssm.state_size" not in model.keys
    assert "attention.shared_kv_layers" not in model.keys


def test_the_span_of_the_input_tensors() -> None:
    """With mmap the host buffer goes from the first to the last of them, padding and others in between included."""
    tensors = [("a", (5,), "F32"), ("token_embd.weight", (64,), "F32"), ("b", (5,), "F32"), ("c", (8,), "F32")]
    alone = read(pack_header(BASE, tensors), 10_000)
    assert (alone.input_bytes, alone.input_span) == (256, 256)
    apart = read(
        pack_header(BASE, [*tensors, ("per_layer_token_embd.weight", (9,), "F32"), ("d", (8,), "F32")]), 10_000
    )
    assert (apart.input_bytes, apart.input_span) == (256 + 36, 256 + 32 + 32 + 36)
    coarse = read(
        pack_header(
            with_base(general__alignment=128),
            [("token_embd.weight", (5,), "F32"), ("x", (3,), "F32"), ("token_types.weight", (5,), "F32")],
            alignment=128,
        ),
        10_000,
    )
    assert (coarse.alignment, coarse.input_span) == (128, 256 + 20)
    assert read(pack_header(BASE)).input_span == 0


class TestProjector:
    tensors: ClassVar[list[tuple[str, tuple[int, ...], str]]] = [("v.a", (64,), "F16"), ("mm.b", (3,), "F32")]

    def test_all_tensors_count(self) -> None:
        header = pack_header({"general.architecture": "clip", "clip.has_vision_encoder": 1}, self.tensors)
        assert read_projector(reader(header, 10_000), 10_000) == 128 + 12

    @pytest.mark.parametrize(("values", "said"), [({"general.architecture": "qwen2"}, "qwen2"), ({}, "?")])
    def test_another_model(self, values: dict[str, Value | bytes], said: str) -> None:
        with pytest.raises(ProblemError) as caught:
            read_projector(reader(pack_header(values, self.tensors), 10_000), 10_000)
        assert caught.value.problem == problem("model.not_projector", architecture=said)

    def test_a_file_that_was_cut(self) -> None:
        header = pack_header({"general.architecture": "clip"}, self.tensors)
        with pytest.raises(ProblemError) as caught:
            read_projector(reader(header, len(header) + 9), len(header) + 9)
        assert caught.value.problem.code == "model.truncated"


def test_all_keys_of_the_reference_are_kept() -> None:
    """Reference llama-server §7, "GGUF keys"."""
    names = (
        "attention.key_length_mla", "attention.value_length_mla", "attention.kv_lora_rank", "rope.dimension_count",
        "attention.shared_kv_layers", "attention.recurrent_layers", "full_attention_interval", "ssm.conv_kernel",
        "ssm.inner_size", "ssm.state_size", "ssm.time_step_rank", "ssm.group_count", "expert_count",
        "expert_used_count", "expert_shared_count", "leading_dense_block_count",
    )  # fmt: skip
    values: dict[str, Value | bytes] = {f"qwen2.{name}": number for number, name in enumerate(names, start=1)}
    model = read(pack_header(BASE | values))
    assert {name: model.keys[name] for name in names} == {name: number for number, name in enumerate(names, start=1)}
