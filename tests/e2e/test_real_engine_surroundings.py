"""What lies around a start, variables and configuration files, does not reach the real llama-server."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Station
from tests.helpers.cli import free_port
from tests.helpers.lying_engine import DEVICE_DROPPED, lying_engine, write_profile

pytestmark = pytest.mark.e2e

TARGETS = ["local", "wsl:"]
RUN_S = 20.0

DIRTY = {
    "LLAMA_ARG_NO_KV_OFFLOAD": "1",
    "LLAMA_ARG_N_CPU_FFN": "99",
    "LLAMA_ARG_OVERRIDE_TENSOR": ".*=CPU",
    "LLAMA_ARG_UBATCH": "64",
    "LLAMA_SERVER_ROUTER_PORT": "1",
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY": "1",
    "GGML_CUDA_REGISTER_HOST": "1",
    "GGML_BACKEND_PATH": "/nowhere.so",
    "MTMD_BACKEND_DEVICE": "CPU",
    "CUDA_VISIBLE_DEVICES": "7",
    "CUDA_MANAGED_FORCE_DEVICE_ALLOC": "1",
    "CUDA_INJECTION64_PATH": "/nowhere.so",
    "LMCACHE_USE_EXPERIMENTAL": "True",
    "VLLM_USE_SIMPLE_KV_OFFLOAD": "1",
    "VLLM_SERVER_DEV_MODE": "1",
    "TRITON_INTERPRET": "1",
    "LD_AUDIT": "/nowhere.so",
}
HARMLESS = {"KOTARO_OF_THE_USER": "stays", "VLLM_WSL2_ENABLE_PIN_MEMORY": "1"}


@pytest.mark.parametrize("target", TARGETS)
def test_no_variable_that_moves_a_model_reaches_the_engine(
    station: Station, llama_server: Path, tiny_gguf: Path, tmp_path: Path, target: str
) -> None:
    """The engine's own environment, as it is when it starts; what does no harm comes through."""
    told = tmp_path / "environment"
    engine = lying_engine(tmp_path, llama_server, f'env >"{told}"\nexit 1')
    write_profile(station.line, engine, tiny_gguf, target)
    passed = {**DIRTY, **HARMLESS}
    env = {**passed, "WSLENV": ":".join(passed), "LD_PRELOAD": ""}
    assert station.line.call("run", "tiny", env=env, deadline_s=RUN_S).code == 1
    seen = dict(line.split("=", 1) for line in told.read_text(encoding="utf-8").splitlines() if "=" in line)
    assert {name: seen[name] for name in DIRTY if name in seen} == {"CUDA_VISIBLE_DEVICES": "0"}
    assert "LD_PRELOAD" not in seen
    assert {name: seen.get(name) for name in HARMLESS} == HARMLESS


CONFIG = "no-kv-offload = true\nn-cpu-ffn = 99\nubatch-size = 64\n"


def write_config(folder: Path) -> Path:
    """A configuration file where llama-server looks for one of the user's."""
    path = folder / "llama.cpp" / "config.ini"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_the_engine_would_read_it(llama_server: Path, tmp_path: Path) -> None:
    """Without us the file counts: what the next test shows is not the engine's doing."""
    path = write_config(tmp_path)
    done = subprocess.run(
        [llama_server, "-m", tmp_path / "none.gguf", "--port", str(free_port())],
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert f"using config file: {path}" in done.stderr


def test_a_configuration_file_of_the_user_has_no_effect(
    station: Station, llama_server: Path, tiny_gguf: Path, tmp_path: Path
) -> None:
    """Neither in the folder that XDG_CONFIG_HOME names nor in ~/.config; the log says so, and what it would set."""
    home = station.line.folder
    for folder in (home / "config", home / ".config"):
        write_config(folder)
    said = tmp_path / "said"
    script = f'{DEVICE_DROPPED}"$server" "$@" >"{said}" 2>&1 &\nchild=$!\ntrap "kill $child" TERM\nwait\nwait'
    write_profile(station.line, lying_engine(tmp_path, llama_server, script), tiny_gguf, "local")
    assert station.line.call("run", "tiny", deadline_s=RUN_S).code == 1
    text = said.read_text(encoding="utf-8")
    assert "using config file" not in text
    assert re.search(r"n_ubatch\s+= 512\b", text)
