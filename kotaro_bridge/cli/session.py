"""What all commands of the command line share beside the session itself (`session.py`)."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from kotaro_bridge.app.session import product, session
from kotaro_bridge.cli.print import problem_of
from kotaro_bridge.domain.errors import Problem, ProblemError

__all__ = ["Json", "agree", "has_person", "interrupted", "product", "raise_if_error", "session"]

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]


def has_person() -> bool:
    """Whether a person can answer on stdin. To Windows NUL is a terminal too (`isatty`), but only a console has a mode;
    without one a question for a password waits for ever (`msvcrt.getwch`, measured).
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    if sys.platform == "win32":
        import ctypes
        import msvcrt

        handle, mode = msvcrt.get_osfhandle(sys.stdin.fileno()), ctypes.c_ulong()
        return bool(ctypes.windll.kernel32.GetConsoleMode(ctypes.c_void_p(handle), ctypes.byref(mode)))
    return True


def agree(question: str, not_asked: Problem, *, err: bool = True) -> None:
    """Ask for a yes.

    Raises:
        ProblemError: `not_asked`, where nobody can be asked.
        typer.Exit: for a no.
    """
    if not has_person():
        raise ProblemError(not_asked)
    if not typer.confirm(session.texts.text(question), err=err):
        raise typer.Exit(1)


@contextmanager
def interrupted(act: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C and TERM call `act` meanwhile, on Windows Ctrl-Break too. Closing the console's window ends the process at
    once; the guardian sees that.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)
    # On a thread of its own: a handler that waits for a lock which the interrupted code holds waits for ever.
    previous = {
        number: signal.signal(number, lambda *_: threading.Thread(target=act, daemon=True).start())
        for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def raise_if_error(answer: dict[str, Any]) -> None:
    """Raise the ProblemError that an owner answered with."""
    if error := answer.get("error"):
        raise ProblemError(problem_of(error))
