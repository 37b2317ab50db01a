"""The owner's control channel: one owner of runs per user; other processes ask it for status, stop and logs.

Owns the lock file and the channel (`multiprocessing.connection`: a Unix socket, a named pipe on Windows), guarded by
a key in the user's folder. Requests and answers are JSON documents. Decides nothing: the owner's handler does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import IO, Any, TypeAlias

from kotaro_bridge.domain.errors import ProblemError, problem

log = logging.getLogger(__name__)

Document: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Document], Document]

_KEY_BYTES = 32


class OwnerLock:
    """At most one process per user owns runs. The lock goes with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "owner.lock"
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """True if this process is the owner now; asking again changes nothing."""
        if self._file is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="ascii")
        try:
            _lock(file)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(file: IO[str]) -> None:
    """Take an exclusive lock without waiting. Raises OSError if another process has it."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


class ControlServer:
    """Answers other processes of this user, one request per connection, on a thread of its own."""

    def __init__(self, folder: Path, handler: Handler) -> None:
        self._folder = folder
        self._handler = handler
        key = secrets.token_bytes(_KEY_BYTES)
        address = _address(folder)
        if sys.platform != "win32":
            Path(address).unlink(missing_ok=True)
        self._listener = Listener(address, authkey=key)
        _write_private(folder / "control.key", key)
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._closed = True
        with contextlib.suppress(OSError, ProblemError):
            ask(self._folder, {"verb": "wake"})
        self._thread.join()
        self._listener.close()
        (self._folder / "control.key").unlink(missing_ok=True)

    def _loop(self) -> None:
        while not self._closed:
            try:
                with self._listener.accept() as connection:
                    self._answer(connection)
            except Exception as error:  # a stranger, or one who left in the middle: never the end of the channel
                log.info("control channel: %r", error)

    def _answer(self, connection: Connection) -> None:
        request = json.loads(connection.recv_bytes())
        answer: Document = {} if self._closed else self._handler(request)
        connection.send_bytes(json.dumps(answer).encode())


def ask(folder: Path, request: Document) -> Document | None:
    """The owner's answer; None if there is no owner.

    Raises:
        ProblemError: the owner does not answer as it should.
    """
    try:
        key = (folder / "control.key").read_bytes()
        with Client(_address(folder), authkey=key) as connection:
            connection.send_bytes(json.dumps(request).encode())
            answer: Document = json.loads(connection.recv_bytes())
            return answer
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except Exception as error:
        raise ProblemError(problem("control.broken", repr(error))) from error


def _address(folder: Path) -> str:
    """A name made of the folder: a named pipe, or a socket in the temporary folder (socket paths end at 107 bytes)."""
    mark = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]
    if sys.platform == "win32":
        return rf"\\.\pipe\kotaro-bridge-{mark}"
    return str(Path(tempfile.gettempdir()) / f"kotaro-bridge-{mark}.sock")


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
