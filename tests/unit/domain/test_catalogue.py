"""The catalogue's files: what they must hold, and that a mistake is named with file and key."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import tomlkit

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.catalogue import CatalogueEntry, Claim, Strength, decode_catalogue, entry_of
from kotaro_bridge.domain.model.safetensors import StoredTensor
from kotaro_bridge.domain.planning.plan import plan
from kotaro_bridge.domain.planning.plan_parts import GgufPlanned, HfPlanned, Origin, PlanRequest
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.host.catalogue_store import load_catalogue
from kotaro_bridge.texts import load_catalogue as load_texts

SMALL: dict[str, Any] = {
    "title": "Small",
    "about": "qwen_instruct",
    "good_at": ["japanese"],
    "licence": "apache-2",
    "licence_url": "https://example.org/licence",
    "shape_measured": True,
    "source": "a test",
    "config": {
        "model_type": "qwen2",
        "num_hidden_layers": 2,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1024,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
    },
    "variants": [
        {"quantization": "FP16", "repository": "a/small", "source": "computed"},
        {
            "quantization": "AWQ",
            "repository": "a/small-AWQ",
            "source": "computed",
            "packing": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
            "often_said": {"card_gib": 12, "context": 8192},
        },
        {
            "quantization": "Q4_K_M",
            "repository": "a/small-GGUF",
            "revision": "abc",
            "source": "listed",
            "files": [{"name": "a-1.gguf", "bytes": 1000}, {"name": "a-2.gguf", "bytes": 500}],
            "projector": {"name": "mmproj.gguf", "bytes": 70},
        },
    ],
}


def decode(data: dict[str, Any], model: str = "small") -> tuple[CatalogueEntry, ...]:
    return decode_catalogue(tomlkit.dumps(data), file="small.toml", model=model)


def changed(*path: str | int, value: Any = None) -> dict[str, Any]:
    """The small file with one value set, or taken out for None."""
    data: Any = msgspec.json.decode(msgspec.json.encode(SMALL))
    at = data
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return dict(data)


def test_an_entry_has_what_its_file_says() -> None:
    full, packed, gguf = decode(SMALL)
    assert [each.id for each in (full, packed, gguf)] == ["small-fp16", "small-awq", "small-q4_k_m"]
    assert [each.engine for each in (full, packed, gguf)] == [Engine.VLLM, Engine.VLLM, Engine.LLAMA_SERVER]
    assert full.name == "Small FP16"
    assert full.download_bytes == full.weights_bytes == full.parameters * 2
    assert full.origin is Origin.FORMULA
    assert packed.claim == Claim(12, 8192)
    assert packed.claim.card_bytes == 12 * GIB
    assert isinstance(packed.planned, HfPlanned)
    assert packed.planned.model.quantization is not None
    assert packed.weights_bytes < full.weights_bytes
    assert isinstance(gguf.planned, GgufPlanned)
    assert gguf.planned.projector_bytes == 70
    assert gguf.download_bytes == 1570
    assert gguf.origin is Origin.STATED
    assert gguf.weights_bytes == gguf.planned.model.weights_on_gpu
    assert gguf.read_bytes == gguf.weights_bytes
    assert full.read_bytes == full.weights_bytes - 1024 * 256 * 2
    assert not gguf.sees_images


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (changed("title"), ""),
        (changed("title", value=3), "title"),
        (changed("licence", value="mine"), "licence"),
        (changed("good_at", 0, value="chess"), "good_at[0]"),
        (changed("speed", value=3), ""),
        (changed("config", "hidden_size"), "config"),
        (changed("config", "model_type", value="nobody"), "config"),
        (changed("variants", value=[]), "variants"),
        (changed("variants", 0, "repository", value="no owner"), "variants[0].repository"),
        (changed("variants", 1, "quantization", value="FP16"), "variants[1].quantization"),
        (changed("variants", 1, "packing", "quant_method", value="magic"), "variants[1]"),
        (changed("variants", 2, "files"), "variants[2].files"),
        (changed("variants", 2, "files", 0, "bytes", value=-1), "variants[2].files[0].bytes"),
        (changed("config", "tie_word_embeddings", value=True), "variants[2]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_named_with_file_and_key(data: dict[str, Any], key: str) -> None:
    with pytest.raises(ProblemError) as caught:
        decode(data)
    told = caught.value.problem
    assert told.code == "catalogue.broken"
    assert (told.params["file"], told.params["key"]) == ("small.toml", key)
    assert told.params["detail"]


@pytest.mark.parametrize("text", ["title = ", "\x00", "title = 'a'\ntitle = 'b'"])
def test_text_that_is_no_toml_is_named(text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        decode_catalogue(text, file="small.toml", model="small")
    assert caught.value.problem.code == "catalogue.broken"


def test_a_file_name_is_an_id() -> None:
    with pytest.raises(ProblemError):
        decode(SMALL, model="Not An Id")


def test_any_model_can_stand_beside_the_catalogue() -> None:
    full, packed, gguf = decode(SMALL)
    for known in (full, packed):
        named = entry_of(known.planned, "some/model")
        assert (named.engine, named.weights_bytes, named.read_bytes) == (
            known.engine,
            known.weights_bytes,
            known.read_bytes,
        )
        assert named.licence is None
    pictured = entry_of(gguf.planned, "file.gguf")
    assert pictured.sees_images
    assert pictured.name == "Small Q4_K_M"
    assert isinstance(full.planned, HfPlanned)
    stored = (StoredTensor("lm_head.weight", "BF16", (1024, 256), 1024 * 256 * 2),)
    assert entry_of(replace(full.planned, stored=stored), "folder").weights_bytes == 1024 * 256 * 2


def test_the_catalogue_holds_what_was_promised() -> None:
    entries = load_catalogue()
    assert len({entry.id for entry in entries}) == len(entries)
    for size in ("7b", "14b", "32b"):
        for line in (f"qwen2.5-{size}-instruct", f"qwen2.5-coder-{size}-instruct"):
            found = {entry.quantization for entry in entries if entry.model == line}
            assert found == {"AWQ", "GPTQ-Int4", "FP16", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"}
    seeing = [entry for entry in entries if entry.sees_images]
    assert {entry.quantization for entry in seeing} == {"FP16", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"}
    assert not any(entry.shape_measured for entry in seeing)
    assert all(entry.projector for entry in seeing if entry.engine is Engine.LLAMA_SERVER)
    assert {entry.id for entry in entries if entry.claim} == {"qwen2.5-14b-instruct-awq", "qwen2.5-7b-instruct-fp16"}


def test_every_entry_is_planned_without_a_download() -> None:
    for entry in load_catalogue():
        found = plan(entry.planned, PlanRequest(entry.engine, 8192), None)
        assert found.weights.bytes >= entry.weights_bytes, entry.id
        assert entry.read_bytes, entry.id
        assert entry.read_bytes < entry.download_bytes, entry.id


def test_split_files_are_all_there() -> None:
    part = re.compile(r"-(\d{5})-of-(\d{5})\.gguf\Z")
    for entry in load_catalogue():
        numbers = [found for file in entry.files if (found := part.search(file.name))]
        if numbers:
            counts = {int(found[2]) for found in numbers}
            assert counts == {len(entry.files)}, entry.id
            assert [int(found[1]) for found in numbers] == list(range(1, len(entry.files) + 1)), entry.id


def test_sizes_that_repositories_are_known_by() -> None:
    """The total of model.safetensors.index.json, and the shards that the listings show in GB."""
    sizes = {entry.id: entry.download_bytes for entry in load_catalogue()}
    assert sizes["qwen2.5-7b-instruct-fp16"] == 15_231_233_024
    assert sizes["qwen2.5-14b-instruct-awq"] == pytest.approx(9.98e9, abs=0.01e9)
    assert sizes["qwen2.5-coder-7b-instruct-gptq-int4"] == pytest.approx(5.58e9, abs=0.01e9)
    assert sizes["qwen2.5-coder-14b-instruct-gptq-int4"] == pytest.approx(9.98e9, abs=0.01e9)
    assert sizes["minicpm-v-2.6-fp16"] == 8_099_175_152 * 2


@pytest.mark.parametrize("language", ["en", "ja"])
def test_everything_has_words(language: str) -> None:
    texts = load_texts(language)
    for entry in load_catalogue():
        assert entry.about is not None
        assert entry.licence is not None
        assert texts[f"catalogue.about.{entry.about.value}"]
        assert texts[f"catalogue.licence.{entry.licence.value}"]
    assert all(texts[f"catalogue.good_at.{strength.value}"] for strength in Strength)
