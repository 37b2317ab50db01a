"""Values of this user's registry for the time of a test: as they were before, after it. Windows only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

Value = str | int | bytes | None


@contextmanager
def values(path: str, *names: str, **wanted: Value) -> Iterator[None]:
    """Set values under a key of HKEY_CURRENT_USER; None takes one out. Those of `names` are put back too."""
    before = {name: read(path, name) for name in (*names, *wanted)}
    try:
        for name, value in wanted.items():
            write(path, name, value)
        yield
    finally:
        for name, value in before.items():
            write(path, name, value)


def read(path: str, name: str) -> Value:
    """A value; None if there is none."""
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, path) as key:
                found: Value = winreg.QueryValueEx(key, name)[0]
                return found
        except FileNotFoundError:
            return None
    raise OSError("no registry")


def write(path: str, name: str, value: Value) -> None:
    """Set a value, or take it out for None."""
    if sys.platform == "win32":
        import winreg

        kinds = {str: winreg.REG_SZ, int: winreg.REG_DWORD, bytes: winreg.REG_BINARY}
        with winreg.CreateKey(winreg.HKEY_CURRENT_USER, path) as key:
            if value is not None:
                winreg.SetValueEx(key, name, 0, kinds[type(value)], value)
            elif read(path, name) is not None:
                winreg.DeleteValue(key, name)
