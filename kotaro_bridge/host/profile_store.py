"""The profiles: built in and the user's own. A broken file is a problem in a list and hides no other.

Owns where profiles come from, their order, and how a file is changed: as a person would, with everything else in it as
it was, and never half. Must not judge their content (`domain/profile.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.profile import PROFILE_ID, Profile, decode_profile
from kotaro_bridge.domain.profile_edit import Changes, Value
from kotaro_bridge.host.disk import patiently
from kotaro_bridge.host.text_file import changed_toml, plain, read_whole, replace_file
from kotaro_bridge.resources import resource


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

    def change(self, profile_id: str, changes: Changes) -> Profile:
        """See `ProfileStore.change`. Comments, order and spacing of the file stay."""
        new = self.changed_text(profile_id, changes)
        target = self._folder / f"{profile_id}.toml"
        profile = _decode(new, target, builtin=False)
        _replace(target, new.encode())
        return profile

    def text(self, profile_id: str) -> str:
        """The file of a profile as it is, with its comments. Raises ProblemError as `read`."""
        _load(*self._find(profile_id))
        return plain(_text(self._find(profile_id)[0]))

    def changed_text(self, profile_id: str, changes: Changes) -> str:
        """What `change` would write. Raises ProblemError if the file cannot be read."""
        return changed_toml(_text(self._find(profile_id)[0]), changes)

    def file(self, profile_id: str) -> Path:
        """Where the user's file of a profile is, or would be."""
        return self._folder / f"{profile_id}.toml"

    def has(self, profile_id: str) -> bool:
        """True if there is a file for it, of the user or built in. Raises ProblemError for what is no id."""
        return os.path.lexists(self._find(profile_id)[0])

    def is_own(self, profile_id: str) -> bool:
        """True if there is a file of the user for it, broken ones too."""
        return os.path.lexists(self._folder / f"{profile_id}.toml")

    def is_builtin(self, profile_id: str) -> bool:
        """True if one of that name comes with the product."""
        return resource(f"profiles/{profile_id}.toml").exists()

    def create(self, profile_id: str, text: str, *, replace: bool = False) -> Profile:
        """Write a profile of the user.

        Args:
            replace: also over one that is there, or in the place of a built-in one.

        Raises:
            ProblemError: `profile.id`, `profile.exists`, or the text is no profile, or it cannot be written. Nothing is
                changed then.
        """
        target = self._folder / f"{profile_id}.toml"
        if self._find(profile_id)[0].exists() and not replace:
            raise ProblemError(problem("profile.exists", id=profile_id))
        profile = _decode(text, target, builtin=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProblemError(problem("profile.not_saved", file=str(target), detail=str(error))) from error
        _replace(target, text.encode())
        return profile

    def remove(self, profile_id: str) -> None:
        """Delete a profile of the user, broken ones too; a built-in one of that name is there again then.

        Raises:
            ProblemError: `profile.builtin_stays`, `profile.unknown`, `profile.not_removed`.
        """
        file, builtin = self._find(profile_id)
        if builtin:
            known = ", ".join(sorted(path.stem for path in self._folder.glob("*.toml")))
            code = "profile.builtin_stays" if file.exists() else "profile.unknown"
            raise ProblemError(problem(code, id=profile_id, known=known or "-"))
        try:
            patiently(file.unlink)
        except OSError as error:
            raise ProblemError(problem("profile.not_removed", file=str(file), detail=str(error))) from error

    def _find(self, profile_id: str) -> tuple[Path, bool]:
        """The file that counts, and whether it is a built-in one. Raises ProblemError for what is no id."""
        if not PROFILE_ID.match(profile_id):
            raise ProblemError(problem("profile.id", file=f"{profile_id}.toml", id=profile_id))
        own = self._folder / f"{profile_id}.toml"
        if os.path.lexists(own):
            return own, False
        return resource(f"profiles/{profile_id}.toml"), True


def _load(file: Path, builtin: bool) -> Profile:
    return _decode(_text(file), file, builtin=builtin)


def _decode(text: str, file: Path, *, builtin: bool) -> Profile:
    return decode_profile(plain(text), file=str(file), profile_id=file.stem, builtin=builtin)


def _text(file: Path) -> str:
    """The whole file. Raises ProblemError."""
    try:
        return read_whole(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(problem("profile.unreadable", file=str(file), detail=str(error))) from error


def new_text(keys: Mapping[str, Value]) -> str:
    """A profile's file with these keys, and nothing else."""
    return changed_toml("", keys)


def _replace(target: Path, data: bytes) -> None:
    """Put `data` in the place of a file, whole or not at all.

    Raises:
        ProblemError: `profile.not_saved` with `file` and `detail`.
    """
    try:
        replace_file(target, data)
    except OSError as error:
        raise ProblemError(problem("profile.not_saved", file=str(target), detail=str(error))) from error
