"""The profiles: built in and the user's own. A broken file is a problem in a list and hides no other.

Owns where profiles come from, their order, and how a file is changed: as a person would, with everything else in it as
it was, and never half. Must not judge their content (`domain/profile.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.profile import Profile, decode_profile
from kotaro_bridge.resources import resource

_MAX_BYTES = 1 << 20
_MARK = "\ufeff"  # Notepad writes it in front


def load_profiles(folder: Path) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """All profiles, and what is wrong with files that are none.

    The user's come first, by title; then the built-in ones, those that need least VRAM first.

    Args:
        folder: the user's profiles; a file with the name of a built-in one takes its place.
    """
    found: dict[str, Profile] = {}
    problems: list[Problem] = []
    for place, builtin in ((resource("profiles"), True), (folder, False)):
        for file in sorted(place.glob("*.toml")):
            try:
                found[file.stem] = _load(file, builtin)
            except ProblemError as error:
                # A broken file takes the place of a built-in one too: that one is not what the user wants started.
                found.pop(file.stem, None)
                problems.append(error.problem)
    ordered = sorted(found.values(), key=lambda p: (p.builtin, (p.stated_need or 0) if p.builtin else 0, p.title))
    return tuple(ordered), tuple(problems)


class ProfileFolder:
    """Implements `domain.ports.ProfileStore`.

    Args:
        folder: the user's profiles.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, profile_id: str) -> Profile:
        """See `ProfileStore.read`."""
        file, builtin = self._find(profile_id)
        return _load(file, builtin)

    def change(self, profile_id: str, changes: Mapping[str, str | int | None]) -> Profile:
        """See `ProfileStore.change`. Comments, order and spacing of the file stay."""
        source, _ = self._find(profile_id)
        old = _text(source)
        new = _changed(old, changes)
        target = self._folder / f"{profile_id}.toml"
        profile = _decode(new, target, builtin=False)
        # A link stays one: what it leads to is replaced.
        _replace(Path(os.path.realpath(target)), new.encode())
        return profile

    def _find(self, profile_id: str) -> tuple[Path, bool]:
        """The file that counts, and whether it is a built-in one. Raises ProblemError."""
        own = self._folder / f"{profile_id}.toml"
        if os.path.lexists(own):
            return own, False
        return resource(f"profiles/{profile_id}.toml"), True


def _load(file: Path, builtin: bool) -> Profile:
    return _decode(_text(file), file, builtin=builtin)


def _decode(text: str, file: Path, *, builtin: bool) -> Profile:
    plain = text.removeprefix(_MARK).replace("\r\n", "\n")
    return decode_profile(plain, file=str(file), profile_id=file.stem, builtin=builtin)


def _text(file: Path) -> str:
    """The whole file. Raises ProblemError."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ProblemError(problem("profile.unreadable", file=str(file), detail=f"> {_MAX_BYTES} bytes"))
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(problem("profile.unreadable", file=str(file), detail=str(error))) from error


def _changed(text: str, changes: Mapping[str, str | int | None]) -> str:
    """TOML text with these top-level keys set, or taken out for None. Text that is no TOML stays: decoding says why."""
    import tomlkit
    import tomlkit.exceptions

    mark = _MARK if text.startswith(_MARK) else ""
    try:
        document = tomlkit.parse(text.removeprefix(_MARK))
    except tomlkit.exceptions.ParseError:
        return text
    for key, value in changes.items():
        if value is not None:
            document[key] = value
        elif key in document:
            document.remove(key)
    made = tomlkit.dumps(document)
    if "\r\n" in text and not re.search(r"(?<!\r)\n", text):
        made = re.sub(r"(?<!\r)\n", "\r\n", made)  # a new key comes with a bare line feed
    return mark + made


def _replace(target: Path, data: bytes) -> None:
    """Put `data` in the place of a file, whole or not at all.

    Raises:
        ProblemError: `profile.not_saved` with `file` and `detail`.
    """
    temporary: Path | None = None
    try:
        there = target.exists()
        # Replacing a file needs no right to write it: its own mark is what the person meant.
        if there and not target.stat().st_mode & stat.S_IWUSR:
            raise PermissionError(f"read-only: {target}")
        descriptor, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=".tmp", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if there:
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise ProblemError(problem("profile.not_saved", file=str(target), detail=str(error))) from error
    _keep_name(target.parent)


def _keep_name(folder: Path) -> None:
    """Have the new name on the disk too, where a folder can be synchronised (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
