"""An error that nobody caught, while windows are open: the models are stopped, the person is told, the program ends.

A window that has failed once may show anything from then on, or nothing: it could not be relied on to say that a model
has left the GPU. Owns that end, and what Qt itself has to say (its messages go into the report).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler
from PySide6.QtWidgets import QApplication, QMessageBox

from kotaro_bridge.service.time_to_end import end_in_time
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.plain_box import plain_box

FAILED = 1


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
            end_in_time()  # what holds the loop up, such as a file dialog that is open, may hold it for ever
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
    box = plain_box(QMessageBox.Icon.Critical, said, desk.texts.text("ui.crash.do"), where)
    box.setObjectName("crash")
    box.exec()
