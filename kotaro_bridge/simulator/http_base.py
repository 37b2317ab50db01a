"""The HTTP side that both simulated engines share: a small threaded server, JSON answers, streams of events.

Standard library only, and not `http.server.HTTPServer`, which looks its own name up when it binds.
"""

from __future__ import annotations

import json
import socketserver
import sys
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar


class Server(socketserver.ThreadingTCPServer):
    """Accepts connections in threads that end with the program."""

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # there it would let two servers share a port
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle of an answer is nothing that an engine tells of."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers with an engine's own headers; engines fill `route`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    engine_headers: ClassVar[dict[str, str]] = {}

    def route(self, method: str, path: str) -> None:
        """Answer one request."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.route("GET", self.path.partition("?")[0])

    def do_POST(self) -> None:
        self.route("POST", self.path.partition("?")[0])

    def log_message(self, format: str, *args: Any) -> None:
        """The engines print their own access lines."""

    def body(self) -> bytes:
        """The request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, code: int, data: bytes, content_type: str | None, extra: dict[str, str] | None = None) -> None:
        """A whole answer."""
        self.send_response_only(code)
        headers = {**self.engine_headers, **(extra or {}), "Content-Length": str(len(data))}
        if content_type is not None:
            headers["Content-Type"] = content_type
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def json(self, code: int, value: object, content_type: str = "application/json") -> None:
        """A JSON answer."""
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        self.answer(code, data, content_type)

    def start_stream(self) -> None:
        """Begin a stream of server-sent events."""
        self.send_response_only(200)
        for name, value in {**self.engine_headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()

    def event(self, value: object) -> None:
        """One event; `OSError` when the client has gone."""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        data = f"data: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """The last event."""
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")
