"""What this product keeps of a user outside of its program's folder, and its removal.

Owns the whole list, down to the names of the files: whoever keeps something new adds it here. Models, `.wslconfig` and
what is inside Linux are the user's own and never in it; nor is what somebody else put into our folders.
"""

from __future__ import annotations

import contextlib
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.host import app_id, autostart
from kotaro_bridge.host.paths import Paths
from kotaro_bridge.host.secrets import HUGGING_FACE, KeyringToken, has_keyring


class TraceKind(StrEnum):
    """What kind of thing is kept."""

    RUN_KEY = "run_key"
    APP_ID = "app_id"
    KEYRING = "keyring"
    FOLDER = "folder"


_MOUNT_POINT = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT of winnt.h

_OURS: Mapping[str, tuple[str, ...]] = {
    "config": ("settings.toml", ".*.tmp", "profiles/*.toml", "profiles/.*.tmp"),
    "state": (
        "control.key",
        "downloads.json",
        "updates.json",
        "history.sqlite3*",
        "starts.sqlite3*",
        ".*.tmp",
        "runs/*/",
        "wslconfig-backups/*/*Z",
        "wslconfig-backups/*/lock",
        "wslconfig-backups/*/*.kotaro-bridge-tmp",
    ),
    "log": ("*.log", "app/kotaro-bridge*", "crashes/crash-*", "crashes/alive-*"),
    "cache": ("updates/KotaroBridge-*",),
}
"""Files that are written into the folder of each kind, and whole folders (`/` at the end); not the owner's lock, which
whoever removes the rest holds."""
_SIMULATED = ("pc/", "starts-at-login")
"""What a simulated PC has beside folders like these."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing that is kept; `where` is shown."""

    kind: TraceKind
    where: str
    _remove: Callable[[], object]
    _clear: Callable[[], tuple[str, ...]] = lambda: ()

    def remove(self) -> None:
        """Remove it. Of a folder all that is ours in it; the folders themselves stay for `clear`.

        Raises:
            ProblemError: `forget.not_removed`, or what the keyring says.
        """
        try:
            self._remove()
        except OSError as error:
            raise ProblemError(problem("forget.not_removed", where=self.where, detail=str(error))) from error

    def clear(self) -> tuple[str, ...]:
        """Take away our folders that are empty now. Never raises.

        Returns:
            What is in the others.
        """
        return self._clear()


def traces(paths: Paths, scenario: str | None = None) -> tuple[Trace, ...]:
    """All that is kept, the folders last: what is in them says which simulated PCs have a token.

    Args:
        scenario: only what is kept of that simulated PC; a name that none of them has finds nothing.
    """
    if scenario is not None:
        if scenario not in paths.simulations():  # it comes from the command line: `..` leads to folders too
            return ()
        place = paths.simulated_place(scenario)
        return (*_tokens((scenario,)), _folder(place, _of_simulated(place)))
    found = []
    if autostart.is_listed():
        found.append(Trace(TraceKind.RUN_KEY, rf"HKCU\{autostart.RUN}\{autostart.VALUE}", autostart.forget))
    if app_id.app_id_registered():
        found.append(Trace(TraceKind.APP_ID, rf"HKCU\{app_id.KEY}", app_id.forget_app_id))
    ours = (*_of_places(paths.place), *_of_simulated(paths.simulated_place("*")))
    return (*found, *_tokens(("", *paths.simulations())), *(_folder(each, ours) for each in paths.existing()))


def _tokens(simulated: Iterable[str]) -> Iterator[Trace]:
    """Tokens of these PCs, "" for the real one."""
    if has_keyring():
        for token in (KeyringToken(HUGGING_FACE, name) for name in simulated):
            if _may_be_there(token):
                yield Trace(TraceKind.KEYRING, token.where, token.forget)


def _of_places(place: Callable[[str], Path]) -> tuple[str, ...]:
    """Patterns of what is ours in the folders of each kind."""
    return tuple(f"{place(kind)}/{name}" for kind, names in _OURS.items() for name in names)


def _of_simulated(place: Path) -> tuple[str, ...]:
    return (*_of_places(Paths(place).place), *(f"{place}/{name}" for name in _SIMULATED))


def _folder(folder: Path, ours: Iterable[str]) -> Trace:
    """Args: ours: patterns, of other folders too."""
    below = tuple(each for each in ours if Path(each).is_relative_to(folder))
    return Trace(TraceKind.FOLDER, str(folder), partial(_remove_ours, folder, below), partial(_clear, folder, below))


def _may_be_there(token: KeyringToken) -> bool:
    """A keyring that is locked may hold one: removing it then says why that cannot be."""
    try:
        return token.get() is not None
    except ProblemError:
        return True


def _remove_ours(folder: Path, ours: Iterable[str]) -> None:
    """All that can be removed of it is removed.

    Raises:
        OSError: the first thing that could not.
    """
    failed: list[OSError] = []
    for pattern in ours:
        for path in _found(folder, Path(pattern)):
            try:
                if _is_link(path) or path.is_file():  # what a link leads to is not ours to delete
                    path.unlink(missing_ok=True)
                elif pattern.endswith("/"):
                    shutil.rmtree(path)
            except OSError as error:
                failed.append(error)
    if failed:
        raise failed[0]


def _clear(folder: Path, ours: Iterable[str]) -> tuple[str, ...]:
    """Remove the folders on the way to what was ours, the deepest first, where nothing is left in them."""
    ways = {parent for each in ours for parent in Path(each).parents if parent.is_relative_to(folder)}
    made = {path for way in ways for path in _found(folder, way) if path.is_dir() and not _is_link(path)}
    for path in sorted(made, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            path.rmdir()
    left = (each for path in made if path.is_dir() for each in path.iterdir() if each not in made)
    return tuple(sorted(str(each.relative_to(folder)) for each in left))


def _found(folder: Path, pattern: Path) -> list[Path]:
    """What a pattern finds in a folder; a link on the way to it is found in its place."""
    found = [folder]
    for part in pattern.relative_to(folder).parts:
        found = [each for path in found for each in ([path] if _is_link(path) else path.glob(part))]
    return found


def _is_link(path: Path) -> bool:
    """True for a link and for a junction of Windows, which are removed alike."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _MOUNT_POINT
    return False
