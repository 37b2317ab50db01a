"""The bus: what happens, told to whoever listens, on the thread where it happens.

Listeners must return at once and must not raise; windows hand over to their own thread (`ui/bridge.py`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

from kotaro_bridge.domain.model.download import DownloadView
from kotaro_bridge.domain.run.run_view import Notice, PhaseChanged, Sample
from kotaro_bridge.domain.update import UpdateView

Message: TypeAlias = PhaseChanged | Sample | Notice | DownloadView | UpdateView
Listener: TypeAlias = Callable[[Message], None]

log = logging.getLogger(__name__)


class Bus:
    """Publish and subscribe, thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; returns the function that removes it again."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return unsubscribe

    def publish(self, message: Message) -> None:
        """Tell all listeners. A listener that fails is logged and does not keep the others from hearing it."""
        for listener in self._listeners:
            try:
                listener(message)
            except Exception:
                log.exception("a listener failed on %s", type(message).__name__)
