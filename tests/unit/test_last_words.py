"""What becomes of an error that nobody caught, and what the next owner tells."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kotaro_bridge.about import about
from kotaro_bridge.app import last_words
from kotaro_bridge.app.last_words import LastWords
from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import PhaseChanged, RunView
from kotaro_bridge.host.crash_report import Crashes
from kotaro_bridge.service.bus import Bus
from tests.helpers.own_folders import own_folders
from tests.helpers.words import sentence

ROOT = Path(__file__).parents[2]


def broken() -> int:
    raise RuntimeError("a defect with hf_AbCdEfGhIjKlMnOpQr")


@pytest.fixture
def words(tmp_path: Path) -> LastWords:
    return LastWords(Crashes(tmp_path, about, last_words.clean))


def test_a_program_that_ends_by_itself_says_how(words: LastWords) -> None:
    assert words.guard(lambda: 7) == 7


def test_an_error_at_the_very_top_is_reported_told_and_an_exit_code(
    words: LastWords, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words.guard(broken) == 1
    (report,) = tmp_path.glob("crash-*.txt")
    said = capsys.readouterr().err
    assert str(report) in said
    assert "RuntimeError: a defect" in said
    assert "Traceback" not in said
    assert "hf_A" not in report.read_text(encoding="utf-8")
    assert words.earlier() == (), "it has been told"


def test_where_no_report_can_be_kept_the_error_is_told_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert LastWords(None).guard(broken) == 1
    assert "RuntimeError: a defect" in capsys.readouterr().err
    assert LastWords(None).earlier() == ()


def test_what_cannot_be_told_in_words_is_told_as_it_is(
    words: LastWords, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mute(*_: object) -> None:
        raise KeyError("no sentences")

    monkeypatch.setattr(last_words, "_tell", mute)
    assert words.guard(broken) == 1
    assert "Traceback" in capsys.readouterr().err
    assert [each.code for each in words.earlier()] == ["app.crashed_before"]
    assert words.earlier() == ()


def test_what_ran_is_noted_and_told_after_a_kill_unless_the_leftovers_said_it(tmp_path: Path) -> None:
    (tmp_path / "alive-1-1.txt").write_bytes(b"3.12\n--\nrun qwen: ready\n")
    assert LastWords(Crashes(tmp_path, str, str)).earlier(killed=False) == ()
    assert LastWords(Crashes(tmp_path, str, str)).earlier() == (), "told by what was left"
    (tmp_path / "alive-1-1.txt").write_bytes(b"3.12\n--\nrun qwen: ready\nrun other: loading\n")
    (told,) = LastWords(Crashes(tmp_path, str, str)).earlier()
    assert told == problem("app.killed_before", runs="qwen: ready, other: loading")
    assert "qwen: ready" in sentence(told.code, **dict(told.params)).what


class Runs:
    """A supervisor with runs in these states."""

    def __init__(self, **phases: Phase) -> None:
        self.phases = phases

    def actors(self) -> tuple[object, ...]:
        class Actor:
            def __init__(self, name: str, phase: Phase) -> None:
                self.view = RunView(name, phase, 1, time.time())

        return tuple(Actor(name, phase) for name, phase in self.phases.items())


def test_runs_at_rest_are_not_noted(tmp_path: Path) -> None:
    crashes, bus = Crashes(tmp_path, str, str), Bus()
    runs = Runs(one=Phase.READY, two=Phase.STOPPED, three=Phase.LOADING)
    deaf = LastWords(crashes).follow(bus, runs, "vram-taken")  # type: ignore[arg-type]
    bus.publish(PhaseChanged(Phase.IDLE, RunView("one", Phase.READY, 1, 0.0)))
    report = crashes.report("here", "what")
    deaf()
    assert report is not None
    text = report.read_text(encoding="utf-8")
    assert "one (vram-taken): ready\nthree (vram-taken): loading\n" in text
    assert "two" not in text


def test_a_command_that_fails_inside_ends_with_1_a_sentence_and_a_report(tmp_path: Path) -> None:
    """The whole program: `status` with a defect in it."""
    code = (
        "import sys; from kotaro_bridge import __main__; from kotaro_bridge.app import session\n"
        "def broken(*_): raise RuntimeError('a defect')\n"
        "session.in_session = broken; import kotaro_bridge.cli.main as cli; cli.in_session = broken\n"
        "sys.argv = ['kotaro-bridge', 'status']; sys.exit(__main__.main())"
    )
    env = {**own_folders(tmp_path), "PATH": "", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    if sys.platform == "win32":
        import os

        env = {**os.environ, **env}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert "RuntimeError: a defect" in done.stderr
    assert "Traceback" not in done.stderr
    (report,) = tmp_path.rglob("crash-*.txt")
    assert str(report) in done.stderr
    assert not list(tmp_path.rglob("alive-*")), "it ended in order"


def test_the_crash_handler_loads_little() -> None:
    """It comes before the tray icon."""
    ours = "m for m in sys.modules if m.startswith('kotaro_bridge')"
    code = f"import sys, kotaro_bridge.app.last_words; print(*sorted({ours}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == [
        "kotaro_bridge",
        "kotaro_bridge.app",
        "kotaro_bridge.app.last_words",
        "kotaro_bridge.domain",
        "kotaro_bridge.domain.errors",
        "kotaro_bridge.host",
        "kotaro_bridge.host.crash_report",
        "kotaro_bridge.host.file_lock",
        "kotaro_bridge.host.paths",
    ]
    for heavy in ("logging", "PySide6", "typer", "httpx"):
        code = f"import sys, kotaro_bridge.app.last_words; print({heavy!r} in sys.modules)"
        assert (
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "False\n"
        )


def test_what_is_thrown_while_a_text_is_cleaned_can_be_cleaned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector runs anywhere: an error in what it throws away is reported on the spot."""

    class Collected:
        def text(self, text: str) -> str:
            return last_words.clean("inner") if text == "outer" else text

    monkeypatch.setattr(last_words, "_redactors", [Collected()])
    done: list[str] = []
    thread = threading.Thread(target=lambda: done.append(last_words.clean("outer")), daemon=True)
    thread.start()
    thread.join(10)
    assert done == ["inner"]
