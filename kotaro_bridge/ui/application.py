"""Start and end of the windows: the Qt application, the event loop, and a way in for signals and a second instance."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtCore import QSocketNotifier, Qt, QTimer
from PySide6.QtWidgets import QSystemTrayIcon

from kotaro_bridge.ui.crash import CrashPort, ends_with_a_word
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.first_icon import make_application
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.win_events import listen

OnReady = Callable[[Callable[[], bool], Callable[[], None]], None]


def run_application(
    desk: Desk,
    *,
    hidden: bool = True,
    tour: Path | None = None,
    theme: str | None = None,
    scale: float | None = None,
    on_ready: OnReady | None = None,
    crashes: CrashPort | None = None,
) -> int:
    """Open the tray icon and serve the windows until a person quits and all models have stopped.

    Args:
        hidden: only the tray icon at first; without a tray the dashboard opens all the same.
        tour: walk through the windows alone and leave numbered pictures in this folder.
        theme: `light`, `dark`, or None to follow the system.
        scale: size of everything, 1.5 for 150 %; None leaves it to the system.
        on_ready: called once with two functions that any thread may call: open the dashboard (False if the program is
            about to end), and quit.
        crashes: the crash handler of the process; None leaves errors to Python.

    Returns:
        The exit code of the process.
    """
    if scale is not None:
        os.environ["QT_SCALE_FACTOR"] = str(scale)  # read when the application is made
    app = make_application()
    if tour is not None:
        from kotaro_bridge.ui.tour import run_tour

        return run_tour(app, desk, tour, theme)
    has_tray = QSystemTrayIcon.isSystemTrayAvailable()
    shell = Shell(desk, Theme(app, theme), tray_visible=has_tray)
    # Not `quit`: it asks the windows to close first, and ours hides instead, which would call the end off.
    # Queued: a TERM that comes before the loop runs would be lost, and the program would stay for ever.
    shell.ended.connect(app.exit, Qt.ConnectionType.QueuedConnection)
    deaf = listen(desk.telemetry, shell.out, shell)
    with _signals(shell.quit), ends_with_a_word(app, desk, shell.bridge, crashes):
        if on_ready is not None:
            on_ready(shell.show_from_outside, lambda: shell.bridge.post(shell.quit))
        if not hidden or not has_tray:
            shell.open_dashboard()
        code = app.exec()
    deaf()
    shell.close()
    return code


@contextmanager
def _signals(quit_orderly: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and TERM quit in order. Python runs handlers between bytecodes only; the socket wakes Qt's loop."""
    ours, pythons = socket.socketpair()
    for end in (ours, pythons):
        end.setblocking(False)
    before_fd = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)

    def hear(*_: object) -> None:
        QTimer.singleShot(0, quit_orderly)  # not here: this thread may have been interrupted while it holds a lock

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    notifier = QSocketNotifier(ours.fileno(), QSocketNotifier.Type.Read)
    notifier.activated.connect(lambda *_: ours.recv(64))
    try:
        yield
    finally:
        notifier.setEnabled(False)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        ours.close()
        pythons.close()
