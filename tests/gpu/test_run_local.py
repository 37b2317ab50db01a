"""On a real NVIDIA GPU, target `local`: the promise, with nothing simulated. Needs no Qt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pynvml
import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

PORT = 18080
PROFILE = """\
title = "GPU test"
engine = "llama-server"
executable = "{executable}"
target = "local"
model = "{model}"
served_name = "gpu-test"
context = 8192
port = {port}
"""


def vram_used() -> int:
    """Bytes in use on card 0."""
    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used)
    finally:
        pynvml.nvmlShutdown()


class Product:
    """The command line as a person would use it, in folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.env = {
            **os.environ,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data"),
            "LANG": "C.UTF-8",
        }
        self.folder = folder
        self.log = folder / "run.log"
        self.running: subprocess.Popen[bytes] | None = None

    def profile(self, executable: Path, model: Path) -> None:
        profiles = self.folder / "config" / "kotaro-bridge" / "profiles"
        profiles.mkdir(parents=True, exist_ok=True)
        text = PROFILE.format(executable=executable, model=model, port=PORT)
        (profiles / "gpu-test.toml").write_text(text, encoding="utf-8")

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "kotaro_bridge", *arguments]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=120, check=False)

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.call(*arguments, "--json")
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def run(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "kotaro_bridge", "run", "gpu-test"]
        with self.log.open("wb") as log:
            self.running = subprocess.Popen(argv, env=self.env, stdout=log, stderr=subprocess.STDOUT)
        return self.running

    def state(self) -> dict[str, Any]:
        runs = self.json("status")["runs"]
        return runs[0] if runs else {"state": "none"}

    def wait_for(self, state: str, timeout_s: float = 90.0) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        seen: dict[str, Any] = {}
        while time.monotonic() < deadline:
            seen = self.state()
            if seen["state"] == state:
                return seen
            assert self.running is None or self.running.poll() is None, self.log.read_text(encoding="utf-8")
            time.sleep(0.3)
        pytest.fail(f"{seen}\n{self.log.read_text(encoding='utf-8')}")


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    made = Product(tmp_path)
    yield made
    if made.running is not None and made.running.poll() is None:
        made.running.kill()
        made.running.wait()
        made.call("stop")


def wrapper(folder: Path, server: Path, script: str) -> Path:
    """An engine executable that changes the command line behind our back."""
    path = folder / "wrapped-llama-server"
    path.write_text(f'#!/bin/sh\nserver="{server}"\n{script}\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def test_ready_on_the_gpu_and_stopped_clean(product: Product, cuda_llama_server: Path, gpu_model: Path) -> None:
    before = vram_used()
    product.profile(cuda_llama_server, gpu_model)
    check = product.json("check", "--profile", "gpu-test")
    assert check["ok"], check
    begin = time.monotonic()
    running = product.run()
    ready = product.wait_for("ready")
    print(f"ready after {time.monotonic() - begin:.1f} s: {ready}")
    assert ready["verdict"] == "gpu"
    assert ready["vram_taken"] > gpu_model.stat().st_size * 0.8
    assert ready["warm_up_tokens_per_s"] > 30
    body = {"model": "gpu-test", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 32}
    answer = httpx.post(f"{ready['base_url']}/chat/completions", json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0, product.log.read_text(encoding="utf-8")
    assert vram_used() - before < 64 << 20
    print(product.log.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('exec "$server" "$@" -nkvo', "KV"),
        ('exec "$server" "$@" -ngl 10', "layers"),
        ('exec env CUDA_VISIBLE_DEVICES= "$server" $(printf "%s " "$@" | sed "s/--device CUDA0//")', "Failed"),
        ('exec "$server" "$@" --device none', "Failed"),
    ],
    ids=["kv-in-ram", "ten-layers", "card-hidden", "device-none"],
)
def test_a_model_that_leaves_the_gpu_is_stopped(
    product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path, script: str, words: str
) -> None:
    before = vram_used()
    product.profile(wrapper(tmp_path, cuda_llama_server, script), gpu_model)
    running = product.run()
    assert running.wait(120) == 1
    said = product.log.read_text(encoding="utf-8")
    print(said)
    assert words in said
    assert "Failed" in said
    assert f"127.0.0.1:{PORT}/v1" not in said  # the address was never offered
    assert vram_used() - before < 64 << 20


def test_a_killed_owner_leaves_no_vram_taken(product: Product, cuda_llama_server: Path, gpu_model: Path) -> None:
    before = vram_used()
    product.profile(cuda_llama_server, gpu_model)
    running = product.run()
    product.wait_for("ready")
    running.kill()
    running.wait()
    deadline = time.monotonic() + 30
    while vram_used() - before > 64 << 20 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert vram_used() - before < 64 << 20


def test_too_little_vram_is_refused_before_the_spawn(product: Product) -> None:
    done = product.call("check", "--need", "500GiB")
    assert done.returncode == 1
    assert "500" in done.stderr or "512,000" in done.stderr
