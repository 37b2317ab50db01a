"""The beginning of a model file on the network, by HTTP range requests.

Owns requests, redirects, retries and what wrong answers mean. Must not know what the bytes mean, and reads only what it
is asked for: a server that ignores ranges is hung up on.

Source: RFC 9110 §14 (ranges); the hub answers `resolve` with a redirect to another host, which must not see the token.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.model.hub import FetchError

if TYPE_CHECKING:
    import httpx

_TRIES: Final = 3
_LIMIT_S: Final = 120.0
_SKIP_BYTES: Final = 64 << 20  # the most that is thrown away of a server that sends everything from the start
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")

Describe: TypeAlias = Callable[[FetchError], Problem]
"""What a person is told of a request that failed."""


def http_client() -> httpx.Client:
    """A client for this. The caller closes it."""
    from kotaro_bridge.host.outside_http import outside_client

    return outside_client()


def url_problem(url: str, error: FetchError) -> Problem:
    """`Describe` for an address that a person gave."""
    if error.kind == "network":
        return problem("model.url_unreachable", error.detail, url=url)
    if error.kind == "ranges":
        return problem("model.url_no_ranges", error.detail, url=url)
    if error.status in (401, 403):
        return problem("model.url_denied", url=url, status=error.status)
    if error.status in (404, 410):
        return problem("model.url_not_found", url=url)
    if error.status in (429, 503):
        return problem("model.url_busy", url=url, seconds=60 if error.retry_after is None else error.retry_after)
    return problem("model.url_failed", error.detail, url=url, status=error.status)


class HttpSource:
    """A file at an address. `size` in bytes is known after `begin`, unless the server does not tell.

    Args:
        token: sent to the address's own host alone.
        block: least bytes of one request, so that a header of many small reads costs few.
        describe: what to say of failures.
        limit_s: for all requests together, since a header is some MiB.
    """

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        describe: Describe,
        *,
        block: int,
        token: str | None = None,
        limit_s: float = _LIMIT_S,
    ) -> None:
        self._client = client
        self._url = url
        self._describe = describe
        self._block_bytes = block
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._start = 0
        self._block = b""
        self._deadline_s = time.monotonic() + limit_s
        self._limit_s = limit_s
        self.size: int | None = None

    def begin(self) -> HttpSource:
        """Fetch the first block. Raises ProblemError as `read_at`."""
        self.read_at(0, 1)
        return self

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; see `domain.gguf_cursor.ReadAt`.

        Raises:
            ProblemError: what `describe` makes of the failure.
        """
        if self.size is not None and offset >= self.size:
            return b""
        at = offset - self._start
        if not 0 <= at < len(self._block):
            self._start, self._block = offset, self._fetch(offset, max(size, self._block_bytes))
            at = 0
        return self._block[at : at + size]

    def _fetch(self, offset: int, size: int) -> bytes:
        import httpx

        failure = ""
        for _ in range(_TRIES):
            self._demand_time()
            received = bytearray()
            try:
                return self._ask(offset, size, received)
            except httpx.TransportError as error:
                if received:  # cut in the middle: the reader asks for the rest
                    return bytes(received)
                failure = str(error) or type(error).__name__
            except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
                self._fail(FetchError("http", detail=str(error)))
        self._fail(FetchError("network", detail=failure))

    def _ask(self, offset: int, size: int, received: bytearray) -> bytes:
        """One request. `received` holds what came, also if the connection breaks."""
        headers = {**self._headers, "Range": f"bytes={offset}-{offset + size - 1}"}
        with self._client.stream("GET", self._url, headers=headers) as response:
            skip = self._skip(response, offset)
            if skip is None:
                return b""
            for chunk in response.iter_raw():
                left = chunk[skip:]
                skip -= len(chunk) - len(left)
                received += left
                if len(received) >= size:
                    break
                self._demand_time()
        return bytes(received[:size])

    def _skip(self, response: httpx.Response, offset: int) -> int | None:
        """Bytes to throw away in front of what was asked for; None beyond the end of the file."""
        status = response.status_code
        if status == 416:
            return None
        if status == 206:
            found = _RANGE.fullmatch(response.headers.get("content-range", "").strip())
            if found is None or int(found[1]) != offset:
                self._fail(FetchError("ranges", status, detail=response.headers.get("content-range", "")))
            self._learn_size(None if found[3] == "*" else int(found[3]))
            return 0
        if status == 200:
            length = response.headers.get("content-length", "")
            self._learn_size(int(length) if length.isdecimal() else None)
            if offset > _SKIP_BYTES:
                self._fail(FetchError("ranges", status))
            return offset
        retry = response.headers.get("retry-after", "")
        self._fail(
            FetchError(
                "http",
                status,
                response.headers.get("x-error-code", ""),
                int(retry) if retry.isdecimal() else None,
                response.headers.get("x-error-message", ""),
            )
        )

    def _demand_time(self) -> None:
        if time.monotonic() > self._deadline_s:
            self._fail(FetchError("network", detail=f"{self._limit_s:.0f} s"))

    def _learn_size(self, size: int | None) -> None:
        if size is None:
            return
        if self.size not in (None, size):
            self._fail(FetchError("ranges", detail=f"{self.size} -> {size}"))
        self.size = size

    def _fail(self, error: FetchError) -> NoReturn:
        raise ProblemError(self._describe(error))
