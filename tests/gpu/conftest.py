"""What the GPU suite needs besides a card: a CUDA build of llama-server and models, named in the environment.

KOTARO_GPU_LLAMA_SERVER   path of a llama-server built with -DGGML_CUDA=ON
KOTARO_GPU_MODEL          GGUF files that fit the card, separated by `:`; the first is used for everything, all are
                          started once and measured
KOTARO_GPU_VISION_MODEL   a GGUF file and
KOTARO_GPU_PROJECTOR      the projector that belongs to it (optional: otherwise a tiny pair is made)
KOTARO_GPU_VLLM           path of a vllm, with `python` beside it, and
KOTARO_GPU_VLLM_MODEL     the folder of a model (or its config.json and tokenizer alone: its weights are not read) for
                          test_two_cards.py, which wants a machine with two cards
KOTARO_GPU_RECORD         a file to append measurements to, one JSON document per line (optional)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.gpu import Product, cards
from tests.helpers.tiny_gguf import write_tiny_gguf
from tests.helpers.tiny_mmproj import write_tiny_mmproj


def _named(variable: str) -> list[Path]:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    paths = [Path(part) for part in value.split(":")]
    for path in paths:
        assert path.is_file(), f"{variable}: {path} is not there"
    return paths


@pytest.fixture(scope="session")
def cuda_llama_server() -> Path:
    """A llama-server with CUDA."""
    return _named("KOTARO_GPU_LLAMA_SERVER")[0]


@pytest.fixture(scope="session")
def gpu_models() -> list[Path]:
    """Models that fit the card."""
    return _named("KOTARO_GPU_MODEL")


@pytest.fixture(scope="session")
def gpu_model(gpu_models: list[Path]) -> Path:
    """A model that fits the card."""
    return gpu_models[0]


@pytest.fixture(scope="session")
def vision_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and its projector."""
    if "KOTARO_GPU_VISION_MODEL" in os.environ:
        return _named("KOTARO_GPU_VISION_MODEL")[0], _named("KOTARO_GPU_PROJECTOR")[0]
    folder = tmp_path_factory.mktemp("vision")
    return write_tiny_gguf(folder / "tiny.gguf"), write_tiny_mmproj(folder / "mmproj.gguf")


@pytest.fixture(scope="session")
def two_cards() -> None:
    """Skips on a machine with fewer."""
    if (count := cards()) < 2:
        pytest.skip(f"two cards are needed, this machine has {count}")


@pytest.fixture(scope="session")
def vllm() -> tuple[Path, Path]:
    """A vLLM, and the folder of a model."""
    folder = os.environ.get("KOTARO_GPU_VLLM_MODEL")
    if not folder:
        pytest.skip("KOTARO_GPU_VLLM_MODEL is not set")
    assert Path(folder, "config.json").is_file(), folder
    return _named("KOTARO_GPU_VLLM")[0], Path(folder)


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    """The command line, with nothing of the user's own around it."""
    made = Product(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def record() -> Callable[[dict[str, Any]], None]:
    """Keeps a measurement."""

    def keep(document: dict[str, Any]) -> None:
        line = json.dumps(document)
        print(line)
        if path := os.environ.get("KOTARO_GPU_RECORD"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    return keep
