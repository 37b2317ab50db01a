"""Headers by range requests: a good server, and all the ways in which one is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.model.gguf import GgufModel, read_gguf
from kotaro_bridge.domain.model.hub import FetchError
from kotaro_bridge.host.http_source import HttpSource, http_client, url_problem
from tests.helpers.gguf_header import Q7, qwen2_shape
from tests.helpers.range_server import Manner, RangeServer, Served, redirect

MIB = 1 << 20
TOKENS = [f"a token of some length {n:06d}" for n in range(152_064)]
HEADER = qwen2_shape(*Q7, {"tokenizer.ggml.tokens": TOKENS})
KEY = "hf_abc"
SIZE = 4_700_000_000
DATA = bytes(range(256)) * 4096


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with http_client() as client:
        yield client


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer({}) as server:
        yield server


def source(client: httpx.Client, url: str, *, block: int = MIB, token: str | None = None) -> HttpSource:
    return HttpSource(client, url, partial(url_problem, url), block=block, token=token).begin()


def read_model(client: httpx.Client, url: str) -> GgufModel:
    found = source(client, url, block=4 * MIB)
    return read_gguf(found.read_at, found.size)


def problem_of(client: httpx.Client, url: str, *offsets: int) -> tuple[str, dict[str, Any]]:
    def read() -> None:
        found = source(client, url, block=1000)
        for offset in offsets:
            found.read_at(offset, 10)

    with pytest.raises(ProblemError) as caught:
        read()
    return caught.value.problem.code, dict(caught.value.problem.params)


def test_a_header_costs_little_of_a_large_file(client: httpx.Client, server: RangeServer) -> None:
    server.files["/m.gguf"] = Served(HEADER, size=SIZE)
    model = read_model(client, f"{server.url}/m.gguf")
    assert (model.block_count, model.vocab_size) == (28, 152_064)
    assert server.sent < 16 * MIB
    assert len(server.asked) == -(-len(HEADER) // (4 * MIB))


def test_many_small_reads_cost_one_request(client: httpx.Client, server: RangeServer) -> None:
    server.files["/f"] = Served(DATA)
    found = source(client, f"{server.url}/f")
    assert found.size == len(DATA)
    assert all(found.read_at(at, 100) == DATA[at : at + 100] for at in range(0, len(DATA) - 100, 5000))
    assert found.read_at(len(DATA), 5) == b""
    assert server.asked == [("/f", f"bytes=0-{MIB - 1}", "")]


def test_what_is_asked_for_beyond_a_block_comes_in_pieces(client: httpx.Client, server: RangeServer) -> None:
    server.files["/f"] = Served(DATA)
    found = source(client, f"{server.url}/f", block=1000)
    assert found.read_at(990, 50) == DATA[990:1000]
    assert found.read_at(1000, 5000) == DATA[1000:6000]
    assert found.read_at(500, 10) == DATA[500:510]
    assert found.read_at(len(DATA) - 3, 10) == DATA[-3:]


@pytest.mark.parametrize("manner", [Manner.WHOLE, Manner.ENDLESS])
def test_a_server_that_ignores_ranges_is_hung_up_on(client: httpx.Client, server: RangeServer, manner: Manner) -> None:
    server.files["/m.gguf"] = Served(HEADER, manner, size=SIZE)
    if manner is Manner.WHOLE:
        assert read_model(client, f"{server.url}/m.gguf").block_count == 28
        assert server.sent < 64 * MIB
    else:  # whether the file is whole cannot be told without reading it all
        assert problem_of(client, f"{server.url}/m.gguf", SIZE - 1)[0] == "model.url_no_ranges"


@pytest.mark.parametrize("manner", [Manner.CUT_HALF, Manner.UNKNOWN_SIZE, Manner.TOO_MUCH])
def test_answers_that_are_odd_and_do(client: httpx.Client, server: RangeServer, manner: Manner) -> None:
    server.files["/m.gguf"] = Served(HEADER, manner, size=len(HEADER) + 5 * 10**9)
    assert read_model(client, f"{server.url}/m.gguf").vocab_size == 152_064
    assert server.sent < 96 * MIB


@pytest.mark.parametrize("manner", [Manner.WRONG_START, Manner.NO_RANGE_NAMED])
def test_another_part_than_was_asked_for(client: httpx.Client, server: RangeServer, manner: Manner) -> None:
    server.files["/f"] = Served(DATA, manner)
    url = f"{server.url}/f"
    assert problem_of(client, url) == ("model.url_no_ranges", {"url": url})


def test_a_file_that_changes_while_it_is_read(client: httpx.Client, server: RangeServer) -> None:
    server.files["/f"] = Served(DATA, Manner.GROWS)
    assert problem_of(client, f"{server.url}/f", 5000)[0] == "model.url_no_ranges"


def test_an_empty_file(client: httpx.Client, server: RangeServer) -> None:
    server.files["/f"] = Served(b"")
    assert source(client, f"{server.url}/f").read_at(0, 10) == b""


@pytest.mark.parametrize(
    ("status", "headers", "code", "params"),
    [
        (401, {}, "model.url_denied", {"status": 401}),
        (403, {}, "model.url_denied", {"status": 403}),
        (404, {}, "model.url_not_found", {}),
        (410, {}, "model.url_not_found", {}),
        (429, {"Retry-After": "7"}, "model.url_busy", {"seconds": 7}),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "model.url_busy", {"seconds": 60}),
        (503, {}, "model.url_busy", {"seconds": 60}),
        (500, {}, "model.url_failed", {"status": 500}),
        (204, {}, "model.url_failed", {"status": 204}),
    ],
)
def test_refusals(
    client: httpx.Client,
    server: RangeServer,
    status: int,
    headers: dict[str, str],
    code: str,
    params: dict[str, int],
) -> None:
    server.files["/f"] = Served(status=status, headers=headers)
    url = f"{server.url}/f"
    assert problem_of(client, url) == (code, {"url": url, **params})
    assert len(server.asked) == 1


def test_a_redirect_to_another_host_does_not_take_the_token_along(client: httpx.Client, server: RangeServer) -> None:
    with RangeServer({"/blob?sign=1": Served(DATA)}) as other:
        server.files["/f"] = redirect(f"{other.url}/blob?sign=1")
        found = source(client, f"{server.url}/f", token=KEY)
        assert found.read_at(70_000, 10) == DATA[70_000:70_010]
    assert [asked[2] for asked in server.asked] == [f"Bearer {KEY}"]
    assert [asked[2] for asked in other.asked] == [""]
    assert other.asked[0][1] == f"bytes=0-{MIB - 1}"


def test_a_redirect_in_a_circle(client: httpx.Client, server: RangeServer) -> None:
    server.files["/f"] = redirect(f"{server.url}/f")
    code, params = problem_of(client, f"{server.url}/f")
    assert (code, params["status"]) == ("model.url_failed", 0)
    assert len(server.asked) < 10


def test_a_connection_that_ends_at_once_is_tried_again(client: httpx.Client, server: RangeServer) -> None:
    server.files["/f"] = Served(DATA, Manner.CUT_AT_ONCE)
    url = f"{server.url}/f"
    assert problem_of(client, url) == ("model.url_unreachable", {"url": url})
    assert len(server.asked) == 3


def test_nobody_there(client: httpx.Client) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/f"
    assert problem_of(client, url)[0] == "model.url_unreachable"


@pytest.mark.parametrize("url", ["http://[::1", "http://a\x00b/", "ftp://127.0.0.1/f"])
def test_an_address_that_is_none(client: httpx.Client, url: str) -> None:
    assert problem_of(client, url)[0] in ("model.url_failed", "model.url_unreachable")


def test_a_slow_file_has_an_end(client: httpx.Client, server: RangeServer) -> None:
    server.files["/f"] = Served(DATA)
    url = f"{server.url}/f"
    ended = HttpSource(client, url, partial(url_problem, url), block=MIB, limit_s=-1.0)
    with pytest.raises(ProblemError) as caught:
        ended.begin()
    assert (caught.value.problem.code, server.asked) == ("model.url_unreachable", [])


def test_problems_of_a_redirect_keep_what_the_hub_said(client: httpx.Client, server: RangeServer) -> None:
    seen: list[FetchError] = []

    def describe(error: FetchError) -> Problem:
        seen.append(error)
        return url_problem("x", error)

    said = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}
    server.files["/f"] = Served(status=401, headers=said)
    with pytest.raises(ProblemError):
        HttpSource(client, f"{server.url}/f", describe, block=10).begin()
    assert seen == [FetchError("http", 401, "GatedRepo", None, "Access is restricted.")]
