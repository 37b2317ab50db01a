"""Stands in for `resources/guardian/models.sh` on the simulated PC of a Windows machine, which has no Linux side.

NOT the product's script: it keeps the script's lines and exit codes for the simulated PC alone. Paths are written with
`/`, as Linux has them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator

from kotaro_bridge.simulator.guardian_stand_in import in_home

NOT_THERE, LEADS_OUT, FAILED = 44, 45, 46
CHUNK = 1 << 20
KIB = 1024
COMMIT_CHARACTERS = 64


def run(arguments: list[str], environment: dict[str, str]) -> int:
    """`list`, `remove` or `receive`; the exit code."""
    verb, *rest = arguments
    home = environment["HOME"]
    if verb == "list":
        os.write(1, b"".join(os.fsencode(f"{line}\n") for line in _listed(rest, environment)))
        return 0
    if verb == "remove":
        return _remove("~" if rest[0] == "~" else in_home(rest[0], home), home)
    return _receive(in_home(rest[0], home), int(rest[1]), rest[2])


def _listed(folders: list[str], environment: dict[str, str]) -> Iterator[str]:
    home = environment["HOME"]
    yield f"home\t{home}"
    cache = environment.get("HF_HOME") or f"{environment.get('XDG_CACHE_HOME') or f'{home}/.cache'}/huggingface"
    hub = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE") or f"{cache}/hub"
    yield from _folder("hub-cache", hub)
    for folder in folders:
        yield from _folder("folder", home if folder == "~" else in_home(folder, home).removesuffix("/"))


def _folder(place: str, folder: str) -> Iterator[str]:
    if not os.path.isdir(folder):
        return
    yield f"root\t{place}\t{posix(os.path.realpath(folder))}"
    paths = sorted(_beneath(folder))
    linked = [path for path in paths if os.path.islink(f"{folder}/{path}")]
    for path in paths:
        found = os.lstat(f"{folder}/{path}")
        if path in linked:
            yield f"link\t{posix(os.readlink(f'{folder}/{path}'))}\t{path}"
        else:
            yield f"file\t{found.st_dev}:{found.st_ino}\t{found.st_nlink}\t{found.st_size}\t{path}"
    for path in linked:
        with contextlib.suppress(OSError):
            found = os.stat(f"{folder}/{path}")
            if stat.S_ISREG(found.st_mode) and found.st_size:  # GNU stat calls a file without bytes otherwise
                yield f"leads\t{found.st_dev}:{found.st_ino}\t{found.st_size}\t{path}"
    if place == "hub-cache":
        for path in paths:
            if "/refs/" in path and path not in linked:
                said = _first(f"{folder}/{path}", COMMIT_CHARACTERS).decode("ascii", "ignore")
                yield f"ref\t{re.sub('[^0-9A-Za-z]', '', said)}\t{path}"
    for path in paths:
        if path.endswith(".gguf"):
            yield f"magic\t{_first(f'{folder}/{path}', 4).hex()}\t{path}"


def _beneath(folder: str) -> Iterator[str]:
    """Regular files and links, by their path in the folder."""
    for inside, folders, names in os.walk(folder):
        for name in (*names, *(each for each in folders if os.path.islink(os.path.join(inside, each)))):
            path = os.path.join(inside, name)
            if os.path.islink(path) or os.path.isfile(path):
                yield posix(os.path.relpath(path, folder))


def _first(path: str, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _remove(root: str, home: str) -> int:
    root = home if root == "~" else root
    if not os.path.isdir(root):
        return NOT_THERE
    paths = b"".join(_stdin()).decode("utf-8", "surrogateescape").rstrip("\n").split("\n")
    if any(_leads_out(path) for path in paths):
        return LEADS_OUT
    for path in paths:
        full = f"{root}/{path}"
        try:
            if os.path.isdir(full) and not os.path.islink(full):
                shutil.rmtree(full)
            elif os.path.lexists(full):
                os.remove(full)
        except OSError as error:
            os.write(2, f"rm: cannot remove './{path}': {error.strerror}\n".encode())
            return FAILED
        folder = os.path.dirname(path)
        with contextlib.suppress(OSError):
            while folder:
                os.rmdir(f"{root}/{folder}")
                folder = os.path.dirname(folder)
    return 0


def _leads_out(path: str) -> bool:
    odd = os.path.normpath(path).startswith(os.pardir) or os.path.splitdrive(path)[0]
    return not path or bool(odd) or path.startswith("/") or any(part in (".", "..") for part in path.split("/"))


def _receive(path: str, size: int, sha256: str) -> int:
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        os.write(2, f"mkdir: cannot create directory '{folder}': {error.strerror}\n".encode())
        return NOT_THERE
    room = shutil.disk_usage(folder).free // KIB * KIB
    if os.path.exists(path):
        _tell("kept" if os.path.getsize(path) == size and _sha256(path) == sha256 else "exists")
        return 0
    if room < size:
        _tell(f"full {room}")
        return 0
    _tell("send")
    part = f"{path}.part"
    try:
        with open(part, "wb") as file:
            for data in _stdin():
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        os.write(2, f"cat: write error: {error.strerror}\n".encode())
        return FAILED
    _tell(_taken_over(part, path, size, sha256))
    return 0


def _taken_over(part: str, path: str, size: int, sha256: str) -> str:
    """The last word on a file that has come."""
    if (came := os.path.getsize(part)) != size:
        return f"short {came}"
    if (found := _sha256(part)) != sha256:
        os.remove(part)
        return f"differs {found}"
    os.replace(part, path)
    return "done"


def _sha256(path: str) -> str:
    import hashlib  # not for a list

    made = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(CHUNK):
            made.update(data)
    return made.hexdigest()


def _tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _stdin() -> Iterator[bytes]:
    while data := os.read(0, CHUNK):
        yield data


def posix(path: str) -> str:
    """A path as Linux writes it."""
    return path.replace(os.sep, "/")
