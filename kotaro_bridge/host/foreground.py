"""Who may come to the front: on Windows only a program that the person just used may hand that on."""

from __future__ import annotations

import ctypes
import sys

_ANY_PROCESS = -1
"""ASFW_ANY (Microsoft, "AllowSetForegroundWindow")."""


def let_others_to_the_front() -> None:
    """Let another process put its window in front: this one was just started by a person and has the right to."""
    if sys.platform == "win32":
        ctypes.WinDLL("user32").AllowSetForegroundWindow(_ANY_PROCESS)
