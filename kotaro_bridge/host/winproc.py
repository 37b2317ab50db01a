"""Manners of child processes on Windows with their POSIX counterparts, and where wsl.exe is. Importable everywhere."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def popen_flags() -> dict[str, Any]:
    """Keyword arguments for `subprocess.Popen` of a helper that nobody should see.

    On Windows no console window flashes up; on POSIX the child leaves our session, so that Ctrl-C in a terminal reaches
    us alone and we end it in order.
    """
    if sys.platform == "win32":
        startup = subprocess.STARTUPINFO(dwFlags=subprocess.STARTF_USESHOWWINDOW, wShowWindow=subprocess.SW_HIDE)
        return {"creationflags": subprocess.CREATE_NO_WINDOW, "startupinfo": startup}
    return {"start_new_session": True}


def kill_with_children(popen: subprocess.Popen[Any]) -> None:
    """End a program and all that it started: Windows' own wsl.exe may be only the way to an installed one, which then
    holds the pipes.
    """
    import psutil

    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(popen.pid).children(recursive=True)
    popen.kill()
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()


class JobObject:
    """Processes that Windows ends with this process, however it ends: the kernel closes the job's last handle then.

    A wsl.exe left behind would hold its distro open for ever. Does nothing on POSIX, where the guardian notices the
    closed pipe by itself.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        if sys.platform == "win32":
            import win32job

            job: Any = win32job  # its stubs say that a new job is None
            self._handle = job.CreateJobObject(None, "")
            kind = job.JobObjectExtendedLimitInformation
            limits = job.QueryInformationJobObject(self._handle, kind)
            limits["BasicLimitInformation"]["LimitFlags"] |= job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
            job.SetInformationJobObject(self._handle, kind, limits)

    def add(self, process: subprocess.Popen[Any]) -> None:
        """Tie a process to this job; one that has ended already is left alone."""
        if sys.platform == "win32" and self._handle is not None and process.poll() is None:
            import pywintypes
            import win32job

            child: Any = process  # the handle is not in the public interface of Popen
            try:
                win32job.AssignProcessToJobObject(self._handle, int(child._handle))
            except pywintypes.error:
                if process.poll() is None:
                    raise

    def close(self) -> None:
        """End the processes that are still in the job."""
        if sys.platform == "win32" and self._handle is not None:
            self._handle.Close()
            self._handle = None


def find_wsl() -> str | None:
    """Full path of Windows' own wsl.exe; None where there is none (no Windows, or too old a one).

    Sysnative first: it exists only for a 32-bit process, which finds another folder behind the name System32.
    """
    windows = os.environ.get("WINDIR")
    if not windows:
        return None
    candidates = (Path(windows) / folder / "wsl.exe" for folder in ("Sysnative", "System32"))
    return next((str(path) for path in candidates if path.is_file()), None)
