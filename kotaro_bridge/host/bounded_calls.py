"""Calls into a library that may never return: NVML and Windows' counters beside a driver that hangs.

Owns that nobody waits for such a library longer than a limit, and that only one thread is ever lost to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class BoundedCalls:
    """Calls one at a time, each on a thread of its own.

    Args:
        limit_s: how long a call may take, and how long one may wait for its turn.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._turn = threading.Lock()
        self._late: Future[Any] | None = None

    def call(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises.

        Raises:
            TimeoutError: it did not end in time, or one before it still has not; then nothing was begun.
        """
        hangs = self._late is not None and not self._late.done()
        if not self._turn.acquire(timeout=0.0 if hangs else self.limit_s):
            raise TimeoutError
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # the caller's
                done.set_exception(error)
            finally:
                self._turn.release()

        threading.Thread(target=run, name="bounded", daemon=True).start()
        try:
            return done.result(self.limit_s)
        except TimeoutError:
            self._late = done
            raise
