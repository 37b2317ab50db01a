"""Runs on the Windows side (`py inventory.py`): prints this user's files and registry, one line each, for comparing.

Left out: temporary files, and what Wine keeps for itself in the registry (its own settings, and its copy of the Start
menu for the Linux desktop).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

TEMPORARY = r"AppData\Local\Temp"
OF_WINE = "Software\\Wine"


def files(root: str) -> Iterator[str]:
    """Every file and folder below the user's own folder, with sizes."""
    for folder, names, plain in os.walk(root):
        below = os.path.relpath(folder, root)
        if below == TEMPORARY:
            names.clear()
            continue
        yield from (f"folder {os.path.normpath(os.path.join(below, name))}" for name in names)
        for name in plain:
            path = os.path.join(folder, name)
            yield f"file   {os.path.normpath(os.path.join(below, name))} {os.path.getsize(path)}"


def values(path: str = "") -> Iterator[str]:
    """Every key and value of HKEY_CURRENT_USER."""
    if sys.platform != "win32":
        raise OSError("there is a registry on Windows alone")
    import winreg

    with winreg.OpenKey(winreg.HKEY_CURRENT_USER, path) as key:
        below, count, _ = winreg.QueryInfoKey(key)
        for number in range(count):
            name, value, _ = winreg.EnumValue(key, number)
            yield f"value  HKCU\\{path} : {name} = {value!r}"
        names = [winreg.EnumKey(key, number) for number in range(below)]
    for name in names:
        deeper = f"{path}\\{name}" if path else name
        if deeper != OF_WINE:
            yield f"key    HKCU\\{deeper}"
            yield from values(deeper)


if __name__ == "__main__":
    lines = [*files(os.environ["USERPROFILE"]), *values()]
    sys.stdout.buffer.write("".join(f"{line}\n" for line in sorted(lines)).encode("utf-8", "backslashreplace"))
