"""The one way from other threads into the windows.

Owns a locked queue and one queued signal. All state changes are delivered, in order; of telemetry, and of each
download, the newest.
Nothing else below `ui/` touches a QObject.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, Signal, Slot

from kotaro_bridge.domain.model.download import DownloadView
from kotaro_bridge.domain.run.run_view import PhaseChanged, Sample
from kotaro_bridge.domain.update import UpdateView
from kotaro_bridge.service.bus import Bus, Message

log = logging.getLogger(__name__)


class Bridge(QObject):
    """Lives as long as the windows; signals are emitted on the thread that made it."""

    phase_changed = Signal(object)
    sampled = Signal(object)
    noticed = Signal(object)
    transferred = Signal(object)
    updated = Signal(object)
    _wake = Signal()

    def __init__(self, bus: Bus, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Lock()
        self._calls: deque[Callable[[], None]] = deque()
        self._sample: Sample | None = None
        self._transfers: dict[str, DownloadView] = {}
        self._awake = False
        self._closed = False
        self._wake.connect(self._drain, Qt.ConnectionType.QueuedConnection)
        self._unsubscribe = bus.subscribe(self._hear)

    def post(self, call: Callable[[], None]) -> None:
        """Run `call` on the windows' thread, after everything posted before. Returns at once; any thread."""
        with self._lock:
            if not self._closed:
                self._calls.append(call)
                self._wake_once()

    def close(self) -> None:
        """Hear and deliver nothing more."""
        self._unsubscribe()
        with self._lock:
            self._closed = True
            self._calls.clear()
            self._sample = None
            self._transfers.clear()

    def _hear(self, message: Message) -> None:
        if isinstance(message, Sample):
            with self._lock:
                if not self._closed:
                    self._sample = message
                    self._wake_once()
        elif isinstance(message, DownloadView):
            with self._lock:
                if not self._closed:
                    self._transfers[message.id] = message
                    self._wake_once()
        elif isinstance(message, PhaseChanged):
            self.post(lambda: self.phase_changed.emit(message))
        elif isinstance(message, UpdateView):
            self.post(lambda: self.updated.emit(message))
        else:
            self.post(lambda: self.noticed.emit(message))

    def _wake_once(self) -> None:
        """With the lock held: one signal for however many calls are waiting."""
        if not self._awake:
            self._awake = True
            self._wake.emit()

    @Slot()
    def _drain(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, deque()
            sample, self._sample = self._sample, None
            transfers, self._transfers = self._transfers, {}
            self._awake = False
        for call in calls:
            try:
                call()
            except Exception:
                # One view that fails must not keep the others from hearing of a state change.
                log.exception("a call into the windows failed")
        for transfer in transfers.values():
            self.transferred.emit(transfer)
        if sample is not None:
            self.sampled.emit(sample)
