"""A run's log on disk: what is in it and when, rotation, and disks that do not take it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import LogLine, Stream
from kotaro_bridge.host.log_file import RunLogFile

posix = pytest.mark.skipif(sys.platform == "win32", reason="/dev/full and links are POSIX")


def line(text: str, stream: Stream = Stream.STDOUT) -> LogLine:
    return LogLine(stream, 1, text)


def test_lines_of_both_streams_are_told_apart(tmp_path: Path) -> None:
    log = RunLogFile(tmp_path / "not" / "there", "run.1-a")
    log.write(line("out 虎"))
    log.write(line("err \ud800", Stream.STDERR))
    log.close()
    log.close()
    log.write(line("too late"))
    log.flush()
    assert log.path == tmp_path / "not" / "there" / "run.1-a.log"
    assert log.path.read_bytes() == "out 虎\nerr ?\n".encode()


def test_lines_are_on_disk_soon_and_after_a_flush_all_of_them(tmp_path: Path) -> None:
    log = RunLogFile(tmp_path, "run")
    log.write(line("first"))
    assert log.path.read_text() == "first\n"
    log.write(line("second"))
    assert log.path.read_text() == "first\n", "about twice a second"
    log.flush()
    assert log.path.read_text() == "first\nsecond\n"
    log.close()


def test_a_long_log_is_rotated_by_bytes_and_keeps_the_newest(tmp_path: Path) -> None:
    log = RunLogFile(tmp_path, "run.x", max_bytes=300)
    for number in range(100):
        log.write(line(f"{number:03} 虎虎"))
    log.close()
    parts = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert set(parts) == {"run.x.log", "run.x.1.log"}
    whole = parts["run.x.1.log"] + parts["run.x.log"]
    assert whole.endswith("099 虎虎\n")
    numbers = [int(row[1:4]) for row in whole.splitlines()]
    assert numbers == list(range(numbers[0], 100))
    assert all(len(part.encode()) <= 300 + 12 for part in parts.values())


def test_old_logs_go_and_the_newest_stay(tmp_path: Path) -> None:
    for number in range(30):
        path = tmp_path / f"old-{number:02}.log"
        path.touch()
        os.utime(path, (number, number))
    (tmp_path / "notes.txt").touch()
    RunLogFile(tmp_path, "new").close()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["new.log", "notes.txt", *(f"old-{number:02}.log" for number in range(10, 30))]


@posix
def test_an_old_log_that_cannot_be_looked_at_or_removed_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "dangling.log").symlink_to(tmp_path / "nowhere")
    for number in range(25):
        folder = tmp_path / f"{number:02}.log"
        folder.mkdir()
        os.utime(folder, (number, number))
    log = RunLogFile(tmp_path, "new")
    log.write(line("there"))
    log.close()
    assert log.path.read_text() == "there\n"


@posix
@pytest.mark.parametrize("way", ["write", "flush", "close"])
def test_a_full_disk_loses_the_file_and_not_the_run(tmp_path: Path, way: str) -> None:
    (tmp_path / "run.log").symlink_to("/dev/full")
    log = RunLogFile(tmp_path, "run")
    log.write(line("first"))  # flushed at once: the disk is full
    log.write(line("second"))
    assert log._file is None
    (tmp_path / "other.log").symlink_to("/dev/full")
    quiet = RunLogFile(tmp_path, "other")
    quiet._flushed = float("inf")
    quiet.write(line("held"))
    if way == "write":
        quiet.write(line("x" * 200_000))
    elif way == "flush":
        quiet.flush()
    else:
        quiet.close()
    quiet.write(line("more"))
    quiet.flush()
    quiet.close()
    assert quiet._file is None


def test_a_folder_that_cannot_be_made_keeps_no_log(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = RunLogFile(tmp_path / "file" / "logs", "run")
    log.write(line("nobody reads this"))
    log.flush()
    log.close()
    assert log._file is None


@posix
def test_a_folder_that_cannot_be_written_keeps_no_log() -> None:
    log = RunLogFile(Path("/proc"), "run")  # even root makes no file there
    log.write(line("nobody reads this"))
    log.close()
    assert log._file is None


def test_a_rotation_that_fails_loses_nothing(tmp_path: Path) -> None:
    log = RunLogFile(tmp_path, "run", max_bytes=10)
    (tmp_path / "run.1.log").mkdir()
    (tmp_path / "run.1.log" / "something").touch()
    log.write(line("longer than ten bytes"))
    log.write(line("more"))
    log.close()
    assert log.path.read_text() == "longer than ten bytes\nmore\n"
