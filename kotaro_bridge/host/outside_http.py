"""Requests that leave this machine: through the system's proxy, trusting what the system trusts.

Owns proxies and certificates of every such client. What stays on this machine (engines, Ollama) never comes here.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any

import httpx

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.host.system_proxy import Ways, ways_out

_MAX_REDIRECTS = 5
_CONNECT_S, _READ_S = 10.0, 20.0
_ELSEWHERE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)


def outside_client(**options: Any) -> httpx.Client:
    """A client that follows redirects and asks for bytes as they are. The caller closes it.

    Args:
        options: further ones of `httpx.Client`; `headers` come on top of ours.
    """
    headers = {"Accept-Encoding": "identity", **options.pop("headers", {})}
    return httpx.Client(
        transport=SystemRoute(),
        trust_env=False,  # the route reads the environment, and Windows' settings
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S),
        headers=headers,
        **options,
    )


class SystemRoute(httpx.BaseTransport):
    """Sends each request the way that the system wants for its address; any thread.

    Args:
        ways: see `system_proxy.ways_out`.
    """

    def __init__(self, ways: Callable[[str], Ways] = ways_out) -> None:
        self._ways = ways
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, int | None], Ways] = {}
        self._transports: dict[str | None, httpx.HTTPTransport] = {}
        self._trusted = _trusted()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer by the first way that can be gone.

        Raises:
            httpx.TransportError: by none.
            ProblemError: `proxy.unsupported`.
        """
        ways = self._ways_to(request.url)
        for proxy in ways[:-1]:
            try:
                return self._transport(proxy).handle_request(request)
            except _ELSEWHERE:
                continue  # a list of proxies is for this
        return self._transport(ways[-1]).handle_request(request)

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            transports, self._transports = [*self._transports.values()], {}
        for transport in transports:
            transport.close()

    def _ways_to(self, url: httpx.URL) -> Ways:
        """Asked once per server: a script is not for every block of a file."""
        server = (url.scheme, url.host, url.port)
        if (known := self._known.get(server)) is None:
            self._known[server] = known = self._ways(str(url))
        return known

    def _transport(self, proxy: str | None) -> httpx.HTTPTransport:
        with self._lock:
            if proxy not in self._transports:
                try:
                    made = httpx.HTTPTransport(verify=self._trusted, trust_env=False, proxy=proxy)
                except (ImportError, ValueError, httpx.InvalidURL):  # SOCKS needs a package of its own
                    # What they say may quote a piece of the password: "Invalid port: 'pa'" of `me:pa/ss@host`.
                    raise ProblemError(problem("proxy.unsupported", proxy=_shown(proxy))) from None
                self._transports[proxy] = made
            return self._transports[proxy]


def _trusted() -> ssl.SSLContext:
    """The system's certificates (a firm's own among them), and certifi's: Windows fetches its own only when asked."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _shown(proxy: str | None) -> str:
    """A proxy without the password that its address may carry."""
    scheme, mark, rest = (proxy or "").rpartition("://")
    return scheme + mark + rest.rpartition("@")[2]
