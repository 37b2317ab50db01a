"""Paths of Windows, as people write them into profiles that Linux reads."""

from __future__ import annotations

import re

_DRIVE = re.compile(r"([A-Za-z]):[\\/]+(.*)\Z", re.DOTALL)
_DISTRO = re.compile(r"[\\/]{2}(?:wsl\$|wsl\.localhost)[\\/]+[^\\/]+[\\/]+(.*)\Z", re.DOTALL | re.IGNORECASE)


def inside_linux(path: str) -> str | None:
    """Where Linux finds a path of Windows; None for any other path, and for a share, which Linux does not see.

    Drives are below /mnt unless the distro's wsl.conf says otherwise (Microsoft, "Advanced settings configuration in
    WSL", `automount.root`); `\\\\wsl.localhost\\DISTRO` is a distro's own root.
    """
    if drive := _DRIVE.match(path):
        return _plain(f"/mnt/{drive[1].lower()}/{drive[2]}")
    if distro := _DISTRO.match(path):
        return _plain(f"/{distro[1]}")
    return None


def _plain(path: str) -> str:
    return re.sub(r"[\\/]+", "/", path)
