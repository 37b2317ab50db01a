"""Runs on the Windows side (`py inside.py VERB …`): what only a program there can do for a test.

install FILE… / remove NAME…   stand-ins into System32, and what was there before back
processes TEXT                 one line `pid command` for each process with TEXT in its command line
kill PID…                      TerminateProcess
makers                         one line `pid maker` for each process that names a scratch folder
end-session PID                tells its windows that the session ends, as a log-off does; prints each answer
sleep PID                      tells its windows that the PC went to sleep and woke up
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

SYSTEM = Path(os.environ.get("WINDIR", "")) / "System32"
BEFORE = ".before-tests"
MARK = b"KOTARO_RELAY"
"""The variable that every stand-in reads."""
SCRATCH = re.compile(r"build[\\/]windows[\\/]\w+-(\d+)-\w+")
"""A test's scratch folder; the number is the process that made it."""
OVERRIDES = r"Software\Wine\DllOverrides"
"""Where Wine is told to take a DLL from a file instead of its own; Windows itself does not look there."""
WM_QUERYENDSESSION, WM_ENDSESSION, WM_POWERBROADCAST = 0x11, 0x16, 0x218
PBT_APMSUSPEND, PBT_APMRESUMEAUTOMATIC = 4, 18
ENDSESSION_LOGOFF = 1 << 31
GENERIC_ALL = 1 << 28
PATIENCE_MS = 20_000


def install(files: list[str]) -> None:
    """Put stand-ins into System32."""
    for file in files:
        target = SYSTEM / Path(file).name
        kept = Path(f"{target}{BEFORE}")
        if target.exists() and not _ours(target):
            target.replace(kept)
        shutil.copyfile(file, target)
        _override(target.name, "native,builtin")


def remove(names: list[str]) -> None:
    """Take stand-ins away."""
    for name in names:
        target = SYSTEM / name
        kept = Path(f"{target}{BEFORE}")
        if target.exists() and _ours(target):
            target.unlink()
        if kept.exists():
            kept.replace(target)
        _override(name, None)


def _ours(file: Path) -> bool:
    """True for a stand-in, also one that a session left behind which was ended hard."""
    return MARK in file.read_bytes()


def _override(name: str, value: str | None) -> None:
    if sys.platform != "win32" or not name.endswith(".dll"):
        return
    import winreg

    with winreg.CreateKey(winreg.HKEY_CURRENT_USER, OVERRIDES) as key:
        if value is not None:
            winreg.SetValueEx(key, Path(name).stem, 0, winreg.REG_SZ, value)
            return
        with contextlib.suppress(FileNotFoundError):
            winreg.DeleteValue(key, Path(name).stem)


def processes(texts: list[str]) -> None:
    """Print the processes that have all texts in their command line."""
    import psutil  # here and not above: it loads pdh.dll, which then cannot be put away

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if process.pid != os.getpid() and all(text in line for text in texts):
                print(process.pid, line.replace("\n", " "))


def kill(pids: list[str]) -> None:
    """End processes without asking them; prints the moment on this machine's clock."""
    import psutil

    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(int(pid)).kill()
    print(time.time())


def makers() -> list[tuple[int, int]]:
    """Each process, of either side, that names a scratch folder, with the process that made the folder."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            named = SCRATCH.search("\0".join((*process.cmdline(), *process.environ().values())))
            if named:
                found.append((process.pid, int(named[1])))
    return found


def end_session(pids: list[str]) -> None:
    """WM_QUERYENDSESSION to all top-level windows of a process, then WM_ENDSESSION; prints the moment of the second."""
    windows = _windows_of(int(pids[0]))
    for window in windows:
        print("query", _send(window, WM_QUERYENDSESSION, 0))
    print("end", time.time(), flush=True)
    for window in windows:
        _send(window, WM_ENDSESSION, 1)


def sleep(pids: list[str]) -> None:
    """WM_POWERBROADCAST to all top-level windows of a process: suspended, resumed."""
    windows = _windows_of(int(pids[0]))
    for event in (PBT_APMSUSPEND, PBT_APMRESUMEAUTOMATIC):
        for window in windows:
            _send(window, WM_POWERBROADCAST, event, 0)


def _windows_of(pid: int) -> list[int]:
    """Its top-level windows, hidden ones too. Programs of a Wine desktop have a desktop of Windows of their own."""
    user32 = _user32()
    if desktop := user32.OpenDesktopW("shell", 0, False, GENERIC_ALL):
        user32.SetThreadDesktop(ctypes.c_void_p(desktop))
    found: list[int] = []

    def take(window: int, _: int) -> bool:
        owner = ctypes.c_ulong()
        user32.GetWindowThreadProcessId(ctypes.c_void_p(window), ctypes.byref(owner))
        if owner.value == pid:
            found.append(window)
        return True

    kind: Any = getattr(ctypes, "WINFUNCTYPE", None)
    user32.EnumWindows(kind(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)(take), None)
    return found


def _send(window: int, message: int, wparam: int, lparam: int = ENDSESSION_LOGOFF) -> int:
    """The window's answer; -1 where none comes in time."""
    answer, first, second = ctypes.c_size_t(), ctypes.c_size_t(wparam), ctypes.c_ssize_t(lparam)
    done = _user32().SendMessageTimeoutW(
        ctypes.c_void_p(window), message, first, second, 0, PATIENCE_MS, ctypes.byref(answer)
    )
    return int(answer.value) if done else -1


def _user32() -> Any:
    library: Any = getattr(ctypes, "WinDLL", None)
    user32 = library("user32")
    user32.OpenDesktopW.restype = ctypes.c_void_p
    return user32


if __name__ == "__main__":
    verbs = {
        "install": install,
        "remove": remove,
        "processes": processes,
        "kill": kill,
        "makers": lambda _: print(*(f"{pid} {maker}" for pid, maker in makers()), sep="\n"),
        "end-session": end_session,
        "sleep": sleep,
    }
    verbs[sys.argv[1]](sys.argv[2:])
