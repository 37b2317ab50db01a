"""The name under which Windows shows our notifications: the app user model id, registered for this user.

A program that is not installed has no shortcut that carries its id, and Windows then shows the bare id in its place.
The installer writes and removes the same key itself, so it is only written where it is missing. Importable everywhere.

Source: learn.microsoft.com, "Send a local toast notification from other types of unpackaged apps" (`DisplayName` under
`HKCU\\Software\\Classes\\AppUserModelId\\<id>`).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Final

log = logging.getLogger(__name__)

APP_ID: Final = "KotaroBridge.KotaroBridge"
KEY: Final = rf"Software\Classes\AppUserModelId\{APP_ID}"
_NAME: Final = "Kotaro Bridge"


def register_app_id() -> None:
    """Give the id its name, where it has none. Never raises: a notification without a name is still read."""
    if sys.platform == "win32" and not app_id_registered():
        import winreg

        try:
            with winreg.CreateKey(winreg.HKEY_CURRENT_USER, KEY) as key:
                winreg.SetValueEx(key, "DisplayName", 0, winreg.REG_SZ, _NAME)
        except OSError as error:
            log.warning("app id: %r", error)


def app_id_registered() -> bool:
    """True if the id has a key, whoever wrote it."""
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_CURRENT_USER, KEY):
            return True
    return False


def forget_app_id() -> None:
    """Remove the key. Raises OSError."""
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(FileNotFoundError):
            winreg.DeleteKey(winreg.HKEY_CURRENT_USER, KEY)
