"""The tray application as a Windows program: clicked through, and every way in which it ends while a model serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.helpers.simulated import until
from tests.helpers.words import pattern
from tests.windows import lab
from tests.windows.click_through import walk
from tests.windows.desktop import Desktop
from tests.windows.product import CRASH, END_S, LLAMA

READY_S = 45.0
PICTURES = lab.BUILD / "pictures"
STOP_WITHIN_S = 5.0
"""Windows ends a program that takes longer for WM_ENDSESSION (HungAppTimeout)."""


@contextmanager
def serving(desk: Desktop, *python: str) -> Iterator[int]:
    """A tray application with a model that serves; its process id.

    Args:
        python: arguments of a windowed Python that is the application instead.
    """
    product = desk.product
    product.builtin(LLAMA)
    argv = [product.windows.windowed_python(), *python] if python else product.tray_argv()
    with desk.program(argv):
        desk.start_or_stop(LLAMA)
        until(lambda: "ready" in product.call("status", "--json").out, what="the model is ready", deadline_s=READY_S)
        (pid,) = desk.pids()
        yield pid


def ends(desk: Desktop) -> None:
    """The tray application is gone."""
    until(lambda: not desk.pids(), what="the tray application ends", deadline_s=END_S)


def test_clicked_through(desk: Desktop) -> None:
    desk.product.relay.pc.set(time_scale=1.0)
    walk(desk, desk.product.tray_argv(), PICTURES, print)


def test_terminated(desk: Desktop, measured: Callable[[float], None]) -> None:
    idle = desk.product.vram_used()
    with serving(desk) as pid:
        measured(desk.product.gone(LLAMA, desk.product.windows.kill(pid)))
    assert desk.product.vram_used() == idle
    assert pattern("app.killed_before").search(desk.product.call("stop").err)


def test_a_crash(desk: Desktop, measured: Callable[[float], None]) -> None:
    idle, trigger = desk.product.vram_used(), desk.product.folder / "crash-now"
    with serving(desk, "-c", CRASH, desk.product.windows.path(trigger)):
        trigger.touch()
        measured(desk.product.gone(LLAMA, time.time()))
        ends(desk)
    assert desk.product.vram_used() == idle
    assert pattern("app.crashed_before").search(desk.product.call("stop").err)
    (report,) = desk.product.reports()
    assert "access violation" in report


def test_a_log_off(desk: Desktop, measured: Callable[[float], None]) -> None:
    """All of its windows are asked, and told; it stops its model before Windows would end it."""
    idle = desk.product.vram_used()
    with serving(desk) as pid:
        *answers, told = desk.product.windows.inside("end-session", str(pid)).splitlines()
        assert set(answers) == {"query 1"}
        seconds = desk.product.gone(LLAMA, float(told.split()[1]))
        measured(seconds)
        ends(desk)
    assert seconds < STOP_WITHIN_S
    assert desk.product.vram_used() == idle
    assert desk.product.call("stop").err == "", "an end in order needs no word at the next start"


def test_quit_from_another_process(desk: Desktop, measured: Callable[[float], None]) -> None:
    """What an installer calls before it replaces the program."""
    idle = desk.product.vram_used()
    with serving(desk):
        asked_at = time.time()
        done = desk.product.call("quit", "--wait", "30")
        measured(desk.product.gone(LLAMA, asked_at))
        ends(desk)
    assert done.code == 0, done.err
    assert desk.product.vram_used() == idle


def test_a_model_that_serves_is_proved_anew_after_sleep(desk: Desktop) -> None:
    with serving(desk) as pid:
        (before,) = desk.product.call("status", "--json").json["runs"]
        desk.product.windows.inside("sleep", str(pid))
        until(
            lambda: _proved_since(desk, before["since"]), what="the model is proved and ready again", deadline_s=READY_S
        )
        engines = [call for call in desk.product.relay.calls if " kotaro-guardian run " in call.line]
        assert len(engines) == 1, "the engine went on meanwhile"


def _proved_since(desk: Desktop, since: float) -> bool:
    (run,) = desk.product.call("status", "--json").json["runs"]
    return bool(run["state"] == "ready" and run["verdict"] == "gpu" and run["since"] > since)
