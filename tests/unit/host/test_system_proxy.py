"""Which way a request leaves: the environment's proxies, Windows' lists as they are written, loopback never."""

from __future__ import annotations

import pytest

from kotaro_bridge.host.system_proxy import (
    STRAIGHT,
    Ways,
    WindowsProxy,
    fixed_ways,
    is_bypassed,
    is_loopback,
    listed_ways,
    ways_out,
)

pytestmark = pytest.mark.usefixtures("no_proxy_variables")

FAR = "https://feed.example/latest"


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("models.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("", True),
        ("feed.example", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("0.0.0.0", False),  # noqa: S104
    ],
)
def test_what_is_this_machine(host: str, ours: bool) -> None:
    assert is_loopback(host) is ours


def test_the_environment_names_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "plain.example:80")
    assert ways_out(FAR) == ("http://proxy.example:3128",)
    assert ways_out("http://feed.example/") == ("http://plain.example:80",)


def test_one_proxy_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    assert ways_out(FAR) == ("socks5://proxy.example:1080",)


def test_exceptions_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "example,other.org")
    assert ways_out(FAR) == STRAIGHT
    assert ways_out("https://feed.net/") == ("http://proxy.example:3128",)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8000", "[::1]:1"])
def test_this_machine_is_reached_straight_whatever_is_named(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    assert ways_out(f"http://{host}/v1") == STRAIGHT


@pytest.mark.parametrize(
    ("listed", "scheme", "ways"),
    [
        ("proxy:8080", "https", ("http://proxy:8080",)),
        ("http://proxy:8080", "https", ("http://proxy:8080",)),
        ("a:1;b:2", "https", ("http://a:1", "http://b:2")),
        ("a:1 b:2", "http", ("http://a:1", "http://b:2")),
        ("http=a:1;https=b:2;ftp=c:3", "https", ("http://b:2",)),
        ("http=a:1;https=b:2;ftp=c:3", "http", ("http://a:1",)),
        ("http=a:1;c:3", "https", ("http://c:3",)),
        ("ftp=c:3", "https", STRAIGHT),
        ("socks=s:1080", "https", ("socks4://s:1080",)),
        ("http=a:1;socks=s:1080", "http", ("http://a:1",)),
        ("https=https://b:2", "https", ("https://b:2",)),
        ("", "https", STRAIGHT),
        (" ; ", "https", STRAIGHT),
    ],
)
def test_lists_as_windows_writes_them(listed: str, scheme: str, ways: Ways) -> None:
    assert listed_ways(listed, scheme) == ways


@pytest.mark.parametrize(
    ("bypass", "host", "port", "straight"),
    [
        ("*.corp;<local>", "wiki.corp", 443, True),
        ("*.corp;<local>", "wiki", 443, True),
        ("*.corp;<local>", "corp.example", 443, False),
        ("<local>", "::2", 443, False),
        ("*.corp", "wiki", 443, False),
        ("10.*", "10.1.2.3", 80, True),
        ("WIKI.Corp", "wiki.corp", 80, True),
        ("https://wiki.corp/", "wiki.corp", 443, True),
        ("wiki.corp:8080", "wiki.corp", 8080, True),
        ("wiki.corp:8080", "wiki.corp", 443, False),
        ("wiki.corp:8080", "wiki.corp", None, False),
        ("a.b c.d", "c.d", 80, True),
        ("", "wiki", 80, False),
    ],
)
def test_exceptions_as_windows_writes_them(bypass: str, host: str, port: int | None, straight: bool) -> None:
    assert is_bypassed(host, port, bypass) is straight


def test_the_fixed_proxy_of_windows() -> None:
    settings = WindowsProxy(fixed="proxy:3128", bypass="*.corp;feed.net:443;<local>")
    assert fixed_ways(settings, FAR) == ("http://proxy:3128",)
    assert fixed_ways(settings, "https://wiki.corp/") == STRAIGHT
    assert fixed_ways(settings, "https://wiki/") == STRAIGHT
    assert fixed_ways(settings, "https://feed.net/") == STRAIGHT
    assert fixed_ways(settings, "http://feed.net/") == ("http://proxy:3128",)
    assert fixed_ways(WindowsProxy(), FAR) == STRAIGHT
