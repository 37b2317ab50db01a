"""What Windows tells a program by messages: that the PC sleeps or woke up, and that the session ends.

Owns a hidden window that hears them, since a program in the tray has no other, and the reason that Windows shows while
it waits for us. Can be imported everywhere; `listen` does something on Windows alone. Explorer's restart
(`TaskbarCreated`), scale and colour scheme are Qt's: it was seen to put the icon back and to follow both.

Sources: Microsoft, "WM_POWERBROADCAST", "WM_QUERYENDSESSION", "WM_ENDSESSION", "ShutdownBlockReasonCreate"; of Qt
6.11.3 seen under Wine: it answers the query with yes and the end with `quit()`, which our main window calls off.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from typing import Protocol

from PySide6.QtCore import QAbstractNativeEventFilter, QByteArray, QCoreApplication, QObject, QTimer
from PySide6.QtGui import QGuiApplication, QWindow

from kotaro_bridge.ui.session_end import Leaving, SessionEnd

log = logging.getLogger(__name__)

WM_QUERYENDSESSION = 0x0011
WM_ENDSESSION = 0x0016
WM_POWERBROADCAST = 0x0218
PBT_APMSUSPEND = 0x4
PBT_APMRESUMESUSPEND = 0x7
PBT_APMRESUMEAUTOMATIC = 0x12
ENDSESSION_CRITICAL = 0x40000000
_HEARD = frozenset((WM_QUERYENDSESSION, WM_ENDSESSION, WM_POWERBROADCAST))
LONGEST_REASON = 255
"""Characters of a reason: MAX_STR_BLOCKREASON is 256 with the closing zero."""


class _Message(ctypes.Structure):
    """The beginning of MSG on 64-bit Windows."""

    _fields_ = (
        ("hwnd", ctypes.c_void_p),
        ("message", ctypes.c_uint),
        ("wparam", ctypes.c_size_t),
        ("lparam", ctypes.c_ssize_t),
    )


class Sleeper(Protocol):
    """Who has to know that the PC sleeps: the telemetry."""

    def sleeps(self) -> None:
        """The PC is about to sleep."""

    def wakes(self) -> None:
        """The PC has woken up."""


class Reasons(Protocol):
    """Why a session has to wait, as Windows shows it, by window."""

    def tell(self, hwnd: int, words: str) -> None:
        """Show a reason for a window."""

    def drop(self) -> None:
        """Take all back."""


class WinEvents(QAbstractNativeEventFilter):
    """Turns messages into calls. Qt gets no end of session: its own answer would lose what is unsaved."""

    def __init__(self, sleeper: Sleeper, session: SessionEnd, reasons: Reasons) -> None:
        super().__init__()
        self._sleeper = sleeper
        self._session = session
        self._reasons = reasons
        self._woken = False

    def nativeEventFilter(
        self, event_type: QByteArray | bytes | bytearray | memoryview, message: int
    ) -> tuple[bool, int]:
        """True with the answer for what is ours. Called for every message: the rest goes through with one look."""
        found = _Message.from_address(int(message))
        if found.message not in _HEARD:
            return False, 0
        try:
            return self._answer(found.hwnd or 0, found.message, found.wparam, found.lparam)
        except Exception:  # an error of ours must neither keep a session nor reach Windows
            log.exception("message %#x", found.message)
            return False, 0

    def _answer(self, hwnd: int, message: int, wparam: int, lparam: int) -> tuple[bool, int]:
        if message == WM_POWERBROADCAST:
            self._on_power(wparam)
            return False, 0
        if message == WM_QUERYENDSESSION:
            why_not = self._session.query(must=bool(lparam & ENDSESSION_CRITICAL))
            if why_not:
                self._reasons.tell(hwnd, why_not)
            return True, int(not why_not)
        if wparam:
            if words := self._session.ending():
                self._reasons.tell(hwnd, words)
            self._session.finish()
        else:
            self._session.called_off()
        self._reasons.drop()
        return True, 0

    def _on_power(self, event: int) -> None:
        """A waking is told once: `RESUMESUSPEND` follows the automatic one when the person is back, minutes later."""
        if event == PBT_APMSUSPEND:
            self._woken = False
            self._sleeper.sleeps()
        elif event == PBT_APMRESUMEAUTOMATIC or (event == PBT_APMRESUMESUSPEND and not self._woken):
            self._woken = True
            self._sleeper.wakes()


class ShutdownReasons:
    """`ShutdownBlockReasonCreate`, on Windows."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def tell(self, hwnd: int, words: str) -> None:
        """See `Reasons`."""
        if sys.platform == "win32" and hwnd:
            user32 = ctypes.WinDLL("user32")
            if user32.ShutdownBlockReasonCreate(ctypes.c_void_p(hwnd), ctypes.c_wchar_p(words[:LONGEST_REASON])):
                self._told.add(hwnd)

    def drop(self) -> None:
        """See `Reasons`."""
        if sys.platform == "win32":
            for hwnd in self._told:
                ctypes.WinDLL("user32").ShutdownBlockReasonDestroy(ctypes.c_void_p(hwnd))
        self._told.clear()


def listen(sleeper: Sleeper, program: Leaving, parent: QObject) -> Callable[[], None]:
    """Hear Windows for as long as the program runs; does nothing elsewhere. Returns what ends it."""
    app = QCoreApplication.instance()
    if sys.platform != "win32" or app is None or QGuiApplication.platformName() != "windows":
        return lambda: None
    session = SessionEnd(program, lambda call: QTimer.singleShot(0, parent, call))
    heard = WinEvents(sleeper, session, ShutdownReasons())
    ear = QWindow()
    ear.create()
    app.installNativeEventFilter(heard)
    registered = _register_power(int(ear.winId()))

    def end() -> None:
        app.removeNativeEventFilter(heard)
        if registered:
            ctypes.WinDLL("user32").UnregisterSuspendResumeNotification(ctypes.c_void_p(registered))
        ear.destroy()

    return end


def _register_power(hwnd: int) -> int:
    """A PC with Modern Standby tells only those who asked. Returns the registration, 0 where there is none."""
    if sys.platform == "win32":
        register = ctypes.WinDLL("user32").RegisterSuspendResumeNotification
        register.restype = ctypes.c_void_p
        return register(ctypes.c_void_p(hwnd), 0) or 0
    return 0
