"""Opening, closing and the way out."""

from __future__ import annotations

from PySide6.QtGui import QCloseEvent
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice
from tests.ui.conftest import Opener
from tests.ui.fake_desk import A7, Q14
from tests.ui.test_block_dialog import words


def test_quit_with_nothing_running_ends_at_once(opened: Opener, qtbot: QtBot) -> None:
    _, shell = opened()
    with qtbot.waitSignal(shell.ended):
        shell.tray.quit.trigger()


def test_quit_stops_what_runs_says_so_and_ends_when_all_rests(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    world.supervisor.move(Q14.id, Phase.READY)
    world.supervisor.move(A7.id, Phase.LOADING)
    qtbot.waitUntil(lambda: shell.tray.starts[A7.id].isChecked())
    ended: list[bool] = []
    shell.ended.connect(lambda: ended.append(True))
    shell.tray.quit.trigger()
    assert world.supervisor.asked == [("stop", Q14.id), ("stop", A7.id)]
    sentence = "Stopping Qwen2.5 14B Q4_K_M, Qwen2.5 7B AWQ, then quitting"
    assert shell.tray.status.text() == sentence
    assert sentence in shell.tray.tooltip
    assert shell.window is not None
    assert sentence in words(shell.window.notice)
    assert shell.window.notice.isVisible()
    assert not shell.tray.quit.isEnabled()
    assert not shell.tray.starts[Q14.id].isEnabled()
    world.supervisor.move(Q14.id, Phase.STOPPED)
    qtbot.wait(20)
    assert ended == []
    world.supervisor.move(A7.id, Phase.STOPPED)
    qtbot.waitUntil(lambda: bool(ended))


def test_quit_shows_what_could_not_be_ended_and_a_second_quit_leaves_it(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.move(Q14.id, Phase.READY)
    ended: list[bool] = []
    shell.ended.connect(lambda: ended.append(True))
    shell.tray.quit.trigger()
    world.supervisor.orphan(Q14.id)
    qtbot.waitUntil(lambda: shell.tray.quit.isEnabled())
    assert shell.dialogs[Q14.id].isVisible()
    assert ended == []
    shell.tray.quit.trigger()
    assert ended == [True]


def test_closing_the_window_hides_it_into_the_tray(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True, tray=True)
    world.supervisor.move(Q14.id, Phase.READY)
    assert shell.window is not None
    shell.window.close()
    assert not shell.window.isVisible()
    assert world.supervisor.asked == []
    assert world.telemetry.watched == [True, False]
    shell.open_dashboard()
    assert shell.window.isVisible()
    assert world.telemetry.watched == [True, False, True]


def test_without_a_tray_closing_the_window_quits_and_stays_until_all_rests(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    world.supervisor.move(Q14.id, Phase.READY)
    ended: list[bool] = []
    shell.ended.connect(lambda: ended.append(True))
    assert shell.window is not None
    shell.window.closeEvent(QCloseEvent())
    assert world.supervisor.asked == [("stop", Q14.id)]
    assert shell.window.isVisible()
    world.supervisor.move(Q14.id, Phase.STOPPED)
    qtbot.waitUntil(lambda: bool(ended))


def test_broken_profiles_are_named_and_explained(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.problems = (problem("profile.key", file="mine.toml", line=7, key="contxt"),)
    shell.open_dashboard()
    assert shell.window is not None
    assert shell.window.broken.text() == "1 profile files with errors…"
    shell.window.broken.click()
    shown = words(shell.dialogs[""])
    assert "mine.toml, line 7: there is no key contxt." in shown
    assert not shell.dialogs[""].retry.isVisible()


def test_with_no_profile_at_all_the_window_says_what_to_do(opened: Opener, qtbot: QtBot) -> None:
    _, shell = opened(profiles=())
    shell.open_dashboard()
    assert shell.window is not None
    assert "There is no model to start" in words(shell.window)


def test_a_run_that_ends_its_leftovers_by_itself_opens_no_dialog(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.orphan(Q14.id)
    qtbot.waitUntil(lambda: Q14.id in shell.dialogs)
    shell.dialogs[Q14.id].close()
    world.supervisor.move(Q14.id, Phase.FAILED, problem=problem("stop.orphan_gone"))
    qtbot.wait(30)
    assert not shell.dialogs[Q14.id].isVisible()


def test_what_an_earlier_run_left_behind_is_told_even_if_the_window_opens_later(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    heard: list[object] = []
    shell.bridge.noticed.connect(heard.append)
    world.desk.bus.publish(Notice(problem("stop.leftover_ended", run="qwen-1", pids="")))
    qtbot.waitUntil(lambda: bool(heard))
    shell.open_dashboard()
    assert shell.window is not None
    assert "qwen-1" in words(shell.window)
