"""What is told without a window: what a click opens, and that nothing of it is lost where no notification shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QObject
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QPushButton
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.model.download import DownloadState
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice
from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.notices import KEPT, Notices, Told
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.tray import TITLE_LENGTH, WORDS_LENGTH, shortened
from tests.ui.conftest import Opener
from tests.ui.fake_desk import A7, Q14, Q32, FakeWorld
from tests.ui.test_block_dialog import words

EN = Texts("en")
LEFT = problem("stop.leftover_ended", run="qwen-1", pids="")
LOST = problem("watch.driver_lost")


class Kept:
    """Notices, what was shown, and what was opened."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.opened: list[str] = []
        self.owner = QObject()
        self.notices = Notices(lambda title, _words: self.shown.append(title), self.owner)

    def tell(self, about: str, what: str = "It happened.") -> None:
        self.notices.tell(Told(about, about.title(), Message(what, ""), lambda: self.opened.append(about)))

    def unread(self) -> list[str]:
        return [told.about for told in self.notices.unread()]


@pytest.fixture
def kept(qapp: object) -> Kept:
    return Kept()


def test_a_click_opens_what_the_newest_notification_tells_and_only_once(kept: Kept) -> None:
    kept.notices.open_clicked()
    kept.tell("first")
    kept.tell("second")
    kept.notices.open_clicked()
    kept.notices.open_clicked()
    assert kept.opened == ["second"]


def test_the_same_thing_is_told_once_until_it_was_read(kept: Kept) -> None:
    kept.tell("disk")
    kept.tell("disk")
    assert (kept.shown, kept.unread()) == (["Disk"], ["disk"])
    kept.tell("disk", "It is worse.")
    assert (kept.shown, kept.unread()) == (["Disk", "Disk"], ["disk"])
    kept.notices.read()
    kept.tell("disk", "It is worse.")
    assert kept.shown == ["Disk"] * 3


def test_what_is_unread_is_bounded_and_the_oldest_goes(kept: Kept) -> None:
    for number in range(KEPT + 3):
        kept.tell(f"thing {number}")
    assert kept.unread() == [f"thing {number}" for number in range(3, KEPT + 3)]


def test_the_menu_opens_the_newest_and_keeps_the_others(kept: Kept) -> None:
    kept.tell("first")
    kept.tell("second")
    kept.notices.open_newest()
    assert (kept.opened, kept.unread()) == (["second"], ["first"])
    kept.notices.drop("first")
    kept.notices.open_newest()
    assert kept.opened == ["second"]


@pytest.mark.parametrize("length", [TITLE_LENGTH, WORDS_LENGTH])
def test_a_text_that_windows_would_cut_ends_with_an_ellipsis(length: int) -> None:
    assert shortened("x" * length, length) == "x" * length
    cut = shortened("x" * (length + 1), length)
    assert (len(cut), cut[-2:]) == (length, "x…")


# --- in the shell -----------------------------------------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of the notifications: the platform of the tests shows none."""
    told: list[str] = []
    monkeypatch.setattr("kotaro_bridge.ui.tray.Tray.say", lambda _self, title, _words: told.append(title))
    return told


def publish(world: FakeWorld, shell: Shell, qtbot: QtBot, what: Problem, profile_id: str = "") -> None:
    heard: list[object] = []
    shell.bridge.noticed.connect(heard.append)
    world.bus.publish(Notice(what, profile_id))
    qtbot.waitUntil(lambda: bool(heard))


def test_what_was_told_stands_in_menu_and_tooltip_until_the_window_was_open(
    opened: Opener, qtbot: QtBot, said: list[str]
) -> None:
    world, shell = opened(tray=True)
    assert not shell.tray.notice.isVisible()
    publish(world, shell, qtbot, LEFT)
    publish(world, shell, qtbot, LOST, Q14.id)
    assert said == ["Kotaro Bridge", Q14.title]
    assert shell.tray.notice.isVisible()
    assert shell.tray.notice.text() == f"Notice: {Q14.title} (and 1 more)"
    assert Q14.title in shell.tray.tooltip
    shell.open_dashboard()
    assert shell.window is not None
    shown = words(shell.window.notice)
    assert "qwen-1" in shown
    assert EN.message(LOST).what in shown
    assert not shell.tray.notice.isVisible()
    assert Q14.title not in shell.tray.tooltip


