"""What is answered when the session ends, and what Windows' messages lead to. The messages are made by hand."""

from __future__ import annotations

import ctypes
import ctypes.wintypes
from collections.abc import Callable

import pytest
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.service.supervisor import TRIAL
from kotaro_bridge.ui import win_events as win
from kotaro_bridge.ui.session_end import STOP_WITHIN_S, SessionEnd
from tests.helpers.words import sentence
from tests.ui.conftest import Opener
from tests.ui.fake_desk import A7, Q14
from tests.ui.test_block_dialog import words

HWND = 0x1234


class Program:
    """A program that stops within so many looks."""

    def __init__(self, unsaved: str = "", runs: int = 0) -> None:
        self.unsaved = unsaved
        self.left = runs
        self.did: list[str] = []
        self.later: list[Callable[[], object]] = []
        self.now = 100.0

    def unsaved_words(self) -> str:
        return self.unsaved

    def ask_unsaved(self) -> bool:
        self.did.append("ask")
        return True

    def stopping_words(self) -> str:
        return "Stopping Qwen" if self.left else ""

    def stop_models(self) -> None:
        self.did.append("stop")

    def models_rest(self) -> bool:
        return self.left == 0

    def leave(self) -> None:
        self.did.append("leave")

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.left = max(0, self.left - 1)

    def session(self) -> SessionEnd:
        return SessionEnd(self, self.later.append, lambda: self.now, self.sleep)

    def catch_up(self) -> list[str]:
        for call in self.later:
            call()
        self.later.clear()
        return self.did


class Windows:
    """The messages of a Windows that shows the reasons it is told."""

    def __init__(self, program: Program) -> None:
        self.power: list[str] = []
        self.reasons: list[tuple[int, str]] = []
        self.dropped = 0
        self.events = win.WinEvents(self, program.session(), self)

    def sleeps(self) -> None:
        self.power.append("sleeps")

    def wakes(self) -> None:
        self.power.append("wakes")

    def tell(self, hwnd: int, words: str) -> None:
        self.reasons.append((hwnd, words))

    def drop(self) -> None:
        self.dropped += 1

    def send(self, message: int, wparam: int = 0, lparam: int = 0) -> tuple[bool, int]:
        made = ctypes.wintypes.MSG(hWnd=HWND, message=message, wParam=wparam, lParam=lparam)
        return self.events.nativeEventFilter(b"windows_generic_MSG", ctypes.addressof(made))


def test_with_nothing_unsaved_the_session_may_end_and_the_models_stop_before_it_does() -> None:
    program = Program(runs=3)
    windows = Windows(program)
    assert windows.send(win.WM_QUERYENDSESSION) == (True, 1)
    assert program.did == [], "another program may still call it off"
    assert windows.send(win.WM_ENDSESSION, 1) == (True, 0)
    assert program.left == 0
    assert program.did == ["stop"]
    assert windows.reasons == [(HWND, "Stopping Qwen")]
    assert windows.dropped == 1
    assert program.catch_up() == ["stop", "leave"], "Restart Manager ends nobody: it waits for us to go"


def test_a_model_that_does_not_stop_does_not_keep_windows_waiting() -> None:
    program = Program(runs=1_000_000)
    Windows(program).send(win.WM_ENDSESSION, 1)
    assert STOP_WITHIN_S <= program.now - 100.0 < STOP_WITHIN_S + 0.1
    assert program.catch_up() == ["stop", "leave"]


def test_every_window_gets_the_end_and_the_models_are_stopped_once() -> None:
    program = Program(runs=1)
    windows = Windows(program)
    for _ in range(3):
        windows.send(win.WM_ENDSESSION, 1)
    assert program.catch_up() == ["stop", "leave"]
    assert len(windows.reasons) == 1


def test_what_is_unsaved_keeps_the_session_and_is_asked_about_once() -> None:
    program = Program(unsaved="Not saved yet: WSL settings")
    windows = Windows(program)
    for _ in range(2):  # one for each window
        assert windows.send(win.WM_QUERYENDSESSION) == (True, 0)
    assert windows.reasons == [(HWND, "Not saved yet: WSL settings")] * 2
    assert program.catch_up() == ["ask"]
    windows.send(win.WM_ENDSESSION, 0)
    assert program.did == ["ask"]
    assert windows.dropped == 1
    windows.send(win.WM_QUERYENDSESSION)
    assert program.catch_up() == ["ask", "ask"], "a second log off asks again"


def test_who_shuts_down_all_the_same_is_not_asked_twice() -> None:
    program = Program(unsaved="Not saved yet: WSL settings", runs=1)
    windows = Windows(program)
    windows.send(win.WM_QUERYENDSESSION)
    windows.send(win.WM_ENDSESSION, 1)
    assert windows.send(win.WM_QUERYENDSESSION) == (True, 1)
    assert program.catch_up() == ["stop", "ask", "leave"]


