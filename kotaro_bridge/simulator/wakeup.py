"""Waiting for signals without losing one that comes just before the wait: a pipe that the C handler writes to."""

from __future__ import annotations

import os
import signal
import sys
import threading

if sys.platform == "win32":

    class Wakeup:
        """On Windows a thread takes the place of signals and calls `wake`."""

        def __init__(self) -> None:
            self._event = threading.Event()

        def wake(self) -> None:
            """End the wait from another thread."""
            self._event.set()

        def wait(self, timeout_s: float | None = None) -> bool:
            """Wait for `wake`; False at the end of the time."""
            woken = self._event.wait(timeout_s)
            self._event.clear()
            return woken

else:
    import select

    class Wakeup:
        """Make it in the main thread, once per process; Python's own handlers run when `wait` returns."""

        def __init__(self) -> None:
            self._read, self._write = os.pipe()
            for fd in (self._read, self._write):
                os.set_blocking(fd, False)
            signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

        @property
        def fds(self) -> list[int]:
            """Both ends, for a forked child to close."""
            return [self._read, self._write]

        def wake(self) -> None:
            """End the wait from another thread."""
            os.write(self._write, b"\0")

        def wait(self, *others: int, timeout_s: float | None = None) -> set[int]:
            """Wait for a signal, `wake` or other descriptors: those that are readable, none at the end of the time."""
            poll = select.poll()
            for fd in (self._read, *others):
                poll.register(fd, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)}
            if self._read in ready:
                os.read(self._read, 4096)
            return ready
