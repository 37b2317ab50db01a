"""The event loop from start to end, as the composition root runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.ui.application import run_application
from kotaro_bridge.ui.main_window import MainWindow
from tests.ui.fake_desk import Q14, FakeWorld

TRAY_ALONE = """
import sys
from tests.ui.fake_desk import FakeWorld
from kotaro_bridge.ui.first_icon import make_application
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.theme import Theme
app = make_application()
shell = Shell(FakeWorld().desk, Theme(app), tray_visible=True)
large = ("numpy", "pyqtgraph", "kotaro_bridge.ui.main_window", "kotaro_bridge.ui.dialogs.block", "PySide6.QtNetwork")
print([name for name in large if name in sys.modules])
"""
Call = Callable[[], None]


@pytest.fixture
def world(qtbot: QtBot) -> Iterator[FakeWorld]:
    """A world whose runs stop when asked, a moment later and on another thread."""
    made = FakeWorld()
    made.telemetry.fill(3)

    def stop(profile_id: str) -> None:
        made.submit(lambda: made.supervisor.move(profile_id, Phase.STOPPED))

    made.supervisor.on_stop = stop
    yield made
    made.join()


def windows() -> list[MainWindow]:
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, MainWindow) and w.isVisible()]


def test_quit_from_another_thread_stops_the_model_and_ends_with_the_window_open(world: FakeWorld) -> None:
    world.supervisor.move(Q14.id, Phase.READY)
    seen: list[int] = []

    def on_ready(show: Callable[[], bool], quit_: Call) -> None:
        def work() -> None:
            show()
            quit_()

        QTimer.singleShot(0, lambda: seen.append(len(windows())))
        threading.Timer(0.1, work).start()

    assert run_application(world.desk, hidden=False, theme="light", on_ready=on_ready) == 0
    assert seen == [1]
    assert world.supervisor.asked == [("stop", Q14.id)]
    assert windows() == []


def test_ctrl_c_quits_in_order(world: FakeWorld) -> None:
    world.supervisor.move(Q14.id, Phase.READY)
    before = signal.getsignal(signal.SIGINT)

    def on_ready(show: Callable[[], bool], quit_: Call) -> None:
        threading.Timer(0.1, lambda: signal.raise_signal(signal.SIGINT)).start()

    assert run_application(world.desk, theme="light", on_ready=on_ready) == 0
    assert world.supervisor.asked == [("stop", Q14.id)]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_signal_itself_asks_for_nothing(world: FakeWorld) -> None:
    """The thread that it interrupts may hold a lock that a stop needs."""
    world.supervisor.move(Q14.id, Phase.READY)
    asked: list[int] = []

    def interrupted() -> None:
        signal.raise_signal(signal.SIGTERM)
        asked.append(len(world.supervisor.asked))

    assert run_application(world.desk, theme="light", on_ready=lambda *_: QTimer.singleShot(0, interrupted)) == 0
    assert asked == [0]
    assert world.supervisor.asked == [("stop", Q14.id)]


def test_a_signal_before_the_loop_runs_is_not_lost(world: FakeWorld) -> None:
    too_late = threading.Timer(10, QApplication.exit, (1,))
    too_late.start()
    try:
        early = run_application(world.desk, theme="light", on_ready=lambda *_: signal.raise_signal(signal.SIGTERM))
        assert early == 0
    finally:
        too_late.cancel()
        too_late.join()


def test_the_tray_alone_brings_in_neither_pyqtgraph_nor_windows() -> None:
    ran = subprocess.run([sys.executable, "-c", TRAY_ALONE], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.strip() == "[]", ran.stderr
