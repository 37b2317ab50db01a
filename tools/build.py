"""`dev.py build`: wheel, frozen folder, installer, portable zip and checksums, as far as this machine can make them.

Owns the order, the names in `dist/` and what is said of each step. A frozen build needs a Windows Python: this one on
Windows, elsewhere the one of `--python`. What Wine made is for tests, is named so, and never `official`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import runpy
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import build_bundle, environment
from tools.build_installer import NO_COMPILER, SIGN, Setup, compile_setup, makensis
from tools.console import BUILD, ROOT, WINDOWS, Stop, call, say

FREEZE = BUILD / "freeze"
FROZEN = BUILD / "frozen" / "Kotaro Bridge"
DIST = ROOT / "dist"
FROZEN_PYTHON = BUILD / "frozen-python"
PROGRAMS = ("KotaroBridge.exe", "kotaro-bridge.exe")
_FACTS = """\
import ctypes, json, platform
try: wine = ctypes.CFUNCTYPE(ctypes.c_char_p)(("wine_get_version", ctypes.CDLL("ntdll")))().decode()
except AttributeError: wine = ""
import PyInstaller
print(json.dumps({"python": platform.python_version(), "pyinstaller": PyInstaller.__version__, "wine": wine}))
"""
"""Asked of the Windows Python. `wine_get_version` is in the ntdll of Wine alone (Wine's developer FAQ)."""


@dataclass(frozen=True, slots=True)
class Maker:
    """The Windows Python that freezes.

    Args:
        command: how it is started; python, pyinstaller: versions; wine: Wine's version, "" on Windows.
    """

    command: tuple[str, ...]
    python: str
    pyinstaller: str
    wine: str

    @property
    def words(self) -> str:
        """For people."""
        return (
            f"CPython {self.python}, PyInstaller {self.pyinstaller}, {f'Wine {self.wine}' if self.wine else 'Windows'}"
        )


def verb(arguments: Sequence[str]) -> int:
    """`dev.py build`."""
    parser = argparse.ArgumentParser(prog="dev.py build", description="Make what this machine can of a release.")
    parser.add_argument("--feed", default="", help="address of the release feed that is asked for newer versions")
    parser.add_argument("--python", help="a Windows Python with PyInstaller as a command, where this is no Windows")
    parser.add_argument("--frozen", type=Path, help="take this frozen folder and only make the installer and the zip")
    chosen = parser.parse_args(arguments)
    environment.setup()
    missing: list[str] = []
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    _wheel()
    FREEZE.mkdir(parents=True, exist_ok=True)
    call([environment.program("python"), "-m", "tools.build_icon", str(FREEZE)], "Drawing the icon")
    frozen = chosen.frozen
    if frozen is None and (WINDOWS or chosen.python):
        frozen = _freeze(_maker(chosen.python), chosen.feed)
    if frozen is None:
        missing.append("frozen folder, installer and portable zip: they need a Windows Python (--python)")
    else:
        missing += _release_files(frozen)
    _checksums()
    for path in sorted(DIST.iterdir()):
        say(f"made: dist/{path.name} ({path.stat().st_size / build_bundle.MIB:.1f} MB)")
    for what in missing:
        say(f"not made here: {what}")
    return 0


def _wheel() -> None:
    call([environment.program("python"), "-m", "hatchling", "build", "-d", str(DIST)], "Building wheel and sdist")


def _maker(python: str | None) -> Maker:
    command = tuple(shlex.split(python)) if python else (_own_frozen_python(),)
    asked = subprocess.run(
        [*command, "-c", _FACTS], stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=ROOT
    )
    if asked.returncode:
        raise Stop(
            f"`{shlex.join(command)}` is no Windows Python with PyInstaller: {asked.stderr.decode()[-500:].strip()}"
        )
    return Maker(command, **json.loads(asked.stdout))


def _own_frozen_python() -> str:
    """A Python with what is shipped, PyInstaller, and nothing else: what tests need must not slip into the bundle."""
    python = FROZEN_PYTHON / "Scripts" / "python.exe"
    stamp = FROZEN_PYTHON / "lock.sha256"
    wanted = hashlib.sha256(environment.BUILD_LOCK.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        call([environment.program("python"), "-m", "venv", "--clear", str(FROZEN_PYTHON)], "Making a Python to freeze")
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
        call([*pip, "--require-hashes", "-r", str(environment.BUILD_LOCK)], "Installing what is shipped")
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def _freeze(maker: Maker, feed: str) -> Path:
    """The frozen folder, checked, licensed and tried."""
    about = about_build(maker, feed)
    (FREEZE / "build.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(FROZEN.parent, ignore_errors=True)
    say(f"Freezing with {maker.words}")
    pyinstaller = [*maker.command, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR"]
    places = ["--distpath", "build/frozen", "--workpath", "build/pyinstaller"]
    _windows([*pyinstaller, *places, "installer/kotaro-bridge.spec"], "PyInstaller")
    bundle = FROZEN.relative_to(ROOT).as_posix()
    sources = (FREEZE / build_bundle.SOURCES).relative_to(ROOT).as_posix()
    _windows([*maker.command, "-m", "tools.build_licences", sources, bundle], "Collecting the licences")
    if found := build_bundle.faults(FROZEN):
        raise Stop("the frozen folder cannot be shipped: " + "; ".join(found))
    _try(maker, about["version"])
    return FROZEN


def about_build(maker: Maker, feed: str) -> dict[str, object]:
    """What a build says of itself, in resources/build.json. `official`: Windows froze a clean checkout of its tag."""
    commit = _git("rev-parse", "HEAD")
    version = _version()
    clean = not _git("status", "--porcelain")
    tagged = f"v{version}" in _git("tag", "--points-at", "HEAD").split()
    official = clean and tagged and not maker.wine
    return {"version": version, "commit": commit, "feed": feed, "official": official, "made_with": maker.words}


def _try(maker: Maker, version: object) -> None:
    """Commands and every window, on the simulated PC: a module that was left out is found here and not by a person."""
    tour = (FREEZE / "tour").relative_to(ROOT).as_posix()
    program = (FROZEN / "kotaro-bridge.exe").relative_to(ROOT).as_posix()
    check = ["check", "--simulate", "rtx4070-12gb", "--json"]
    for arguments in (["--version"], ["--help"], check, ["demo", "--tour", tour]):
        line = repr([program, *arguments])
        code = f"import os, subprocess, sys; c = {line}; c[0] = os.path.abspath(c[0]); sys.exit(subprocess.call(c))"
        asked = subprocess.run(
            [*maker.command, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=ROOT
        )
        if asked.returncode or (arguments == ["--version"] and f"{version}" not in asked.stdout.decode()):
            told = (asked.stderr or asked.stdout).decode("utf-8", "replace")[-2000:]
            raise Stop(f"the frozen program does not do `{shlex.join(arguments)}`: {told}")


def _release_files(frozen: Path) -> list[str]:
    """Installer and zip of a frozen folder, its programs signed first; what could not be made."""
    about = json.loads((frozen / "_internal/kotaro_bridge/resources/build.json").read_text(encoding="utf-8"))
    name = f"KotaroBridge-{about['version']}{_mark(about)}"
    comment = "" if about["official"] else f"Test build, not for distribution ({about['made_with']})"
    for program in PROGRAMS:
        _sign(frozen / program)
    _zip(frozen, DIST / f"{name}-portable.zip", name)
    if makensis() is None:
        return [f"installer: {NO_COMPILER}"]
    compile_setup(Setup(frozen, FREEZE, DIST / f"{name}-setup.exe", about["version"], comment))
    if not os.environ.get(SIGN):
        say(f"not signed: {SIGN} names no signing command.")
    return []


def _mark(about: dict[str, object]) -> str:
    if about["official"]:
        return ""
    return "-wine-test" if "Wine" in str(about["made_with"]) else "-local"


def _zip(frozen: Path, target: Path, name: str) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in frozen.rglob("*") if path.is_file()):
            archive.write(path, f"{name}/{path.relative_to(frozen).as_posix()}")


def _checksums() -> None:
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(DIST.iterdir())]
    (DIST / "SHA256SUMS").write_text("".join(sums), encoding="utf-8", newline="\n")


def _sign(path: Path) -> None:
    if command := os.environ.get(SIGN):
        call([*signing_words(command, windows=WINDOWS), str(path)], f"Signing {path.name}")


def signing_words(command: str, *, windows: bool) -> list[str]:
    """A signing command taken apart. Windows' backslashes separate folders, and its quotes are none of a word."""
    if not windows:
        return shlex.split(command)
    return [word.strip('"') for word in shlex.split(command, posix=False)]


def _windows(command: Sequence[str], what: str) -> None:
    """A program of the Windows Python: it gets an end of input, without which Wine's fails."""
    code = subprocess.run(command, stdin=subprocess.DEVNULL, cwd=ROOT, check=False).returncode
    if code:
        raise Stop(f"{what} failed with exit code {code}: the lines above say why.")


def _version() -> str:
    return str(runpy.run_path(str(ROOT / "kotaro_bridge" / "__init__.py"))["__version__"])


def _git(*arguments: str) -> str:
    try:
        asked = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
    except FileNotFoundError:
        raise Stop("there is no git here, and a build says which commit it is of: install git.") from None
    return asked.stdout.strip()
