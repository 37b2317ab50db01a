"""Downloads of models into a target: one at a time, in the order in which they were asked for.

Owns the steps of a download and what is shown of it (`DownloadView`, on the bus). The official client inside the
target looks up, transfers and compares checksums; the guardian there ends it with its owner. What is there of a file
stays, and a download that is asked for again goes on from it.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from kotaro_bridge.domain.engine.engine_log import LogLine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.download import (
    RESERVE_BYTES,
    RESTING,
    RUN_PREFIX,
    DownloadRequest,
    DownloadState,
    DownloadView,
    Speedometer,
)
from kotaro_bridge.domain.model.hub import (
    Choice,
    FetchError,
    FetchJob,
    FetchMessage,
    HubListing,
    Measured,
    checked_id,
    choose,
    fetch_problem,
    read_message,
)
from kotaro_bridge.domain.ports import ChannelClosed, EngineProcess, ProcessEvent
from kotaro_bridge.domain.ports_models import DownloadMemory
from kotaro_bridge.service.model_ports import ModelPorts

log = logging.getLogger(__name__)

_STOP_S = 3.0
_CLOSE_S = 20.0
_NOTES = 5

_Word = FetchMessage | ProcessEvent


@dataclass(slots=True)
class _Download:
    """One download; `pausing` is set by any thread, the rest is the worker's."""

    view: DownloadView
    pausing: threading.Event = field(default_factory=threading.Event)
    process: EngineProcess | None = None
    token: str | None = field(default=None, repr=False)


