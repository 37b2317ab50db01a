"""The checkout's own Python environment `.venv/` and the lock files it is made from.

Owns `.venv/` and `requirements*.lock`. Installs nothing outside `.venv/` but the system packages of `system_packages`.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import system_packages
from tools.console import BUILD, ROOT, WINDOWS, Stop, call, one_at_a_time, own_command, say

VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if WINDOWS else "bin")
LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
BUILD_LOCK = ROOT / "requirements-build.lock"
_STAMP = VENV / "kotaro-bridge.stamp"


def program(name: str) -> str:
    """The path of a program of the environment, `python` among them."""
    return str(SCRIPTS / (f"{name}.exe" if WINDOWS else name))


def setup_verb(_arguments: Sequence[str]) -> int:
    """`dev.py setup`."""
    setup()
    say(f"Ready: {program('kotaro-bridge')}")
    return 0


def setup() -> None:
    """Bring `.venv/` up to date; a fraction of a second when it is. Raises Stop with what to do."""
    with one_at_a_time(BUILD / "setup.lock", "setup"):
        wanted = _fingerprint()
        if _STAMP.exists() and _STAMP.read_text(encoding="utf-8") == wanted and _venv_version() == _own_version():
            return
        _STAMP.unlink(missing_ok=True)
        _make_venv()
        say("Installing the locked Python packages into .venv (some minutes the first time)")
        pip = [program("python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
        call([*pip, "--require-hashes", "-r", str(DEV_LOCK)], "Installing the locked packages")
        call([*pip, "--no-build-isolation", "--editable", "."], "Installing kotaro-bridge into .venv")
        system_packages.ensure_screen_packages(_site_packages() / "PySide6")
        _STAMP.write_text(wanted, encoding="utf-8")


def lock(arguments: Sequence[str]) -> int:
    """`dev.py lock [--upgrade]`: write the lock files from pyproject.toml, for every platform, naming no index."""
    setup()
    base = [program("uv"), "pip", "compile", "--quiet", "pyproject.toml", "--universal"]
    base += ["--python-version", "3.11", "--fork-strategy", "fewest", "--generate-hashes"]
    base += ["--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links", *arguments]
    call([*base, "-o", LOCK.name], "Locking the packages of the product")
    for group, locked in (("dev", DEV_LOCK), ("build", BUILD_LOCK)):
        call([*base, "--group", group, "-c", LOCK.name, "-o", locked.name], f"Locking the group {group}")
    return 0


def _fingerprint() -> str:
    digest = hashlib.sha256(DEV_LOCK.read_bytes())
    digest.update((ROOT / "pyproject.toml").read_bytes())
    return f"{_own_version()} {digest.hexdigest()}\n"


def _own_version() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])


def _venv_version() -> str | None:
    """The version of the environment's Python; None when there is none that works and has pip."""
    question = "import pip, sys; print('.'.join(str(part) for part in sys.version_info[:3]))"
    try:
        answer = subprocess.run([program("python"), "-c", question], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() or None


def _site_packages() -> Path:
    return VENV / ("Lib" if WINDOWS else f"lib/python{sys.version_info[0]}.{sys.version_info[1]}") / "site-packages"


def _make_venv() -> None:
    if _venv_version() == _own_version():
        return
    if sys.prefix == str(VENV):
        raise Stop(f".venv has to be made anew: start dev.py with the system's Python, `{own_command('setup')}`.")
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        system_packages.require([package], "this Python cannot make environments")
    call([sys.executable, "-m", "venv", "--clear", str(VENV)], "Making .venv")
