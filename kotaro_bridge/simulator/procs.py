"""Linux processes: start times, descendants, and ending whole trees. Reads /proc; ends only what the caller names."""

from __future__ import annotations

import os
import signal
import sys

PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36


def start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, which with the pid names a process for good; None when it is gone or a zombie.

    On Windows, where nothing of a simulated PC's Linux side runs, every process counts as alive.
    """
    if sys.platform == "win32":
        return 0
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def is_alive(pid: int, ticks: int) -> bool:
    """Whether that very process still runs."""
    return start_ticks(pid) == ticks


def descendants(root: int) -> list[int]:
    """All processes below `root`, zombies included, in no special order."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))) is not None:
            parents[int(name)] = int(fields[1])
    found = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        found |= more
        grown = bool(more)
    return sorted(found - {root})


def kill(pid: int, number: int = signal.SIGTERM) -> None:
    """Send a signal; a process that is gone is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def kill_descendants(root: int) -> None:
    """SIGKILL everything below `root` (this process, a subreaper) until nothing is left, and reap it."""
    while alive := [pid for pid in descendants(root) if start_ticks(pid) is not None]:
        for pid in alive:
            kill(pid, signal.SIGKILL)
        reap_one(block=True)
    while reap_one(block=False):
        pass


def reap_one(*, block: bool) -> int | None:
    """Collect one ended child; returns its pid, None when there is none (or none yet)."""
    try:
        pid, _ = os.waitpid(-1, 0 if block else os.WNOHANG)
    except ChildProcessError:
        return None
    return pid or None


def has_children() -> bool:
    """Whether a child of this process still runs; collects those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def become_subreaper() -> None:
    """Orphans among the descendants of this process become its children (the Relay and init of WSL do the same)."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_title(title: str) -> None:
    """Change what `ps` shows for this process, as setproctitle does: name and memory of the arguments."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_NAME, title.encode()[:15], 0, 0, 0)
    fields = _stat(os.getpid())
    if fields is None:
        return
    start, end = int(fields[45]), int(fields[46])
    size = end - start
    if size > 0:
        ctypes.memmove(start, title.encode()[: size - 1].ljust(size, b"\0"), size)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from field 3 (state) on; None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
