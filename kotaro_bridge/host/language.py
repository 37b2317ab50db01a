"""The language of the system's own menus."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

_JAPANESE: Final = 0x11  # primary language of a Windows language identifier: the lower ten bits


def system_language() -> str:
    """`ja` where the system speaks Japanese, else `en`.

    On Windows that is the language of its menus, not that of its formats, which `locale` would tell ("Japanese_Japan"):
    people have an English Windows with Japanese dates. Source: learn.microsoft.com, `GetUserDefaultUILanguage`.
    """
    if sys.platform == "win32":
        return "ja" if ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == _JAPANESE else "en"
    named = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return "ja" if named.lower().startswith("ja") else "en"
