"""Measured speeds of proved runs in a SQLite file. A store that is broken has no baseline; nothing stops for it."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple
from pathlib import Path

from kotaro_bridge.domain.ports import SpeedKey

log = logging.getLogger(__name__)

_TABLE = """CREATE TABLE IF NOT EXISTS speed (
    profile TEXT, engine TEXT, version TEXT, driver TEXT, card TEXT, mode TEXT,
    at REAL, tokens_per_s REAL, of_limit REAL)"""
_SAME = "profile = ? AND engine = ? AND version = ? AND driver = ? AND card = ? AND mode = ?"


class SqliteSpeedHistory:
    """Implements `domain.ports.SpeedHistory`.

    Args:
        path: the file; made with the first record.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._complained = False

    def baseline(self, key: SpeedKey) -> float | None:
        """See `SpeedHistory.baseline`: the newest one."""
        try:
            if not self._path.exists():
                return None
            with self._opened() as store:
                found = store.execute(
                    f"SELECT tokens_per_s FROM speed WHERE {_SAME} ORDER BY at DESC LIMIT 1",  # noqa: S608 # a constant
                    astuple(key),
                ).fetchone()
        except (sqlite3.Error, OSError) as error:
            self._complain(error)
            return None
        return float(found[0]) if found else None

    def record(self, key: SpeedKey, tokens_per_s: float, of_limit: float | None) -> None:
        """See `SpeedHistory.record`."""
        try:
            with self._opened() as store, store:
                row = (*astuple(key), time.time(), tokens_per_s, of_limit)
                store.execute("INSERT INTO speed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        except (sqlite3.Error, OSError) as error:
            self._complain(error)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock, closing(sqlite3.connect(self._path)) as store:
            store.execute(_TABLE)
            yield store

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.warning("no speed history in %s: %s", self._path, error)
