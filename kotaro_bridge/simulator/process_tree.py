"""The processes of one run on the stood-in Linux side: a session on Linux, a job on Windows.

Owns starting the engine apart, finding what belongs to it, and killing that. Must not decide when.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from kotaro_bridge.simulator import procs

RUN_VARIABLE = "KOTARO_RUN"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """Changes with every start of the machine; constant on Windows, where start times are those of the calendar."""
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return "windows"


def start(command: list[str], environment: dict[str, str], directory: str) -> subprocess.Popen[bytes]:
    """Start an engine as the first process of a tree, our output streams its own, its stdin a pipe of ours."""
    return subprocess.Popen(
        command,
        env=environment,
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=1,
        stderr=2,
        start_new_session=sys.platform != "win32",
    )


def finder(run_id: str, leader: int | None) -> Callable[[], list[int]]:
    """What finds the live processes of a run: those of the leader's session and those that carry the run's mark.

    On Windows those below the leader. `leader` is None where its pid belongs to somebody else by now.
    """

    def find() -> list[int]:
        if sys.platform == "win32":
            below = [] if leader is None else [leader, *procs.descendants(leader)]
            return [pid for pid in below if procs.start_ticks(pid) is not None]
        mark = f"{RUN_VARIABLE}={run_id}".encode()
        pids = procs.all_pids()
        in_session = [pid for pid in pids if leader is not None and procs.session(pid) == leader]
        return [*in_session, *(pid for pid in pids if pid not in in_session and mark in procs.environment(pid))]

    return find


class Job:
    """Everything that this process starts from now on, on Windows; ends with this process, however that ends."""

    def __init__(self) -> None:
        self._handle: Any = None
        if sys.platform == "win32":
            import win32api
            import win32job

            job: Any = win32job  # its stubs say that a new job is None
            self._handle = job.CreateJobObject(None, "")
            kind = job.JobObjectExtendedLimitInformation
            limits = job.QueryInformationJobObject(self._handle, kind)
            limits["BasicLimitInformation"]["LimitFlags"] |= job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
            job.SetInformationJobObject(self._handle, kind, limits)
            # This process itself, before it starts anything: a child of a child is never missed.
            job.AssignProcessToJobObject(self._handle, win32api.GetCurrentProcess())

    def find(self, others: Callable[[], list[int]]) -> list[int]:
        """The live processes of the job but this one; on Linux what `others` finds."""
        if sys.platform == "win32":
            import win32job

            job: Any = win32job
            pids = job.QueryInformationJobObject(self._handle, job.JobObjectBasicProcessIdList)
            return [pid for pid in pids if pid != os.getpid() and procs.start_ticks(pid) is not None]
        return others()
