"""The HTTP client and the rates against the real llama-server (CPU build), which the test starts itself."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.run.metrics import LlamaRates, Rates
from kotaro_bridge.host.http_engine import HttpEngine
from tests.helpers.tiny_gguf import Shape, write_tiny_gguf

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some milliseconds a token, so that an answer can be watched."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "slow.gguf", Shape(vocab=32_768))


@pytest.fixture(scope="module")
def server_url(llama_server: Path, model: Path) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ["--device", "none", "-ngl", "0", "--metrics", "-np", "2", "-c", "4096", "-t", "1", "--cache-ram", "0"]
    argv = [str(llama_server), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), *options]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture
def http(server_url: str) -> Iterator[HttpEngine]:
    client = HttpEngine(server_url, Engine.LLAMA_SERVER)
    deadline = time.monotonic() + 60
    while client.health(1.0) != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield client
    client.close()


def test_props(http: HttpEngine) -> None:
    props = http.props()
    assert (props.n_ctx, props.slots) == (2048, 2)
    assert props.build


def test_warm_up_within_its_time(http: HttpEngine) -> None:
    found = http.warm_up("tiny", max_tokens=32, time_limit_s=1.0)
    assert 1 <= found.tokens <= 32
    assert found.seconds < 2.0
    assert found.tokens_per_s is not None
    assert found.tokens_per_s > 0


def test_a_chat_streams(http: HttpEngine) -> None:
    *pieces, last = http.chat("tiny", "hello", with_image=False)
    assert len(pieces) > 10
    assert last.done
    assert last.tokens_per_s is not None


def test_an_image_is_refused_by_a_model_without_eyes(http: HttpEngine) -> None:
    with pytest.raises(ProblemError) as caught:
        list(http.chat("tiny", "what?", with_image=True))
    assert caught.value.problem.code == "http.status"


def test_rates_rise_during_an_answer_and_no_token_is_lost(http: HttpEngine) -> None:
    meter, rates = LlamaRates(), list[Rates]()
    sample = http.rates_sample()
    meter.feed(sample)
    thread = threading.Thread(target=lambda: list(http.chat("tiny", "hi", with_image=False)))
    thread.start()
    tokens = 0.0
    while thread.is_alive() or any(rate.requests for rate in rates[-2:]):  # the end may fall between two pages
        time.sleep(0.05)
        before, sample = sample.at_s, http.rates_sample()
        rates.append(meter.feed(sample))
        tokens += (rates[-1].generation_tps or 0.0) * (sample.at_s - before)
    thread.join()
    assert all(rate.generation_tps is not None for rate in rates)
    assert sum(1 for rate in rates if rate.generation_tps and rate.requests == 1) >= 3
    assert round(tokens) == 256
    assert any(rate.prompt_tps for rate in rates)
    time.sleep(0.05)
    assert meter.feed(http.rates_sample()) == Rates(0.0, 0.0, 0)


def test_the_header_of_the_model_that_it_loaded(model: Path) -> None:
    data = model.read_bytes()
    header = read_gguf(lambda offset, size: data[offset : offset + size], len(data))
    assert (header.architecture, header.name, header.block_count, header.vocab_size) == ("qwen2", "tiny", 2, 32_768)
    assert header.data_offset + sum(tensor.bytes for tensor in header.tensors) <= len(data)
