"""The cached llama-server and the generated model fit together: every test that starts an engine builds on this."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.e2e

READY_S = 30.0


@pytest.fixture(scope="module")
def server(llama_server: Path, tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A llama-server on the CPU, started by hand; a client with its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    log = tmp_path_factory.mktemp("server") / "log"
    where = ["--host", "127.0.0.1", "--port", port, "--metrics", "--device", "none", "-ngl", "0"]
    size = ["-c", "4096", "-np", "1", "--fit", "off", "-lv", "4", "--cache-ram", "0", "--ctx-checkpoints", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen([llama_server, "-m", tiny_gguf, *where, *size], stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            deadline = time.monotonic() + READY_S
            while not _is_ready(client):
                assert process.poll() is None, log.read_text(encoding="utf-8")
                assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait(10)


def test_streamed_answer_has_as_many_tokens_as_asked_for(server: httpx.Client) -> None:
    question = {"messages": [{"role": "user", "content": "Hello, こんにちは"}], "max_tokens": 300, "stream": True}
    with server.stream("POST", "/v1/chat/completions", json=question) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert events[-1]["timings"]["predicted_n"] == 300
    assert len(text) >= 300
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz ")


def test_slots_and_metrics_answer(server: httpx.Client) -> None:
    (slot,) = server.get("/slots").json()
    assert slot["n_ctx"] == 4096
    assert "llamacpp:tokens_predicted_total" in server.get("/metrics").text


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.ConnectError:
        return False
