"""The licence texts of all parts of a frozen build: `licenses/` with its index THIRD-PARTY.txt.

`python -m tools.build_licences SOURCES BUNDLE`, run by the Python whose packages were frozen: only there the packages'
own records are. Owns which part is under which text. Fails for a package without a text, and for a library that
belongs to none: what cannot be said must not be shipped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path

TEXTS = Path(__file__).resolve().parent.parent / "installer" / "licenses"
OWN = Path(__file__).resolve().parent.parent / "LICENSE"
INDEX = "THIRD-PARTY.txt"
_LICENCE_NAMES = ("licen[cs]e*", "copying*", "notice*", "authors*")


@dataclass(frozen=True, slots=True)
class Part:
    """Something that no package's record tells of.

    Args:
        name: as a person knows it; licence: in short.
        files: patterns of file names in the bundle; texts: names of files of `installer/licenses`.
    """

    name: str
    licence: str
    files: tuple[str, ...]
    texts: tuple[str, ...]


PARTS = (
    Part(
        "Python", "PSF-2.0", ("python3*.dll", "_*.pyd", "select.pyd", "unicodedata.pyd", "pyexpat.pyd"), ("python.txt",)
    ),
    Part("OpenSSL", "Apache-2.0", ("libcrypto-3*.dll", "libssl-3*.dll"), ("openssl.txt",)),
    Part("libffi", "MIT", ("libffi-8.dll",), ("libffi.txt",)),
    Part("SQLite", "public domain", ("sqlite3.dll",), ("sqlite.txt",)),
    Part("bzip2", "bzip2-1.0.6", ("_bz2.pyd",), ("bzip2.txt",)),
    Part("XZ Utils (liblzma)", "0BSD", ("_lzma.pyd",), ("xz.txt",)),
    Part("Expat", "MIT", ("pyexpat.pyd",), ("expat.txt",)),
    Part("mpdecimal", "BSD-2-Clause", ("_decimal.pyd",), ("mpdecimal.txt",)),
    Part("zlib", "Zlib", ("python3*.dll",), ("zlib.txt",)),
    Part(
        "Microsoft Visual C++ runtime", "Microsoft", ("vcruntime140*.dll", "msvcp140*.dll"), ("microsoft-runtime.txt",)
    ),
    Part("NSIS (setup and uninstall program)", "Zlib", (), ("nsis.txt",)),
)
OVERRIDES = {
    "pyside6-essentials": ("LGPL-3.0-only", ("qt.txt", "lgpl-3.0.txt", "gpl-3.0.txt")),
    "shiboken6": ("LGPL-3.0-only", ("qt.txt", "lgpl-3.0.txt", "gpl-3.0.txt")),
    "nvidia-ml-py": ("BSD-3-Clause", ("nvidia-ml-py.txt",)),
}
"""Packages whose record carries no text, or not the one that we use them under."""


class Unlicensed(Exception):
    """The texts cannot be put together; says for what."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the index."""

    name: str
    version: str
    licence: str
    texts: tuple[str, ...]


def packages(sources: Iterable[str]) -> list[metadata.Distribution]:
    """The installed packages that source files belong to, by name."""
    wanted = {_same(source) for source in sources}
    found = {
        _key(each): each
        for each in metadata.distributions()
        if any(_same(str(each.locate_file(file))) in wanted for file in each.files or ())
    }
    return [found[key] for key in sorted(found)]


def rows(found: Sequence[metadata.Distribution], target: Path) -> list[Row]:
    """Write the packages' own texts; what the index says of each. Raises Unlicensed."""
    made = []
    for each in found:
        key = _key(each)
        if key in OVERRIDES:
            licence, texts = OVERRIDES[key]
        else:
            licence, texts = _licence(each), tuple(_own_texts(each, target))
        if not texts:
            raise Unlicensed(f"{key} {each.version} brings no licence text: put one into installer/licenses")
        made.append(Row(key, each.version, licence, texts))
    return made


