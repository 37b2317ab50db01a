"""The tray application with a defect in it: `python -m tests.helpers.crashing_app PROFILE WHERE ARGUMENTS…`.

It starts the profile, waits until it serves, and then lets an error nobody catches happen in a slot, on a thread, or in
native code. The box that tells of it is read and closed; what it said is printed.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMessageBox

from kotaro_bridge import __main__
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.ui import application
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.shell import Shell

_LOOK_MS = 50


class CrashingShell(Shell):
    """A shell that fails once its model serves."""

    def __init__(self, desk: Desk, *arguments: Any, **named: Any) -> None:
        super().__init__(desk, *arguments, **named)
        self._supervisor = desk.supervisor
        self._failed = False
        desk.supervisor.start(PROFILE)
        self._look = QTimer(self)
        self._look.timeout.connect(self._go_on)
        self._look.start(_LOOK_MS)

    def _go_on(self) -> None:
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QMessageBox) and widget.objectName() == "crash" and widget.isVisible():
                print("box:", widget.text().replace("\n", " "), flush=True)
                widget.accept()
        if not self._failed and self._supervisor.view(PROFILE).phase is Phase.READY:
            self._failed = True
            print("serves", flush=True)
            if WHERE == "thread":
                threading.Thread(target=lambda: 1 / 0, name="broken").start()
            elif WHERE == "native":
                faulthandler._read_null()  # type: ignore[attr-defined]
            else:
                raise RuntimeError("a defect in a slot")


if __name__ == "__main__":
    PROFILE, WHERE, *sys.argv[1:] = sys.argv[1:]
    application.Shell = CrashingShell  # type: ignore[attr-defined]
    sys.exit(__main__.main())