class Downloads:
    """All downloads of this process. No method blocks, but for `close` and `wait`.

    Args:
        publish: is told of each change, on the worker's thread.
        clients: programs of a target in whose environment the official client may be.
        wait_s: the shortest pause before another try, in seconds.
        memory: of what is not done when the program ends; None remembers nothing.
    """

    def __init__(
        self,
        ports: ModelPorts,
        publish: Callable[[DownloadView], None],
        clients: Callable[[str], tuple[str, ...]] = lambda _: (),
        *,
        wait_s: float = 2.0,
        memory: DownloadMemory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ports = ports
        self._publish = publish
        self._clients = clients
        self._wait_s = wait_s
        self._clock = clock
        self._downloads: dict[str, _Download] = {}
        self._queue: list[_Download] = []
        self._worker: threading.Thread | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._memory = memory
        self._remembering = threading.Lock()
        for view in memory.load() if memory is not None else ():
            self._downloads[view.id] = _Download(view)
            publish(view)

    def start(self, request: DownloadRequest) -> str:
        """Ask for a download; what comes of it arrives on the bus. The same request again takes the old one up.

        Returns:
            The download's id.

        Raises:
            ProblemError: `download.bad_id`.
        """
        request = replace(request, repo=checked_id(request.repo), target=self._ports.canonical(request.target))
        with self._changed:
            same = (each for each in self._downloads.values() if each.view.request == request)
            known = next((each for each in same if each.view.state is not DownloadState.DONE), None)
        if known is not None:
            self.resume(known.view.id)
            return known.view.id
        name = RUN_PREFIX + secrets.token_hex(6)
        download = _Download(DownloadView(name, request, DownloadState.QUEUED))
        with self._changed:
            self._downloads[name] = download
        self._remember()
        self._enqueue(download)
        return name

    def pause(self, name: str) -> None:
        """Stop a download; what is there of it stays. Nothing happens to one that rests or is not known."""
        with self._changed:
            download = self._downloads.get(name)
            if download is None or download.view.state in RESTING:
                return
            download.pausing.set()
            queued = download in self._queue
            if queued:
                self._queue.remove(download)
            process = download.process
        if queued:
            self._show(download, state=DownloadState.PAUSED)
        elif process is not None:
            process.stop(_STOP_S)

    def resume(self, name: str) -> None:
        """Go on with a download that was paused or has failed. Nothing happens to others."""
        with self._changed:
            download = self._downloads.get(name)
            if download is None or download.view.state not in (DownloadState.PAUSED, DownloadState.FAILED):
                return
            download.pausing.clear()
        self._show(download, state=DownloadState.QUEUED, problem=None, waits_s=None)
        self._enqueue(download)

    def forget(self, name: str) -> None:
        """Show a download that rests no longer; its files stay as they are."""
        with self._changed:
            download = self._downloads.get(name)
            if download is not None and download.view.state in RESTING:
                del self._downloads[name]
        self._remember()

    def views(self) -> tuple[DownloadView, ...]:
        """All downloads, the oldest first."""
        with self._changed:
            return tuple(download.view for download in self._downloads.values())

    def busy_folders(self) -> tuple[tuple[str, str], ...]:
        """(target, folder) of downloads that are under way: nothing may be removed there."""
        return tuple((v.request.target, v.folder) for v in self.views() if v.folder and v.state not in RESTING)

    def wait(self, name: str, timeout_s: float | None = None) -> DownloadView:
        """The download as soon as it rests, or as it is after `timeout_s`."""
        with self._changed:
            download = self._downloads[name]
            self._changed.wait_for(lambda: download.view.state in RESTING, timeout_s)
            return download.view

    def close(self) -> None:
        """Pause everything and end the thread, in bounded time."""
        with self._changed:
            self._closing = True
            names = [*self._downloads]
            worker = self._worker
        for name in names:
            self.pause(name)
        if worker is not None:
            worker.join(_CLOSE_S)

    def _enqueue(self, download: _Download) -> None:
        with self._changed:
            if self._closing:
                return
            self._queue.append(download)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="downloads", daemon=True)
                self._worker.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._worker = None
                    return
                download = self._queue.pop(0)
            try:
                self._download(download)
            except ProblemError as error:
                self._show(download, state=DownloadState.FAILED, problem=error.problem)
            except Exception as error:
                log.exception("download %s", download.view.id)
                self._show(download, state=DownloadState.FAILED, problem=problem("run.internal", repr(error)))

    def _download(self, download: _Download) -> None:
        """From the question for the files to the end. Raises ProblemError."""
        self._show(download, state=DownloadState.LOOKING)
        download.token = self._token()
        request = download.view.request
        job = FetchJob(
            "list",
            request.repo,
            request.revision,
            token=download.token,
            clients=self._clients(request.target),
            wait_s=self._wait_s,
        )
        listing = self._ask(download, job).listing or HubListing("", ())
        choice = choose(request.repo, listing, request.files)
        folder = request.folder or choice.folder
        job = replace(job, verb="measure", revision=listing.commit, folder=folder, files=choice.files)
        if (measured := self._ask(download, job).measured) is None:
            raise ProblemError(problem("download.failed", id=request.repo))
        there = sum(measured.have)
        self._show(download, bytes=there, total=choice.total_bytes, folder=measured.folder)
        self._check_room(request.target, choice, measured)
        if download.pausing.is_set():
            self._show(download, state=DownloadState.PAUSED)
        else:
            self._transfer(download, replace(job, verb="fetch"))

    def _token(self) -> str | None:
        """None without a keyring: most models want no token, and the others say so."""
        try:
            return self._ports.token.get()
        except ProblemError as error:
            log.info("no token: %s", error.problem.code)
            return None

    def _ask(self, download: _Download, job: FetchJob) -> FetchMessage:
        answer = self._ports.target(download.view.request.target).ask(job)
        if answer.error is not None:
            raise ProblemError(fetch_problem(job.repo, answer.error, token=job.token is not None))
        return answer

    def _check_room(self, target: str, choice: Choice, measured: Measured) -> None:
        """Raises ProblemError unless the disk in the target and the drive on which that disk grows have room."""
        need = choice.total_bytes - sum(measured.have)
        if need and measured.free < need + RESERVE_BYTES:
            raise ProblemError(
                problem("download.no_space", folder=measured.folder, need_bytes=need, free_bytes=measured.free)
            )
        free = self._ports.drive_free(target)
        if need and free is not None and free < need + RESERVE_BYTES:
            raise ProblemError(problem("download.no_space_windows", need_bytes=need, free_bytes=free))

    def _transfer(self, download: _Download, job: FetchJob) -> None:
        """Run the client under the guardian until its channel is closed. Raises ProblemError."""
        words: queue.SimpleQueue[_Word] = queue.SimpleQueue()
        tail: list[str] = []

        def hear(line: LogLine) -> None:
            message = read_message(line.text)
            if message is not None:
                words.put(message)
            else:
                tail.append(line.text)
                del tail[:-_NOTES]

        view = download.view
        run_id = RUN_PREFIX + secrets.token_hex(6)
        process = self._ports.target(view.request.target).fetch(run_id, job, hear, words.put)
        with self._changed:
            download.process = process
        if download.pausing.is_set():
            process.stop(_STOP_S)
        meter = Speedometer()
        self._show(download, state=DownloadState.RUNNING)
        error: FetchError | None = None
        done = False
        while not isinstance(word := words.get(), ChannelClosed):
            if isinstance(word, FetchMessage):
                error, done = word.error or error, done or word.done is not None
                self._heed(download, word, meter)
        with self._changed:
            download.process = None
        if done:
            self._show(download, state=DownloadState.DONE, bytes=download.view.total or 0, eta=None, speed=None)
        elif download.pausing.is_set():
            self._show(download, state=DownloadState.PAUSED, speed=None, eta=None, waits_s=None)
        elif error is not None:
            raise ProblemError(fetch_problem(job.repo, error, token=job.token is not None))
        else:
            raise ProblemError(problem("download.ended", *(tail or word.tail[-_NOTES:]), id=job.repo))

    def _heed(self, download: _Download, message: FetchMessage, meter: Speedometer) -> None:
        """Show what the client tells."""
        total = download.view.total
        if message.bytes is not None:
            meter.add(self._clock(), message.bytes)
            eta = meter.left_s(total - message.bytes) if total is not None else None
            self._show(
                download,
                state=DownloadState.RUNNING,
                bytes=message.bytes,
                file=message.file,
                speed=meter.bytes_per_s,
                eta=eta,
                problem=None,
                waits_s=None,
            )
        elif message.checking is not None:
            self._show(download, state=DownloadState.CHECKING, file=message.checking, speed=None, eta=None)
        elif message.waiting is not None:
            why = problem("download.waits", message.said, seconds=round(message.waiting))
            self._show(
                download, state=DownloadState.WAITING, problem=why, waits_s=message.waiting, speed=None, eta=None
            )

    def _show(self, download: _Download, **changes: object) -> None:
        with self._changed:
            was = download.view
            download.view = replace(was, **changes)  # type: ignore[arg-type]
            view = download.view
            if view.state in (DownloadState.FAILED, DownloadState.PAUSED):
                download.view = view = replace(view, speed=None, eta=None, waits_s=None)
            self._changed.notify_all()
        if view.state is not was.state:
            self._remember()
        if view != was:
            self._publish(view)

    def _remember(self) -> None:
        if self._memory is not None:
            with self._remembering:
                self._memory.save([view for view in self.views() if view.state is not DownloadState.DONE])
