"""Starts an installer that outlives this program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kotaro_bridge.domain.errors import ProblemError, problem


def start_installer(installer: Path) -> None:
    """Start it with its windows; it asks this program to quit when it begins.

    Raises:
        ProblemError: `update.not_windows`, or `update.not_started`.
    """
    if sys.platform != "win32":
        raise ProblemError(problem("update.not_windows", file=str(installer)))
    try:
        installing = subprocess.Popen(
            [str(installer)],
            cwd=installer.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP,
        )
    except OSError as error:
        raise ProblemError(problem("update.not_started", file=str(installer), detail=str(error))) from error
    installing.returncode = 0  # nobody waits for it: Python need not warn that it still runs
