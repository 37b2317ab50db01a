"""A start of the windows while another process of this user owns the runs.

Owns what then happens: the window of the owner comes to the front, or, where it is just ending, this start waits and
takes its place. There are never two owners: the lock decides, which goes with its process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.host.control import ask
from kotaro_bridge.host.foreground import let_others_to_the_front

ENDS_WITHIN_S = 45.0
"""An owner that ends stops its models for 30 s at most, and then its threads."""
ANSWERS_WITHIN_S = 15.0
_LOOK_S = 0.2
_PATIENCE_S = 3.0


class Window(StrEnum):
    """What an owner answers to the wish for its window."""

    SHOWN = "shown"
    ENDING = "ending"
    NONE = "none"  # a run in a terminal owns the runs, which has no windows


def start_or_show(
    state: Path,
    start: Callable[[], int],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Start the windows, or bring those of the owner to the front.

    Args:
        state: the folder of the owner's channel; start: raises `owner.taken` while there is another owner.

    Returns:
        The exit code.

    Raises:
        ProblemError: `owner.no_windows`, `owner.hangs` (it does not answer), `owner.stays` (it does not end), and
            whatever `start` raises.
    """
    began = clock()
    heard = began
    while True:
        try:
            return start()
        except ProblemError as error:
            if error.problem.code != "owner.taken":
                raise
        try:
            shown = _ask_for_window(state)
        except ProblemError as error:
            if clock() - heard > ANSWERS_WITHIN_S:
                raise ProblemError(problem("owner.hangs", *error.problem.evidence)) from error
        else:
            heard = clock()
            if shown is Window.SHOWN:
                return 0
            if shown is Window.NONE:
                raise ProblemError(problem("owner.no_windows"))
        if clock() - began > ENDS_WITHIN_S:
            raise ProblemError(problem("owner.stays", seconds=round(ENDS_WITHIN_S)))
        sleep(_LOOK_S)


def _ask_for_window(state: Path) -> Window:
    """ENDING also where nobody answers: an owner that has just begun, or has just closed its channel.

    Raises:
        ProblemError: it does not answer as it should.
    """
    let_others_to_the_front()
    answer = ask(state, {"verb": "open"}, patience_s=_PATIENCE_S, answer_s=_PATIENCE_S)
    return Window(answer.get("window", Window.SHOWN)) if answer is not None else Window.ENDING


class Doors:
    """What other processes ask of the windows. These may not be there yet: what is asked for waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: tuple[Callable[[], bool], Callable[[], None]] | None = None
        self._ended = False
        self._wanted = False

    def ready(self, show: Callable[[], bool], end: Callable[[], None]) -> None:
        """The windows are there. `show` brings the dashboard to the front, unless they are about to go."""
        with self._lock:
            self._windows = show, end
        if self._ended:
            end()
        elif self._wanted:
            show()

    def open(self) -> str:
        """Bring the dashboard to the front."""
        with self._lock:
            windows, ended, self._wanted = self._windows, self._ended, True
        # Windows that are there know better: an end that was asked for may have been given up.
        shown = windows[0]() if windows is not None else not ended
        return Window.SHOWN if shown else Window.ENDING

    def close(self) -> None:
        """The windows are gone."""
        with self._lock:
            self._ended = True
            self._windows = None

    def quit(self) -> None:
        """Stop the models in order and end."""
        with self._lock:
            self._ended = True
            windows = self._windows
        if windows is not None:
            windows[1]()
