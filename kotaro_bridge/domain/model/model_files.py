"""Model files on a machine: which models a listing of folders holds, how large, how whole, and what a removal frees.

Owns how the folders are laid out (Hugging Face cache, folders of files) and the rule that a file counts once however
many links lead to it. Must not look at a disk: listings come from `host/model_files.py`. Windows programs' stores are
in `model_stores.py`.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kotaro_bridge.domain.profile import Profile

WEIGHTS = (".gguf", ".safetensors")
PART = ".part"
"""Ends the name of a file that a download or a copy of ours has not finished."""
INCOMPLETE = ".incomplete"
"""The same for the official client: `<etag>.incomplete` or, newer, `<etag>.<random>.incomplete`, which it never takes
up again (measured: huggingface_hub 1.33.0 and 2.4.0)."""
_OWN_FOLDER = ".cache/"
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.(?:gguf|safetensors))\Z")
_PROJECTOR = re.compile(r"(?:^|/)[^/]*mmproj[^/]*\.gguf\Z", re.IGNORECASE)


class Place(StrEnum):
    """What kind of folder a model lies in."""

    HUB_CACHE = "hub-cache"
    FOLDER = "folder"
    LM_STUDIO = "lm-studio"
    OLLAMA = "ollama"


READ_ONLY = frozenset({Place.LM_STUDIO, Place.OLLAMA})
"""Folders of other programs: nothing of ours changes them."""


class Condition(StrEnum):
    """Whether a model is all there."""

    WHOLE = "whole"
    PARTIAL = "partial"  # a download or copy that has not ended
    BROKEN = "broken"  # a link that leads nowhere, a file that is not what its name says


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file or link of a folder.

    Args:
        path: relative to the folder, with `/`.
        size: bytes of what it is or leads to; None for a link that leads nowhere.
        identity: device and inode of what it is or leads to; two entries with the same one are the same bytes.
        link: what a symbolic link says; None for a file.
        links: hard links that the file has in all.
        magic: the first four bytes of a GGUF file, None where they were not read.
    """

    path: str
    size: int | None
    identity: str
    link: str | None = None
    links: int = 1
    magic: bytes | None = None


@dataclass(frozen=True, slots=True)
class FolderListing:
    """A folder as it was found.

    Args:
        root: its absolute path.
        refs: of a Hugging Face cache: content of the files under `refs`, by their path.
    """

    place: Place
    root: str
    entries: tuple[FileEntry, ...]
    refs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model that is on the machine.

    Args:
        id: says which one in every command: a Hugging Face id, a path, or a name in another program's store.
        target: `wsl:<distro>`, `local`, or `windows` for the stores of Windows programs.
        path: what a profile would name; for a Hugging Face cache the id.
        root: the folder it was found in; `files`: its entries there.
        bytes: on disk, each file once.
        revisions: commits of a Hugging Face cache that are there.
        used_by: ids of profiles that name it.
    """

    id: str
    place: Place
    target: str
    path: str
    root: str
    format: str
    files: tuple[FileEntry, ...]
    condition: Condition
    revisions: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    projectors: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes on disk, each file once."""
        return counted_once(self.files)

    @property
    def unfinished_bytes(self) -> int:
        """Bytes of downloads and copies that have not ended, of this model."""
        return counted_once(entry for entry in self.files if _unfinished(entry))

    @property
    def removable(self) -> bool:
        """False for what belongs to another program."""
        return self.place not in READ_ONLY


@dataclass(frozen=True, slots=True)
class Removal:
    """What removing a model takes away: paths relative to its root, and the bytes that this frees."""

    root: str
    paths: tuple[str, ...]
    freed_bytes: int


def counted_once(entries: Iterable[FileEntry]) -> int:
    """Bytes of files, however many of the entries lead to each."""
    return sum({entry.identity: entry.size or 0 for entry in entries}.values())


def models_in(listing: FolderListing, target: str) -> tuple[StoredModel, ...]:
    """The models of one folder of a target."""
    read = _hub_models if listing.place is Place.HUB_CACHE else _folder_models
    return tuple(read(listing, target))


def format_of(paths: Iterable[str]) -> str:
    """`gguf`, `safetensors`, or "" for neither."""
    names = [path.removesuffix(PART).lower() for path in paths]
    return next((kind[1:] for kind in WEIGHTS if any(name.endswith(kind) for name in names)), "")


def shard_of(path: str) -> tuple[str, int, int] | None:
    """(name without the part's number, number, parts) of one file of a model in several, else None."""
    match = _SHARD.match(path)
    return (match[1] + match[4], int(match[2]), int(match[3])) if match else None


def is_projector(path: str) -> bool:
    """True for the vision part of a GGUF model, by the name that everybody gives it."""
    return _PROJECTOR.search(path) is not None


