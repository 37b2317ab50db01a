"""An uncaught error while windows are open: the first one stops the models, tells the person and ends the loop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer, qInstallMessageHandler, qWarning
from PySide6.QtWidgets import QApplication, QMessageBox

from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.host.crash_report import Crashes
from kotaro_bridge.service.time_to_end import END_S
from kotaro_bridge.ui import crash
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.crash import FAILED, ends_with_a_word
from tests.ui.fake_desk import FakeWorld

ERROR = RuntimeError("a defect")


@pytest.fixture
def crashes(tmp_path: Path) -> Crashes:
    return Crashes(tmp_path, str, str)


@pytest.fixture
def boxes(qapp: QApplication) -> Iterator[list[str]]:
    """What boxes said; each is closed at once."""
    qapp.setQuitOnLastWindowClosed(False)  # as the program has it: a box that closes would end the loops of later tests
    said: list[str] = []

    def close() -> None:
        for widget in qapp.topLevelWidgets():
            if isinstance(widget, QMessageBox) and widget.objectName() == "crash" and widget.isVisible():
                said.append(f"{widget.text()} {widget.informativeText()}")
                widget.accept()

    timer = QTimer()
    timer.timeout.connect(close)
    timer.start(5)
    yield said
    timer.stop()
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):  # it would end a program whose orderly end hangs
            thread.cancel()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_first_error_ends_the_loop_after_the_models_were_told_to_stop(
    qapp: QApplication, crashes: Crashes, boxes: list[str], elsewhere: bool
) -> None:
    world = FakeWorld()
    desk = world.desk
    profile_id = world.supervisor.profiles()[0].id
    world.supervisor.move(profile_id, Phase.READY)
    bridge = Bridge(desk.bus)
    with ends_with_a_word(qapp, desk, bridge, crashes):
        report = crashes.report("here", "what")
        assert crashes.on_crash is not None
        hear = crashes.on_crash

        def fail() -> None:
            hear(report, ERROR)
            hear(None, ValueError("a second one"))

        QTimer.singleShot(0, threading.Thread(target=fail).start if elsewhere else fail)
        assert qapp.exec() == FAILED
    assert crashes.on_crash is None
    (said,) = boxes
    assert "RuntimeError: a defect" in said
    assert str(report) in said
    assert crashes.earlier() == (), "told"
    assert ("stop", profile_id) in world.supervisor.asked
    bounds = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    assert [(each.interval, each.daemon) for each in bounds] == [(END_S, True)], "an end that hangs is ended"
    bridge.close()


@pytest.mark.allow_log("a call into the windows failed", reason="a defect is put in on purpose")
def test_an_error_that_cannot_be_shown_ends_the_loop_too_and_is_told_by_the_next_start(
    qapp: QApplication, crashes: Crashes, boxes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no words")

    monkeypatch.setattr(crash, "show", broken)
    bridge = Bridge(FakeWorld().desk.bus)
    with ends_with_a_word(qapp, FakeWorld().desk, bridge, crashes):
        report, hear = crashes.report("here", "what"), crashes.on_crash
        assert hear is not None
        QTimer.singleShot(0, lambda: hear(report, ERROR))
        too_late = QTimer()
        too_late.timeout.connect(lambda: qapp.exit(3))
        too_late.start(5000)
        assert qapp.exec() == FAILED
        too_late.stop()
    assert [ended.report for ended in crashes.earlier()] == [report]
    bridge.close()


def test_without_a_report_no_place_is_named(qapp: QApplication, crashes: Crashes, boxes: list[str]) -> None:
    desk = FakeWorld().desk
    bridge = Bridge(desk.bus)
    with ends_with_a_word(qapp, desk, bridge, crashes):
        hear = crashes.on_crash
        assert hear is not None
        QTimer.singleShot(0, lambda: hear(None, ERROR))
        assert qapp.exec() == FAILED
    (said,) = boxes
    assert str(crashes.folder) not in said
    bridge.close()


def test_messages_of_qt_go_into_the_report_and_on_to_whoever_heard_them_before(
    qapp: QApplication, crashes: Crashes
) -> None:
    heard: list[str] = []
    before = qInstallMessageHandler(lambda kind, context, text: heard.append(text))
    bridge = Bridge(FakeWorld().desk.bus)
    try:
        with ends_with_a_word(qapp, FakeWorld().desk, bridge, crashes):
            qWarning("the platform plugin is missing")
        qWarning("later")
    finally:
        qInstallMessageHandler(before)
    bridge.close()
    report = crashes.report("here", "what")
    assert report is not None
    text = report.read_text(encoding="utf-8")
    assert "the platform plugin is missing" in text
    assert "later" not in text
    assert heard == ["the platform plugin is missing", "later"]


def test_without_a_crash_handler_nothing_is_changed(qapp: QApplication) -> None:
    bridge = Bridge(FakeWorld().desk.bus)
    with ends_with_a_word(qapp, FakeWorld().desk, bridge, None):
        pass
    bridge.close()
