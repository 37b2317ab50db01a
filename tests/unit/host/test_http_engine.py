"""The HTTP client against scripted servers: both dialects as recorded, and every way an answer can go wrong."""

from __future__ import annotations

import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.ports_http import ChatPiece, EngineHttp, EngineProps
from kotaro_bridge.domain.profile import decode_profile
from kotaro_bridge.host.chat_stream import ChatStream
from kotaro_bridge.host.http_engine import HttpEngine
from kotaro_bridge.host.sample_picture import red_circle_png
from tests.helpers.scripted_server import ScriptedServer, Step, answer, events

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
CHAT = "/v1/chat/completions"
LLAMA, VLLM = Engine.LLAMA_SERVER, Engine.VLLM


def recorded(name: str, title: str) -> str:
    """Body of one recorded answer."""
    text = (CAPTURES / name).read_text().split(f"=== {title}\n", 1)[1].split("\n=== ", 1)[0]
    return text.split("\n\n", 1)[1].split("HTTP/1.1", 1)[0].strip()


def llama_event(text: str | None, count: int) -> str:
    delta = {"content": text}
    return json.dumps({"choices": [{"index": 0, "delta": delta}], "timings": {"predicted_n": count}})


@contextmanager
def talking_to(
    script: Mapping[str, Iterable[Step]], engine: Engine = LLAMA
) -> Iterator[tuple[HttpEngine, ScriptedServer]]:
    with ScriptedServer(script) as server:
        http = HttpEngine(server.url, engine, "secret")
        try:
            yield http, server
        finally:
            http.close()


def failure(ask: Callable[[], object]) -> tuple[str, dict[str, object]]:
    with pytest.raises(ProblemError) as caught:
        ask()
    return caught.value.problem.code, dict(caught.value.problem.params)


def chat(http: EngineHttp) -> list[ChatPiece]:
    return list(http.chat("m", "hello", with_image=False))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


# --- health, rates, props


def test_the_client_of_a_profile() -> None:
    text = 'title="t"\nengine="vllm"\nexecutable="v"\nmodel="m"\nserved_name="s"\ncontext=4096\nport='
    with ScriptedServer({"/health": answer("")}) as server:
        port = server.url.rpartition(":")[2]
        http = HttpEngine.for_profile(decode_profile(text + port, file="p.toml", profile_id="p"))
        assert http.health(2.0) == 200
        http.close()


@pytest.mark.parametrize("status", [200, 503])
def test_health_is_the_status(status: int) -> None:
    with talking_to({"/health": answer("", status)}) as (http, server):
        assert http.health(2.0) == status
        assert server.requests[0][1]["authorization"] == "Bearer secret"


def test_health_without_an_answer() -> None:
    http = HttpEngine(f"http://127.0.0.1:{free_port()}", LLAMA)
    assert http.health(1.0) is None
    http.close()
    with talking_to({"/health": [0.5, *answer("")]}) as (slow, _):
        assert slow.health(0.05) is None


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    with talking_to({"/health": answer("")}) as (http, _):
        assert http.health(2.0) == 200


def test_rates_of_llama_server_ask_metrics_before_slots() -> None:
    with talking_to({"/metrics": answer("m 1"), "/slots": answer("[]")}) as (http, server):
        before = time.monotonic()
        sample = http.rates_sample()
        assert (sample.metrics, sample.slots) == ("m 1", "[]")
        assert before <= sample.at_s <= time.monotonic()
        assert [path for path, _, _ in server.requests] == ["/metrics", "/slots"]


def test_rates_of_vllm() -> None:
    with talking_to({"/metrics": answer("m 1")}, VLLM) as (http, server):
        assert http.rates_sample().metrics == "m 1"
        assert len(server.requests) == 1


def test_pages_that_are_switched_off_are_none() -> None:
    with talking_to({"/metrics": answer("{}", 501), "/slots": answer("[]")}) as (http, _):
        sample = http.rates_sample()
        assert (sample.metrics, sample.slots) == (None, "[]")


def test_rates_without_an_engine() -> None:
    http = HttpEngine(f"http://127.0.0.1:{free_port()}", LLAMA)
    assert failure(http.rates_sample)[0] == "http.refused"
    http.close()


def test_props_of_llama_server() -> None:
    body = recorded("llama-server/llama-http.txt", "/props")
    with talking_to({"/props": answer(body)}) as (http, _):
        assert http.props() == EngineProps(8192, 4, json.loads(body)["build_info"])


def test_props_of_vllm() -> None:
    pages = {f"/{name}": answer(recorded("vllm/http.txt", f"/{name}")) for name in ("v1/models", "version")}
    with talking_to(pages, VLLM) as (http, _):
        assert http.props() == EngineProps(8192, None, "0.25.0")


