"""The end of a session (log off, shut down, Restart Manager): what is answered, and the stop in order before it.

Owns the order and the bound in time. Knows no window handles and no Windows functions: `ui/win_events.py` brings them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

STOP_WITHIN_S = 4.0
"""Windows ends a program without a visible window that takes 5 s for WM_ENDSESSION (HungAppTimeout, 5,000 ms)."""
_LOOK_S = 0.02


class Leaving(Protocol):
    """What the program can say and do when the session ends. All of it is called on the windows' thread."""

    def unsaved_words(self) -> str:
        """What would be lost, as a sentence; empty if nothing would."""

    def ask_unsaved(self) -> bool:
        """Show the question what is to become of it."""

    def stopping_words(self) -> str:
        """What has to be stopped, as a sentence; empty if nothing runs."""

    def stop_models(self) -> None:
        """Ask every run to stop. Returns at once."""

    def models_rest(self) -> bool:
        """True if nothing runs any more. Needs no event loop."""

    def leave(self) -> None:
        """End the program; what still runs is left to its guardian."""


class SessionEnd:
    """Answers the two messages of an ending session, however many windows get them.

    Args:
        later: calls a function once the message has been answered.
    """

    def __init__(
        self,
        program: Leaving,
        later: Callable[[Callable[[], object]], object],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._program = program
        self._later = later
        self._clock = clock
        self._sleep = sleep
        self._asked = False
        self._ended = False

    def query(self, *, must: bool) -> str:
        """May the session end? Empty for yes, else why not: Windows shows it, and lets the person decide.

        Args:
            must: the end cannot be called off (ENDSESSION_CRITICAL).
        """
        words = "" if must or self._ended else self._program.unsaved_words()
        if words and not self._asked:
            self._asked = True
            self._later(self._program.ask_unsaved)
        return words

    def ending(self) -> str:
        """What Windows shows while `finish` takes its time; empty if nothing has to be stopped."""
        return "" if self._ended else self._program.stopping_words()

    def finish(self) -> None:
        """The session ends now, and the process once this returns: stop in order, for `STOP_WITHIN_S` at most."""
        if self._ended:
            return
        self._ended = True
        until = self._clock() + STOP_WITHIN_S
        self._program.stop_models()
        while not self._program.models_rest() and self._clock() < until:
            self._sleep(_LOOK_S)
        # Restart Manager ends nobody: it waits for us to go.
        self._later(self._program.leave)

    def called_off(self) -> None:
        """Another program, or the person, kept the session."""
        self._asked = False
