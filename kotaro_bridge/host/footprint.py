"""What this product keeps of a user outside of its program's folder, and its removal.

Owns the whole list: whoever adds a place where something is kept adds it here. Models, `.wslconfig` and what is inside
Linux are the user's own and never in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
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


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing that is kept; `where` is shown."""

    kind: TraceKind
    where: str
    _remove: Callable[[], object]

    def remove(self) -> None:
        """Remove it.

        Raises:
            ProblemError: `forget.not_removed`, `forget.not_ours`, or what the keyring says.
        """
        try:
            self._remove()
        except OSError as error:
            raise ProblemError(problem("forget.not_removed", where=self.where, detail=str(error))) from error


def traces(paths: Paths, scenario: str | None = None) -> tuple[Trace, ...]:
    """All that is kept, the folders last: what is in them says which simulated PCs have a token.

    Args:
        scenario: only what is kept of that simulated PC; a name that none of them has finds nothing.
    """
    if scenario is not None:
        if scenario not in paths.simulations():  # it comes from the command line: `..` leads to folders too
            return ()
        return (*_tokens((scenario,)), _folder(paths.simulated_place(scenario)))
    found = []
    if autostart.is_listed():
        found.append(Trace(TraceKind.RUN_KEY, rf"HKCU\{autostart.RUN}\{autostart.VALUE}", autostart.forget))
    if app_id.app_id_registered():
        found.append(Trace(TraceKind.APP_ID, rf"HKCU\{app_id.KEY}", app_id.forget_app_id))
    return (*found, *_tokens(("", *paths.simulations())), *map(_folder, paths.existing()))


def _tokens(simulated: Iterable[str]) -> Iterator[Trace]:
    """Tokens of these PCs, "" for the real one."""
    if has_keyring():
        for token in (KeyringToken(HUGGING_FACE, name) for name in simulated):
            if _may_be_there(token):
                yield Trace(TraceKind.KEYRING, token.where, token.forget)


def _folder(folder: Path) -> Trace:
    return Trace(TraceKind.FOLDER, str(folder), partial(_remove_folder, folder))


def _may_be_there(token: KeyringToken) -> bool:
    """A keyring that is locked may hold one: removing it then says why that cannot be."""
    try:
        return token.get() is not None
    except ProblemError:
        return True


def _remove_folder(folder: Path) -> None:
    """All that can be removed of it is removed.

    Raises:
        OSError: the first thing that could not.
        ProblemError: `forget.not_ours`; nothing is removed then.
    """
    if folder.is_symlink():  # what it leads to is not ours to delete
        folder.unlink()
        return
    if (found := _not_ours(folder)) is not None:
        raise ProblemError(problem("forget.not_ours", where=str(folder), found=str(found)))
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder)  # says what keeps it


def _not_ours(folder: Path) -> Path | None:
    """What shows that a person has more there: the portable program unpacked into it, or a checkout, which has the
    same name as our folder where `XDG_CONFIG_HOME` is the home folder. None if nothing does.
    """
    package = Path(__file__).resolve().parents[1]
    if package.is_relative_to(folder.resolve()):
        return package
    repository = folder / ".git"
    return repository if repository.exists() else None
