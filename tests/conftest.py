"""Fixtures for every test. The guards that are always on live in `tests/helpers/guards.py`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

from tests.helpers.tiny_gguf import write_tiny_gguf
from tools import llama_server as build
from tools.verbs import NO_LLAMA_SERVER

# What a shell starts in the background is deaf to Ctrl-C, and so would be every program of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform != "win32":
    # The same under nohup, for the hangup that wsl.exe's end is to Linux.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# An example that takes long on a machine at work is no fault; pytest's own limit ends what hangs.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

pytest_plugins = ["tests.helpers.guards", "pytester"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no NVIDIA GPU, with the driver's own words as the reason."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    reason = _no_gpu_reason() if wanting else None
    for item in wanting if reason else []:
        item.add_marker(pytest.mark.skip(reason=reason or ""))


@pytest.fixture(scope="session")
def llama_server() -> Path:
    """Path of the real llama-server (CPU build) that `dev.py llama-server` keeps in the user's cache folder."""
    program = build.cached()
    if program is None and os.environ.get(NO_LLAMA_SERVER) == "1":
        pytest.skip(f"{NO_LLAMA_SERVER}=1: {build.missing_sentence()}")
    if program is None:
        pytest.fail(build.missing_sentence(), pytrace=False)
    return program


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 3 MB that the real llama-server loads in milliseconds; `write_tiny_gguf` makes others."""
    return write_tiny_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf")


def _no_gpu_reason() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        count: int = pynvml.nvmlDeviceGetCount()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return f"no NVIDIA GPU: {error}"
    return None if count else "no NVIDIA GPU: the driver lists none"
