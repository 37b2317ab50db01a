"""Start at login: the Run key of this user. Implements `domain.ports_app.StartsAtLogin`.

Owns what is written there and how it is read; the registry is the truth, no setting repeats it. Importable everywhere.

Sources: learn.microsoft.com, "Run and RunOnce Registry Keys" (a command line of 260 characters at most). Task Manager
and Windows' settings keep a person's "off" in `StartupApproved\\Run` as 12 bytes, the first odd for off and even for
on: seen behaviour that Microsoft does not document.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.settings import LoginStart

VALUE: Final = "KotaroBridge"
RUN: Final = r"Software\Microsoft\Windows\CurrentVersion\Run"
APPROVED: Final = r"Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
_LONGEST: Final = 260


class Autostart:
    """See `StartsAtLogin`.

    Args:
        argv: the command that starts the tray application (`own_program.gui_argv`).
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._command = command_line(argv)

    def enabled(self) -> bool | None:
        """True if this program is started at login; None where there is no such thing."""
        return self.status().enabled

    def status(self) -> LoginStart:
        """See `StartsAtLogin.status`."""
        if sys.platform != "win32":
            return LoginStart(None)
        command = _read(RUN)
        if not isinstance(command, str) or not command.strip():
            return LoginStart(False)
        approved = _read(APPROVED)
        switched_off = isinstance(approved, bytes) and bool(approved) and bool(approved[0] & 1)
        elsewhere = "" if _same(command, self._command) else command
        return LoginStart(not switched_off, switched_off, elsewhere)

    def set_enabled(self, enabled: bool) -> None:
        """See `StartsAtLogin.set_enabled`."""
        if sys.platform != "win32":
            raise ProblemError(problem("autostart.not_windows"))
        if enabled and len(self._command) > _LONGEST:
            raise ProblemError(problem("autostart.too_long", command=self._command, most=_LONGEST))
        import winreg

        try:
            forget()  # also a person's "off" in Task Manager, which would outlive the switch here
            if enabled:
                with winreg.CreateKey(winreg.HKEY_CURRENT_USER, RUN) as key:
                    winreg.SetValueEx(key, VALUE, 0, winreg.REG_SZ, self._command)
        except OSError as error:
            raise ProblemError(problem("autostart.not_changed", detail=str(error))) from error


def is_listed() -> bool:
    """True if there is anything of ours in the system's lists."""
    return _read(RUN) is not None or _read(APPROVED) is not None


def forget() -> None:
    """Take ours out of the system's lists. Raises OSError."""
    _delete(RUN)
    _delete(APPROVED)


def command_line(argv: Sequence[str]) -> str:
    """As Windows takes it apart again, the program always in quotes: without them a blank in its path ends it."""
    rest = subprocess.list2cmdline(argv[1:])
    return f'"{argv[0]}"' + (f" {rest}" if rest else "")


def _same(command: str, ours: str) -> bool:
    """The same program with the same arguments, however the path is written."""
    program, arguments = _apart(command)
    our_program, our_arguments = _apart(ours)
    return os.path.normcase(os.path.normpath(program)) == os.path.normcase(os.path.normpath(our_program)) and (
        arguments == our_arguments
    )


def _apart(command: str) -> tuple[str, str]:
    """Program and arguments of a command line."""
    command = command.strip()
    if command.startswith('"'):
        program, _, arguments = command[1:].partition('"')
    else:
        program, _, arguments = command.partition(" ")
    return program, arguments.strip()


def _read(path: str) -> object:
    """Our value under a key of this user; None if there is none."""
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_CURRENT_USER, path) as key:
            return winreg.QueryValueEx(key, VALUE)[0]
    return None


def _delete(path: str) -> None:
    """Our value under a key of this user, if it is there. Raises OSError."""
    if sys.platform == "win32":
        import winreg

        with (
            contextlib.suppress(FileNotFoundError),
            winreg.OpenKey(winreg.HKEY_CURRENT_USER, path, 0, winreg.KEY_SET_VALUE) as key,
        ):
            winreg.DeleteValue(key, VALUE)