def test_props_that_say_nothing() -> None:
    with talking_to({"/props": answer("{}")}) as (http, _):
        assert http.props() == EngineProps(None, None, None)
    with talking_to({"/v1/models": answer('{"data": [7]}'), "/version": answer("{}")}, VLLM) as (http, _):
        assert http.props() == EngineProps(None, None, None)


# --- wrong answers


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (answer('{"error":"Unauthorized"}', 401), ("http.status", {"status": 401, "body": '{"error":"Unauthorized"}'})),
        (answer("x" * 9000, 500), ("http.status", {"status": 500, "body": "x" * 500})),
        (answer("[1]"), ("http.broken", {"detail": "/props"})),
        (answer("no json"), ("http.broken", None)),
        (answer("[" * 200_000), ("http.broken", None)),
        (answer(b"\xff\xfe{}"), ("http.broken", None)),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], ("http.broken", None)),
        ([b""], ("http.broken", None)),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"], ("http.broken", None)),
    ],
)
def test_answers_that_are_none(steps: list[Step], expected: tuple[str, dict[str, object] | None]) -> None:
    with talking_to({"/props": steps}) as (http, _):
        code, params = failure(http.props)
        assert code == expected[0]
        assert expected[1] in (None, params)


def test_an_engine_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kotaro_bridge.host.http_engine._POLL_S", 0.1)
    with talking_to({"/props": [0.5, *answer("{}")]}) as (http, _):
        assert failure(http.props) == ("http.timeout", {"seconds": 0.1})


# --- chat


def test_the_speed_leaves_out_the_wait_for_the_first_token() -> None:
    stream = ChatStream(started_s=100.0)
    assert stream.take(llama_event(None, 0), 101.0) == ""
    assert (stream.first_token_s, stream.tokens_per_s) == (None, None)
    assert stream.take(llama_event("Hal", 1), 103.0) == "Hal"
    assert (stream.first_token_s, stream.tokens_per_s) == (3.0, None)
    assert stream.take(llama_event("lo", 11), 105.0) == "lo"
    assert stream.take("[DONE]", 109.0) == ""
    assert (stream.first_token_s, stream.tokens_per_s, stream.done) == (3.0, 5.0, True)


def test_chat_with_llama_server() -> None:
    stream = events(llama_event(None, 1), 0.05, llama_event("Hal", 2), 0.1, llama_event("lo", 11))
    with talking_to({CHAT: stream}) as (http, server):
        *pieces, last = chat(http)
        assert pieces == [ChatPiece("Hal"), ChatPiece("lo")]
        assert last.done
        assert last.first_token_s is not None
        assert last.tokens_per_s is not None
        assert last.first_token_s > 0
        assert last.tokens_per_s > 0
        _, _, body = server.requests[0]
        assert (body["model"], body["stream"], body["timings_per_token"]) == ("m", True, True)
        assert body["messages"] == [{"role": "user", "content": "hello"}]


def test_chat_with_vllm_as_recorded() -> None:
    """The recorded model writes tokens without text: the usage in the last event counts them."""
    text = (CAPTURES / "vllm/http.txt").read_text()
    recorded_events = [line.removeprefix("data: ") for line in text[text.index("data: {") :].split("\n\n")]
    data = [event.strip() for event in recorded_events if event.strip() and event.strip() != "[DONE]"]
    with talking_to({CHAT: events(*data)}, VLLM) as (http, server):
        (last,) = chat(http)
        assert last.done
        assert last.first_token_s is not None
        assert server.requests[0][2]["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_chat_with_an_engine_that_counts_nothing() -> None:
    one = json.dumps({"choices": [{"delta": {"reasoning_content": "hm"}}]})
    other = json.dumps({"choices": [{"delta": {"content": "yes"}}]})
    with talking_to({CHAT: events(one, 0.05, other, json.dumps({"choices": []}), "{}")}) as (http, _):
        *pieces, last = chat(http)
        assert [piece.text for piece in pieces] == ["hm", "yes"]
        assert last.tokens_per_s is not None


def test_the_picture_travels_as_a_data_url() -> None:
    with talking_to({CHAT: events(llama_event("red", 1))}) as (http, server):
        list(http.chat("m", "what?", with_image=True))
        picture, question = server.requests[0][2]["messages"][0]["content"]
        assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
        assert question == {"type": "text", "text": "what?"}


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        (answer('{"error":{"message":"The model `m` does not exist."}}', 404), "http.status"),
        (events(llama_event("a", 1), end=""), "http.broken"),
        (events("no json"), "http.broken"),
        (events("[" * 200_000), "http.broken"),
        (events("[1]"), "http.broken"),
        (events('{"error":{"message":"out of memory","code":500}}'), "http.status"),
        (events('{"error":"boom"}'), "http.status"),
        (answer("<html>", kind="text/html"), "http.broken"),
    ],
)
def test_chats_that_fail(steps: list[Step], code: str) -> None:
    with talking_to({CHAT: steps}) as (http, _):
        assert failure(lambda: chat(http))[0] == code