def missing_shards(paths: Iterable[str]) -> bool:
    """True if some of the files name a whole of which others are not there."""
    seen: dict[tuple[str, int], set[int]] = defaultdict(set)
    for path in paths:
        if (shard := shard_of(path)) is not None:
            seen[shard[0], shard[2]].add(shard[1])
    return any(numbers != set(range(1, parts + 1)) for (_, parts), numbers in seen.items())


def _hub_models(listing: FolderListing, target: str) -> Iterable[StoredModel]:
    """Models of a Hugging Face cache: `models--ORG--NAME/{blobs,refs,snapshots}` (huggingface_hub, "Understand
    caching")."""
    repos: dict[str, list[FileEntry]] = defaultdict(list)
    for entry in listing.entries:
        folder, _, inside = entry.path.partition("/")
        if folder.startswith("models--") and inside:
            repos[folder].append(entry)
    for folder, entries in sorted(repos.items()):
        name = folder.removeprefix("models--").replace("--", "/")
        snapshots = [entry for entry in entries if _revision(entry.path) is not None]
        revisions = tuple(sorted({revision for entry in snapshots if (revision := _revision(entry.path))}))
        yield StoredModel(
            id=name,
            place=Place.HUB_CACHE,
            target=target,
            path=name,
            root=listing.root,
            format=format_of(entry.path for entry in snapshots),
            files=tuple(entries),
            condition=_hub_condition(snapshots),
            revisions=revisions,
        )


def _revision(path: str) -> str | None:
    """The commit that an entry of a cache belongs to; None for one that is no part of a snapshot."""
    parts = path.split("/")
    return parts[2] if len(parts) > 3 and parts[1] == "snapshots" else None


def _hub_condition(snapshots: Sequence[FileEntry]) -> Condition:
    if any(entry.size is None for entry in snapshots):
        return Condition.BROKEN
    by_revision = defaultdict(list)
    for entry in snapshots:
        by_revision[_revision(entry.path)].append(entry.path.split("/", 3)[3])
    whole = [paths for paths in by_revision.values() if format_of(paths) and not missing_shards(paths)]
    return Condition.WHOLE if whole else Condition.PARTIAL


def _folder_models(listing: FolderListing, target: str) -> Iterable[StoredModel]:
    """Models of a folder of files: each GGUF (all its parts), and each folder with safetensors."""
    groups: dict[tuple[str, str], list[FileEntry]] = defaultdict(list)
    projectors: dict[str, list[str]] = defaultdict(list)
    for entry in listing.entries:
        if (beside := _beside_own(entry.path)) is not None:
            if entry.path.endswith(INCOMPLETE):
                groups[beside, ""].append(entry)
            continue
        folder, name = posixpath.split(entry.path)
        plain = plain_name(name)
        if plain is None:
            continue
        if is_projector(plain):
            projectors[folder].append(entry.path)
        shard = shard_of(plain)
        key = (shard[0] if shard else plain) if plain.lower().endswith(".gguf") else ""
        groups[folder, key].append(entry)
    for (folder, name), entries in sorted(groups.items()):
        if not name:
            # Everything beside the weights belongs to the model too: config, tokenizer, what the client left.
            entries = [entry for entry in listing.entries if _belongs(entry.path, folder) and not _is_gguf(entry.path)]
        first = min((entry.path for entry in entries), key=lambda path: (path.endswith(PART), path))
        path = posixpath.join(listing.root, folder) if not name else posixpath.join(listing.root, whole_name(first))
        yield StoredModel(
            id=path.rstrip("/"),
            place=listing.place,
            target=target,
            path=path.rstrip("/"),
            root=listing.root,
            format="gguf" if name else "safetensors",
            files=tuple(entries),
            condition=_folder_condition(entries),
            projectors=() if is_projector(name) else tuple(projectors[folder]),
        )


def _folder_condition(entries: Sequence[FileEntry]) -> Condition:
    if any(entry.size is None or entry.magic not in (None, b"GGUF") for entry in entries if not _unfinished(entry)):
        return Condition.BROKEN
    finished = {entry.path for entry in entries if not _unfinished(entry)}
    begun = {whole_name(entry.path) for entry in entries if entry.path.endswith(PART)}
    whole = format_of(finished) and not missing_shards(finished) and begun <= finished
    return Condition.WHOLE if whole else Condition.PARTIAL


def _unfinished(entry: FileEntry) -> bool:
    return entry.path.endswith((PART, INCOMPLETE))


def plain_name(name: str) -> str | None:
    """The name that a file of weights has, or will have once it is whole; None for other files."""
    plain = whole_name(name)
    return plain if plain.lower().endswith(WEIGHTS) else None


def whole_name(name: str) -> str:
    """The name of a file once it is whole: ours are `NAME.<first of the checksum>.part` before."""
    return re.sub(r"(?:\.[0-9a-f]{16})?\.part\Z", "", name)


def _is_gguf(path: str) -> bool:
    return whole_name(path).lower().endswith(".gguf")


def _beside_own(path: str) -> str | None:
    """The folder whose downloads a file of the client's own folder (`.cache/huggingface`) is about; else None."""
    before, own, _ = f"/{path}".partition(f"/{_OWN_FOLDER}")
    return before.removeprefix("/") if own else None


