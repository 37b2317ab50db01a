"""Disks: room on the drive on which a distro's virtual disk grows, files that others hold for a moment, and names that
outlast a power cut.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar

T = TypeVar("T")
Registered: TypeAlias = tuple[str, Sequence[tuple[str, str, str]]]

_HELD_TRIES, _PAUSE_S = 100, 0.02
_LXSS = r"Software\Microsoft\Windows\CurrentVersion\Lxss"


def free_beneath(folder: Path) -> int | None:
    """Bytes free on the drive of a folder; None where that cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def distro_folder(distro: str | None, registered: Callable[[], Registered | None] | None = None) -> Path | None:
    """The folder of a distro's `ext4.vhdx`, the default distro's for None; None where Windows does not tell.

    Args:
        registered: what the registry says; this user's own without it.
    """
    found = (registered or _registered)()
    if found is None:
        return None
    default, distros = found
    for key, name, base in distros:
        if (key == default) if distro is None else (name.lower() == distro.lower()):
            return Path(base.removeprefix("\\\\?\\"))
    return None


def _registered() -> Registered | None:
    """The default distro's key, and key, name and folder of each, as WSL registers them: `HKCU\\...\\Lxss\\{GUID}` with
    `DistributionName` and `BasePath` (microsoft/WSL, `src/windows/service/exe/DistributionRegistration.h`)."""
    if sys.platform != "win32":
        return None
    import winreg

    distros = []
    try:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _LXSS) as lxss:
            default, _ = winreg.QueryValueEx(lxss, "DefaultDistribution")
            for number in range(winreg.QueryInfoKey(lxss)[0]):
                name = winreg.EnumKey(lxss, number)
                with winreg.OpenKey(lxss, name) as key:
                    words = (winreg.QueryValueEx(key, word)[0] for word in ("DistributionName", "BasePath"))
                    distros.append((name, *words))
    except OSError:
        return None
    return default, distros


def patiently(act: Callable[[], T]) -> T:
    """Do it again for two seconds while Windows refuses it: a virus scanner, or another instance that reads, may hold
    a file for a moment. Raises PermissionError after that; elsewhere at once, since waiting changes nothing there."""
    for _ in range(_HELD_TRIES - 1 if sys.platform == "win32" else 0):
        try:
            return act()
        except PermissionError:
            time.sleep(_PAUSE_S)
    return act()


def put_whole(target: Path, write: Callable[[BinaryIO], object], put: Callable[[Path], object]) -> None:
    """Write a new file in the folder of `target` and have it put in the target's place, whole or not at all: whatever
    happens, Ctrl-C too, no part of it is left.

    Args:
        write: fills the file; put: gives it, on the disk and closed, the target's name.

    Raises:
        OSError: and what `write` and `put` raise.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        put(temporary)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Have a new name in the folder on the disk too, where folders can be synchronised (not on Windows). The file is in
    place already: nothing fails for this.
    """
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
