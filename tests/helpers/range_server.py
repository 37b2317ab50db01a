"""A server of files on loopback that answers range requests, rightly or in one of the wrong ways."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class Manner(Enum):
    """How a file is served."""

    RANGES = auto()
    WHOLE = auto()  # ignores ranges, tells the length
    ENDLESS = auto()  # ignores ranges, does not tell the length
    WRONG_START = auto()  # another range than the one asked for
    NO_RANGE_NAMED = auto()  # 206 without Content-Range
    GROWS = auto()  # another size with every answer
    UNKNOWN_SIZE = auto()  # Content-Range ends in `*`
    CUT_HALF = auto()  # half of each answer, then the connection ends
    CUT_AT_ONCE = auto()  # the connection ends behind the headers
    TOO_MUCH = auto()  # more than was asked for


@dataclass(frozen=True)
class Served:
    """One path: content and manner, or a status other than 200, or an address to go to. Zeros follow up to `size`."""

    body: bytes = b""
    manner: Manner = Manner.RANGES
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None

    @property
    def length(self) -> int:
        return len(self.body) if self.size is None else self.size

    def part(self, start: int, end: int) -> bytes:
        return self.body[start:end].ljust(min(end, self.length) - start, b"\0")


def redirect(url: str) -> Served:
    return Served(status=302, headers={"Location": url})


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Being hung up on is what some tests are about; anything else is a mistake in this file."""
        if not isinstance(sys.exception(), OSError):
            raise


class RangeServer:
    """Use as a context manager. `asked` holds (path, range, authorization) of what came in."""

    def __init__(self, files: dict[str, Served]) -> None:
        self.files = files
        self.asked: list[tuple[str, str, str]] = []
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                outer.asked.append((self.path, wanted, self.headers.get("Authorization", "")))
                try:
                    outer.answer(self, outer.files.get(self.path, Served(status=404)), wanted)
                except OSError:  # hung up on
                    self.close_connection = True

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> RangeServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, to: BaseHTTPRequestHandler, served: Served, wanted: str) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        whole = found is None or served.manner in (Manner.WHOLE, Manner.ENDLESS)
        start, end = (0, served.length) if whole or found is None else (int(found[1]), int(found[2]) + 1)
        end = min(end, served.length)
        if served.status != 200:
            self._head(to, served.status, 0, served.headers)
            return
        if start >= served.length and not whole:
            self._head(to, 416, 0, {"Content-Range": f"bytes */{served.length}"})
            return
        headers = dict(served.headers)
        if not whole:
            total: int | str = served.length + len(self.asked) if served.manner is Manner.GROWS else served.length
            total = "*" if served.manner is Manner.UNKNOWN_SIZE else total
            first = start + 7 if served.manner is Manner.WRONG_START else start
            if served.manner is not Manner.NO_RANGE_NAMED:
                headers["Content-Range"] = f"bytes {first}-{end - 1}/{total}"
            if served.manner is Manner.TOO_MUCH:
                end = served.length
        self._head(to, 200 if whole else 206, None if served.manner is Manner.ENDLESS else end - start, headers)
        if served.manner is Manner.CUT_AT_ONCE:
            to.close_connection = True
            return
        stop = start + (end - start + 1) // 2 if served.manner is Manner.CUT_HALF else end
        to.close_connection = served.manner in (Manner.CUT_HALF, Manner.ENDLESS)
        for at in range(start, stop, 1 << 16):
            data = served.part(at, min(stop, at + (1 << 16)))
            to.wfile.write(data)
            self.sent += len(data)

    @staticmethod
    def _head(to: BaseHTTPRequestHandler, status: int, length: int | None, headers: Mapping[str, str]) -> None:
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name, value)
        if length is None:
            to.send_header("Connection", "close")
        else:
            to.send_header("Content-Length", str(length))
        to.end_headers()
