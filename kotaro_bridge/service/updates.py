"""Newer versions of this program: asked for once a day where the setting says so, and on a click; fetched and started
on a click alone.

Implements `ui.desk.UpdatesPort`. Owns when the feed is asked and the steps from there (`UpdateView`, on the bus).
Without the setting and without a click nothing leaves this machine.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from io import BufferedReader
from typing import Final, TypeAlias

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.ports_app import ReleaseSource, UpdateMemory
from kotaro_bridge.domain.run.run_view import Notice
from kotaro_bridge.domain.update import DAY_S, Package, Release, UpdateState, UpdateView, is_newer

log = logging.getLogger(__name__)

_LOOK_S: Final = 60.0
_RETRY_S: Final = 3600.0  # after a day's question that failed: a laptop that is not online yet
_STEP_BYTES: Final = 1 << 20  # progress that is worth telling
_CLOSE_S: Final = 5.0
_Work: TypeAlias = Callable[[ReleaseSource], None]
_LEFT_ALONE: Final = (UpdateState.READY, UpdateState.INSTALLING)


@dataclass(frozen=True, slots=True)
class UpdatePorts:
    """What updates need.

    Args:
        source: the feed; None where there is none.
        enabled: what the setting says now.
        start: starts an installer that outlives this program; show: shows a person the zip to be unpacked. Both take
            the open file and raise ProblemError `update.not_started`.
    """

    source: ReleaseSource | None
    memory: UpdateMemory
    enabled: Callable[[], bool]
    start: Callable[[BufferedReader], None]
    show: Callable[[BufferedReader], None]


class Updates:
    """See `ui.desk.UpdatesPort`. One thing is done at a time; what is asked meanwhile is not done.

    Args:
        current: the version that runs.
        publish: is told of each change, on the thread where it happens.
        clock: seconds since the epoch; look_s: how often the setting and the day are looked at.
    """

    def __init__(
        self,
        current: str,
        ports: UpdatePorts,
        publish: Callable[[UpdateView | Notice], None],
        *,
        clock: Callable[[], float] = time.time,
        look_s: float = _LOOK_S,
    ) -> None:
        self._ports = ports
        self._publish = publish
        self._clock = clock
        self._look_s = look_s
        self._changed = threading.Condition()
        self._cancelled = threading.Event()
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None
        self._worker: threading.Thread | None = None
        self._busy = False
        self._tried_at: float | None = None
        self._view = UpdateView(UpdateState.IDLE, current, ports.source is not None)

    def start(self) -> None:
        """Take up what is remembered, and look once a day where the setting says so. Returns at once."""
        if self._ports.source is None:
            return
        checked_at, release = self._ports.memory.load()
        if release is not None and not (
            is_newer(release.version, self._view.current) and release.package is self._ports.source.package
        ):
            release = None  # it was installed since, or another copy of this user's looked for it
        self._ports.source.tidy(release)
        state = UpdateState.AVAILABLE if release is not None else UpdateState.IDLE
        self._show(state=state, release=release, checked_at=checked_at)
        self._watcher = threading.Thread(target=self._watch, name="updates", daemon=True)
        self._watcher.start()

    def state(self) -> UpdateView:
        """The search as it is now."""
        return self._view

    def check(self) -> None:
        """Ask the feed, whatever the setting. Nothing happens while something is under way."""
        self._begin(UpdateState.CHECKING, partial(self._check, tell=False))

    def download(self) -> None:
        """Download the release that is offered. Nothing happens where none is, or while something is under way."""
        if (release := self._view.release) is not None:
            self._begin(UpdateState.DOWNLOADING, partial(self._download, release))

    def cancel(self) -> None:
        """Stop the download; what is there of it stays."""
        self._cancelled.set()

    def install(self) -> None:
        """Compare the checksum again and start the installer, or show the zip. Nothing happens unless it is ready."""
        view = self._view
        if view.state is UpdateState.READY and view.release is not None:
            goes = view.release.package is Package.INSTALLER  # a zip is unpacked by hand, and this goes on
            self._begin(UpdateState.INSTALLING if goes else view.state, partial(self._install, view.release))

    def wait(self, timeout_s: float | None = None) -> UpdateView:
        """The search as soon as nothing is under way, or as it is after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, timeout_s)
            return self._view

    def close(self) -> None:
        """Stop what is under way and end the threads, in bounded time."""
        self._closed.set()
        self._cancelled.set()
        deadline = time.monotonic() + _CLOSE_S
        for thread in (self._watcher, self._worker):
            if thread is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _watch(self) -> None:
        """Until the end: ask when a day has gone by."""
        while not self._closed.wait(self._look_s):
            if self._due():
                self._tried_at = self._clock()
                self._begin(UpdateState.CHECKING, partial(self._check, tell=True))

    def _due(self) -> bool:
        """A clock that was set back counts as a day gone by."""

        def lately(at: float | None, span_s: float) -> bool:
            return at is not None and 0 <= self._clock() - at < span_s

        view = self._view
        waits = lately(view.checked_at, DAY_S) or lately(self._tried_at, _RETRY_S)
        return not waits and view.state not in _LEFT_ALONE and self._ports.enabled()

    def _begin(self, state: UpdateState, work: _Work) -> None:
        """Do it on a thread of its own, unless something is under way or there is nobody to ask."""
        source = self._ports.source
        with self._changed:
            if self._busy or self._closed.is_set() or source is None:
                return
            self._busy = True
            self._cancelled.clear()
        self._show(state=state, problem=None, bytes=0)
        self._worker = threading.Thread(target=self._do, args=(partial(work, source),), name="update", daemon=True)
        self._worker.start()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ProblemError as error:
            self._show(state=UpdateState.FAILED, problem=error.problem)
        except Exception as error:
            log.exception("update")
            self._show(state=UpdateState.FAILED, problem=problem("run.internal", repr(error)))
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _check(self, source: ReleaseSource, *, tell: bool) -> None:
        """Raises ProblemError."""
        known = self._view.release
        release = source.latest(self._view.current)
        now = self._clock()
        self._ports.memory.save(now, release)
        state = UpdateState.AVAILABLE if release is not None else UpdateState.CURRENT
        self._show(state=state, release=release, checked_at=now)
        if tell and release is not None and (known is None or known.version != release.version):
            self._publish(Notice(problem("update.available", version=release.version, current=self._view.current)))

    def _download(self, release: Release, source: ReleaseSource) -> None:
        """Raises ProblemError."""
        package = source.fetch(release, self._progress, self._cancelled)
        if package is not None:
            self._show(state=UpdateState.READY, bytes=release.size)
        else:
            self._show(state=UpdateState.AVAILABLE, bytes=0)

    def _progress(self, on_disk: int) -> None:
        if on_disk - self._view.bytes >= _STEP_BYTES:
            self._show(bytes=on_disk)

    def _install(self, release: Release, source: ReleaseSource) -> None:
        """Raises ProblemError."""
        hand_on = self._ports.start if release.package is Package.INSTALLER else self._ports.show
        with source.verified(release) as package:
            hand_on(package)

    def _show(self, **changes: object) -> None:
        with self._changed:
            self._view = view = replace(self._view, **changes)  # type: ignore[arg-type]
            self._changed.notify_all()
        self._publish(view)
