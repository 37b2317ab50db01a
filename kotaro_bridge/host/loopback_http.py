"""HTTP requests to programs of this machine: engines and Ollama.

Owns the connection, time limits and what an answer is not. Every request has its own connection: llama-server closes
one after 5 s or 100 requests, and a poll that meets that moment would read as an engine that does not answer. Never
goes through a proxy, never follows a redirect, speaks no TLS.

Not httpx: that brings 14 MiB into a program that waits in the tray for days (measured: private memory), this 0.4.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import h11

_CHUNK_BYTES = 1 << 16


class HttpError(Exception):
    """No answer, or none that could be read to its end."""


class HttpRefused(HttpError):
    """Nobody listens."""


class HttpTimeout(HttpError):
    """Nothing came for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:g} s")
        self.seconds = seconds


class Answer:
    """An answer whose body is read as it comes."""

    def __init__(self, wire: _Wire, head: h11.Response) -> None:
        self._wire = wire
        self.status = head.status_code
        self.content_type = next(
            (value.decode("latin-1") for name, value in head.headers if name == b"content-type"), ""
        )

    def parts(self) -> Iterator[bytes]:
        """The body as it arrives. Raises HttpError, also where it ends before it should."""
        import h11

        while not isinstance(event := self._wire.receive(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    def text(self) -> str:
        """The whole body; bytes that are no UTF-8 are shown as such. Raises HttpError."""
        return b"".join(self.parts()).decode("utf-8", "replace")

    def events(self) -> Iterator[str]:
        """Data of each event of a stream (WHATWG HTML, "Server-sent events"; both engines send nothing but data).

        Raises:
            HttpError: it is no stream of events, or broke off in the middle of its bytes.
        """
        if self.content_type.partition(";")[0].strip() != "text/event-stream":
            raise HttpError(self.content_type)
        rest, data = b"", list[str]()
        for part in self.parts():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                name, _, value = line.rstrip(b"\r").decode("utf-8", "replace").partition(":")
                if name == "data":
                    data.append(value.removeprefix(" "))
                elif not name and not value and data:
                    yield "\n".join(data)
                    data.clear()


@contextmanager
def request(
    base_url: str,
    method: str,
    path: str,
    *,
    read_s: float,
    connect_s: float,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Answer]:
    """Ask, and have the answer's head; leaving the block hangs up.

    Args:
        base_url: such as `http://127.0.0.1:8080`, without a path.
        read_s: how long each wait for bytes may take; connect_s: the same for the connection.
        body: sent as JSON unless None.

    Raises:
        HttpRefused, HttpTimeout, HttpError.
    """
    address = urlsplit(base_url)
    content = None if body is None else json.dumps(body).encode()
    lines = {"Host": address.netloc, "Connection": "close", **(headers or {})}
    if content is not None:
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    try:
        connection = socket.create_connection((address.hostname, address.port), connect_s)
    except TimeoutError as error:
        raise HttpTimeout(connect_s) from error
    except OSError as error:
        raise HttpRefused(str(error)) from error
    with connection:
        wire = _Wire(connection, read_s)
        yield Answer(wire, wire.ask(method, path, lines, content))


class _Wire:
    """One request over one connection."""

    def __init__(self, connection: socket.socket, read_s: float) -> None:
        import h11

        connection.settimeout(read_s)
        self._connection = connection
        self._read_s = read_s
        self._protocol = h11.Connection(h11.CLIENT)

    def ask(self, method: str, path: str, headers: Mapping[str, str], content: bytes | None) -> h11.Response:
        """Send the request; the head of the answer. Raises HttpError."""
        import h11

        events = [h11.Request(method=method, target=path, headers=list(headers.items())), h11.EndOfMessage()]
        if content is not None:
            events.insert(1, h11.Data(data=content))
        with _errors(self._read_s):
            self._connection.sendall(b"".join(self._protocol.send(event) or b"" for event in events))
        while not isinstance(event := self.receive(), h11.Response):
            pass  # 100 Continue and the like
        return event

    def receive(self) -> h11.Event:
        """The next part of the answer. Raises HttpError."""
        import h11

        with _errors(self._read_s):
            while not isinstance(event := self._protocol.next_event(), h11.Event):
                received = self._connection.recv(_CHUNK_BYTES)
                if not received and self._protocol.their_state is h11.SEND_RESPONSE:
                    raise HttpError("the connection was closed without an answer")
                self._protocol.receive_data(received)
            return event


@contextmanager
def _errors(read_s: float) -> Iterator[None]:
    import h11

    try:
        yield
    except TimeoutError as error:
        raise HttpTimeout(read_s) from error
    except (OSError, h11.ProtocolError) as error:
        raise HttpError(f"{type(error).__name__}: {error}") from error
