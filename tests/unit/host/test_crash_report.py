"""What is left of processes that really die, and what the next start has to tell of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kotaro_bridge.host.crash_report import Crashes, End, Ended
from tests.helpers.dying import SECRET

ROOT = Path(__file__).parents[3]


def dies(folder: Path, how: str, *, kill: bool = False) -> int:
    """Have a process end in that way; its exit code."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONFAULTHANDLER"}
    folder.mkdir(exist_ok=True)
    (folder / "up").unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "tests.helpers.dying", str(folder), how], cwd=ROOT, env=env)
    deadline = time.monotonic() + 30
    while not (folder / "up").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if kill:
        assert later(folder) == (), "it lives"
        process.kill()
    return process.wait(30)


def later(folder: Path) -> tuple[Ended, ...]:
    """What the next process has to tell."""
    return Crashes(folder / "crashes", lambda: "Kotaro Bridge 9.9", str).earlier()


def files(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] + path.suffix for path in (folder / "crashes").iterdir())


@pytest.mark.parametrize("how", ["access", "access windowed", "abort"])
def test_a_native_crash_is_told_by_the_next_start_once(tmp_path: Path, how: str) -> None:
    assert dies(tmp_path, how) not in (0, 1)
    (end,) = later(tmp_path)
    assert (end.how, end.runs) == (End.CRASHED, ("qwen: ready",))
    assert end.report is not None
    text = end.report.read_text(encoding="utf-8")
    for part in ("Kotaro Bridge 9.9", "dying.py", "run qwen: ready", "in main"):
        assert part in text
    assert later(tmp_path) == ()
    assert files(tmp_path) == ["crash.txt"]


@pytest.mark.parametrize("how", ["raise", "raise windowed"])
def test_an_uncaught_error_is_in_a_report_without_secrets(tmp_path: Path, how: str) -> None:
    assert dies(tmp_path, how) == 1
    crash, killed = sorted(later(tmp_path), key=lambda end: end.how.value)
    assert killed.how is End.KILLED, "the dying program did not end in order: `LastWords.guard` does that"
    assert crash.report is not None
    text = crash.report.read_text(encoding="utf-8")
    for part in ("RuntimeError: lost <secret>", "qwen: ready", "MainThread", "at home in /home/<user>", "9.9"):
        assert part in text
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or (SECRET not in path.read_text() and "yamada" not in path.read_text())
    assert later(tmp_path) == ()


def test_the_error_of_a_thread_is_in_a_report_with_its_name(tmp_path: Path) -> None:
    assert dies(tmp_path, "thread") == 0
    (end,) = later(tmp_path)
    assert end.report is not None
    text = end.report.read_text(encoding="utf-8")
    assert "thread telemetry" in text
    assert "ZeroDivisionError" in text


def test_what_cannot_be_raised_is_reported_and_needs_no_word(tmp_path: Path) -> None:
    assert dies(tmp_path, "unraisable") == 0
    assert later(tmp_path) == ()
    (report,) = (tmp_path / "crashes").glob("crash-*.txt")
    assert "ValueError: in a finalizer, <secret>" in report.read_text(encoding="utf-8")


def test_a_fatal_message_of_qt_is_reported_before_qt_ends_the_process(tmp_path: Path) -> None:
    assert dies(tmp_path, "qt idle") == 3
    (end,) = later(tmp_path)
    assert end.report is not None
    assert "fatal: no platform plugin" in end.report.read_text(encoding="utf-8")
    assert "a warning" in end.report.read_text(encoding="utf-8")


@pytest.mark.parametrize(("how", "kill"), [("exit", False), ("sleep", True)])
def test_an_end_without_a_word_is_told_if_something_ran(tmp_path: Path, how: str, kill: bool) -> None:
    assert dies(tmp_path, how, kill=kill) != 0
    (end,) = later(tmp_path)
    assert (end.how, end.report, end.runs) == (End.KILLED, None, ("qwen: ready",))
    assert later(tmp_path) == ()
    assert dies(tmp_path, f"{how} idle", kill=kill) != 0
    assert later(tmp_path) == ()
    assert files(tmp_path) == []


def test_an_orderly_end_leaves_nothing(tmp_path: Path) -> None:
    assert dies(tmp_path, "in order") == 0
    assert files(tmp_path) == []
    assert later(tmp_path) == ()


def test_only_the_newest_reports_stay_and_one_process_writes_few(tmp_path: Path) -> None:
    tmp_path.joinpath("crashes").mkdir()
    for number in range(30):
        (tmp_path / "crashes" / f"crash-20200101-0000{number:02}-1-1.txt").write_text("old")
    crashes = Crashes(tmp_path / "crashes", str, str)
    made = [crashes.report("here", "what") for _ in range(8)]
    assert [path is not None for path in made] == [True] * 5 + [False] * 3
    left = sorted(path.name for path in (tmp_path / "crashes").glob("*.txt"))
    assert len(left) == 10
    assert left[-1] == max(path.name for path in made if path is not None)
    crashes.told(next(path for path in made if path is not None))
    assert len(crashes.earlier()) == 4
    assert crashes.earlier() == ()


def test_a_report_that_cannot_be_cleaned_holds_nothing_of_it(tmp_path: Path) -> None:
    def broken(_: str) -> str:
        raise MemoryError

    path = Crashes(tmp_path, str, broken).report("here", SECRET)
    assert path is not None
    assert "MemoryError" in path.read_text()
    assert SECRET not in path.read_text()


def test_a_folder_that_cannot_be_had_is_no_second_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    crashes = Crashes(tmp_path / "file" / "crashes", str, str)
    assert crashes.report("here", "what") is None
    assert crashes.earlier() == ()
    crashes.note_runs(["a"])
    crashes.close()


def test_errors_of_com_that_windows_caught_again_are_no_crash(tmp_path: Path) -> None:
    crashes = tmp_path / "crashes"
    crashes.mkdir()
    harmless = "Windows fatal exception: code 0x8001010d\n\nThread 0x00000b10 (most recent call first):\n"
    (crashes / "alive-1-1.txt").write_bytes(f"3.12\n--\nrun qwen: ready\n{harmless}".encode())
    (crashes / "alive-1-2.txt").write_bytes(f"3.12\n--\n{harmless}Windows fatal exception: access violation\n".encode())
    assert sorted(end.how.value for end in later(tmp_path)) == ["crashed", "killed"]


def test_whoever_stops_the_models_hears_of_an_error_that_cannot_be_reported(tmp_path: Path) -> None:
    heard: list[BaseException | None] = []

    def broken() -> list[str]:
        raise MemoryError

    crashes = Crashes(tmp_path, str, str, broken)
    crashes.on_crash = lambda report, error: heard.append(error)
    error = RuntimeError("a defect")
    crashes._uncaught(RuntimeError, error, None)
    assert heard == [error]
