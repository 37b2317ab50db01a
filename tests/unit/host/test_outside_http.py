"""Requests that leave this machine, through a real proxy on it; and those that must never meet one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.http_engine import HttpEngine
from kotaro_bridge.host.http_source import HttpSource, http_client, url_problem
from kotaro_bridge.host.outside_http import SystemRoute, outside_client
from kotaro_bridge.host.release_feed import ReleaseFeed
from tests.helpers.feed_server import FeedServer, body, make_certificate, ranges, status, tunnel

pytestmark = pytest.mark.usefixtures("no_proxy_variables")

FAR = "http://feed.example/latest"
DATA = b"0123456789" * 1000


@pytest.fixture
def proxy() -> Iterator[FeedServer]:
    with FeedServer() as server:
        yield server


@pytest.fixture
def nobody() -> str:
    """An address on which nobody listens."""
    with FeedServer() as server:
        return server.url


def test_a_request_goes_through_the_proxy(proxy: FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is looked up here: that is the proxy's."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    proxy.routes[FAR] = body(DATA)
    with outside_client() as client:
        assert client.get(FAR).content == DATA
    assert proxy.paths == [FAR]


def test_headers_of_models_go_through_the_proxy(proxy: FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    proxy.routes["http://hub.example/m.gguf"] = ranges(DATA)
    url = "http://hub.example/m.gguf"
    with http_client() as client:
        assert HttpSource(client, url, partial(url_problem, url), block=10).begin().read_at(0, 10) == DATA[:10]
    assert proxy.paths == [url]


def test_an_encrypted_request_goes_through_the_proxy(
    proxy: FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, "feed.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with FeedServer(certificate) as far:
        far.routes["/latest"] = body(b'{"tag_name": "v0.1.0", "html_url": "", "assets": [], "prerelease": true}')
        proxy.routes["CONNECT feed.example:443"] = tunnel(far.port)
        feed = ReleaseFeed("https://feed.example/latest", tmp_path, "0.1.0")
        assert feed.latest("0.1.0") is None
        assert far.paths == ["/latest"]
    assert proxy.paths == ["CONNECT feed.example:443"]


def test_a_proxy_that_wants_a_login_says_so(proxy: FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    proxy.routes["CONNECT feed.example:443"] = status(407)
    with pytest.raises(ProblemError) as caught:
        ReleaseFeed("https://feed.example/latest", tmp_path, "0.1.0").latest("0.1.0")
    assert caught.value.problem.code == "update.unreachable"
    assert "407" in str(caught.value.problem.params["detail"])


def test_the_next_proxy_of_a_list_is_tried(proxy: FeedServer, nobody: str) -> None:
    proxy.routes[FAR] = body(DATA)
    with httpx.Client(transport=SystemRoute(lambda _: (nobody, proxy.url))) as client:
        assert client.get(FAR).content == DATA
    with (
        httpx.Client(transport=SystemRoute(lambda _: (nobody, nobody))) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.get(FAR)


def test_the_way_is_asked_for_once_per_server(proxy: FeedServer) -> None:
    asked: list[str] = []

    def ways(url: str) -> tuple[str | None, ...]:
        asked.append(url)
        return (proxy.url,)

    with httpx.Client(transport=SystemRoute(ways)) as client:
        for path in ("a", "b"):
            client.get(f"http://feed.example/{path}")
        client.get("http://other.example/")
    assert asked == ["http://feed.example/a", "http://other.example/"]


@pytest.mark.parametrize(
    "address",
    [
        "socks5://someone:secret@proxy.example:1080",
        "gopher://proxy.example",
        "http://someone:secret/1@proxy.example:8080",  # read as a port, which httpx quotes
        "http://someone:secret#1@proxy.example:8080",
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    with outside_client() as client, pytest.raises(ProblemError) as caught:
        client.get(FAR)
    told = caught.value.problem
    assert told.code == "proxy.unsupported"
    assert "proxy.example" in str(told.params["proxy"])
    assert "secret" not in repr(told)


def test_this_machine_meets_no_proxy(proxy: FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    with FeedServer() as server, outside_client() as client:
        server.routes["/here"] = body(DATA)
        assert client.get(f"{server.url}/here").content == DATA
    assert proxy.asked == []


def test_engines_meet_no_proxy(proxy: FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    with FeedServer() as server:
        server.routes["/health"] = body(b"{}")
        with closing(HttpEngine(server.url, Engine.LLAMA_SERVER)) as engine:
            assert engine.health(5.0) == 200
    assert proxy.asked == []
