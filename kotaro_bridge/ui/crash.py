"""An error that nobody caught, while windows are open: the models are stopped, the person is told, the program ends.

A window that has failed once may show anything from then on, or nothing: it could not be relied on to say that a model
has left the GPU. Owns that end, and what Qt itself has to say (its messages go into the report).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import QMessageLogContext, Qt, QtMsgType, qInstallMessageHandler
from PySide6.QtWidgets import QApplication, QMessageBox

from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk

FAILED = 1
_END_S = 60.0
"""The orderly end stops the models in at most half of it."""


class CrashPort(Protocol):
    """The crash handler of the process."""

    on_crash: Callable[[Path | None, BaseException | None], None] | None

    def told(self, report: Path) -> None:
        """A person has been told of a report."""

    def qt_message(self, text: str, *, fatal: bool = False) -> None:
        """A message of Qt, for the report; one is written after a fatal message."""


@contextmanager
def ends_with_a_word(app: QApplication, desk: Desk, bridge: Bridge, crashes: CrashPort | None) -> Iterator[None]:
    """Meanwhile an uncaught error, on any thread, ends the event loop with exit code `FAILED`."""
    if crashes is None:
        yield
        return
    once = threading.Lock()

    def hear(report: Path | None, error: BaseException | None) -> None:
        """On the thread of the error; the first one decides."""
        if once.acquire(blocking=False):
            desk.supervisor.end_all()  # now: the person may be away
            bridge.post(lambda: tell(report, error))

    def tell(report: Path | None, error: BaseException | None) -> None:
        try:
            show(desk, report, error)
            if report is not None:
                crashes.told(report)
        finally:  # what would show it may be what is broken: the next start tells of it then
            # An end that hangs would leave a program behind that nobody can see: the guardian ends the engine then.
            late = threading.Timer(_END_S, os._exit, (FAILED,))
            late.daemon = True
            late.start()
            app.exit(FAILED)

    def message(kind: QtMsgType, context: QMessageLogContext, text: str) -> None:
        crashes.qt_message(text, fatal=kind is QtMsgType.QtFatalMsg)
        if before is not None:
            before(kind, context, text)
        elif sys.stderr is not None:
            print(text, file=sys.stderr)

    before = qInstallMessageHandler(message)
    crashes.on_crash = hear
    try:
        yield
    finally:
        crashes.on_crash = None
        qInstallMessageHandler(before)


def show(desk: Desk, report: Path | None, error: BaseException | None) -> None:
    """Say it in a box, and wait until it is read."""
    said = desk.texts.text("ui.crash.what", error=f"{type(error).__name__}: {error}")
    where = desk.texts.text("ui.crash.report", path=str(report)) if report is not None else ""
    box = QMessageBox(QMessageBox.Icon.Critical, "Kotaro Bridge", said)
    box.setInformativeText("\n\n".join(part for part in (desk.texts.text("ui.crash.do"), where) if part))
    box.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
    )
    box.setObjectName("crash")
    box.exec()
