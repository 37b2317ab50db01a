"""How this program starts itself: with Python's `-m` from source, through its two programs in a frozen build.

Owns the names of the two programs of a frozen build and what their `-m` takes. Read by programs that start often, so
it imports next to nothing.
"""

from __future__ import annotations

import os
import sys

WINDOWED = "KotaroBridge.exe"
CONSOLE = "kotaro-bridge.exe"
_MODULES = "kotaro_bridge.simulator."


def is_frozen() -> bool:
    """True in a build made by PyInstaller, which sets `sys.frozen` (its manual, "Run-time Information")."""
    return bool(getattr(sys, "frozen", False))


def gui_argv() -> list[str]:
    """The command that starts the tray application and opens no console window on Windows."""
    if is_frozen():
        return [_beside(WINDOWED)]
    windowed = _beside("pythonw.exe")
    return [windowed if os.path.exists(windowed) else sys.executable, "-m", "kotaro_bridge"]


def console_argv() -> list[str]:
    """The command of the command line: its streams are there."""
    return [_beside(CONSOLE)] if is_frozen() else [sys.executable, "-m", "kotaro_bridge"]


def module_argv(module: str) -> list[str]:
    """The command that runs one of the simulator's modules as a program of its own.

    Args:
        module: dotted name, such as `kotaro_bridge.simulator.wsl`.
    """
    return [*console_argv(), "-m", module] if is_frozen() else [sys.executable, "-m", module]


def module_asked_for(arguments: list[str]) -> str | None:
    """The module that a frozen program is to run in place of itself: what `module_argv` wrote, and nothing else.

    Args:
        arguments: without the program's own name.
    """
    asked = is_frozen() and len(arguments) > 1 and arguments[0] == "-m" and arguments[1].startswith(_MODULES)
    return arguments[1] if asked else None


def run_module(module: str) -> None:
    """Run it as `python -m` does; does not return where the module ends with `sys.exit`."""
    import runpy

    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _beside(program: str) -> str:
    return os.path.join(os.path.dirname(sys.executable), program)
