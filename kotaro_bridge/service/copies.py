"""Copies of Ollama's models into a target, each on a thread of its own, shown as downloads are.

Owns that a copy can be ended at any time and is told like a download; the copying is `Shelf.import_ollama`'s.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.download import (
    COPY_PREFIX,
    RESTING,
    DownloadRequest,
    DownloadState,
    DownloadView,
    Speedometer,
)
from kotaro_bridge.service.model_shelf import MODELS, Shelf

log = logging.getLogger(__name__)

_CLOSE_S = 10.0
_STEP_S = 0.2


class _EndedError(Exception):
    """A person ended the copy."""


class Copies:
    """All copies of this process. No method blocks, but for `close`.

    Args:
        publish: is told of each change, on the copy's thread.
    """

    def __init__(self, shelf: Shelf, publish: Callable[[DownloadView], None]) -> None:
        self._shelf = shelf
        self._publish = publish
        self._lock = threading.Lock()
        self._views: dict[str, DownloadView] = {}
        self._ended: set[str] = set()
        self._threads: dict[str, threading.Thread] = {}

    def start(self, name: str, target: str) -> str:
        """Copy one of Ollama's models; what comes of it arrives on the bus. One that is under way goes on.

        Returns:
            The copy's id.
        """
        request = DownloadRequest(name, target)
        with self._lock:
            busy = (v.id for v in self._views.values() if v.request == request and v.state not in RESTING)
            if known := next(busy, None):
                return known
            copy = COPY_PREFIX + secrets.token_hex(6)
            self._views[copy] = DownloadView(copy, request, DownloadState.RUNNING)
            thread = threading.Thread(target=self._work, args=(copy, request), name="copy", daemon=True)
            self._threads[copy] = thread
        self._publish(self._views[copy])
        thread.start()
        return copy

    def end(self, copy: str) -> None:
        """End a copy; what it has written goes."""
        self._ended.add(copy)

    def forget(self, copy: str) -> None:
        """Show a copy that rests no longer."""
        with self._lock:
            if copy in self._views and self._views[copy].state in RESTING:
                del self._views[copy], self._threads[copy]

    def views(self) -> tuple[DownloadView, ...]:
        """All copies, the oldest first."""
        with self._lock:
            return tuple(self._views.values())

    def close(self) -> None:
        """End all copies, in bounded time."""
        with self._lock:
            self._ended |= self._views.keys()
            threads = tuple(self._threads.values())
        for thread in threads:
            thread.join(_CLOSE_S)

    def _work(self, copy: str, request: DownloadRequest) -> None:
        meter = Speedometer()
        told_s = 0.0

        def tell(done: int, total: int, file: str) -> None:
            nonlocal told_s
            if copy in self._ended:
                raise _EndedError
            now_s = time.monotonic()
            if now_s - told_s >= _STEP_S:
                told_s = now_s
                meter.add(now_s, done)
                left_s = meter.left_s(total - done)
                self._show(copy, bytes=done, total=total, file=file, speed=meter.bytes_per_s, eta=left_s)

        try:
            made = self._shelf.import_ollama(request.repo, request.target, MODELS, tell)
            size = self._views[copy].total or 0
            self._show(copy, state=DownloadState.DONE, bytes=size, folder=made[0].path, speed=None, eta=None)
        except _EndedError:
            self._show(copy, state=DownloadState.PAUSED, speed=None, eta=None)
        except ProblemError as error:
            self._show(copy, state=DownloadState.FAILED, problem=error.problem, speed=None, eta=None)
        except Exception as error:
            log.exception("copy of %s", request.repo)
            self._show(copy, state=DownloadState.FAILED, problem=problem("run.internal", repr(error)))

    def _show(self, copy: str, **changes: object) -> None:
        with self._lock:
            view = self._views[copy] = replace(self._views[copy], **changes)  # type: ignore[arg-type]
        self._publish(view)
