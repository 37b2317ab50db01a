"""A server on loopback that answers each path with bytes from a script, however wrong they are."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, TypeAlias

Step: TypeAlias = bytes | float
"""Bytes to send, or seconds to wait first."""


def answer(body: str | bytes, status: int = 200, kind: str = "application/json") -> list[Step]:
    """A whole HTTP answer."""
    raw = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n\r\n"
    return [head.encode() + raw]


def events(*data: str | float, end: str = "[DONE]") -> list[Step]:
    """A streamed answer: an event for each text, a pause for each number; `end` may be empty."""
    steps: list[Step] = [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"]
    for item in (*data, end) if end else data:
        steps.append(item if isinstance(item, float) else f"data: {item}\n\n".encode())
    return steps


class ScriptedServer:
    """Use as a context manager. `requests` holds (path, headers, JSON body) of what came in."""

    def __init__(self, script: Mapping[str, Iterable[Step]]) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.hung_up = threading.Event()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                path = self.rfile.readline().split(b" ")[1].decode()
                headers: dict[str, str] = {}
                while line := self.rfile.readline().strip():
                    name, _, value = line.decode().partition(": ")
                    headers[name.lower()] = value
                body = self.rfile.read(int(headers.get("content-length", "0")))
                outer.requests.append((path, headers, json.loads(body) if body else None))
                try:
                    for step in script.get(path, answer("", 404)):
                        if isinstance(step, float):
                            time.sleep(step)
                        else:
                            self.wfile.write(step)
                except OSError:
                    outer.hung_up.set()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