def test_a_notice_is_dismissed_with_a_button(opened: Opener, qtbot: QtBot, said: list[str]) -> None:
    world, shell = opened(window=True)
    publish(world, shell, qtbot, LEFT)
    assert shell.window is not None
    qtbot.waitUntil(shell.window.notice.isVisible)
    dismiss = next(b for b in shell.window.notice.findChildren(QPushButton) if b.text() == "Dismiss")
    dismiss.click()
    assert not shell.window.notice.isVisible()


def test_after_a_crash_the_report_and_diagnostics_are_one_click_away(
    opened: Opener, qtbot: QtBot, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, shell = opened(window=True)
    urls: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: urls.append(url.fileName()))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    publish(world, shell, qtbot, problem("app.crashed_before", path="crash-1.txt", count=1))
    assert shell.window is not None
    qtbot.waitUntil(shell.window.notice.isVisible)
    report, diagnostics, _dismiss = shell.window.notice.answers
    report.click()
    assert urls == ["crash-1.txt"]
    diagnostics.click()
    assert shell.app_settings is not None
    assert shell.app_settings.isVisible()


def opens_run(world: FakeWorld, shell: Shell, qtbot: QtBot) -> Callable[[], bool]:
    world.supervisor.move(Q14.id, Phase.READY)
    world.supervisor.move(Q14.id, Phase.STOPPING, problem=problem("proof.layers_on_cpu", layers=1, total=2))
    qtbot.waitUntil(lambda: bool(shell.notices.unread()))
    return lambda: shell.window is not None and shell.window.models.current() == Q14.id


def opens_failed_run(world: FakeWorld, shell: Shell, qtbot: QtBot) -> Callable[[], bool]:
    opens_run(world, shell, qtbot)
    world.supervisor.move(Q14.id, Phase.FAILED, problem=problem("proof.layers_on_cpu", layers=1, total=2))
    qtbot.waitUntil(lambda: Q14.id in shell.dialogs)
    shell.dialogs[Q14.id].close()
    return lambda: shell.dialogs[Q14.id].isVisible()


def opens_profile(world: FakeWorld, shell: Shell, qtbot: QtBot) -> Callable[[], bool]:
    publish(world, shell, qtbot, LOST, Q32.id)
    return lambda: shell.window is not None and shell.window.models.current() == Q32.id


def opens_dashboard(world: FakeWorld, shell: Shell, qtbot: QtBot) -> Callable[[], bool]:
    publish(world, shell, qtbot, LEFT)
    return lambda: shell.window is not None and shell.window.isVisible()


def opens_update(world: FakeWorld, shell: Shell, qtbot: QtBot) -> Callable[[], bool]:
    publish(world, shell, qtbot, problem("update.available", version="0.2.0", current="0.1.0"))
    return lambda: shell.app_settings is not None and shell.app_settings.isVisible()


def opens_report(world: FakeWorld, shell: Shell, qtbot: QtBot) -> Callable[[], bool]:
    publish(world, shell, qtbot, problem("app.crashed_before", path="crash.txt", count=1))
    return lambda: shell.window is not None and shell.window.isVisible()


def opens_models(world: FakeWorld, shell: Shell, qtbot: QtBot) -> Callable[[], bool]:
    world.models.move("x", DownloadState.DONE)
    qtbot.waitUntil(lambda: bool(shell.notices.unread()))
    return lambda: shell.models is not None and shell.models.isVisible()


@pytest.mark.parametrize(
    "way", [opens_run, opens_failed_run, opens_profile, opens_dashboard, opens_update, opens_report, opens_models]
)
@pytest.mark.parametrize("by", ["notification", "menu"])
def test_a_click_leads_to_what_was_told(
    opened: Opener,
    qtbot: QtBot,
    said: list[str],
    way: Callable[[FakeWorld, Shell, QtBot], Callable[[], bool]],
    by: str,
) -> None:
    world, shell = opened(tray=True)
    is_open = way(world, shell, qtbot)
    assert not is_open()
    shell.tray.clicked.emit() if by == "notification" else shell.tray.notice.trigger()
    assert is_open()
    assert len(said) == 1


def test_a_run_that_was_stopped_is_unread_until_it_is_started_again(
    opened: Opener, qtbot: QtBot, said: list[str]
) -> None:
    world, shell = opened(tray=True)
    opens_run(world, shell, qtbot)
    world.supervisor.move(A7.id, Phase.READY)
    qtbot.waitUntil(lambda: shell.tray.starts[A7.id].isChecked())
    assert len(shell.notices.unread()) == 1
    world.supervisor.move(Q14.id, Phase.CHECKING)
    qtbot.waitUntil(lambda: not shell.notices.unread())
    assert not shell.tray.notice.isVisible()
