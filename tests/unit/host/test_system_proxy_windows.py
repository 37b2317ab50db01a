"""Windows' proxy settings as they are in the registry, and a PAC script as WinHTTP runs it, with real requests."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

import pytest

from kotaro_bridge.host.outside_http import outside_client
from kotaro_bridge.host.system_proxy import STRAIGHT, ways_out, windows_settings
from tests.helpers import registry
from tests.helpers.feed_server import FeedServer, body

if sys.platform != "win32":
    pytest.skip("proxy settings of Windows are in its registry", allow_module_level=True)

INTERNET = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"
CONNECTIONS = INTERNET + r"\Connections"
FAR = "http://feed.example/latest"
ALWAYS, FIXED, SCRIPT, DETECT = 1, 2, 4, 8
PAC = b"""function FindProxyForURL(url, host) {
    if (dnsDomainIs(host, ".corp")) return "DIRECT";
    return "PROXY %s";
}"""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Nothing of a test stays in this user's settings, and none of them is there at its beginning."""
    with (
        registry.values(INTERNET, ProxyEnable=0, ProxyServer=None, ProxyOverride=None, AutoConfigURL=None),
        registry.values(CONNECTIONS, DefaultConnectionSettings=connection(ALWAYS)),
    ):
        yield


@pytest.fixture
def proxy() -> Iterator[FeedServer]:
    with FeedServer() as server:
        server.routes[FAR] = body(b"by the proxy")
        yield server


def connection(flags: int, proxy: str = "", bypass: str = "", script: str = "") -> bytes:
    """The settings as Windows itself keeps them: form, counter, flags, then three strings with their lengths."""
    texts = b"".join(struct.pack("<I", len(text)) + text.encode("ascii") for text in (proxy, bypass, script))
    return struct.pack("<III", 0x46, 1, flags) + texts + bytes(32)


def keep(settings: bytes) -> None:
    registry.write(CONNECTIONS, "DefaultConnectionSettings", settings)


def fetched() -> bytes:
    with outside_client() as client:
        return client.get(FAR).content


def test_nothing_is_set() -> None:
    settings = windows_settings()
    assert (settings.detect, settings.script, settings.fixed) == (False, "", "")
    assert ways_out(FAR) == STRAIGHT


def test_a_fixed_proxy_as_programs_write_it(proxy: FeedServer) -> None:
    registry.write(INTERNET, "ProxyEnable", 1)
    registry.write(INTERNET, "ProxyServer", f"127.0.0.1:{proxy.port}")
    assert fetched() == b"by the proxy"
    registry.write(INTERNET, "ProxyOverride", "*.example;<local>")
    assert ways_out(FAR) == STRAIGHT
    assert ways_out("http://wiki/") == STRAIGHT
    assert ways_out("http://feed.net/") == (proxy.url,)
    registry.write(INTERNET, "ProxyEnable", 0)
    assert ways_out("http://feed.net/") == STRAIGHT


def test_a_fixed_proxy_as_windows_keeps_it(proxy: FeedServer) -> None:
    keep(connection(ALWAYS | FIXED, f"127.0.0.1:{proxy.port}", "*.corp;<local>"))
    assert fetched() == b"by the proxy"
    assert ways_out("http://wiki.corp/") == STRAIGHT
    assert ways_out("http://wiki/") == STRAIGHT


def test_a_script(proxy: FeedServer) -> None:
    with FeedServer() as scripts:
        scripts.routes["/proxy.pac"] = body(PAC % f"127.0.0.1:{proxy.port}".encode())
        keep(connection(ALWAYS | SCRIPT, script=f"{scripts.url}/proxy.pac"))
        assert windows_settings().script == f"{scripts.url}/proxy.pac"
        assert fetched() == b"by the proxy"
        assert ways_out("https://wiki.corp/") == STRAIGHT
        assert ways_out("https://feed.example/x") == (proxy.url,)


def test_a_script_that_is_not_there_leaves_the_fixed_proxy(proxy: FeedServer) -> None:
    with FeedServer() as scripts:
        gone = f"{scripts.url}/proxy.pac"
    keep(connection(ALWAYS | FIXED | SCRIPT, f"127.0.0.1:{proxy.port}", script=gone))
    assert fetched() == b"by the proxy"


def test_a_script_that_is_none_leaves_the_way_straight() -> None:
    with FeedServer() as scripts:
        scripts.routes["/proxy.pac"] = body(b"<html>")
        keep(connection(ALWAYS | SCRIPT, script=f"{scripts.url}/proxy.pac"))
        assert ways_out(FAR) == STRAIGHT


def test_detection_finds_nothing_here(proxy: FeedServer) -> None:
    keep(connection(ALWAYS | FIXED | DETECT, f"127.0.0.1:{proxy.port}"))
    assert windows_settings().detect
    assert ways_out(FAR) == (proxy.url,)


def test_the_environment_comes_first(proxy: FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(connection(ALWAYS | FIXED, "127.0.0.1:9"))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert fetched() == b"by the proxy"


def test_this_machine_meets_no_proxy(proxy: FeedServer) -> None:
    keep(connection(ALWAYS | FIXED, f"127.0.0.1:{proxy.port}"))
    with FeedServer() as server, outside_client() as client:
        server.routes["/v1"] = body(b"straight")
        assert client.get(f"{server.url}/v1").content == b"straight"
    assert proxy.asked == []
