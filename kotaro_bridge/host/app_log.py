"""The product's own log: one file for all its processes, bounded, in UTF-8, without secrets.

Owns the file and its rotation. What is written is redacted here, whoever wrote it. A disk that is full, or a file that
somebody else holds open, loses lines and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from kotaro_bridge.host.file_lock import lock_now

NAME = "kotaro-bridge.log"
PATTERN = "kotaro-bridge*.log"
_MAX_BYTES = 1 << 20
_KEPT_LINES = 100
_LONGEST = 1 << 16  # letters of a record
_LOCK_S, _PAUSE_S = 0.2, 0.01
_OURS = "kotaro_bridge"


class AppLog(logging.Handler):
    """Appends each record to the file, which is open no longer than that takes: on Windows an open file can neither be
    renamed nor deleted by another process of ours.

    Args:
        folder: made with the first record. What came before the last rotation is in `NAME` with `.1` before its end.
        clean: takes out of a text what must not be kept.
    """

    def __init__(self, folder: Path, clean: Callable[[str], str], max_bytes: int = _MAX_BYTES) -> None:
        super().__init__()
        self.path = folder / NAME
        self._clean = clean
        self._max_bytes = max_bytes
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Never raises: a log must not break what it tells of."""
        try:
            text = self._clean(self._text(record))
            self._kept.append(text)
            self._append(f"{text}\n".encode("utf-8", "replace"))
        except Exception:
            self._kept.append(f"a line of {record.name} was lost")

    def tail(self) -> tuple[str, ...]:
        """The newest lines of this process."""
        return tuple(self._kept)

    def _text(self, record: logging.LogRecord) -> str:
        """Further lines of a record are indented: none can pass for a record of its own."""
        at = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        said = self.format(record)[:_LONGEST].replace("\r", "").replace("\n", "\n    ")
        return f"{at} {record.process} {record.levelname} {record.name.removeprefix(f'{_OURS}.')}: {said}"

    def _append(self, data: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone() as alone:
            if alone:
                self._rotate()
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(descriptor, "ab", buffering=0) as file:
                if file.seek(0, os.SEEK_END) <= 2 * self._max_bytes + _LONGEST:  # see `_rotate`
                    file.write(data)

    def _rotate(self) -> None:
        """Begin a new file. On Windows who holds the old one open prevents that: it grows a little more then."""
        with contextlib.suppress(OSError):
            if self.path.stat().st_size > self._max_bytes:
                self.path.replace(self.path.with_suffix(f".1{self.path.suffix}"))

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """True while no other process of ours writes: Windows appends in two steps. One that is suspended is not
        waited for without end."""
        deadline = time.monotonic() + _LOCK_S
        with self.path.with_suffix(".lock").open("ab") as lock:
            while True:
                try:
                    lock_now(lock)
                except OSError:
                    if time.monotonic() > deadline:
                        yield False
                        return
                    time.sleep(_PAUSE_S)
                    continue
                yield True
                return


def install(log: AppLog) -> None:
    """Have the log hear what this process tells: of ourselves from INFO on, of others from WARNING on."""
    root = logging.getLogger()
    if sys.stderr is not None and logging.lastResort is not None:
        root.addHandler(logging.lastResort)  # without any handler warnings go to the terminal, and still shall
    root.addHandler(log)
    logging.getLogger(_OURS).setLevel(logging.INFO)
