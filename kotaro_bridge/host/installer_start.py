"""How this copy of the program came here, and what renews it: an installer that outlives it, or a zip to be unpacked.

Importable everywhere; only Windows has either.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from io import BufferedReader
from pathlib import Path
from typing import Final

from kotaro_bridge.domain.errors import ProblemError, problem

UNINSTALL: Final = r"Software\Microsoft\Windows\CurrentVersion\Uninstall\KotaroBridge"
"""Where the installer says what it installed (installer/kotaro-bridge.nsi)."""


def is_installed() -> bool:
    """True if this is the copy that the installer put there: Windows' list of programs names its folder."""
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_CURRENT_USER, UNINSTALL) as key:
            return os.path.samefile(str(winreg.QueryValueEx(key, "InstallLocation")[0]), Path(sys.executable).parent)
    return False


def start_installer(installer: BufferedReader) -> None:
    """Start it with its windows; it asks this program to quit when it begins.

    Args:
        installer: open, with its path as `name`. It inherits this opening: as long as it runs nobody can put another
            file in its place, from which it would go on reading.

    Raises:
        ProblemError: `update.not_windows`, or `update.not_started`.
    """
    if sys.platform != "win32":
        raise ProblemError(problem("update.not_windows", file=installer.name))
    import msvcrt

    handle = msvcrt.get_osfhandle(installer.fileno())
    try:
        os.set_handle_inheritable(handle, True)
        installing = subprocess.Popen(
            [installer.name],
            cwd=Path(installer.name).parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP,
            startupinfo=subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]}),
        )
    except OSError as error:
        raise ProblemError(problem("update.not_started", file=installer.name, detail=str(error))) from error
    installing.returncode = 0  # nobody waits for it: Python need not warn that it still runs


def show_package(package: BufferedReader) -> None:
    """Show the folder with a zip to be unpacked.

    Raises:
        ProblemError: `update.not_windows`, or `update.not_started`.
    """
    if sys.platform != "win32":
        raise ProblemError(problem("update.not_windows", file=package.name))
    try:
        os.startfile(Path(package.name).parent)  # noqa: S606  # a folder of ours
    except OSError as error:
        raise ProblemError(problem("update.not_started", file=package.name, detail=str(error))) from error