def _belongs(path: str, folder: str) -> bool:
    """True if a file belongs to the model of a folder; in the top folder other models have folders of their own."""
    return _beneath(path, folder) if folder else "/" not in path or _beside_own(path) == ""


def _beneath(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def with_users(
    models: Iterable[StoredModel], profiles: Sequence[Profile], homes: Mapping[str, str]
) -> list[StoredModel]:
    """The models with the profiles that name them, and paths as profiles write them: `~/` for the home folder.

    Args:
        profiles: their targets as those of the models are: with the name of the default distro.
        homes: home folder of each target's user, by target.
    """
    found = []
    for model in models:
        home = homes.get(model.target, "")
        users = tuple(profile.id for profile in profiles if uses(profile, model, home))
        short = _from_home(model.path, home)
        found.append(replace(model, used_by=users, path=short, id=short if model.id == model.path else model.id))
    return found


def _from_home(path: str, home: str) -> str:
    return f"~{path.removeprefix(home)}" if home and path.startswith(f"{home}/") else path


def uses(profile: Profile, model: StoredModel, home: str) -> bool:
    """True if a profile of the model's target names it as its model or its projector."""
    if profile.target != model.target:
        return False
    if model.place is Place.HUB_CACHE:
        return profile.model == model.id
    named = [in_home(path, home).rstrip("/") for path in (profile.model, profile.projector) if path]
    own = {posixpath.join(model.root, entry.path) for entry in model.files}
    return any(name == model.path or name in own for name in named)


def in_home(path: str, home: str) -> str:
    """A path with a leading `~/` as the full path."""
    return posixpath.join(home, path[2:]) if path.startswith("~/") and home else path


def removal(model: StoredModel, listing: FolderListing, revision: str | None = None) -> Removal:
    """What removing a model, or one revision of it, takes away.

    What other revisions, other models or other links still lead to stays, and is not counted as freed.

    Args:
        listing: the whole folder that the model is in, as it is now.
        revision: a commit of a Hugging Face cache; None for the whole model.
    """
    gone = _hub_removal(model, listing, revision) if model.place is Place.HUB_CACHE else _folder_removal(model, listing)
    left = {entry.identity for entry in listing.entries if entry not in gone and not _names_only(entry)}
    freed = {entry.identity: entry.size or 0 for entry in gone if entry.link is None and entry.identity not in left}
    # A hard link from outside the folder keeps the bytes as well.
    names: dict[str, int] = defaultdict(int)
    for entry in gone:
        names[entry.identity] += entry.link is None
    kept = {entry.identity for entry in gone if entry.link is None and entry.links > names[entry.identity]}
    whole = model.place is Place.HUB_CACHE and revision is None
    repo = _repo_folder(model.id)
    paths = [entry.path for entry in gone if not (whole and _beneath(entry.path, repo))]
    refs = [path for path, commit in listing.refs.items() if commit == revision and _beneath(path, repo)]
    return Removal(
        model.root,
        tuple(sorted({*paths, *(refs if revision else ()), *((repo,) if whole else ())})),
        sum(size for identity, size in freed.items() if identity not in kept),
    )


def _names_only(entry: FileEntry) -> bool:
    """A symbolic link that stays does not keep what it leads to."""
    return entry.link is not None


def _folder_removal(model: StoredModel, listing: FolderListing) -> list[FileEntry]:
    own = {entry.path for entry in model.files}
    return [entry for entry in listing.entries if entry.path in own]


def _hub_removal(model: StoredModel, listing: FolderListing, revision: str | None) -> list[FileEntry]:
    """Entries of the revision, its blobs that no other revision has, and what of the cache-wide store of blobs
    (`blobs/XX/HASH` of newer clients, with a list `HASH.refs`) only those led to."""
    repo = _repo_folder(model.id)
    inside = [entry for entry in listing.entries if _beneath(entry.path, repo)]
    if revision is None:
        gone = inside
    else:
        snapshot = [entry for entry in inside if _revision(entry.path) == revision]
        needed = {entry.identity for entry in inside if _revision(entry.path) not in (None, revision)}
        lost = {entry.identity for entry in snapshot} - needed
        blobs = [entry for entry in inside if entry.path.split("/")[1] == "blobs" and entry.identity in lost]
        gone = [*snapshot, *blobs]
    leaving = {entry.path for entry in gone}
    lost = {entry.identity for entry in gone}
    needed = {e.identity for e in listing.entries if e.path.startswith("models--") and e.path not in leaving}
    store = [e for e in listing.entries if e.path.startswith("blobs/") and e.identity in lost - needed]
    lists = {f"{entry.path}.refs" for entry in store}
    return [*gone, *store, *(entry for entry in listing.entries if entry.path in lists)]


def _repo_folder(model_id: str) -> str:
    return "models--" + model_id.replace("/", "--")
