"""Measured speeds in a file: the usual one, several users of the file, and every way in which it can be broken."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from kotaro_bridge.domain.ports import SpeedKey
from kotaro_bridge.host import history
from kotaro_bridge.host.history import SqliteSpeedHistory

pytestmark = pytest.mark.allow_log(r"^no speeds in ", reason="files that cannot be used")

KEY = SpeedKey("qwen-7b", "f00", "llama-server", "0.5.0", "580.88", "GPU-1", "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "with space #1" / "history.sqlite3"


@pytest.fixture
def store(path: Path) -> SqliteSpeedHistory:
    path.parent.mkdir()
    return SqliteSpeedHistory(path)


def warnings(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.levelno == logging.WARNING for record in caplog.records)


def test_before_the_first_proved_run_there_is_no_baseline_and_no_file(store: SqliteSpeedHistory, path: Path) -> None:
    assert store.baseline(KEY) is None
    assert not path.exists()


def test_one_run_is_a_baseline(store: SqliteSpeedHistory) -> None:
    store.record(KEY, 38.0, 0.64)
    assert store.baseline(KEY) == 38.0


def test_the_baseline_is_the_median_of_the_newest_nine(store: SqliteSpeedHistory) -> None:
    for speed in (1000.0, 1000.0, 1000.0, 10.0, 38.0, 37.0, 39.0, 38.5, 38.1, 11.0, 38.2, 90.0):
        store.record(KEY, speed, None)
    assert store.baseline(KEY) == 38.1


def test_each_part_of_the_key_has_its_own_baseline(store: SqliteSpeedHistory) -> None:
    store.record(KEY, 38.0, None)
    for field in fields(SpeedKey):
        assert store.baseline(replace(KEY, **{field.name: "other"})) is None


def test_another_process_sees_what_was_recorded(store: SqliteSpeedHistory, path: Path) -> None:
    store.record(KEY, 38.0, None)
    program = (
        "import sys; from pathlib import Path; before = 'sqlite3' in sys.modules\n"
        "from kotaro_bridge.domain.ports import SpeedKey; from kotaro_bridge.host.history import SqliteSpeedHistory\n"
        "assert ('sqlite3' in sys.modules) == before, 'loaded before it is needed'\n"
        "store = SqliteSpeedHistory(Path(sys.argv[1])); key = SpeedKey(*sys.argv[2:])\n"
        "print(store.baseline(key)); store.record(key, 40.0, None)"
    )
    argv = [sys.executable, "-c", program, str(path), *(getattr(KEY, field.name) for field in fields(KEY))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout.strip() == "38.0"
    assert store.baseline(KEY) == 39.0


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_broken_file_is_moved_aside_and_begun_anew(
    store: SqliteSpeedHistory, path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    journal = Path(f"{path}-journal")
    journal.write_bytes(b"old")
    assert store.baseline(KEY) is None
    assert Path(f"{path}.broken").read_bytes() == content
    assert not path.exists()
    assert not journal.exists()
    store.record(KEY, 38.0, None)
    assert store.baseline(KEY) == 38.0
    assert warnings(caplog) == 1


def test_a_file_that_breaks_before_a_record_loses_that_record_only(store: SqliteSpeedHistory, path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    store.record(KEY, 37.0, None)
    assert store.baseline(KEY) is None
    store.record(KEY, 38.0, None)
    assert store.baseline(KEY) == 38.0


def test_a_file_that_cannot_be_moved_is_left(
    store: SqliteSpeedHistory, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def taken(*_: object) -> None:
        raise PermissionError(13, "in use")

    path.write_bytes(b"no database at all" * 100)
    monkeypatch.setattr(os, "replace", taken)
    assert store.baseline(KEY) is None
    store.record(KEY, 38.0, None)
    assert path.exists()
    assert warnings(caplog) == 1


def test_a_file_that_another_process_keeps_locked_has_no_baseline(
    store: SqliteSpeedHistory, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(history, "_BUSY_S", 0.0)
    store.record(KEY, 38.0, None)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert store.baseline(KEY) is None
        store.record(KEY, 12.0, None)
        other.rollback()
    assert store.baseline(KEY) == 38.0, "not moved aside, and the record was given up"
    assert warnings(caplog) == 1


def test_a_file_of_a_later_program_is_left_alone(store: SqliteSpeedHistory, path: Path) -> None:
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    store.record(KEY, 38.0, None)
    assert store.baseline(KEY) is None
    assert path.read_bytes() == before


def test_a_profile_is_forgotten_with_all_its_settings_and_no_other(store: SqliteSpeedHistory) -> None:
    others = [replace(KEY, settings="f01"), replace(KEY, profile="qwen-7b-2"), replace(KEY, profile="qwen")]
    for key in (KEY, *others):
        store.record(key, 40.0, None)
    store.forget("qwen-7b")
    assert [store.baseline(key) for key in (KEY, *others)] == [None, None, 40.0, 40.0]


def test_there_is_nothing_to_forget_without_a_file(store: SqliteSpeedHistory, path: Path) -> None:
    store.forget("qwen-7b")
    assert not path.exists()


def test_an_empty_file_is_a_new_one(store: SqliteSpeedHistory, path: Path) -> None:
    path.touch()
    assert store.baseline(KEY) is None
    store.record(KEY, 38.0, None)
    assert store.baseline(KEY) == 38.0


def test_a_file_that_may_only_be_read_still_tells(store: SqliteSpeedHistory, path: Path) -> None:
    """By its own header, byte 18: a version for writing that SQLite does not know. Permissions do not bind root."""
    store.record(KEY, 38.0, None)
    content = bytearray(path.read_bytes())
    content[18] = 3
    path.write_bytes(content)
    store.record(KEY, 1.0, None)
    assert store.baseline(KEY) == 38.0
    assert path.read_bytes() == content


def test_a_folder_where_the_file_should_be(store: SqliteSpeedHistory, path: Path) -> None:
    path.mkdir()
    store.record(KEY, 38.0, None)
    assert store.baseline(KEY) is None
    assert path.is_dir()
