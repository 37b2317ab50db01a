"""How a simulated engine is told to end: by signals, or by words on its stdin where the guardian is stood in for.

Windows has no signals, so the stand-in sends words, on every system. On Linux a word becomes the signal itself; on
Windows the handler runs in the thread that reads.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from kotaro_bridge.simulator import procs

VARIABLE = "KOTARO_SIM_SIGNALS"
"""Set to `stdin` for a process that gets words."""
WORD = b"term\n"
TERM, INT = int(signal.SIGTERM), int(signal.SIGINT)

Handler = Callable[[], None]

_handlers: dict[int, Handler] = {}


def handle(handler: Handler, *numbers: int) -> None:
    """Call `handler` for these signals."""
    for number in numbers:
        _handlers[number] = handler
        if sys.platform != "win32":
            signal.signal(number, lambda *_: handler())


def ignore(*numbers: int) -> None:
    """Let these signals do nothing."""
    for number in numbers:
        _handlers[number] = _nothing
        if sys.platform != "win32":
            signal.signal(number, signal.SIG_IGN)


def default(*numbers: int) -> None:
    """Let these signals end the process."""
    for number in numbers:
        _handlers.pop(number, None)
        if sys.platform != "win32":
            signal.signal(number, signal.SIG_DFL)


def deliver(number: int) -> None:
    """Do to this process what a signal does."""
    if sys.platform != "win32":
        os.kill(os.getpid(), number)
    elif number in _handlers:
        _handlers[number]()
    else:
        procs.die(number)


def listen() -> None:
    """Take words from stdin from now on, if this process gets words."""
    if os.environ.get(VARIABLE) == "stdin":
        threading.Thread(target=_read, daemon=True).start()


def _read() -> None:
    with open(0, "rb", buffering=0, closefd=False) as words:
        for word in words:
            if word == WORD:
                deliver(TERM)


def _nothing() -> None:
    """An ignored signal."""
