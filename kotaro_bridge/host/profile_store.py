"""The profiles: built in and the user's own. A broken file is a problem in a list and hides no other.

Owns where profiles come from and their order. Must not judge their content (`domain/profile.py`).
"""

from __future__ import annotations

from pathlib import Path

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.profile import Profile, decode_profile
from kotaro_bridge.resources import resource

_MAX_BYTES = 1 << 20


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


def _load(file: Path, builtin: bool) -> Profile:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ProblemError(problem("profile.unreadable", file=str(file), detail=f"> {_MAX_BYTES} bytes"))
        text = file.read_bytes().decode("utf-8-sig")  # Notepad writes a mark in front
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(problem("profile.unreadable", file=str(file), detail=str(error))) from error
    return decode_profile(text.replace("\r\n", "\n"), file=str(file), profile_id=file.stem, builtin=builtin)
