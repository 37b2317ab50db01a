"""What the operating system has to bring: libraries for Qt, a virtual screen, fonts, a compiler.

Looks first and installs only what is missing, with apt-get; where it cannot, it says what is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.console import Stop, exit_code, say

LIBRARY_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libGLX.so.0": "libglx0",
    "libOpenGL.so.0": "libopengl0",
    "libX11.so.6": "libx11-6",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libbrotlidec.so.1": "libbrotli1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libxcb.so.1": "libxcb1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libz.so.1": "zlib1g",
    "libzstd.so.1": "libzstd1",
}
"""Shared library of Qt 6.11 (`ldd` of its xcb plugin and of the modules in use) to the Debian package that holds it.
Newer releases rename some (libglib2.0-0t64); apt resolves the old name."""

QT_FILES = (
    "Qt/plugins/platforms/libqxcb.so",
    "Qt/plugins/platforms/libqoffscreen.so",
    "Qt/plugins/iconengines/libqsvgicon.so",
    "Qt/plugins/imageformats/libqsvg.so",
    "QtWidgets.abi3.so",
    "QtNetwork.abi3.so",
)
_NOT_FOUND = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)


def ensure_screen_packages(pyside: Path) -> None:
    """Install what Qt (in the folder `pyside`), a virtual screen and Japanese text need; where it may not, say so."""
    if sys.platform != "linux":
        return
    packages = _missing_qt_packages(pyside)
    if not shutil.which("Xvfb"):
        packages.append("xvfb")
    if not shutil.which("fc-list"):
        packages += ["fontconfig", "fonts-dejavu-core", "fonts-ipafont-gothic"]
    else:
        packages += [] if _has_font(":lang=en") else ["fonts-dejavu-core"]
        packages += [] if _has_font(":lang=ja") else ["fonts-ipafont-gothic"]
    if packages:
        refusal = install(packages)
        if refusal:
            say(f"The windows may not open here: {refusal}")


def ensure_ssh_server() -> None:
    """Install sshd, which a test of SFTP starts by itself, where the machine serves tests alone (`CI` is set): on a
    person's own machine the package would open a port for good.
    """
    if sys.platform != "linux" or not os.environ.get("CI") or shutil.which("sshd", path=os.defpath + ":/usr/sbin"):
        return
    refusal = install(["openssh-server"])
    if refusal:
        say(f"Tests over SFTP are skipped: {refusal}")


def require(packages: Sequence[str], why: str) -> None:
    """Install `packages`. Raises Stop with the exact command when this is not possible."""
    refusal = install(packages)
    if refusal:
        raise Stop(f"{why}: {refusal}")


def install(packages: Sequence[str]) -> str | None:
    """Install Debian packages as root or through sudo. None when done, else a sentence with the command."""
    wanted = sorted(set(packages))
    line = f"apt-get install -y --no-install-recommends {' '.join(wanted)}"
    if not shutil.which("apt-get"):
        return f"install what your system calls these Debian packages: {' '.join(wanted)}."
    as_root = _root_prefix()
    if as_root is None:
        return f"run `apt-get update && {line}` as root, then start this again."
    say(f"Installing system packages: {' '.join(wanted)}")
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    exit_code([*apt, "update"], quiet=True)  # stale lists may still serve: the install decides
    if exit_code([*apt, "install", "-y", "--no-install-recommends", *wanted], quiet=True) != 0:
        return f"apt-get could not install them; run `{line}` as root and look at its answer, then start this again."
    return None


def _root_prefix() -> list[str] | None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        return None
    if sys.stdin.isatty():
        return ["sudo"]
    allowed = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    return ["sudo", "-n"] if allowed else None


def _missing_qt_packages(pyside: Path) -> list[str]:
    files = [str(pyside / name) for name in QT_FILES]
    found = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False)
    missing = sorted(set(_NOT_FOUND.findall(found.stdout)))
    unknown = [name for name in missing if name not in LIBRARY_PACKAGES]
    if unknown:
        say(f"Qt misses libraries that dev.py knows no package for: {' '.join(unknown)}; find them with `apt-file`.")
    return [LIBRARY_PACKAGES[name] for name in missing if name in LIBRARY_PACKAGES]


def _has_font(pattern: str) -> bool:
    return bool(subprocess.run(["fc-list", pattern, "file"], capture_output=True, check=False).stdout)