def unclaimed(bundle: Path, found: Sequence[metadata.Distribution]) -> list[str]:
    """Libraries of a bundle that belong to no package and no part."""
    of_packages = {Path(str(file)).name.lower() for each in found for file in each.files or ()}
    patterns = [pattern for part in PARTS for pattern in part.files]
    return sorted(
        path.relative_to(bundle).as_posix()
        for path in bundle.rglob("*")
        if path.suffix.lower() in (".dll", ".pyd")
        and path.name.lower() not in of_packages
        and not any(fnmatchcase(path.name.lower(), pattern) for pattern in patterns)
    )


def index(rows_of_packages: Sequence[Row], python: str) -> str:
    """The text of THIRD-PARTY.txt."""
    parts = [Row(part.name, python if part.name == "Python" else "", part.licence, part.texts) for part in PARTS]
    lines = [
        "Kotaro Bridge is under the MIT licence (kotaro-bridge.txt). It contains the work of others:",
        "",
        *(
            f"{row.name} {row.version}".strip() + f"\n    licence: {row.licence}\n    text: {', '.join(row.texts)}"
            for row in (*parts, *rows_of_packages)
        ),
        "",
        "Qt is used under the LGPL, version 3. How you may replace its libraries by your own is in qt.txt.",
        "",
    ]
    return "\n".join(lines)


def write(sources: Sequence[str], bundle: Path) -> int:
    """Write `licenses/` into a bundle; how many parts it names. Raises Unlicensed."""
    found = packages(sources)
    if left := unclaimed(bundle, found):
        raise Unlicensed(f"nobody says under which licence these are: {', '.join(left)}")
    target = bundle / "licenses"
    target.mkdir()
    made = rows(found, target)
    names = {text for row in made for text in row.texts if "/" not in text} | {t for part in PARTS for t in part.texts}
    for name in sorted(names):
        (target / name).write_bytes((TEXTS / name).read_bytes())
    (target / "kotaro-bridge.txt").write_bytes(OWN.read_bytes())
    version = ".".join(str(part) for part in sys.version_info[:3])
    (target / INDEX).write_text(index(made, version), encoding="utf-8", newline="\r\n")
    return len(made) + len(PARTS)


def _own_texts(each: metadata.Distribution, target: Path) -> Iterable[str]:
    """Copy the licence files of a package into a folder of its own; their places below `target`."""
    for file in each.files or ():
        path = Path(str(file))
        in_record = any(part.endswith(".dist-info") for part in path.parts[:-1])
        if in_record and any(fnmatchcase(path.name.lower(), pattern) for pattern in _LICENCE_NAMES):
            inside = [part for part in path.parts if not part.endswith(".dist-info") and part != "licenses"]
            place = Path(_key(each), *inside)
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            (target / place).write_bytes(Path(str(each.locate_file(file))).read_bytes())
            yield place.as_posix()


def _licence(each: metadata.Distribution) -> str:
    """In short, as the package says it."""
    said = _field(each, "License-Expression") or _field(each, "License")
    if not said or "\n" in said or len(said) > 60:
        classifiers = each.metadata.get_all("Classifier") or []
        said = next((c.rsplit(" :: ", 1)[1] for c in classifiers if c.startswith("License :: OSI")), "see its text")
    return said


def _field(each: metadata.Distribution, name: str) -> str:
    return str((each.metadata.get_all(name) or [""])[0])


def _key(each: metadata.Distribution) -> str:
    return each.metadata["Name"].lower().replace("_", "-")


def _same(path: str) -> str:
    return os.path.normcase(os.path.normpath(path))


def main() -> int:
    """Write the folder into a bundle; exit code 1 with the reason."""
    sources = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    try:
        count = write(sources, Path(sys.argv[2]))
    except Unlicensed as why:
        print(f"licences: {why}", file=sys.stderr)
        return 1
    print(f"licences: {count} parts", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
