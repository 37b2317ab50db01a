"""Runs on the Windows side (`py inside.py VERB …`): what only a program there can do for a test.

install FILE… / remove NAME…   stand-ins into System32, and what was there before back
processes TEXT                 one line `pid command` for each process with TEXT in its command line
kill PID…                      TerminateProcess
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

SYSTEM = Path(os.environ.get("WINDIR", "")) / "System32"
BEFORE = ".before-tests"
OVERRIDES = r"Software\Wine\DllOverrides"
"""Where Wine is told to take a DLL from a file instead of its own; Windows itself does not look there."""


def install(files: list[str]) -> None:
    """Put stand-ins into System32."""
    for file in files:
        target = SYSTEM / Path(file).name
        kept = Path(f"{target}{BEFORE}")
        if target.exists() and not kept.exists():
            target.rename(kept)
        shutil.copyfile(file, target)
        _override(target.name, "native,builtin")


def remove(names: list[str]) -> None:
    """Take stand-ins away."""
    for name in names:
        target = SYSTEM / name
        kept = Path(f"{target}{BEFORE}")
        target.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(target)
        _override(name, None)


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


if __name__ == "__main__":
    {"install": install, "remove": remove, "processes": processes, "kill": kill}[sys.argv[1]](sys.argv[2:])
