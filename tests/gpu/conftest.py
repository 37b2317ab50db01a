"""What the GPU suite needs besides a card: a CUDA build of llama-server and a model, named in the environment.

KOTARO_GPU_LLAMA_SERVER   path of a llama-server built with -DGGML_CUDA=ON
KOTARO_GPU_MODEL          path of a GGUF file that fits the card
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _named(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    path = Path(value)
    assert path.is_file(), f"{variable}: {value} is not there"
    return path


@pytest.fixture(scope="session")
def cuda_llama_server() -> Path:
    """A llama-server with CUDA."""
    return _named("KOTARO_GPU_LLAMA_SERVER")


@pytest.fixture(scope="session")
def gpu_model() -> Path:
    """A model that fits the card."""
    return _named("KOTARO_GPU_MODEL")
