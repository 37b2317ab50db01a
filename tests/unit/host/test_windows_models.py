"""The stores of LM Studio and Ollama: found, named, read, and never touched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.model_files import Condition, Place
from kotaro_bridge.host.windows_models import Stores

KIND = "application/vnd.ollama.image."


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def add_ollama(store: Path, name: str, model: bytes, projector: bytes | None = None) -> str:
    """A model in an Ollama store, with a template that is no model file; its checksum."""
    layers = []
    for word, data in (("model", model), ("projector", projector), ("template", b"{{ .Prompt }}")):
        if data is None:
            continue
        digest = hashlib.sha256(data).hexdigest()
        write(store / "blobs" / f"sha256-{digest}", data)
        layers.append({"mediaType": KIND + word, "digest": f"sha256:{digest}", "size": len(data)})
    write(store / "manifests" / name, json.dumps({"schemaVersion": 2, "layers": layers}).encode())
    return str(layers[0]["digest"]).removeprefix("sha256:")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_user_without_such_programs(tmp_path: Path) -> None:
    assert Stores(tmp_path, {}).models() == ()


def test_models_of_ollama_by_their_names(tmp_path: Path) -> None:
    store = tmp_path / ".ollama" / "models"
    add_ollama(store, "registry.ollama.ai/library/qwen2.5/7b", b"GGUF" + b"q" * 96)
    add_ollama(store, "registry.ollama.ai/library/minicpm-v/8b", b"GGUF" + b"v" * 46, b"GGUF" + b"p" * 6)
    write(store / "manifests" / "registry.ollama.ai" / "library" / "broken" / "1", b"{")
    write(store / "manifests" / "stray", b"{}")
    before = snapshot(tmp_path)
    found = {model.id: model for model in Stores(tmp_path, {}).models()}
    assert {name: (model.bytes, model.condition) for name, model in found.items()} == {
        "minicpm-v:8b": (60, Condition.WHOLE),
        "qwen2.5:7b": (100, Condition.WHOLE),
    }
    assert {model.place for model in found.values()} == {Place.OLLAMA}
    assert len(found["minicpm-v:8b"].projectors) == 1
    assert not found["qwen2.5:7b"].removable
    assert snapshot(tmp_path) == before


def test_a_store_that_was_moved(tmp_path: Path) -> None:
    add_ollama(tmp_path / "elsewhere", "registry.ollama.ai/library/m/1", b"GGUF")
    assert [model.id for model in Stores(tmp_path, {"OLLAMA_MODELS": f'"{tmp_path / "elsewhere"}"'}).models()] == [
        "m:1"
    ]


def test_blobs_that_are_missing_or_too_short(tmp_path: Path) -> None:
    store = tmp_path / ".ollama" / "models"
    gone = add_ollama(store, "registry.ollama.ai/library/gone/1", b"GGUF-a")
    short = add_ollama(store, "registry.ollama.ai/library/short/1", b"GGUF-b")
    (store / "blobs" / f"sha256-{gone}").rename(store / "blobs" / f"sha256-{gone}-partial")
    (store / "blobs" / f"sha256-{short}").write_bytes(b"GG")
    stores = Stores(tmp_path, {})
    assert [(m.id, m.condition) for m in stores.models()] == [
        ("gone:1", Condition.PARTIAL),
        ("short:1", Condition.BROKEN),
    ]
    for digest in (gone, short):
        with pytest.raises(ProblemError) as raised:
            list(stores.read(digest, 6))
        assert raised.value.problem.code == "models.ollama_blob"


def test_a_blob_is_read_whole(tmp_path: Path) -> None:
    digest = add_ollama(tmp_path / ".ollama" / "models", "registry.ollama.ai/library/m/1", b"GGUF" * 1000)
    assert b"".join(Stores(tmp_path, {}).read(digest, 4000)) == b"GGUF" * 1000


@pytest.mark.parametrize("where", ["usual", "old", "pointer", "settings"])
def test_models_of_lm_studio(tmp_path: Path, where: str) -> None:
    folder = tmp_path / ".lmstudio" / "models"
    if where == "old":
        folder = tmp_path / ".cache" / "lm-studio" / "models"
    elif where == "pointer":
        folder = tmp_path / "disk" / "models"
        write(tmp_path / ".lmstudio-home-pointer", f"{tmp_path / 'disk'}\n".encode())
    elif where == "settings":
        folder = tmp_path / "big"
        write(tmp_path / ".lmstudio" / "settings.json", json.dumps({"downloadsFolder": str(folder)}).encode())
    write(folder / "lmstudio-community" / "Q-GGUF" / "q.gguf", b"GGUF" + b"x" * 6)
    write(folder / "lmstudio-community" / "Q-GGUF" / "broken.gguf", b"<htm")
    before = snapshot(tmp_path)
    found = {model.id: model for model in Stores(tmp_path, {}).models()}
    assert {name: model.condition for name, model in found.items()} == {
        "lm-studio:lmstudio-community/Q-GGUF/q.gguf": Condition.WHOLE,
        "lm-studio:lmstudio-community/Q-GGUF/broken.gguf": Condition.BROKEN,
    }
    assert {model.place for model in found.values()} == {Place.LM_STUDIO}
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("text", [b"{", b"[1]", b'{"downloadsFolder": 5}', b"\xff"])
def test_settings_that_say_nothing(tmp_path: Path, text: bytes) -> None:
    write(tmp_path / ".lmstudio" / "settings.json", text)
    write(tmp_path / ".lmstudio" / "models" / "a" / "b" / "q.gguf", b"GGUF")
    assert len(Stores(tmp_path, {}).models()) == 1
