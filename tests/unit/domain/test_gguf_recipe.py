"""The recipe against real files: sizes that Qwen's own repositories list, and buffers that the engine printed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.model.gguf_recipe import Mix, gguf_of
from kotaro_bridge.domain.model.hf_config import HfModel, decode_hf_config
from kotaro_bridge.domain.planning.plan_parts import GgufPlanned, Origin
from kotaro_bridge.domain.run.speed import gguf_read_bytes
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.host.catalogue_store import load_catalogue
from tests.helpers.captures import llama_text
from tests.helpers.hf_configs import QWEN_7B

QWEN_14B = QWEN_7B | {
    "num_hidden_layers": 48,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
}


def model(config: dict[str, Any]) -> HfModel:
    return decode_hf_config(json.dumps(config).encode())


def listed() -> list[CatalogueEntry]:
    """Entries whose file sizes come from a listing."""
    return [
        entry
        for entry in load_catalogue()
        if isinstance(entry.planned, GgufPlanned) and entry.origin is Origin.STATED and entry.projector is None
    ]


def test_listed_files_are_their_tensors_and_one_header() -> None:
    """What a file has beyond its tensors is its header: the same for each quantization of a model, but for what each
    further part of a split file adds.
    """
    headers: dict[str, set[int]] = {}
    for entry in listed():
        assert isinstance(entry.planned, GgufPlanned)
        headers.setdefault(entry.model, set()).add(entry.download_bytes - entry.planned.model.weights_total)
    assert len(listed()) == 23
    for model_id, found in headers.items():
        assert min(found) > 5_900_000, model_id
        assert max(found) - min(found) <= 512, model_id
    # Single files: no parts, no difference at all.
    assert all(len(found) == 1 for model_id, found in headers.items() if "coder" in model_id)


@pytest.mark.parametrize(("config", "log"), [(QWEN_14B, "full14-lv4"), (QWEN_7B, "full7-8k")], ids=["14B", "7B"])
def test_weights_on_the_card_are_those_of_the_captures(config: dict[str, Any], log: str) -> None:
    made = gguf_of(model(config), Mix.Q4_K_M, "")
    buffers = [line for line in llama_text(log).splitlines() if "model buffer size" in line]
    assert f"CUDA0 model buffer size = {made.weights_on_gpu / MIB:8.2f} MiB" in " ".join(buffers)
    assert f"CPU_Mapped model buffer size = {made.input_bytes / MIB:8.2f} MiB" in " ".join(buffers)


def test_a_header_holds_what_a_plan_asks_for() -> None:
    made = gguf_of(model(QWEN_14B), Mix.Q6_K, "a name")
    assert (made.architecture, made.name, made.file_type, made.split_count) == ("qwen2", "a name", 18, 1)
    assert (made.block_count, made.head_count, made.embedding_length, made.vocab_size) == (48, 40, 5120, 152064)
    assert made.head_count_kv == (8,) * 48
    assert (made.key_length, made.value_length, made.context_length) == (128, 128, 32768)
    assert made.keys["feed_forward_length"] == 13824
    assert not made.tied_embeddings
    assert gguf_read_bytes(made) == made.weights_on_gpu


@pytest.mark.parametrize(
    "config",
    [
        QWEN_7B | {"tie_word_embeddings": True},
        QWEN_7B | {"model_type": "llama"},
        QWEN_7B | {"hidden_size": 3600, "num_attention_heads": 30},
    ],
    ids=["tied", "other family", "rows that fill no block"],
)
def test_what_is_not_known_is_said(config: dict[str, Any]) -> None:
    with pytest.raises(ProblemError) as caught:
        gguf_of(model(config), Mix.Q4_K_M, "")
    assert caught.value.problem.code == "catalogue.recipe"
