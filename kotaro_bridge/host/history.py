"""Speeds of proved runs, and what their starts took of the card, in SQLite files that several processes may use. A
store that is broken has no baseline and has learned nothing; nothing stops for it.

Owns the files: their schemas, how long one may be busy, and that a broken one is moved aside. What a speed is compared
under is in `domain/run/speed.py`, what a start teaches in `domain/planning/learned.py`.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from kotaro_bridge.domain.planning.learned import Learned, Start
from kotaro_bridge.domain.ports import SpeedKey, StartPlace

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

log = logging.getLogger(__name__)

_Value: TypeAlias = str | float | None

_VERSION = 1
_SPEEDS = """CREATE TABLE IF NOT EXISTS speed (
    profile TEXT NOT NULL, settings TEXT NOT NULL, engine TEXT NOT NULL, version TEXT NOT NULL, driver TEXT NOT NULL,
    card TEXT NOT NULL, mode TEXT NOT NULL, at REAL NOT NULL, tokens_per_s REAL NOT NULL, of_limit REAL)"""
_ADD_SPEED = "INSERT INTO speed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NEWEST_SPEEDS = """SELECT tokens_per_s FROM speed
    WHERE profile = ? AND settings = ? AND engine = ? AND version = ? AND driver = ? AND card = ? AND mode = ?
    ORDER BY at DESC LIMIT ?"""
_FORGET_SPEEDS = "DELETE FROM speed WHERE profile = ?"
_STARTS = """CREATE TABLE IF NOT EXISTS start (
    engine TEXT NOT NULL, card TEXT NOT NULL, driver TEXT NOT NULL, version TEXT NOT NULL, at REAL NOT NULL,
    model TEXT NOT NULL, request TEXT NOT NULL, vram INTEGER NOT NULL, weights INTEGER NOT NULL, kv INTEGER NOT NULL,
    compute INTEGER NOT NULL, budget INTEGER)"""
_ADD_START = "INSERT INTO start VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SIZES = ("vram", "weights", "kv", "compute", "budget")
_NEWEST_STARTS = """SELECT model, request, vram, weights, kv, compute, budget FROM start
    WHERE engine = ? AND card = ? AND driver = ? AND version =
        (SELECT version FROM start WHERE engine = ? AND card = ? AND driver = ? ORDER BY at DESC LIMIT 1)
    ORDER BY at DESC LIMIT ?"""
_STARTS_READ = 100  # several models take turns
_BUSY_S = 0.5  # the end of a start waits for it
_RUNS = 9
"""Baseline: the median of that many newest runs. The first one alone may have been measured while a game ran: that
makes a low baseline, which stops less and is outvoted by later runs; a run is never faster than it can be.
"""


class _Store:
    """One file with one table.

    Args:
        path: the file; made with the first record. SQLite itself is not imported before that either.
        table: statement that makes its table.
        what: what is missing where the file cannot be used, for the log.
    """

    def __init__(self, path: Path, table: str, what: str) -> None:
        self._path = path
        self._table = table
        self._what = what
        self._complained = False

    def rows(self, question: str, values: Sequence[_Value]) -> list[tuple[_Value, ...]]:
        """What the file answers; nothing where it cannot be asked."""

        def ask(store: sqlite3.Connection) -> list[tuple[_Value, ...]]:
            return store.execute(question, values).fetchall() if _version(store) else []

        return (self._with_file("rw", ask) if self._path.exists() else None) or []

    def add(self, statement: str, values: Sequence[_Value]) -> None:
        """Put a row in."""

        def put(store: sqlite3.Connection) -> None:
            if not _version(store):
                store.execute(self._table)
                store.execute(f"PRAGMA user_version = {_VERSION}")
            store.execute(statement, values)

        self._with_file("rwc", put)

    def remove(self, statement: str, values: Sequence[_Value]) -> None:
        """Take rows out."""

        def take(store: sqlite3.Connection) -> None:
            if _version(store):
                store.execute(statement, values)

        if self._path.exists():
            self._with_file("rw", take)

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
        log.log(
            logging.DEBUG if self._complained else logging.WARNING, "no %s in %s: %s", self._what, self._path, error
        )
        self._complained = True


class SqliteSpeedHistory:
    """Implements `domain.ports.SpeedHistory`. May be asked from several threads.

    Args:
        path: the file; made with the first record.
    """

    def __init__(self, path: Path) -> None:
        self._store = _Store(path, _SPEEDS, "speeds")

    def baseline(self, key: SpeedKey) -> float | None:
        """See `SpeedHistory.baseline`."""
        found = self._store.rows(_NEWEST_SPEEDS, (*astuple(key), _RUNS))
        return statistics.median(float(row[0] or 0) for row in found) if found else None

    def record(self, key: SpeedKey, tokens_per_s: float, of_limit: float | None) -> None:
        """See `SpeedHistory.record`."""
        self._store.add(_ADD_SPEED, (*astuple(key), time.time(), tokens_per_s, of_limit))

    def forget(self, profile_id: str) -> None:
        """See `SpeedHistory.forget`."""
        self._store.remove(_FORGET_SPEEDS, (profile_id,))


class SqliteStartHistory:
    """Implements `domain.ports.StartHistory`. May be asked from several threads.

    Args:
        path: the file; made with the first record.
    """

    def __init__(self, path: Path) -> None:
        self._store = _Store(path, _STARTS, "starts")

    def learned(self, place: StartPlace) -> Learned:
        """See `StartHistory.learned`."""
        found = self._store.rows(_NEWEST_STARTS, (*astuple(place), *astuple(place), _STARTS_READ))
        return Learned(tuple(start for row in found if (start := _start(row)) is not None))

    def record(self, place: StartPlace, version: str, start: Start) -> None:
        """See `StartHistory.record`."""
        request = msgspec.json.encode(start.request).decode()
        sizes = (start.vram, start.weights, start.kv, start.compute, start.budget)
        self._store.add(_ADD_START, (*astuple(place), version, time.time(), start.model, request, *sizes))


def _start(row: tuple[_Value, ...]) -> Start | None:
    """A row as a start; None for one that another version of this program wrote."""
    model, request, *sizes = row
    try:
        return msgspec.convert(
            {"model": model, "request": msgspec.json.decode(str(request)), **dict(zip(_SIZES, sizes, strict=True))},
            Start,
        )
    except msgspec.MsgspecError:
        return None


def _version(store: sqlite3.Connection) -> int:
    """0 for a file without a schema. Raises sqlite3.Error for a file of a later program."""
    import sqlite3

    version = int(store.execute("PRAGMA user_version").fetchone()[0])
    if version > _VERSION:
        raise sqlite3.NotSupportedError(f"schema {version}")
    return version
