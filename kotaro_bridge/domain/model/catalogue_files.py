"""A model of the catalogue and the files on the machine: is it here, what to download, and a profile of it.

Owns how both sides are matched: by the names of files and folders, which downloads keep. Pure.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.catalogue import About, CatalogueEntry
from kotaro_bridge.domain.model.download import DownloadRequest, DownloadView
from kotaro_bridge.domain.model.hub import checked_id
from kotaro_bridge.domain.model.model_files import Condition, Place, StoredModel, is_projector, shard_of, whole_name
from kotaro_bridge.domain.planning.plan_parts import PlanRequest
from kotaro_bridge.domain.profile import Profile, VllmOptions
from kotaro_bridge.domain.profile_edit import EXECUTABLES, PORTS

_CONDITIONS = tuple(Condition)
_CONTEXT = 8192  # of a model of which nothing is known but its files


def stored_of(entry: CatalogueEntry, models: Iterable[StoredModel]) -> StoredModel | None:
    """The model on the machine that is this entry, a whole one before an unfinished one; None if there is none.

    Files of other programs do not count: no engine in Linux can be pointed at them.
    """
    found = [model for model in models if model.removable and _is_same(entry, model)]
    return min(found, key=lambda model: _CONDITIONS.index(model.condition), default=None)


def _is_same(entry: CatalogueEntry, model: StoredModel) -> bool:
    if not entry.repository:
        return False
    if entry.engine is Engine.VLLM:
        name = model.id if model.place is Place.HUB_CACHE else posixpath.basename(model.path)
        wanted = entry.repository if model.place is Place.HUB_CACHE else posixpath.basename(entry.repository)
        return model.format == "safetensors" and name.lower() == wanted.lower()
    names = {_plain(file.path) for file in model.files if not is_projector(file.path)}
    patterns = {_plain(file.name) for file in entry.files}
    if any("*" in pattern for pattern in patterns):  # `Q4_K_M` alone would be any model's
        own = re.sub(r"-gguf$", "", posixpath.basename(entry.repository).lower())
        names = {name for name in names if own in name}
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _plain(path: str) -> str:
    """A file's name without folder and part, in lower case: some offer whole what others have split."""
    name = whole_name(posixpath.basename(path))
    shard = shard_of(name)
    return (shard[0] if shard else name).lower()


def request_for_download(entry: CatalogueEntry, target: str) -> DownloadRequest | None:
    """What to download for an entry; None where it has no repository."""
    if not entry.repository:
        return None
    names = (*(file.name for file in entry.files), *((entry.projector.name,) if entry.projector else ()))
    return DownloadRequest(entry.repository, target, names)


def download_named(name: str, target: str) -> DownloadRequest | None:
    """What to download for `org/name`, `org/name:file or quantization` or the address of a page; None for a file or a
    folder.
    """
    address = re.match(r"https?://[^/]+/", name)
    page = re.fullmatch(r"https?://[^/]+/([^/]+/[^/]+)/(?:blob|resolve)/[^/]+/(.+)", name)
    model, _, wanted = (page[1], ":", page[2]) if page else name[address.end() if address else 0 :].partition(":")
    try:
        repo = checked_id(model)
    except ProblemError:
        return None
    pattern = f"*{wanted}*.gguf" if re.fullmatch(r"\w+", wanted, re.ASCII) else wanted
    return DownloadRequest(repo, target, (pattern,) if pattern.endswith(".gguf") else ())


def profile_of(entry: CatalogueEntry, stored: StoredModel, request: PlanRequest) -> Profile:
    """A profile, without an id yet, of an entry that is on the machine.

    Args:
        request: context and requests at once.
    """
    made = _profile(entry.name, entry.engine, stored, request.context)
    changes: dict[str, object] = {"served_name": _word(entry.model), "parallel": request.parallel}
    if entry.engine is Engine.VLLM and entry.sees_images:
        # MiniCPM-V's class comes with its files.
        changes["vllm"] = VllmOptions(images=True, trust_remote_code=entry.about is About.MINICPM_V)
    if entry.engine is Engine.LLAMA_SERVER and entry.sees_images and stored.projectors:
        name = posixpath.basename(stored.projectors[0])
        changes["projector"] = posixpath.join(posixpath.dirname(stored.path), name)
    return msgspec.structs.replace(made, **changes)


def profile_of_files(stored: StoredModel) -> Profile:
    """The same of a model that is on the machine and in no catalogue."""
    name = re.sub(r"\.(gguf|safetensors)\Z", "", posixpath.basename(stored.path.rstrip("/")))
    return _profile(name, Engine.LLAMA_SERVER if stored.format == "gguf" else Engine.VLLM, stored, _CONTEXT)


def _profile(name: str, engine: Engine, stored: StoredModel, context: int) -> Profile:
    return Profile(
        title=f"{name} ({'vLLM' if engine is Engine.VLLM else 'llama.cpp'})",
        engine=engine,
        executable=EXECUTABLES[engine],
        model=stored.path,
        served_name=_word(name),
        context=context,
        port=PORTS[engine],
        target=stored.target,
        vllm=VllmOptions() if engine is Engine.VLLM else None,
    )


def _word(name: str) -> str:
    """A name as a client may send it."""
    return re.sub(r"[^a-z0-9._-]+", "-", posixpath.basename(name.rstrip("/")).lower()).strip("-._") or "model"


def unfinished_of(download: DownloadView, models: Iterable[StoredModel]) -> StoredModel | None:
    """The unfinished model that a download has left behind; None if there is none that is surely its own."""
    wanted = {_plain(name) for name in (download.file, *download.request.files) if name}
    for model in models:
        if model.target != download.request.target or model.condition is not Condition.PARTIAL:
            continue
        own_folder = posixpath.basename(download.folder) == posixpath.basename(download.request.repo)
        if own_folder and posixpath.basename(model.path) == posixpath.basename(download.folder):
            return model
        if any(_plain(file.path) in wanted for file in model.files):
            return model
    return None
