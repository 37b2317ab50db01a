"""An error of our own while a model runs: the engine ends, the person is told, and told once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import LLAMA, Station, ready
from tests.helpers.cli import ROOT, listens, started
from tests.helpers.simulated import PATIENCE, until
from tests.helpers.words import pattern, text

pytestmark = pytest.mark.e2e

END_S = 60.0


def crash(station: Station, where: str) -> subprocess.CompletedProcess[str]:
    """Run the application with a defect to its end."""
    env = {name: value for name, value in station.line.env.items() if name != "PYTHONFAULTHANDLER"}
    argv = [sys.executable, "-m", "tests.helpers.crashing_app", LLAMA, where, "--simulate", station.line.scenario or ""]
    return subprocess.run(
        argv,
        env={**env, "QT_QPA_PLATFORM": "offscreen"},
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=END_S * PATIENCE,
        check=False,
    )


def reports(station: Station) -> list[Path]:
    return sorted((station.line.own_log / "crashes").glob("crash-*.txt"))


def engine(station: Station) -> list[str]:
    """What there is of an engine whose owner has not ended in order. Where the Linux side is stood in, the guardian is
    in the job of its owner and ends with it: the file of the run waits for the next owner, and for its distro to run.
    """
    waits = ("control.key", r"\kotaro-bridge\runs") if sys.platform == "win32" else ("control.key",)
    return [each for each in station.line.left() if not any(name in each for name in waits)]


@pytest.mark.parametrize(
    ("where", "error"), [("slot", "RuntimeError: a defect in a slot"), ("thread", "ZeroDivisionError")]
)
def test_an_error_in_the_windows_stops_the_model_tells_the_person_and_ends(
    station: Station, where: str, error: str
) -> None:
    station.line.builtin(LLAMA)
    before = reports(station)
    done = crash(station, where)
    assert done.returncode == 1, done.stderr
    assert "serves" in done.stdout
    (report,) = (path for path in reports(station) if path not in before)
    (box,) = (line for line in done.stdout.splitlines() if line.startswith("box: "))
    assert error in box
    assert text("ui.crash.do") in box
    assert str(report) in box
    written = report.read_text(encoding="utf-8")
    assert error in written
    assert f"{LLAMA} ({station.line.scenario}): ready" in written
    assert "proving -> ready" in written
    assert not listens(station.line.port_of(LLAMA))
    station.line.assert_quiet()
    assert not pattern("app.crashed_before").search(station.line.call("stop").err), "it has been told"


def test_a_native_crash_ends_the_engine_and_is_told_by_the_next_owner_once(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA)
    station.pc.boot("Ubuntu")
    before = reports(station)
    done = crash(station, "native")
    assert done.returncode not in (0, 1, 2)
    until(lambda: not engine(station), what="the engine ends", deadline_s=20)
    told = line.call("stop")
    assert pattern("app.crashed_before").search(told.err)
    assert not pattern("app.killed_before").search(told.err), "not twice"
    (report,) = (path for path in reports(station) if path not in before)
    assert str(report) in told.err
    written = report.read_text(encoding="utf-8")
    assert "crashing_app.py" in written
    assert "proving -> ready" in written
    assert line.call("stop").err == ""


def test_an_owner_that_was_killed_while_a_model_ran_is_told_of_by_the_next_one_once(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA)
    station.pc.boot("Ubuntu")
    with started(line, "run", LLAMA) as running:
        ready(station, running, LLAMA)
        running.process.kill()
        running.process.wait()
    until(lambda: not engine(station), what="the engine ends", deadline_s=20)
    told = line.call("stop")
    assert pattern("app.killed_before").search(told.err)
    assert LLAMA in told.err
    assert line.call("stop").err == ""


def test_an_orderly_end_has_nothing_to_be_told(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA)
    with started(line, "run", LLAMA) as running:
        ready(station, running, LLAMA)
        assert line.call("stop", LLAMA).code == 0
        running.end()
    assert line.call("stop").err == ""
