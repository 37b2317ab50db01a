"""Ollama's manifests: the model files in them, and the names that they get."""

from __future__ import annotations

import json

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.model_stores import model_name, read_manifest

A, B, C = "a" * 64, "b" * 64, "c" * 64


def manifest(*layers: tuple[str, str]) -> bytes:
    kind = "application/vnd.ollama.image."
    return json.dumps(
        {
            "schemaVersion": 2,
            "config": {"digest": f"sha256:{C}", "size": 5},
            "layers": [{"mediaType": kind + word, "digest": f"sha256:{digest}", "size": 7} for word, digest in layers],
        }
    ).encode()


def test_the_model_and_its_projector_are_files_the_rest_is_not() -> None:
    read = read_manifest(
        "hf.co/o/m:Q4 K", manifest(("model", A), ("projector", B), ("template", C), ("params", C), ("license", C))
    )
    assert (read.model.sha256, read.model.size, read.model.file) == (A, 7, f"sha256-{A}")
    assert [name for _, name in read.file_names()] == ["hf.co-o-m-Q4-K.gguf", "hf.co-o-m-Q4-K-mmproj.gguf"]


def test_several_projectors_are_numbered() -> None:
    read = read_manifest("m:1", manifest(("model", A), ("projector", B), ("projector", C)))
    assert [name for _, name in read.file_names()] == ["m-1.gguf", "m-1-mmproj-1.gguf", "m-1-mmproj-2.gguf"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"{}",
        manifest(("template", A)),
        manifest(("model", A), ("model", B)),
        manifest(("model", "/x")),
    ],
)
def test_what_is_no_manifest_with_one_model_is_refused(data: bytes) -> None:
    with pytest.raises(ProblemError) as raised:
        read_manifest("m:1", data)
    assert raised.value.problem.code == "models.ollama_manifest"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("registry.ollama.ai/library/qwen2.5/14b", "qwen2.5:14b"),
        ("registry.ollama.ai/someone/m/latest", "someone/m:latest"),
        ("hf.co/bartowski/m/Q4", "hf.co/bartowski/m:Q4"),
        ("hf.co/library/m/Q4", "hf.co/library/m:Q4"),
    ],
)
def test_names_are_those_that_ollama_shows(path: str, name: str) -> None:
    assert model_name(path) == name