def test_an_error_in_the_stream_keeps_its_words() -> None:
    with talking_to({CHAT: events('{"error":{"message":"out of memory","code":507}}')}) as (http, _):
        assert failure(lambda: chat(http)) == ("http.status", {"status": 507, "body": "out of memory"})


def test_leaving_a_chat_hangs_up() -> None:
    endless = [item for n in range(2000) for item in (llama_event("x" * 1000, n), 0.001)]
    with talking_to({CHAT: events(*endless)}) as (http, server):
        pieces = http.chat("m", "hello", with_image=False)
        assert next(pieces).text
        pieces.close()  # type: ignore[attr-defined]  # the protocol promises an iterator, this is a generator
        assert server.hung_up.wait(5.0)


# --- warm-up


class TwoAnswers:
    """First request: a short answer. Then: the given stream."""

    def __init__(self, stream: list[Step], first: list[Step] | None = None) -> None:
        self._answers = iter([first or answer("{}"), stream])

    def __iter__(self) -> Iterator[Step]:
        return iter(next(self._answers))


def test_warm_up_leaves_out_the_first_request_and_the_first_token() -> None:
    stream = events(0.3, llama_event("a", 1), 0.1, llama_event("b", 3), 0.1, llama_event("c", 5))
    with talking_to({CHAT: TwoAnswers(stream)}) as (http, server):
        found = http.warm_up("m", time_limit_s=60)
        assert found.tokens == 4
        assert found.seconds > 0
        assert found.tokens_per_s == pytest.approx(4 / found.seconds)
        (_, _, first), (_, _, second) = server.requests
        assert (first["max_tokens"], first["stream"]) == (2, False)
        assert (second["max_tokens"], second["stream"], second["ignore_eos"]) == (64, True, True)


def test_warm_up_of_vllm_streams_only_once() -> None:
    usage = json.dumps({"choices": [], "usage": {"completion_tokens": 4}})
    with talking_to({CHAT: TwoAnswers(events(usage))}, VLLM) as (http, server):
        found = http.warm_up("m")
        assert (found.tokens, found.tokens_per_s) == (0, None)
        assert "stream_options" not in server.requests[0][2]
        assert "stream_options" in server.requests[1][2]


@pytest.mark.parametrize(("max_tokens", "time_limit_s"), [(5, 60.0), (1000, 0.3)])
def test_warm_up_ends_by_tokens_or_by_time(max_tokens: int, time_limit_s: float) -> None:
    events_of_it = [item for n in range(400) for item in (llama_event("x" * 1000, n), 0.01)]
    with talking_to({CHAT: TwoAnswers(events(*events_of_it))}) as (http, server):
        started = time.monotonic()
        found = http.warm_up("m", max_tokens=max_tokens, time_limit_s=time_limit_s)
        assert time.monotonic() - started < 3.0
        assert found.tokens_per_s is not None
        assert server.hung_up.wait(5.0)


def test_warm_up_waits_for_two_tokens_to_measure_between() -> None:
    slowly = events(llama_event(None, 0), 0.2, llama_event("a", 1), 0.2, llama_event("b", 2), 0.2, llama_event("c", 3))
    with talking_to({CHAT: TwoAnswers(slowly)}) as (http, _):
        found = http.warm_up("m", time_limit_s=0.1)
        assert found.tokens == 1
        assert found.tokens_per_s is not None
        assert 2 < found.tokens_per_s < 20


def test_warm_up_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kotaro_bridge.host.http_engine._TWO_TOKENS_S", 0.2)
    talk_without_tokens = [item for _ in range(400) for item in (llama_event(None, 0), 0.02)]
    with talking_to({CHAT: TwoAnswers(events(*talk_without_tokens))}) as (http, server):
        started = time.monotonic()
        assert http.warm_up("m", time_limit_s=0.1).tokens_per_s is None
        assert time.monotonic() - started < 3.0
        assert server.hung_up.wait(5.0)


def test_warm_up_of_an_engine_that_refuses() -> None:
    with talking_to({CHAT: answer('{"error":{"message":"no"}}', 400)}) as (http, _):
        assert failure(lambda: http.warm_up("m"))[0] == "http.status"


# --- the picture


def test_the_picture_is_a_red_circle_on_white() -> None:
    png = red_circle_png()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", png, at + 8 + size)[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + size
    assert chunks[b"IHDR"] == struct.pack(">IIBBBBB", 224, 224, 8, 2, 0, 0, 0)
    rows = zlib.decompress(chunks[b"IDAT"])
    line = 1 + 3 * 224

    def pixel(x: int, y: int) -> bytes:
        return rows[y * line + 1 + 3 * x :][:3]

    assert len(rows) == 224 * line
    assert pixel(112, 112) == pixel(112, 112 - 70) == pixel(112 + 70, 112) == b"\xe0\x20\x20"
    assert pixel(0, 0) == pixel(112, 112 - 75) == pixel(223, 223) == b"\xff\xff\xff"
