"""The release feed, and packages downloaded from it. Implements `domain.ports_app.ReleaseSource`.

Owns the requests, their limits, and that nothing is started or unpacked before its checksum was compared. Encryption is
demanded of every address on the way; plain HTTP is for a feed on this very machine.

Sources: docs.github.com/rest/releases (address, headers; assets redirect to another host, limits by `x-ratelimit-*`);
RFC 9110 §14 (ranges).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.update import DOWNLOADED, Package, Release, decode_feed, is_newer, release_of
from kotaro_bridge.host.disk import free_beneath
from kotaro_bridge.host.system_proxy import is_loopback

if TYPE_CHECKING:
    import httpx

_MAX_FEED_BYTES: Final = 2 << 20
_MAX_SUMS_BYTES: Final = 64 << 10
_FEED_S: Final = 30.0
_RESERVE_BYTES: Final = 64 << 20  # the installer unpacks beside it, and says itself what it needs
_TRIES: Final = 3  # without a byte of progress
_PAUSE_S: Final = 2.0
_PART: Final = ".part"
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)")
_FULL = (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC)


class ReleaseFeed:
    """See `ReleaseSource`.

    Args:
        url: of the document of the latest release; folder: for downloads, made when it is needed.
        version: of this program, which is all that the feed is told about it.
        package: what this copy of it is renewed with.
        limit_s: for an answer of the feed; pause_s: before a download that was cut goes on.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        version: str,
        package: Package = Package.INSTALLER,
        *,
        limit_s: float = _FEED_S,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self.package = package
        self._url = url
        self._folder = folder
        self._version = version
        self._limit_s = limit_s
        self._pause_s = pause_s

    def latest(self, current: str) -> Release | None:
        """See `ReleaseSource.latest`."""
        with self._client() as client:
            published = decode_feed(self._document(client, self._url, _MAX_FEED_BYTES), self.package)
            if published.prerelease or not is_newer(published.version, current):
                return None
            sums = None
            if published.sums_url:
                sums = self._document(client, published.sums_url, _MAX_SUMS_BYTES).decode("utf-8", "replace")
        release = release_of(published, sums)
        self._demand_secure(release.url)
        return release

    def fetch(self, release: Release, progress: Callable[[int], None], stopped: threading.Event) -> Path | None:
        """See `ReleaseSource.fetch`."""
        target = self._folder / release.file_name
        part = target.with_name(target.name + _PART)
        with _written(target):
            self._folder.mkdir(parents=True, exist_ok=True)
            if _is_right(target, release):
                return target
            have = _size(part)
        free = free_beneath(self._folder)
        if free is not None and free < release.size - have + _RESERVE_BYTES:
            raise ProblemError(
                problem("update.no_space", folder=str(self._folder), need_bytes=release.size - have, free_bytes=free)
            )
        # What was there may be of another file: then it is begun again, once.
        for begun_again in (not have, True):
            if not self._transfer(release, part, progress, stopped):
                return None
            with _written(target):
                if _is_right(part, release):
                    os.replace(part, target)
                    return target
                part.unlink()
            if begun_again:
                break
        raise ProblemError(problem("update.checksum", version=release.version))

    @contextmanager
    def verified(self, release: Release) -> Iterator[BufferedReader]:
        """See `ReleaseSource.verified`."""
        target = self._folder / release.file_name
        with contextlib.ExitStack() as stack:
            with _written(target):
                if not target.exists():
                    raise ProblemError(problem("update.gone", file=str(target)))
                content = stack.enter_context(open(target, "rb", opener=for_us_alone))
                right = _holds(content, release)
                if not right:
                    content.close()
                    target.unlink()
            if not right:
                raise ProblemError(problem("update.checksum", version=release.version))
            yield content

    def tidy(self, keep: Release | None) -> None:
        """See `ReleaseSource.tidy`. By name: the folder may be a link to one with a person's own files."""
        kept = () if keep is None else (keep.file_name, keep.file_name + _PART)
        with contextlib.suppress(OSError):
            for file in [file for name in DOWNLOADED for end in ("", _PART) for file in self._folder.glob(name + end)]:
                if file.name not in kept:
                    with contextlib.suppress(OSError):  # one that is open must not keep the others
                        file.unlink()

    def _client(self) -> httpx.Client:
        from kotaro_bridge.host.outside_http import outside_client

        return outside_client(
            headers={
                "User-Agent": f"kotaro-bridge/{self._version}",
                "Accept": "application/vnd.github+json, */*;q=0.5",
            },
            event_hooks={"request": [lambda request: self._demand_secure(str(request.url))]},  # redirects too
        )

    def _demand_secure(self, url: str) -> None:
        """Raises ProblemError `update.insecure` for an address that anyone on the way could answer."""
        import httpx

        try:
            asked, feed = httpx.URL(url), httpx.URL(self._url)
        except httpx.InvalidURL:
            raise ProblemError(problem("update.insecure", url=url[:200])) from None
        here = feed.scheme == "http" and is_loopback(feed.host)
        if asked.scheme != "https" and not (here and asked.scheme == "http" and is_loopback(asked.host)):
            raise ProblemError(problem("update.insecure", url=url[:200]))

    def _document(self, client: httpx.Client, url: str, most: int) -> bytes:
        """All of a small document. Raises ProblemError."""
        deadline = time.monotonic() + self._limit_s
        data = bytearray()
        with self._asked(client, url) as response:
            for chunk in response.iter_raw():
                data += chunk
                if len(data) > most:
                    raise ProblemError(problem("update.feed_large", url=url, most_bytes=most))
                if time.monotonic() > deadline:
                    raise ProblemError(problem("update.feed_slow", url=url, seconds=round(self._limit_s)))
        return bytes(data)

    def _transfer(
        self, release: Release, part: Path, progress: Callable[[int], None], stopped: threading.Event
    ) -> bool:
        """Bring `part` to its full size; False if it was stopped. Raises ProblemError."""
        tries = 0
        with self._client() as client:
            while (before := _size(part)) < release.size:
                if stopped.is_set():
                    return False
                try:
                    self._go_on(client, release, part, progress, stopped)
                    why = problem("update.cut", version=release.version)
                except ProblemError as error:
                    if error.problem.code != "update.unreachable":
                        raise
                    why = error.problem
                tries = 0 if _size(part) > before else tries + 1
                if tries == _TRIES:
                    raise ProblemError(why)
                if _size(part) < release.size:
                    stopped.wait(self._pause_s)
        return not stopped.is_set()

    def _go_on(
        self,
        client: httpx.Client,
        release: Release,
        part: Path,
        progress: Callable[[int], None],
        stopped: threading.Event,
    ) -> None:
        """One request for what is missing; returns when it ends, however far it came. Raises ProblemError."""
        have = _size(part)
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._asked(client, release.url, headers) as response:
            if response.status_code == 416:  # the server's file is shorter than the feed says
                with _written(part):
                    part.unlink(missing_ok=True)
                raise ProblemError(problem("update.checksum", version=release.version))
            found = _RANGE.fullmatch(response.headers.get("content-range", ""))
            goes_on = response.status_code == 206 and found is not None and int(found[1]) == have
            with _written(part), part.open("ab" if goes_on else "wb") as file:
                at = have if goes_on else 0
                for chunk in response.iter_raw():  # as it comes: what is cut keeps all that came
                    at += file.write(chunk[: release.size - at])
                    progress(at)
                    if stopped.is_set() or at == release.size:
                        return

    @contextmanager
    def _asked(self, client: httpx.Client, url: str, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
        """A good answer. Raises ProblemError for any other, also while it is read."""
        import httpx

        try:
            with client.stream("GET", url, headers=headers) as response:
                _judge(response)
                yield response
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            host = httpx.URL(url).host
            raise ProblemError(
                problem("update.unreachable", repr(error), host=host, detail=str(error) or type(error).__name__)
            ) from error
        except httpx.InvalidURL as error:
            raise ProblemError(problem("update.insecure", url=url[:200])) from error


def _judge(response: httpx.Response) -> None:
    """Raises ProblemError unless there is something to read."""
    host, status = response.url.host, response.status_code
    if status in (200, 206, 416):
        return
    if status == 429 or (status == 403 and response.headers.get("x-ratelimit-remaining") == "0"):
        raise ProblemError(problem("update.busy", host=host))
    raise ProblemError(problem("update.refused", host=host, status=status))


@contextmanager
def _written(file: Path) -> Iterator[None]:
    """Says what the disk says. Raises ProblemError `update.disk_full` or `update.not_written`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ProblemError(problem("update.disk_full", folder=str(file.parent))) from error
        raise ProblemError(problem("update.not_written", file=str(file), detail=str(error))) from error


def _size(file: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _is_right(file: Path, release: Release) -> bool:
    """False also where there is no file. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), file.open("rb") as content:
        return _holds(content, release)
    return False


def _holds(content: BufferedReader, release: Release) -> bool:
    """Compare size and checksum. Raises OSError."""
    of_its_size = os.fstat(content.fileno()).st_size == release.size
    return of_its_size and hashlib.file_digest(content, "sha256").hexdigest() == release.sha256


def for_us_alone(path: str, flags: int) -> int:
    """Open a file so that others may read it and nothing else, while it is open (learn.microsoft.com, CreateFileW,
    dwShareMode). On POSIX nothing keeps others from a file of the same user.
    """
    if sys.platform != "win32":
        return os.open(path, flags)
    import msvcrt

    import pywintypes
    import win32con
    import win32file

    try:
        handle = win32file.CreateFile(
            path, win32con.GENERIC_READ, win32con.FILE_SHARE_READ, None, win32con.OPEN_EXISTING, 0, None
        )
    except pywintypes.error as error:
        raise OSError(None, error.strerror, path, error.winerror) from error
    return msvcrt.open_osfhandle(int(handle.Detach()), flags)
