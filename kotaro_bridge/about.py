"""What this program is and on what it runs, in lines: for crash reports and diagnostics. Says nothing of the person."""

from __future__ import annotations

import os
import platform
import sys

from kotaro_bridge import __version__
from kotaro_bridge.build_info import build_info


def about() -> str:
    """Versions of this program, Python, Qt (where it is loaded) and the system, one in each line."""
    build = build_info()
    made = "from source"
    if build is not None:
        made = f"build {build.commit}, {'official' if build.official else 'not official'}, made with {build.made_with}"
    qt = sys.modules.get("PySide6")
    lines = [
        f"Kotaro Bridge {__version__}, {made}",
        f"Python {' '.join(sys.version.split())}",
        f"PySide6 {qt.__version__}" if qt is not None else "PySide6 not loaded",
        f"{_windows() or platform.platform()}, {platform.machine()}, {os.cpu_count()} processors",
    ]
    return "\n".join(lines)


def _windows() -> str:
    """Windows as it calls itself, with its build: 10 and 11 differ in nothing else. "" elsewhere."""
    if sys.platform != "win32":
        return ""
    import winreg

    name = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion"
    found = []
    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, name) as key:
        for word in ("ProductName", "DisplayVersion", "CurrentBuildNumber", "UBR"):
            try:
                found.append(str(winreg.QueryValueEx(key, word)[0]))
            except OSError:
                found.append("?")
    return "{} {}, build {}.{}".format(*found)
