"""The models on the machine: listing them, taking one away, copying one of Ollama's into a target.

Owns the order of the steps and what is refused: what runs or is being downloaded stays, other programs' files are never
touched, and what was agreed to is what is removed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.model.download import RESERVE_BYTES
from kotaro_bridge.domain.model.model_files import (
    FolderListing,
    Place,
    Removal,
    StoredModel,
    in_home,
    models_in,
    removal,
    with_users,
)
from kotaro_bridge.domain.model.model_stores import OllamaBlob, OllamaManifest
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.wsl.wsl_vm import DOCKER
from kotaro_bridge.service.model_ports import LOCAL, ModelPorts

MODELS = "~/models"


@dataclass(frozen=True, slots=True)
class OnMachine:
    """What was found.

    Args:
        problems: of targets that could not be looked at; not_running: distros that were left alone because looking
            would start them.
    """

    models: tuple[StoredModel, ...]
    problems: tuple[Problem, ...]
    not_running: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlannedRemoval:
    """A removal to be agreed to."""

    model: StoredModel
    revision: str | None
    removal: Removal


@dataclass(frozen=True, slots=True)
class Copied:
    """A file that an import has brought: its path, and False if it was there already."""

    path: str
    new: bool


@dataclass(slots=True)
class _Seen:
    models: list[StoredModel] = field(default_factory=list)
    listings: dict[tuple[str, str], FolderListing] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    not_running: list[str] = field(default_factory=list)


class Shelf:
    """The models of one PC. Every method blocks.

    Args:
        profiles: as they are now.
        busy: ids of profiles whose run does not rest, whoever owns it.
        downloading: (target, folder) of downloads under way.
        folders: further folders of a target to look into.
    """

    def __init__(
        self,
        ports: ModelPorts,
        profiles: Callable[[], tuple[Profile, ...]],
        busy: Callable[[], Collection[str]],
        downloading: Callable[[], Iterable[tuple[str, str]]] = lambda: (),
        folders: tuple[str, ...] = (),
    ) -> None:
        self._ports = ports
        self._profiles = profiles
        self._busy = busy
        self._downloading = downloading
        self._folders = folders

    def files(self, *, start: bool = False) -> OnMachine:
        """The models in every distro that runs, and those of LM Studio and Ollama.

        Args:
            start: look into the default distro even if that starts it.
        """
        seen = self._look(start=start)
        return OnMachine(tuple(seen.models), tuple(seen.problems), tuple(seen.not_running))

    def plan_removal(self, name: str, revision: str | None = None, *, start: bool = True) -> PlannedRemoval:
        """What removing a model would do; nothing is removed.

        Args:
            name: id of a model, its path, or the last part of either; revision: (the beginning of) a commit.

        Raises:
            ProblemError: `models.unknown`, `models.ambiguous`, `models.no_revision`, `models.read_only`,
                `models.in_use`, `models.being_downloaded`, or a target that does not answer.
        """
        seen = self._look(start=start)
        return self._planned(seen, _named(seen.models, name), revision)

    def remove(self, agreed: PlannedRemoval) -> int:
        """Do what was agreed to; bytes that it freed. Looks again before.

        Raises:
            ProblemError: `models.changed` if it would be another removal now; the others as for `plan_removal`.
        """
        seen = self._look(start=True)
        same = [each for each in seen.models if (each.id, each.target) == (agreed.model.id, agreed.model.target)]
        if not same:
            raise ProblemError(problem("models.changed", name=agreed.model.id))
        now = self._planned(seen, same[0], agreed.revision)
        if now.removal != agreed.removal:
            raise ProblemError(problem("models.changed", name=agreed.model.id))
        self._ports.target(agreed.model.target).remove(now.removal.root, now.removal.paths)
        return now.removal.freed_bytes

    def ollama(self) -> tuple[OllamaManifest, ...]:
        """Ollama's models that can be copied."""
        return self._ports.stores.ollama()

    def import_ollama(
        self,
        name: str,
        target: str,
        folder: str = MODELS,
        on_bytes: Callable[[int, int, str], None] = lambda done, total, file: None,
    ) -> tuple[Copied, ...]:
        """Copy the GGUF files of one of Ollama's models into a target; Ollama's own stay.

        Args:
            on_bytes: is told bytes copied, bytes in all, and the file's name; an exception of it ends the copy.

        Raises:
            ProblemError: `models.ollama_unknown`, `models.ollama_blob`, `models.copy_*`, `download.no_space_windows`.
        """
        wanted = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        found = {manifest.name: manifest for manifest in self.ollama()}
        if wanted not in found:
            raise ProblemError(problem("models.ollama_unknown", *found, name=wanted))
        files = found[wanted].file_names()
        total = sum(blob.size for blob, _ in files)
        free = self._ports.drive_free(target)
        if free is not None and free < total + RESERVE_BYTES:
            raise ProblemError(problem("download.no_space_windows", need_bytes=total, free_bytes=free))
        copied, before = [], 0
        for blob, file in files:
            path = posixpath.join(folder, file)
            chunks = self._counted(blob, before, total, file, on_bytes)
            new = self._ports.target(target).receive(path, blob.size, blob.sha256, chunks)
            before += blob.size
            on_bytes(before, total, file)
            copied.append(Copied(path, new))
        return tuple(copied)

    def _counted(
        self, blob: OllamaBlob, before: int, total: int, file: str, on_bytes: Callable[[int, int, str], None]
    ) -> Iterator[bytes]:
        done = before
        for chunk in self._ports.stores.read(blob.sha256, blob.size):
            yield chunk
            done += len(chunk)
            on_bytes(done, total, file)

    def _look(self, *, start: bool) -> _Seen:
        seen = _Seen()
        profiles = self._with_full_targets(seen)
        for target in self._targets(seen, start=start):
            self._look_into(target, profiles, seen)
        seen.models += self._ports.stores.models()
        seen.models = with_users(seen.models, profiles, seen.homes)
        return seen

    def _with_full_targets(self, seen: _Seen) -> list[Profile]:
        try:
            return [
                msgspec.structs.replace(each, target=self._ports.canonical(each.target)) for each in self._profiles()
            ]
        except ProblemError as error:
            seen.problems.append(error.problem)
            return list(self._profiles())

    def _targets(self, seen: _Seen, *, start: bool) -> list[str]:
        if self._ports.installed is None or self._ports.running is None:
            return [LOCAL]
        try:
            installed, running = self._ports.installed(), self._ports.running()
        except ProblemError as error:
            if error.problem not in seen.problems:
                seen.problems.append(error.problem)
            return []
        known = {name.lower() for name in running}
        own = [name for name in installed if not name.startswith(DOCKER)]
        looked = [name for at, name in enumerate(own) if name.lower() in known or (start and at == 0)]
        seen.not_running += [name for name in own if name not in looked]
        return [f"wsl:{name}" for name in looked]

    def _look_into(self, target: str, profiles: list[Profile], seen: _Seen) -> None:
        own = [profile for profile in profiles if profile.target == target]
        try:
            home, listings = self._ports.target(target).listings(folders_of(own, self._folders))
        except ProblemError as error:
            seen.problems.append(error.problem)
            return
        seen.homes[target] = home
        for listing in listings:
            seen.listings[target, listing.root] = listing
            seen.models += models_in(listing, target)

    def _planned(self, seen: _Seen, model: StoredModel, revision: str | None) -> PlannedRemoval:
        if not model.removable:
            raise ProblemError(problem("models.read_only", name=model.id, program=model.place.value))
        running = [profile for profile in model.used_by if profile in self._busy()]
        if running:
            raise ProblemError(problem("models.in_use", name=model.id, profiles=", ".join(running)))
        home = seen.homes.get(model.target, "")
        if any(where == model.target and _overlaps(model, at, home) for where, at in self._downloading()):
            raise ProblemError(problem("models.being_downloaded", name=model.id))
        commit = _commit(model, revision) if revision is not None else None
        return PlannedRemoval(model, commit, removal(model, seen.listings[model.target, model.root], commit))


