"""A download as it is seen: state, progress, speed and time left. Pure; `service/downloads.py` drives it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from kotaro_bridge.domain.errors import Problem

RUN_PREFIX = "download-"
"""How the run ids of downloads begin: who looks for engines that were left behind leaves them alone. A download whose
owner is gone ends by itself at its next word of progress."""

COPY_PREFIX = "copy-"
"""How the ids of copies begin; they cannot be paused."""

RESERVE_BYTES = 1 << 30
"""Stays free on either disk: a full Windows drive pauses WSL, a full distro breaks it."""

_WINDOW_S = 10.0


class DownloadState(StrEnum):
    """Where a download is."""

    QUEUED = "queued"
    LOOKING = "looking"  # asks the hub for the files, and the disks for room
    RUNNING = "running"
    WAITING = "waiting"  # the hub or the network does not answer; it tries again by itself
    CHECKING = "checking"  # compares a checksum
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"


RESTING = frozenset({DownloadState.PAUSED, DownloadState.DONE, DownloadState.FAILED})
"""Nothing happens by itself any more."""


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What to download.

    Args:
        repo: id on the hub; files: names or patterns, empty for the usual choice.
        target: `wsl:<distro>`, `wsl:` or `local`; folder: there, empty for the usual one.
        revision: branch, tag or commit; empty for the main branch.
    """

    repo: str
    target: str
    files: tuple[str, ...] = ()
    folder: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class DownloadView:
    """A download at one moment; published on the bus at each change.

    Args:
        bytes: on disk; total: of all its files, None before they are known.
        speed: bytes per second lately; eta: seconds left. None where nothing can be said.
        problem: why it failed, or what it waits for.
        file: the file under way; folder: full path inside the target, "" before it is known.
        waits_s: seconds until it tries again, in state WAITING.
    """

    id: str
    request: DownloadRequest
    state: DownloadState
    bytes: int = 0
    total: int | None = None
    speed: float | None = None
    eta: float | None = None
    problem: Problem | None = None
    file: str = ""
    folder: str = ""
    waits_s: float | None = None


class Speedometer:
    """Speed over the last ten seconds of progress, from samples of (seconds, bytes)."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, size_bytes: int) -> None:
        """Take a sample; fewer bytes than before (a file that began anew) start the measurement again."""
        if self._samples and size_bytes < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now_s, size_bytes))
        while now_s - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()

    @property
    def bytes_per_s(self) -> float | None:
        """None before there are two samples."""
        if len(self._samples) < 2:
            return None
        (began_s, first), (ended_s, last) = self._samples[0], self._samples[-1]
        return (last - first) / (ended_s - began_s) if ended_s > began_s else None

    def left_s(self, left_bytes: int) -> float | None:
        """Seconds for the bytes that are left; None where nothing moves."""
        speed = self.bytes_per_s
        return left_bytes / speed if speed else None