def test_an_end_that_cannot_be_called_off_is_not_kept() -> None:
    windows = Windows(Program(unsaved="Not saved yet: WSL settings"))
    assert windows.send(win.WM_QUERYENDSESSION, 0, win.ENDSESSION_CRITICAL) == (True, 1)
    assert windows.reasons == []


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((win.PBT_APMSUSPEND, win.PBT_APMRESUMEAUTOMATIC, win.PBT_APMRESUMESUSPEND), ["sleeps", "wakes"]),
        ((win.PBT_APMSUSPEND, win.PBT_APMRESUMESUSPEND), ["sleeps", "wakes"]),
        ((win.PBT_APMRESUMEAUTOMATIC,), ["wakes"]),
        ((win.PBT_APMSUSPEND, 0x12, win.PBT_APMSUSPEND, 0x12), ["sleeps", "wakes", "sleeps", "wakes"]),
        ((0xA, 0x8013), []),  # battery, a setting: nobody slept
    ],
)
def test_a_sleep_and_its_waking_are_told_once(events: tuple[int, ...], told: list[str]) -> None:
    windows = Windows(Program())
    for event in events:
        assert windows.send(win.WM_POWERBROADCAST, event) == (False, 0), "Qt may look at it as well"
    assert windows.power == told


def test_other_messages_are_left_to_qt() -> None:
    windows = Windows(Program(unsaved="x", runs=1))
    assert {windows.send(message, 1, -1) for message in (0x0, 0x10, 0x12, 0x1A, 0x200, 0x31A)} == {(False, 0)}
    assert (windows.power, windows.reasons) == ([], [])


@pytest.mark.allow_log("message 0x11", reason="a defect is put in on purpose")
def test_a_defect_of_ours_keeps_no_session() -> None:
    program = Program()
    program.unsaved_words = lambda: [][0]  # type: ignore[method-assign]
    assert Windows(program).send(win.WM_QUERYENDSESSION) == (False, 0), "Qt says yes then"


# --- the shell as the program that leaves -----------------------------------------------------------------------------


def test_the_shell_names_what_is_unsaved_and_asks_in_its_window(opened: Opener, qtbot: QtBot) -> None:
    _, shell = opened()
    assert shell.out.unsaved_words() == ""
    shell.open_settings()
    assert shell.settings is not None
    assert shell.out.unsaved_words() == ""
    shell.settings.edit.form.edited.emit("wsl2.memory", "12GB")
    assert shell.out.unsaved_words() == "Not saved yet: WSL settings (.wslconfig)"
    assert shell.out.ask_unsaved()
    assert shell.settings.asked


def test_the_shell_stops_what_runs_without_the_event_loop(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.on_stop = lambda profile_id: world.submit(lambda: world.supervisor.move(profile_id, Phase.STOPPED))
    world.supervisor.move(Q14.id, Phase.READY)
    world.supervisor.move(A7.id, Phase.LOADING)
    ended: list[bool] = []
    shell.ended.connect(lambda: ended.append(True))
    session = SessionEnd(shell.out, lambda call: call())
    assert session.query(must=False) == ""
    assert session.ending() == "Stopping Qwen2.5 14B Q4_K_M, Qwen2.5 7B AWQ, then quitting"
    session.finish()
    assert world.supervisor.all_resting()
    assert ended == [True]


# --- a person quits ---------------------------------------------------------------------------------------------------


def test_one_quit_is_enough_while_a_try_runs(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.begin_try()
    with qtbot.waitSignal(shell.ended):
        shell.quit()
        assert world.supervisor.asked == [("stop", TRIAL)]
        world.supervisor.move(TRIAL, Phase.STOPPING)
        shell.out.look()
        assert shell.out.quitting, "no leftover: it is being stopped"
        world.supervisor.move(TRIAL, Phase.STOPPED)


def test_a_try_that_cannot_be_ended_is_told_of_before_a_second_quit_leaves_it(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.begin_try()
    shell.quit()
    world.supervisor.orphan(TRIAL)
    qtbot.waitUntil(lambda: not shell.out.quitting)
    assert shell.window is not None
    qtbot.waitUntil(shell.window.notice.isVisible)
    left = sentence("stop.try_left", error="stop.processes_left", pids="812, 815")
    assert "812, 815" in left.what
    assert left.what in words(shell.window.notice)
    with qtbot.waitSignal(shell.ended):
        shell.quit()


def test_a_start_that_comes_after_the_quit_is_stopped_too(opened: Opener, qtbot: QtBot) -> None:
    """A remedy that was chosen before takes its time, and starts its model while another one is being stopped."""
    world, shell = opened()
    world.supervisor.move(Q14.id, Phase.READY)
    with qtbot.waitSignal(shell.ended):
        shell.quit()
        world.supervisor.move(Q14.id, Phase.STOPPING)
        world.supervisor.move(A7.id, Phase.CHECKING)
        qtbot.waitUntil(lambda: ("stop", A7.id) in world.supervisor.asked)
        world.supervisor.move(A7.id, Phase.STOPPED)
        world.supervisor.move(Q14.id, Phase.STOPPED)


def test_a_leftover_that_was_told_of_hastens_no_later_quit(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.move(Q14.id, Phase.READY)
    shell.quit()
    world.supervisor.orphan(Q14.id)
    qtbot.waitUntil(lambda: not shell.out.quitting)
    world.supervisor.move(Q14.id, Phase.STOPPED)
    world.supervisor.move(A7.id, Phase.READY)
    shell.quit()
    assert not shell.out.gone
    assert ("stop", A7.id) in world.supervisor.asked
    world.supervisor.move(A7.id, Phase.STOPPED)
    qtbot.waitUntil(lambda: shell.out.gone)
