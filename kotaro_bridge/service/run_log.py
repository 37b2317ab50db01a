"""One run's log as it comes in: judged at once, kept for viewers, written to a file. Never waits for any of them.

Called from the pump threads of stdout and stderr; everything here is short and bounded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from kotaro_bridge.domain.engine.engine_log import Engine, LogLine
from kotaro_bridge.domain.engine.reasons import Expectation, Judgement, Reason
from kotaro_bridge.service.log_ring import LogRing


class LogFile(Protocol):
    """Where lines are kept; writing must not block for long."""

    def write(self, line: LogLine) -> None:
        """Add a line."""

    def flush(self) -> None:
        """Write out what is held."""

    def close(self) -> None:
        """Write out what is held and close."""


class RunLog:
    """Takes the lines of one run.

    Args:
        on_disqualified: called once, with the first reason that shows the model off the GPU.
        on_ready: called once, on the engine's own ready line.
    """

    def __init__(
        self,
        engine: Engine,
        expectation: Expectation,
        ring: LogRing,
        file: LogFile | None,
        on_disqualified: Callable[[Reason], None],
        on_ready: Callable[[], None],
    ) -> None:
        # Here, not above: the tables of both dialects are for runs, and the tray icon does not wait for them.
        from kotaro_bridge.domain.engine.placement import PlacementWatch

        self._watch = PlacementWatch(engine, expectation)
        self._ring = ring
        self._file = file
        self._on_disqualified = on_disqualified
        self._on_ready = on_ready
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self.lines = 0

    def take(self, line: LogLine) -> None:
        """One line, in the order of its stream."""
        with self._lock:
            self.lines += 1
            reason = self._watch.feed(line)
            ready = self._watch.ready and not self._ready.is_set()
            if self._file is not None:
                self._file.write(line)
        self._ring.append(line)
        if reason is not None:
            self._on_disqualified(reason)
        if ready:
            self._ready.set()
            self._on_ready()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait for the engine's own ready line; False if it did not come in time."""
        return self._ready.wait(timeout_s)

    def judge(self, *, ended: bool) -> Judgement:
        """The verdict over all lines so far."""
        with self._lock:
            return self._watch.judge(ended=ended)

    @property
    def failure(self) -> Reason | None:
        """Best known cause if the engine died."""
        with self._lock:
            return self._watch.failure

    def flush(self) -> None:
        """Write the file out up to here."""
        with self._lock:
            if self._file is not None:
                self._file.flush()

    def close(self) -> None:
        """No more lines will come."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
