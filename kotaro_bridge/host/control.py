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
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import IO, Any, TypeAlias

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.host.file_lock import lock_now

log = logging.getLogger(__name__)

Document: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Document], Document]

_KEY_BYTES = 32
_BACKLOG = 16
_PATIENCE_S = 5.0  # for the next word of a client, or of an owner that only has to know its key
_ANSWER_S = 60.0  # a stop is answered when the engine has ended
_LONGEST_REQUEST = 1 << 16
_PAUSE_S = 0.2


class OwnerLock:
    """At most one process per user owns runs. The lock goes with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "owner.lock"
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """True if this process is the owner now; asking again changes nothing.

        Raises:
            ProblemError: `storage.unusable`: the lock file cannot be made.
        """
        if self._file is not None:
            return True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+", encoding="ascii")
        except OSError as error:
            raise ProblemError(problem("storage.unusable", path=str(self._path), detail=str(error))) from error
        try:
            lock_now(file)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def forget(self) -> None:
        """Give the lock back and remove its file, unless another process has taken it up by then. Never raises."""
        if sys.platform == "win32":  # nobody deletes a file there that is open, by us or by a start of this moment
            self.release()
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.release()

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


class ControlServer:
    """Answers other processes of this user, one request per connection.

    One thread accepts and each connection has its own: a client that connects and says nothing (a suspended process)
    keeps neither the others nor the end of the owner waiting.

    Args:
        patience_s: how long a client may take for its next word.
    """

    def __init__(self, folder: Path, handler: Handler, patience_s: float = _PATIENCE_S) -> None:
        self._folder = folder
        self._handler = handler
        self._patience_s = patience_s
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._address = _address(folder)
        if sys.platform != "win32":
            Path(self._address).unlink(missing_ok=True)
        # The listener asks for no key itself: it would do so while it accepts, and wait for the answer for ever.
        self._listener = Listener(self._address, backlog=_BACKLOG)
        _write_private(folder / "control.key", self._key)
        self._closed = threading.Event()
        self._guests: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._loop, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering; a request that is being answered gets its answer, if that does not take long."""
        self._closed.set()
        with contextlib.suppress(OSError):
            Client(self._address).close()  # wakes the thread that accepts
        deadline = time.monotonic() + self._patience_s
        for thread in (self._thread, *self._guests):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        (self._folder / "control.key").unlink(missing_ok=True)

    def _loop(self) -> None:
        while not self._closed.is_set():
            try:
                connection = self._listener.accept()
            except OSError as error:  # one who left at once, or no descriptors left: never the end of the channel
                log.info("control channel: %r", error)
                self._closed.wait(_PAUSE_S)
                continue
            guest = threading.Thread(target=self._serve, args=(connection,), name="control-guest", daemon=True)
            self._guests = [*(thread for thread in self._guests if thread.is_alive()), guest]
            guest.start()

    def _serve(self, connection: Connection) -> None:
        with connection:
            try:
                self._answer(connection)
            except Exception as error:  # a stranger, or one who left in the middle
                log.info("control channel: %r", error)

    def _answer(self, connection: Connection) -> None:
        bounded: Any = _Bounded(connection, self._patience_s)
        deliver_challenge(bounded, self._key)
        answer_challenge(bounded, self._key)
        request = json.loads(bounded.recv_bytes(_LONGEST_REQUEST))
        if not isinstance(request, dict):
            raise TypeError(f"a request is an object, not {type(request).__name__}")
        if not self._closed.is_set():
            connection.send_bytes(json.dumps(self._handler(request)).encode())


class _Bounded:
    """A connection as the handshake uses it, on which no answer is waited for without end."""

    def __init__(self, connection: Any, patience_s: float) -> None:
        self._connection = connection
        self._patience_s = patience_s
        self.send_bytes = connection.send_bytes

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        if not self._connection.poll(self._patience_s):
            raise TimeoutError(f"no answer within {self._patience_s} s")
        data: bytes = self._connection.recv_bytes(maxlength)
        return data


def ask(
    folder: Path, request: Document, *, patience_s: float = _PATIENCE_S, answer_s: float = _ANSWER_S
) -> Document | None:
    """The owner's answer; None if there is no owner, or it ended while it was asked.

    Args:
        patience_s: how long the owner may take to show that it has the key; answer_s: to answer the request.

    Raises:
        ProblemError: the owner does not answer as it should.
    """
    try:
        key = (folder / "control.key").read_bytes()
        with Client(_address(folder)) as connection:
            bounded: Any = _Bounded(connection, patience_s)
            answer_challenge(bounded, key)
            deliver_challenge(bounded, key)
            connection.send_bytes(json.dumps(request).encode())
            answer: Document = json.loads(_Bounded(connection, answer_s).recv_bytes())
            return answer
    except (FileNotFoundError, ConnectionError, EOFError):
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
