"""Processes: start times, descendants, and ending whole trees. Ends only what the caller names.

Reads /proc; on Windows, where the Linux side is stood in for, the same questions go to psutil.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any

PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
QUERY, SYNCHRONIZE, STILL_RUNS = 0x1000, 0x100000, 258  # winnt.h and winerror.h
KILL, ABORT = 9, 6
"""Numbers of Linux; Windows' `signal` lacks the first."""
WINDOWS_SIGNAL = 1000
"""On Windows a process that a signal would have ended has this plus the signal's number as its exit code; no engine
ends with one above 255 by itself."""


def apart() -> dict[str, Any]:
    """Keyword arguments for `subprocess.Popen` of a program that outlives us: in a session of its own; on Windows with
    a console that nobody sees, which the console program of a frozen build would otherwise open.
    """
    if sys.platform == "win32":
        import subprocess

        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, which with the pid names a process for good; None when it is gone or a zombie.

    On Windows the time of its start, as the kernel keeps it.
    """
    if sys.platform == "win32":
        return _started_at(pid)
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _started_at(pid: int) -> int | None:
    """Asked at every call of wsl.exe: psutil would take a third of its time to be loaded."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.WinDLL("kernel32")
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(QUERY | SYNCHRONIZE, False, pid))
        if handle.value is None:
            return None
        try:
            times = [ctypes.c_ulonglong() for _ in range(4)]
            told = kernel.GetProcessTimes(handle, *map(ctypes.byref, times))
            runs = kernel.WaitForSingleObject(handle, 0) == STILL_RUNS
            return times[0].value if told and runs else None
        finally:
            kernel.CloseHandle(handle)
    return None


def is_alive(pid: int, ticks: int) -> bool:
    """Whether that very process still runs."""
    return start_ticks(pid) == ticks


def descendants(root: int) -> list[int]:
    """All processes below `root`, zombies included, in no special order."""
    if sys.platform == "win32":
        import psutil

        try:
            return [process.pid for process in psutil.Process(root).children(recursive=True)]
        except psutil.Error:
            return []
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
    """Send a signal; a process that is gone is no error. On Windows it ends at once, whatever the signal."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError):  # gone, or about to be
            os.kill(pid, WINDOWS_SIGNAL + number)
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def die(number: int) -> None:
    """End this process as a signal with its default effect would."""
    if sys.platform == "win32":
        os._exit(WINDOWS_SIGNAL + number)
    if number != KILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def ended_by(returncode: int) -> int | None:
    """The signal that ended a child, from the `returncode` of its Popen; None if it ended by itself."""
    if sys.platform == "win32":
        return returncode - WINDOWS_SIGNAL if returncode > WINDOWS_SIGNAL else None
    return -returncode if returncode < 0 else None


def kill_tree(root: int) -> None:
    """Kill a process and everything below it."""
    for pid in (root, *descendants(root)):
        kill(pid, KILL)


def kill_descendants(root: int) -> None:
    """Kill everything below `root` (this process, a subreaper) until nothing is left, and reap it."""
    while alive := [pid for pid in descendants(root) if start_ticks(pid) is not None]:
        for pid in alive:
            kill(pid, KILL)
        reap_one(block=True)
    while reap_one(block=False):
        pass


def reap_one(*, block: bool) -> int | None:
    """Collect one ended child; returns its pid, None when there is none (or none yet)."""
    if sys.platform == "win32":
        return None
    try:
        pid, _ = os.waitpid(-1, 0 if block else os.WNOHANG)
    except ChildProcessError:
        return None
    return pid or None


def has_children() -> bool:
    """Whether a child of this process still runs; collects those that have ended."""
    if sys.platform == "win32":
        return False
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
    if sys.platform == "win32":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_NAME, title.encode()[:15], 0, 0, 0)
    fields = _stat(os.getpid())
    if fields is None:
        return
    start, end = int(fields[45]), int(fields[46])
    size = end - start
    if size > 0:
        ctypes.memmove(start, title.encode()[: size - 1].ljust(size, b"\0"), size)


def all_pids() -> list[int]:
    """Every process that is no zombie."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if start_ticks(pid) is not None]


def session(pid: int) -> int | None:
    """The session that a process belongs to."""
    fields = _stat(pid)
    return None if fields is None else int(fields[3])


def environment(pid: int) -> list[bytes]:
    """The variables that a process was started with; empty where that is not ours to read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from field 3 (state) on; None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