def folders_of(profiles: Iterable[Profile], more: Iterable[str] = ()) -> tuple[str, ...]:
    """The folders to look into: `~/models`, those of the profiles' models, and more; none that lies in another one.

    A home folder or the top of a disk is too much to walk through: a model there is found by its profile alone.
    """
    named = {posixpath.dirname(p.model.rstrip("/")) for p in profiles if p.model.startswith(("/", "~/"))}
    wanted = sorted({MODELS, *(folder.rstrip("/") for folder in more), *(named - {"", "~", "/", "/root", "/home"})})
    return tuple(each for each in wanted if not any(each.startswith(f"{other}/") for other in wanted))


def _named(models: list[StoredModel], name: str) -> StoredModel:
    wanted = name.rstrip("/")
    for matches in (
        [model for model in models if wanted in (model.id, model.path)],
        [model for model in models if posixpath.basename(model.id) == posixpath.basename(wanted) == wanted],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            where = [f"{model.target} {model.id}" for model in matches]
            raise ProblemError(problem("models.ambiguous", *where, name=name))
    raise ProblemError(problem("models.unknown", *(model.id for model in models), name=name))


def _commit(model: StoredModel, revision: str) -> str:
    found = [commit for commit in model.revisions if revision and commit.startswith(revision)]
    if len(found) != 1:
        raise ProblemError(problem("models.no_revision", *model.revisions, name=model.id, revision=revision))
    return found[0]


def _overlaps(model: StoredModel, folder: str, home: str) -> bool:
    if model.place is Place.HUB_CACHE:
        return False
    path, other = in_home(model.path, home), in_home(folder, home)
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")
