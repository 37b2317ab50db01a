"""Ollama by its HTTP API: what it says, what it does not say, and a model that stays."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.ports import OllamaModel
from kotaro_bridge.host.ollama import HttpOllama, ollama_address
from tests.helpers.scripted_server import ScriptedServer, Step, answer

PS, GENERATE = "/api/ps", "/api/generate"
LOADED = (
    '{"models":[{"name":"qwen3:8b","model":"qwen3:8b","size":7516192768,"digest":"x","details":{"format":"gguf"},'
    '"expires_at":"2026-11-21T12:00:00Z","size_vram":7516192768,"context_length":4096},{"name":"old","size":5}]}'
)
EMPTY = '{"models":[]}'
MODELS = (OllamaModel("qwen3:8b", 7516192768), OllamaModel("old", None))


class Lists(ScriptedServer):
    """An Ollama whose list is another at each question; the last one stays."""

    def __init__(self, *bodies: str, unload: list[Step] | None = None) -> None:
        self._bodies = list(bodies)
        super().__init__({PS: self, GENERATE: unload or answer('{"done":true,"done_reason":"unload"}')})

    def __iter__(self) -> Iterator[Step]:
        yield from answer(self._bodies.pop(0) if len(self._bodies) > 1 else self._bodies[0])


def failure(ollama: HttpOllama, name: str = "qwen3:8b") -> str:
    with pytest.raises(ProblemError) as caught:
        ollama.unload(name)
    return caught.value.problem.code


def test_what_is_loaded() -> None:
    with Lists(LOADED) as server:
        assert HttpOllama(server.url).loaded() == MODELS


@pytest.mark.parametrize(
    "body", ["", "no json", "[]", '{"models":null}', '{"models":[1,{"name":2}]}', "{}", "\\ud800", '{"models":{}}']
)
def test_answers_that_are_none(body: str) -> None:
    with ScriptedServer({PS: answer(body)}) as server:
        assert HttpOllama(server.url).loaded() == ()


def test_an_error_and_nobody_at_all() -> None:
    with ScriptedServer({PS: answer(LOADED, 500)}) as server:
        ollama = HttpOllama(server.url)
        assert ollama.loaded() == ()
        assert failure(ollama) == "ollama.failed"
    assert ollama.loaded() == ()
    assert failure(ollama) == "ollama.unreachable"
    assert HttpOllama(None).loaded() == ()
    assert failure(HttpOllama(None)) == "ollama.unreachable"


def test_one_that_accepts_and_says_nothing_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert HttpOllama(f"http://127.0.0.1:{mute.getsockname()[1]}", read_s=0.1).loaded() == ()


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with Lists(LOADED) as server:
        assert HttpOllama(server.url).loaded() == MODELS


def test_unloading_waits_until_the_model_is_gone() -> None:
    waits: list[float] = []
    with Lists(LOADED, LOADED, LOADED, EMPTY) as server:
        HttpOllama(server.url, wait=waits.append).unload("qwen3:8b")
    assert [path for path, _, _ in server.requests] == [PS, GENERATE, PS, PS, PS]
    assert server.requests[1][2] == {"model": "qwen3:8b", "keep_alive": 0, "stream": False}
    assert len(waits) == 2


def test_a_model_that_is_not_loaded_is_not_named_to_ollama() -> None:
    with Lists(EMPTY) as server:
        HttpOllama(server.url).unload("qwen3:8b")
    assert [path for path, _, _ in server.requests] == [PS]


def test_a_model_that_stays_is_told_of() -> None:
    with Lists(LOADED) as server:
        assert failure(HttpOllama(server.url, gone_s=0.05)) == "ollama.stays"


def test_a_refusal_is_told_with_ollama_s_words() -> None:
    with (
        Lists(LOADED, unload=answer('{"error":"model is busy"}', 503)) as server,
        pytest.raises(ProblemError) as caught,
    ):
        HttpOllama(server.url).unload("qwen3:8b")
    assert caught.value.problem.code == "ollama.failed"
    assert "model is busy" in caught.value.problem.evidence[0]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "http://127.0.0.1:11434"),
        ("", "http://127.0.0.1:11434"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("localhost:5000", "http://127.0.0.1:5000"),
        (":5000", "http://127.0.0.1:5000"),
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 # what people write
        ("0.0.0.0:5000", "http://127.0.0.1:5000"),
        (' "0.0.0.0:5000" ', "http://127.0.0.1:5000"),
        ("http://localhost", "http://127.0.0.1:80"),
        ("http://127.0.0.1:11434/", "http://127.0.0.1:11434"),
        ("::", "http://127.0.0.1:11434"),
        ("[::]:5000", "http://127.0.0.1:5000"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("127.0.0.1:none", "http://127.0.0.1:11434"),
        ("127.0.0.1:99999", "http://127.0.0.1:11434"),
        ("192.168.1.5:11434", None),
        ("server.lan", None),
        ("https://localhost:443", None),
        ("[broken", None),
    ],
)
def test_the_address_by_ollama_s_own_variable(host: str | None, address: str | None) -> None:
    assert ollama_address({} if host is None else {"OLLAMA_HOST": host}) == address
