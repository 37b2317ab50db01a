"""Speeds of proved runs, in a SQLite file that several processes may use. A store that is broken has no baseline;
nothing stops for it.

Owns the file: its schema, how long it may be busy, and that a broken one is moved aside. What a speed is compared under
is in `domain/speed.py`.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kotaro_bridge.domain.ports import SpeedKey

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

log = logging.getLogger(__name__)

_VERSION = 1
_TABLE = """CREATE TABLE IF NOT EXISTS speed (
    profile TEXT NOT NULL, settings TEXT NOT NULL, engine TEXT NOT NULL, version TEXT NOT NULL, driver TEXT NOT NULL,
    card TEXT NOT NULL, mode TEXT NOT NULL, at REAL NOT NULL, tokens_per_s REAL NOT NULL, of_limit REAL)"""
_INSERT = "INSERT INTO speed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NEWEST = """SELECT tokens_per_s FROM speed
    WHERE profile = ? AND settings = ? AND engine = ? AND version = ? AND driver = ? AND card = ? AND mode = ?
    ORDER BY at DESC LIMIT ?"""
_FORGET = "DELETE FROM speed WHERE profile = ?"
_BUSY_S = 0.5  # the end of a start waits for it
_RUNS = 9
"""Baseline: the median of that many newest runs. The first one alone may have been measured while a game ran: that
makes a low baseline, which stops less and is outvoted by later runs; a run is never faster than it can be.
"""


class SqliteSpeedHistory:
    """Implements `domain.ports.SpeedHistory`. May be asked from several threads.

    Args:
        path: the file; made with the first record. SQLite itself is not imported before that either.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complained = False

    def baseline(self, key: SpeedKey) -> float | None:
        """See `SpeedHistory.baseline`."""

        def ask(store: sqlite3.Connection) -> list[tuple[float]]:
            return store.execute(_NEWEST, (*astuple(key), _RUNS)).fetchall() if _version(store) else []

        found = self._with_file("rw", ask) if self._path.exists() else None
        return statistics.median(row[0] for row in found) if found else None

    def record(self, key: SpeedKey, tokens_per_s: float, of_limit: float | None) -> None:
        """See `SpeedHistory.record`."""

        def add(store: sqlite3.Connection) -> None:
            if not _version(store):
                store.execute(_TABLE)
                store.execute(f"PRAGMA user_version = {_VERSION}")
            store.execute(_INSERT, (*astuple(key), time.time(), tokens_per_s, of_limit))

        self._with_file("rwc", add)

    def forget(self, profile_id: str) -> None:
        """See `SpeedHistory.forget`."""

        def remove(store: sqlite3.Connection) -> None:
            if _version(store):
                store.execute(_FORGET, (profile_id,))

        if self._path.exists():
            self._with_file("rw", remove)

    def _with_file(self, mode: str, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `work` finds in the open file; None, and a line in the log, where that cannot be done."""
        import sqlite3

        try:
            address = f"{self._path.absolute().as_uri()}?mode={mode}"
            with closing(sqlite3.connect(address, timeout=_BUSY_S, uri=True)) as store, store:
                return work(store)
        except (sqlite3.Error, OSError) as error:
            self._complain(error)
            if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                self._move_aside()
            return None

    def _move_aside(self) -> None:
        """Keep the broken file for whoever wants to look; the next record makes a new one."""
        try:
            os.replace(self._path, f"{self._path}.broken")
            Path(f"{self._path}-journal").unlink(missing_ok=True)  # it would be played back into the new file
        except OSError as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        log.log(logging.DEBUG if self._complained else logging.WARNING, "no speeds in %s: %s", self._path, error)
        self._complained = True


def _version(store: sqlite3.Connection) -> int:
    """0 for a file without a schema. Raises sqlite3.Error for a file of a later program."""
    import sqlite3

    version = int(store.execute("PRAGMA user_version").fetchone()[0])
    if version > _VERSION:
        raise sqlite3.NotSupportedError(f"schema {version}")
    return version
