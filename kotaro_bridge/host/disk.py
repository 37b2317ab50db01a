"""Room on the Windows drive on which a distro's virtual disk grows."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_LXSS = r"Software\Microsoft\Windows\CurrentVersion\Lxss"


def free_beneath(folder: Path) -> int | None:
    """Bytes free on the drive of a folder; None where that cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def distro_folder(distro: str | None) -> Path | None:
    """The folder of a distro's `ext4.vhdx`, the default distro's for None; None where Windows does not tell.

    From the registry, as WSL itself registers it (microsoft/WSL, `src/windows/service/exe/LxssUserSession.cpp`):
    `HKCU\\...\\Lxss\\{GUID}` with `DistributionName` and `BasePath`.
    """
    if sys.platform != "win32":
        return None
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _LXSS) as lxss:
            default, _ = winreg.QueryValueEx(lxss, "DefaultDistribution")
            for number in range(winreg.QueryInfoKey(lxss)[0]):
                name = winreg.EnumKey(lxss, number)
                with winreg.OpenKey(lxss, name) as key:
                    distribution, _ = winreg.QueryValueEx(key, "DistributionName")
                    base, _ = winreg.QueryValueEx(key, "BasePath")
                if (name == default) if distro is None else (distribution.lower() == distro.lower()):
                    return Path(base.removeprefix("\\\\?\\"))
    except OSError:
        return None
    return None
