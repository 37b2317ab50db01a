"""The tray icon, before everything else: the rest of the program loads behind it.

Owns the Qt application and the first icon until `ui/tray.py` takes it over. Imports Qt and the pictures
alone.
"""

from __future__ import annotations

import builtins
import ctypes
import linecache
import sys
import time

from PySide6.QtWidgets import QApplication, QSystemTrayIcon

from kotaro_bridge import __version__
from kotaro_bridge.ui.icons import app_icon, state_icon
from kotaro_bridge.ui.view_models.look import Look

APP_ID = "KotaroBridge.KotaroBridge"
_SETTLE_S = 0.1
_ERROR_ALREADY_EXISTS = 183

_shown: list[QSystemTrayIcon] = []


def show_first_icon(pc: str) -> None:
    """Put the icon of a program at rest on the tray, where there is one. It has no menu yet.

    Args:
        pc: which one the program is for. A second start for the same one shows no icon that would be gone in a second.
    """
    app = make_application()
    if not QSystemTrayIcon.isSystemTrayAvailable() or not _is_first(pc):
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


def _is_first(pc: str) -> bool:
    """False if a program of this user has begun for the same PC before and still runs. Only a hint: who owns the runs
    is decided by a lock. The mark goes with the process.
    """
    if sys.platform != "win32":
        return True
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel32.CreateMutexW.restype = ctypes.c_void_p
    kernel32.CreateMutexW(None, False, f"Local\\{APP_ID}.{pc}")
    return ctypes.get_last_error() != _ERROR_ALREADY_EXISTS


def take_first_icon() -> QSystemTrayIcon | None:
    """The first icon, if it was shown; the caller owns it from here on."""
    return _shown.pop() if _shown else None


def make_application() -> QApplication:
    """The one QApplication, or the one that is there already."""
    there = QApplication.instance()
    if isinstance(there, QApplication):
        return there
    _leave_sources_alone()
    if sys.platform == "win32":
        # Without it the taskbar groups the window under python.exe and shows its icon.
        ctypes.windll.shell32.SetCurrentProcessExplicitAppUserModelID(APP_ID)
    app = QApplication(sys.argv[:1])
    app.setApplicationName("Kotaro Bridge")
    app.setApplicationVersion(__version__)
    app.setWindowIcon(app_icon())
    app.setQuitOnLastWindowClosed(False)
    return app


def _leave_sources_alone() -> None:
    """Take PySide's import hook out. It reads the source of every module that is imported after PySide, to know whether
    its switches (`from __feature__ import …`) could be meant; nobody uses them here, and Python keeps all that is read:
    7 MiB at the end (measured with 6.11).
    """
    plain = getattr(builtins, "__orig_import__", None)
    if plain is not None:
        builtins.__import__ = plain
        linecache.clearcache()
