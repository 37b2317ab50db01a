"""The installer of a frozen folder, compiled by NSIS on Linux or Windows."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tools.build_bundle import size_of
from tools.console import ROOT, Stop, call

SCRIPT = ROOT / "installer" / "kotaro-bridge.nsi"
NO_COMPILER = "no makensis (NSIS 3.08 or newer) with 64-bit stubs; the package `nsis` of Debian and Ubuntu has them"
SIGN = "KOTARO_SIGN"
"""Names a command that signs the file that is put behind it; used for the programs, uninstaller and installer."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What an installer is made of.

    Args:
        frozen: the frozen folder; pictures: folder with the icon; output: the installer.
        version: three numbers; comment: "" or what marks a test build.
        plain: nothing is compressed, for tests: compressing takes minutes.
    """

    frozen: Path
    pictures: Path
    output: Path
    version: str
    comment: str = ""
    plain: bool = False


def makensis() -> str | None:
    """The compiler, if it can make a 64-bit installer.

    Debian's and Ubuntu's package `nsis` can. The project's own setup for Windows brings 32-bit stubs alone (seen by
    others with 3.09), and does not put the compiler on the path.
    """
    usual = Path(os.environ.get("PROGRAMFILES(X86)", ""), "NSIS", "makensis.exe")
    program = shutil.which("makensis") or (str(usual) if usual.is_file() else None)
    if program is None:
        return None
    places = (Path(program).parent / "Stubs", Path(program).parent.parent / "Stubs", Path("/usr/share/nsis/Stubs"))
    return program if any((place / "lzma_solid-amd64-unicode").is_file() for place in places) else None


def compile_setup(setup: Setup) -> None:
    """Make the installer. Raises Stop."""
    program = makensis()
    if program is None:
        raise Stop(NO_COMPILER)
    values = {
        "FROZEN": str(setup.frozen.absolute()),
        "OUTPUT": str(setup.output.absolute()),
        "PICTURES": str(setup.pictures.absolute()),
        "VERSION": setup.version,
        "SIZE_KB": str(size_of(setup.frozen) // 1024),
        "COMMENT": setup.comment,
    }
    switches = [*(["PLAIN"] if setup.plain else []), *(["SIGN"] if os.environ.get(SIGN) else [])]
    defines = [f"-D{name}={value}" for name, value in values.items()] + [f"-D{name}" for name in switches]
    setup.output.parent.mkdir(parents=True, exist_ok=True)
    call([program, "-V2", "-WX", "-INPUTCHARSET", "UTF8", *defines, str(SCRIPT)], "Compiling the installer")
