"""A run's log on disk: buffered, flushed about twice a second while lines come, rotated by size, old ones removed.

Owns file names and rotation. Writing never waits for a viewer; a full disk loses the file, not the run.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import BinaryIO

from kotaro_bridge.domain.engine.engine_log import LogLine

log = logging.getLogger(__name__)

_MAX_BYTES = 16 << 20
_KEPT = 20
_FLUSH_S = 0.5
_BUFFER = 1 << 16


class RunLogFile:
    """The log of one run; a second part (`.1`) holds what came before the last rotation.

    Args:
        folder: where logs are kept; name: without suffix.
    """

    def __init__(self, folder: Path, name: str, max_bytes: int = _MAX_BYTES) -> None:
        self.path = folder / f"{name}.log"
        self._max_bytes = max_bytes
        self._written = 0
        self._flushed = 0.0
        self._file: BinaryIO | None = None
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_old(folder)
            self._file = self._open()

    def _open(self) -> BinaryIO:
        return self.path.open("wb", buffering=_BUFFER)

    def write(self, line: LogLine) -> None:
        """Add a line as the engine wrote it, both streams in one file, so that `verdict` can judge it later."""
        if self._file is None:
            return
        text = f"{line.text}\n"
        try:
            self._written += self._file.write(text.encode("utf-8", "replace"))
            now = time.monotonic()
            if now - self._flushed > _FLUSH_S:
                self._flushed = now
                self._file.flush()
            if self._written > self._max_bytes:
                self._file.close()
                self._file, self._written = self._rotated(), 0
        except OSError as error:
            self._give_up(error)

    def _rotated(self) -> BinaryIO:
        """A new file; the old one again where it cannot be renamed, as while another program has it open (Windows)."""
        try:
            self.path.replace(self.path.with_suffix(".1.log"))
        except OSError:
            return self.path.open("ab", buffering=_BUFFER)
        return self._open()

    def flush(self) -> None:
        """Write out what is held: an engine that falls silent leaves its last lines here otherwise."""
        try:
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.info("the log file %s is given up: %s", self.path.name, error)
        self.close()

    def close(self) -> None:
        """Write out what is held."""
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()


def _remove_old(folder: Path) -> None:
    """Keep the newest. One that another process removes at this moment, or holds open (Windows), is no obstacle."""
    aged = []
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError):
            aged.append((path.stat().st_mtime, path))
    for _, path in sorted(aged)[:-_KEPT]:
        with contextlib.suppress(OSError):
            path.unlink()
