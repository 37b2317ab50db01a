"""Ollama on this machine, asked through its own HTTP API: what it has loaded, and to let go of it.

Never starts Ollama and never ends its process: it belongs to the person. Never goes through a proxy.
"""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.ports import OllamaModel

if TYPE_CHECKING:
    import httpx

_CONNECT_S = 0.5
_READ_S = 2.0
_UNLOAD_S = 15.0  # it answers a running request first
_GONE_S = 10.0
_LOOK_AGAIN_S = 0.1
_PORT = 11434


def ollama_address(environment: Mapping[str, str]) -> str | None:
    """Base URL of this machine's Ollama by `OLLAMA_HOST`; None if the variable names another machine.

    Understood as Ollama itself does (ollama/ollama, `getOllamaHost` in `envconfig/config.go`): `[scheme://]host[:port]`,
    without a host this machine, without a port 11434, or 80 where `http://` is written.
    """
    words = environment.get("OLLAMA_HOST", "").strip().strip("\"'").strip()
    scheme, has_scheme, rest = words.partition("://")
    if has_scheme and scheme != "http":
        return None  # Ollama serves no TLS: another program stands before it, somewhere
    host, port = _split((rest if has_scheme else words).rstrip("/"), 80 if has_scheme else _PORT)
    if host in ("", "localhost"):
        return f"http://127.0.0.1:{port}"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.is_unspecified:
        return f"http://127.0.0.1:{port}"
    if not address.is_loopback:
        return None
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


def _split(hostport: str, default: int) -> tuple[str, int]:
    """(host, port); what is no port is the default one, as Ollama takes it."""
    if hostport.count(":") > 1 and not hostport.startswith("["):
        return hostport, default  # an IPv6 address alone
    try:
        parts = urlsplit(f"//{hostport}")
    except ValueError:
        return hostport, default
    try:
        port = parts.port
    except ValueError:
        port = None
    return parts.hostname or "", default if port is None else port


class HttpOllama:
    """Implements `domain.ports.Ollama`.

    Args:
        base_url: such as `http://127.0.0.1:11434`; None where there is none to ask.
        read_s: how long an answer may take; gone_s: how long an unloaded model may stay in the list.
    """

    def __init__(
        self,
        base_url: str | None,
        read_s: float = _READ_S,
        gone_s: float = _GONE_S,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url
        self._read_s = read_s
        self._gone_s = gone_s
        self._wait = wait

    def loaded(self) -> tuple[OllamaModel, ...]:
        """See `Ollama.loaded`: `GET /api/ps` (docs/api.md of ollama/ollama, "List Running Models")."""
        try:
            return self._models()
        except ProblemError:
            return ()

    def unload(self, name: str) -> None:
        """See `Ollama.unload`: `POST /api/generate` without a prompt and with `keep_alive` 0 (docs/api.md of
        ollama/ollama, "Unload a model"). Its answer comes before the memory is free, so the list is read until the
        model is gone.

        Raises:
            ProblemError: `ollama.unreachable`, `ollama.failed`, `ollama.stays`.
        """
        if all(model.name != name for model in self._models()):
            return  # older versions load a model first that is not there
        self._request("POST", "/api/generate", _UNLOAD_S, {"model": name, "keep_alive": 0, "stream": False})
        deadline = time.monotonic() + self._gone_s
        while any(model.name == name for model in self._models()):
            if time.monotonic() > deadline:
                raise ProblemError(problem("ollama.stays", model=name, seconds=self._gone_s))
            self._wait(_LOOK_AGAIN_S)

    def _models(self) -> tuple[OllamaModel, ...]:
        models = self._request("GET", "/api/ps", self._read_s).get("models")
        found = [each for each in models if isinstance(each, dict)] if isinstance(models, list) else []
        return tuple(
            OllamaModel(name, size if isinstance(size := each.get("size_vram"), int) else None)
            for each in found
            if isinstance(name := each.get("name"), str)
        )

    def _request(self, method: str, path: str, read_s: float, body: object = None) -> dict[str, Any]:
        """One request, on a connection of its own.

        Raises:
            ProblemError: `ollama.unreachable` or `ollama.failed` with `detail`.
        """
        import httpx

        if self._base_url is None:
            raise ProblemError(problem("ollama.unreachable", detail="OLLAMA_HOST"))
        try:
            with self._client() as client:
                answer = client.request(method, path, json=body, timeout=httpx.Timeout(read_s, connect=_CONNECT_S))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            detail = f"{type(error).__name__}: {error}"
            raise ProblemError(problem("ollama.unreachable", detail=detail)) from error
        if answer.status_code != 200:
            raise ProblemError(problem("ollama.failed", answer.text[:500], detail=f"HTTP {answer.status_code}"))
        try:
            found = answer.json()
        except ValueError as error:
            raise ProblemError(problem("ollama.failed", detail=str(error))) from error
        if not isinstance(found, dict):
            raise ProblemError(problem("ollama.failed", detail=path))
        return found

    def _client(self) -> httpx.Client:
        import httpx

        # `verify`: unused; the default one loads certificates for 50 ms.
        return httpx.Client(
            base_url=self._base_url or "", trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )
