"""What a run prints when it serves: its address, its speed, and what a slow one is told."""

from __future__ import annotations

import threading

import pytest

from kotaro_bridge.cli_print import RunPrinter
from kotaro_bridge.domain.run_state import Phase
from kotaro_bridge.domain.run_view import Endpoint, PhaseChanged, RunView, Speed
from kotaro_bridge.texts import Texts

ADDRESS = Endpoint("http://127.0.0.1:8080/v1", "q14", None, False)


def printed(speed: Speed, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    view = RunView("p", Phase.READY, 1, 0.0, endpoint=ADDRESS, speed=speed)
    RunPrinter(Texts("en"), "p", threading.Event())(PhaseChanged(Phase.PROVING, view))
    out, err = capsys.readouterr()
    return out, err


def test_a_run_at_full_speed_says_how_fast_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(Speed(38.04, 0.63), capsys)
    assert "38.0" in out
    assert "63 %" in out
    assert err == ""


def test_a_slow_run_says_that_and_what_to_do_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(Speed(4.6, 0.08, slow=True), capsys)
    assert ADDRESS.base_url in out
    assert "not proved" in err
    assert "8 %" in err
    assert len(err.splitlines()) == 2
