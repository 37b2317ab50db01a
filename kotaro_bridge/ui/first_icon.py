"""The tray icon, before everything else: the rest of the program loads behind it.

Owns the Qt application and the first icon until `ui/tray.py` takes it over. Imports Qt and the pictures
alone.
"""

from __future__ import annotations

import ctypes
import sys
import time

from PySide6.QtWidgets import QApplication, QSystemTrayIcon

from kotaro_bridge import __version__
from kotaro_bridge.ui.icons import app_icon, state_icon
from kotaro_bridge.ui.view_models.look import Look

APP_ID = "KotaroBridge.KotaroBridge"
_SETTLE_S = 0.1

_shown: list[QSystemTrayIcon] = []


def show_first_icon() -> None:
    """Put the icon of a program at rest on the tray, where there is one. It has no menu yet."""
    app = make_application()
    if not QSystemTrayIcon.isSystemTrayAvailable():
        return
    icon = QSystemTrayIcon(state_icon(Look.IDLE))
    icon.setToolTip("Kotaro Bridge")
    icon.show()
    _shown.append(icon)
    # An X11 tray paints through the event loop, which does not run before all is loaded.
    deadline = time.monotonic() + _SETTLE_S
    while not icon.geometry().isValid() and time.monotonic() < deadline:
        app.processEvents()
    app.processEvents()


def take_first_icon() -> QSystemTrayIcon | None:
    """The first icon, if it was shown; the caller owns it from here on."""
    return _shown.pop() if _shown else None


def make_application() -> QApplication:
    """The one QApplication, or the one that is there already."""
    there = QApplication.instance()
    if isinstance(there, QApplication):
        return there
    if sys.platform == "win32":
        # Without it the taskbar groups the window under python.exe and shows its icon.
        ctypes.windll.shell32.SetCurrentProcessExplicitAppUserModelID(APP_ID)
    app = QApplication(sys.argv[:1])
    app.setApplicationName("Kotaro Bridge")
    app.setApplicationVersion(__version__)
    app.setWindowIcon(app_icon())
    app.setQuitOnLastWindowClosed(False)
    return app
