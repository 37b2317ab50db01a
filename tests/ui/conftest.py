"""Windows under test: the offscreen platform, and a fake desk in a real shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if sys.platform == "win32":
    os.environ.setdefault("QT_QPA_FONTDIR", r"C:\Windows\Fonts")  # offscreen, Qt looks nowhere by itself

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.theme import Theme
from tests.ui.fake_desk import FakeWorld
from tests.ui.settings_dialog import USUAL, Settings

OFFSCREEN_SAYS = (
    r"^This plugin does not support (raise|propagateSizeHints|grabbing)",
    r"No such signal QPlatformNativeInterface::systemTrayWindowChanged",
    r"^QFontDatabase: Cannot find font directory",
)
"""What the offscreen platform says of every window and tray icon; every other warning of Qt fails a test."""

Opener = Callable[..., tuple[FakeWorld, Shell]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """See `OFFSCREEN_SAYS`."""
    for item in items:
        if item.path.parent.name == "ui":
            item.add_marker(pytest.mark.qt_log_ignore(*OFFSCREEN_SAYS))


@pytest.fixture
def theme(qapp: QApplication) -> Theme:
    """The light theme."""
    qapp.setQuitOnLastWindowClosed(False)
    return Theme(qapp, "light")


@pytest.fixture
def make(opened: Opener, qtbot: QtBot, tmp_path: Path) -> Callable[..., Settings]:
    """Opens the settings of WSL on a file of these bytes."""
    return lambda data=USUAL, **world: Settings(opened, qtbot, tmp_path, data, **world)


@pytest.fixture
def opened(theme: Theme, qtbot: QtBot) -> Iterator[Opener]:
    """Makes a world and its shell: `opened(language="ja", window=True)`. All are closed after the test."""
    made: list[tuple[FakeWorld, Shell]] = []

    def make(*, window: bool = False, tray: bool = False, **world_args: object) -> tuple[FakeWorld, Shell]:
        world = FakeWorld(**world_args)  # type: ignore[arg-type]
        shell = Shell(world.desk, theme, tray_visible=tray)
        made.append((world, shell))
        if window:
            world.telemetry.fill(20)
            shell.open_dashboard()
            assert shell.window is not None
            qtbot.waitExposed(shell.window)
        return world, shell

    yield make
    for world, shell in made:
        world.connect.hold.set()
        world.models.hold.set()
        world.profiles.hold.set()
        world.profiles.go_on.set()
        world.join()
        shell.close()
        shell.tray.menu.deleteLater()
        for dialog in shell.dialogs.values():
            dialog.deleteLater()
        for window in (*shell.editors.windows, shell.settings, shell.app_settings, shell.models, shell.window):
            if window is not None:
                window.deleteLater()
        shell.deleteLater()
        world.profiles.close()
    # Outside the event loop `processEvents` leaves deletions for later, and windows would pile up from test to test.
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()
