"""Requests to this machine: what is read of an answer, and what is none. More stands with their users."""

from __future__ import annotations

import socket

import pytest

from kotaro_bridge.host.loopback_http import HttpError, HttpRefused, HttpTimeout, request
from tests.helpers.scripted_server import ScriptedServer, Step, answer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"


def events_of(*steps: Step) -> list[str]:
    with ScriptedServer({"/": steps}) as server, request(server.url, "GET", "/", read_s=2.0, connect_s=2.0) as got:
        return list(got.events())


def test_a_stream_as_servers_may_write_it() -> None:
    """Chunks that end anywhere, ends of lines of both kinds, comments, an event of two lines, half of one."""
    body = (b"5\r\n: hi\n\r\n", b"7\r\n\nid: 7\n\r\n", b"7\r\ndata: a\r\n", 0.02, b"1\r\n\r\r\n")
    more = (b"A\r\n\ndata:b\r\n\r\r\n", b"9\r\n\n\ndata: c\r\n", b"0\r\n\r\n")
    assert events_of(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *body, *more) == ["a\nb"]


def test_a_stream_that_breaks_off_in_its_bytes() -> None:
    with pytest.raises(HttpError):
        events_of(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"20\r\ndata: a\n\n")


def test_what_is_no_stream() -> None:
    with pytest.raises(HttpError, match="application/json"):
        events_of(*answer("data: a\n\n"))


def test_an_answer_may_be_announced() -> None:
    announced = [b"HTTP/1.1 100 Continue\r\n\r\n", *answer("here")]
    with ScriptedServer({"/": announced}) as server:
        with request(server.url, "POST", "/", read_s=2.0, connect_s=2.0, body={"a": 1}) as got:
            assert (got.status, got.text()) == (200, "here")
        assert server.requests[0][2] == {"a": 1}


def test_no_answer_at_all() -> None:
    with (
        ScriptedServer({"/": []}) as server,
        pytest.raises(HttpError, match="without an answer"),
        request(server.url, "GET", "/", read_s=2.0, connect_s=2.0),
    ):
        pass


def test_nobody_and_somebody_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(HttpTimeout) as caught, request(url, "GET", "/", read_s=0.05, connect_s=2.0):
            pass
        assert caught.value.seconds == 0.05
    with pytest.raises(HttpRefused), request(url, "GET", "/", read_s=2.0, connect_s=2.0):
        pass


def test_the_sixth_version() -> None:
    try:
        silent = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    url = f"http://[::1]:{silent.getsockname()[1]}"
    with silent, pytest.raises(HttpTimeout), request(url, "GET", "/", read_s=0.05, connect_s=2.0):
        pass
