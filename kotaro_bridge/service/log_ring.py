"""The newest lines of an engine's log, for viewers that may come late or be slow. The writer never waits for a
reader.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from kotaro_bridge.domain.engine.engine_log import LogLine


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines after a cursor. `dropped`: lines that fell out of the ring before they were read."""

    cursor: int
    lines: tuple[LogLine, ...]
    dropped: int


class LogRing:
    """A bounded ring of lines with a running count."""

    def __init__(self, capacity: int = 5000) -> None:
        self._lines: deque[LogLine] = deque(maxlen=capacity)
        self._total = 0
        self._lock = threading.Lock()

    def append(self, line: LogLine) -> None:
        """Add a line, dropping the oldest if the ring is full."""
        with self._lock:
            self._lines.append(line)
            self._total += 1

    def since(self, cursor: int, limit: int = 2000) -> LogPage:
        """The newest lines (at most `limit`) after `cursor`, which is 0 or a cursor returned before."""
        with self._lock:
            fresh = max(0, min(self._total - cursor, len(self._lines), limit))
            lines = tuple(self._lines)[-fresh:] if fresh else ()
            return LogPage(self._total, lines, max(0, self._total - cursor - fresh))

    def tail(self, count: int) -> tuple[LogLine, ...]:
        """The last `count` lines."""
        return self.since(0, count).lines
