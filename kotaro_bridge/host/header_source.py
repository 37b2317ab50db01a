"""The beginning of a model file, wherever it lies: a path (also `\\\\wsl.localhost`), an open file, an SFTP file.

Owns opening and reading with few system calls. Must not know what the bytes mean (`domain.gguf`, `domain.safetensors`)
and never reads more than it is asked for. Addresses on the network are `http_source`'s business.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.gguf_cursor import ReadAt

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read a header from. `size` in bytes, None where nobody knows."""

    read_at: ReadAt
    size: int | None


class Seekable(Protocol):
    """A file that is open for reading."""

    def seek(self, offset: int, /) -> object:
        """Go to a byte."""

    def read(self, size: int, /) -> bytes | None:
        """Up to `size` bytes, empty at the end."""


class SftpStat(Protocol):
    """What SFTP says of a file."""

    st_size: int | None


class SftpFile(Protocol):
    """The part of paramiko's `SFTPFile` that is used. Its `read` asks for 32 KiB and waits, again and again; `readv`
    asks for all pieces at once.
    """

    def stat(self) -> SftpStat:
        """Ask the server for the file's size."""

    def readv(self, chunks: Sequence[tuple[int, int]], /) -> Iterator[bytes]:
        """The bytes of each (offset, size)."""


@contextmanager
def open_source(path: Path | str) -> Iterator[Source]:
    """A file by its path.

    Raises:
        ProblemError: `model.missing` or `model.unreadable` (`path`), also while it is read; `model.not_file` (`path`: a
            folder, a pipe, a device: to open a pipe waits for whoever writes into it).
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ProblemError(problem("model.not_file", path=str(path)))
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed below; errors of the caller must not be caught here
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:

        def read_at(offset: int, count: int) -> bytes:
            return _told(lambda: _read_at(file, offset, min(count, max(0, size - offset))), path)

        size = _told(lambda: file.seek(0, 2), path)
        yield Source(read_at, size)


def file_source(file: Seekable, size: int | None) -> Source:
    """An open file object. Its own errors pass through."""
    return Source(lambda offset, count: _read_at(file, offset, count), size)


def sftp_source(file: SftpFile) -> Source:
    """An open file on another machine. Errors of the connection pass through."""
    size = file.stat().st_size

    def read_at(offset: int, count: int) -> bytes:
        wanted = count if size is None else min(count, size - offset)  # beyond the end `readv` raises
        return b"".join(file.readv([(offset, wanted)])) if wanted > 0 else b""

    return Source(read_at, size)


def _read_at(file: Seekable, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count) or b""


def _told(action: Callable[[], _T], path: Path | str) -> _T:
    try:
        return action()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path | str, error: OSError) -> ProblemError:
    code = "model.missing" if error.errno in (errno.ENOENT, errno.ENOTDIR) else "model.unreadable"
    return ProblemError(problem(code, str(error), path=str(path)))
