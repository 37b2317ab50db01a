"""A virtual screen with a real tray, and an eye that sees when an icon is on it.

Owns the X server, the tray program (`trayer`, XEmbed) and the connection that watches windows. Nothing of the measured
programs knows of it: an icon is visible when the X server maps its window inside the tray's.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.measure import NotMeasured
from tools import system_packages

_PROGRAMS = {"Xvfb": "xvfb", "trayer": "trayer"}
_CREATE, _MAP, _REPARENT = 16, 19, 21  # X.h: CreateNotify, MapNotify, ReparentNotify
_SUBSTRUCTURE, _STRUCTURE = 1 << 19, 1 << 17  # X.h: SubstructureNotifyMask, StructureNotifyMask
_EVENT_LONGS = 24  # Xlib.h: XEvent is padded to 24 longs
_ATTRIBUTE_INTS, _MAP_STATE, _VIEWABLE = 40, 23, 2  # Xlib.h: XWindowAttributes on 64 bit, its map_state, IsViewable


@contextmanager
def screen_with_tray() -> Iterator[str]:
    """The DISPLAY of a new X server on which a tray waits for icons.

    Raises:
        NotMeasured: the X server or the tray is not here and cannot be installed.
    """
    missing = [package for program, package in _PROGRAMS.items() if not shutil.which(program)]
    refusal = system_packages.install(missing) if missing else None
    if refusal:
        raise NotMeasured(f"no screen with a tray: {refusal}")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        display = f":{server.stdout.readline().strip()}"
        # Wide enough for the icon of every program that is there at once; a tray without icons has no window.
        tray = ["trayer", "--edge", "bottom", "--widthtype", "pixel", "--width", "200", "--height", "32"]
        with subprocess.Popen(tray, env={**os.environ, "DISPLAY": display}, stderr=subprocess.DEVNULL) as program:
            try:
                _wait_for_tray(display)
                yield display
            finally:
                program.terminate()
                program.wait()
                server.terminate()


class IconEye:
    """Watches one X server for windows that come up inside others: the tray's icons.

    Xlib itself is used, since polling with another program would cost more than what is measured.
    """

    def __init__(self, display: str) -> None:
        self._x = _xlib()
        self._display = self._x.XOpenDisplay(display.encode())
        assert self._display, f"no X server at {display}"
        self._root = self._x.XDefaultRootWindow(self._display)
        # A window may be gone before it is looked at; Xlib's own handler would end the process.
        self._handler = _ERROR_HANDLER(lambda *_: 0)
        self._x.XSetErrorHandler(self._handler)
        self._x.XSelectInput(self._display, self._root, _SUBSTRUCTURE)
        self._x.XSync(self._display, 0)

    def forget(self) -> None:
        """Leave out what has happened so far."""
        self._x.XSync(self._display, 1)

    def wait_for_icon(self, timeout_s: float) -> float | None:
        """`time.monotonic()` when a window was mapped inside a window other than the root; None after the time."""
        event = (ctypes.c_long * _EVENT_LONGS)()
        deadline = time.monotonic() + timeout_s
        fd = self._x.XConnectionNumber(self._display)
        while True:
            while self._x.XPending(self._display):
                self._x.XNextEvent(self._display, event)
                kind = event[0] & 0xFFFFFFFF
                if kind == _CREATE:
                    # XCreateWindowEvent: type, serial, send_event, display, parent, window
                    self._x.XSelectInput(self._display, event[5], _STRUCTURE)
                    self._x.XFlush(self._display)
                elif kind in (_MAP, _REPARENT) and self._is_icon(event[5]):
                    # XMapEvent, XReparentEvent: type, serial, send_event, display, event, window
                    return time.monotonic()
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                return None

    def close(self) -> None:
        """Let go of the X server."""
        self._x.XCloseDisplay(self._display)

    def tray_is_there(self) -> bool:
        """True if a program owns the tray of screen 0."""
        atom = self._x.XInternAtom(self._display, b"_NET_SYSTEM_TRAY_S0", 0)
        return bool(self._x.XGetSelectionOwner(self._display, atom))

    def _is_icon(self, window: int) -> bool:
        """True if the window is shown inside another one. Whichever of the two comes last is told by an event."""
        attributes = (ctypes.c_int * _ATTRIBUTE_INTS)()
        self._x.XSelectInput(self._display, window, _STRUCTURE)
        told = self._x.XGetWindowAttributes(self._display, window, attributes)
        return bool(told) and attributes[_MAP_STATE] == _VIEWABLE and self._parent(window) != self._root

    def _parent(self, window: int) -> int:
        root, parent, children, count = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_void_p(), ctypes.c_uint()
        self._x.XQueryTree(self._display, window, *map(ctypes.byref, (root, parent, children, count)))
        if children.value:
            self._x.XFree(children)
        return parent.value or self._root


_ERROR_HANDLER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def _xlib() -> ctypes.CDLL:
    x = ctypes.CDLL("libX11.so.6")  # there wherever Qt's xcb plugin is
    x.XOpenDisplay.restype = ctypes.c_void_p
    x.XDefaultRootWindow.restype = x.XGetSelectionOwner.restype = x.XInternAtom.restype = ctypes.c_ulong
    takes_display = ("XSync", "XPending", "XFlush", "XConnectionNumber", "XDefaultRootWindow", "XCloseDisplay")
    for name in takes_display:
        getattr(x, name).argtypes = [ctypes.c_void_p, *([ctypes.c_int] if name == "XSync" else [])]
    x.XSelectInput.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_long]
    x.XNextEvent.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    x.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    x.XGetSelectionOwner.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
    x.XGetWindowAttributes.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p]
    x.XQueryTree.argtypes = [ctypes.c_void_p, ctypes.c_ulong, *[ctypes.c_void_p] * 4]
    x.XFree.argtypes = [ctypes.c_void_p]
    return x


def _wait_for_tray(display: str) -> None:
    eye = IconEye(display)
    try:
        deadline = time.monotonic() + 10
        while not eye.tray_is_there():
            if time.monotonic() > deadline:
                raise NotMeasured("the tray program trayer did not come up within 10 s")
            time.sleep(0.02)
    finally:
        eye.close()
