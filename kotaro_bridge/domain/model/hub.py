"""The Hugging Face hub as a download needs it: ids, which files of a model to take, what `fetch.py` tells.

Owns the choice of files and the turning of the client's answers into problems. Must not speak to a network: the
official client does, inside the target.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import msgspec

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.model.model_files import is_projector, shard_of

PAGE = "https://huggingface.co/"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}\Z")
_TAG = "@fetch "
# What a repository has beside safetensors for other programs.
_OTHERS = (
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.msgpack",
    "*.h5",
    "*.onnx",
    "*.onnx_data",
    "*.ot",
    "*.gguf",
    "*.tflite",
)
_OTHER_FOLDERS = ("onnx/", "original/", "openvino/", "coreml/", "metal/")
_NEVER = (".gitattributes",)
_SINGLE = re.compile(r"consolidated(\.\d+)?\.safetensors\Z")
_HTTP = {408, 429, 500, 502, 503, 504}


class HubFile(msgspec.Struct, frozen=True):
    """A file of a model on the hub.

    Args:
        size: bytes; sha256: of a large file; git: checksum of the others, as git makes it.
    """

    path: str
    size: int | None = None
    sha256: str | None = None
    git: str | None = None


class HubListing(msgspec.Struct, frozen=True):
    """The files of one revision of a model; `commit` names it for good."""

    commit: str
    files: tuple[HubFile, ...]


class Measured(msgspec.Struct, frozen=True):
    """What the target has: the folder's full path, bytes free on its disk, bytes that it has of each file already."""

    folder: str
    free: int
    have: tuple[int, ...]


class FetchError(msgspec.Struct, frozen=True):
    """Why `fetch.py` gave up; see its `describe`."""

    kind: str
    status: int = 0
    code: str = ""
    retry_after: int | None = None
    detail: str = ""
    file: str = ""


class FetchMessage(msgspec.Struct, frozen=True):
    """One line of `fetch.py`; the field that is set says what it is about.

    Args:
        bytes: on disk of all files asked for, `file` being the one under way.
        checking: the file whose checksum is being compared.
        waiting: seconds until it tries again, `said` being why.
        note: a warning of the client.
        done: the folder; everything is there and right.
    """

    listing: HubListing | None = None
    measured: Measured | None = None
    bytes: int | None = None
    file: str = ""
    checking: str | None = None
    waiting: float | None = None
    said: str = ""
    note: str | None = None
    done: str | None = None
    error: FetchError | None = None


@dataclass(frozen=True, slots=True)
class FetchJob:
    """What `fetch.py` is asked for.

    Args:
        verb: `list` (the files of a model), `measure` (room, and what is there already) or `fetch`.
        revision: a commit for `fetch`, so that all files are of one state; empty for the main branch.
        folder: inside the target, `~/` allowed.
        clients: programs in whose environment the official client may be, tried first.
        wait_s: the shortest pause before another try, in seconds.
    """

    verb: str
    repo: str
    revision: str = ""
    folder: str = "~/models"
    files: tuple[HubFile, ...] = ()
    token: str | None = field(default=None, repr=False)
    clients: tuple[str, ...] = ()
    wait_s: float = 2.0

    @property
    def line(self) -> str:
        """What its stdin gets: one line of JSON. It holds the token and must not be logged."""
        words = ("verb", "repo", "revision", "folder", "files", "token", "wait_s")
        return msgspec.json.encode({word: getattr(self, word) for word in words}).decode()


@dataclass(frozen=True, slots=True)
class Choice:
    """The files to take of a model, and the folder that they go to unless a person names one."""

    files: tuple[HubFile, ...]
    folder: str

    @property
    def total_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(file.size or 0 for file in self.files)


def read_message(line: str) -> FetchMessage | None:
    """A line of `fetch.py`; None for anything else that a program printed."""
    if not line.startswith(_TAG):
        return None
    try:
        return msgspec.json.decode(line[len(_TAG) :], type=FetchMessage)
    except msgspec.DecodeError:
        return None


def checked_id(text: str) -> str:
    """A model's id; the address of its page does as well. Raises ProblemError `download.bad_id`."""
    name = text.removeprefix(PAGE).removeprefix("hf.co/").removeprefix("huggingface.co/").strip("/")
    if not _ID.match(name) or ".." in name or "--" in name:
        raise ProblemError(problem("download.bad_id", id=text))
    return name


def choose(repo: str, listing: HubListing, wanted: Sequence[str] = ()) -> Choice:
    """The files to take.

    Without a wish: of a repository with safetensors everything that vLLM reads, of one with GGUF files the only model
    in it.

    Args:
        wanted: names or patterns such as `*q4_k_m*.gguf`; of a file in several parts one stands for all.

    Raises:
        ProblemError: `download.no_file`, `download.which_file` (with the files as evidence), `download.no_model` or
            `download.unsafe_path`.
    """
    for file in listing.files:
        if unsafe(file.path):
            raise ProblemError(problem("download.unsafe_path", id=repo, file=file.path))
    files = [file for file in listing.files if file.path not in _NEVER]
    taken = _wanted(repo, files, wanted) if wanted else _usual(repo, files)
    return Choice(tuple(taken), folder_for(repo, tuple(file.path for file in taken)))


def unsafe(path: str) -> bool:
    """True for a path that would leave the folder it is put into, on either system."""
    parts = path.split("/")
    return "\\" in path or ":" in path or "\n" in path or any(part in ("", ".", "..") for part in parts)


def _wanted(repo: str, files: Sequence[HubFile], wanted: Sequence[str]) -> list[HubFile]:
    taken: dict[str, HubFile] = {}
    for pattern in wanted:
        found = [file for file in files if file.path == pattern or fnmatchcase(file.path.lower(), pattern.lower())]
        if not found:
            names = [file.path for file in files]
            raise ProblemError(problem("download.no_file", *names, id=repo, file=pattern))
        wholes = {shard[0] for file in found if (shard := shard_of(file.path))}
        found += [file for file in files if (shard := shard_of(file.path)) and shard[0] in wholes]
        taken |= {file.path: file for file in found}
    return [file for file in files if file.path in taken]


def _usual(repo: str, files: Sequence[HubFile]) -> list[HubFile]:
    if any(file.path.endswith(".safetensors") for file in files):
        plain = [file for file in files if not _for_others(file.path)]
        whole = [file for file in plain if not _SINGLE.search(file.path)]
        has_weights = any(file.path.endswith(".safetensors") for file in whole)
        return whole if has_weights else plain
    models: dict[str, list[HubFile]] = {}
    for file in files:
        if file.path.lower().endswith(".gguf") and not is_projector(file.path):
            shard = shard_of(file.path)
            models.setdefault(shard[0] if shard else file.path, []).append(file)
    if not models:
        raise ProblemError(problem("download.no_model", *(file.path for file in files), id=repo))
    if len(models) > 1:
        sized = (f"{name}  {sum(file.size or 0 for file in parts) / 1e9:.1f} GB" for name, parts in models.items())
        raise ProblemError(problem("download.which_file", *sized, id=repo))
    projectors = [file for file in files if is_projector(file.path)]
    return [*next(iter(models.values())), *projectors[:1]]


def _for_others(path: str) -> bool:
    return path.startswith(_OTHER_FOLDERS) or any(fnmatchcase(path.lower(), pattern) for pattern in _OTHERS)


def folder_for(repo: str, names: Sequence[str]) -> str:
    """Where files of a repository are put. A GGUF model alone lies in `~/models` itself, where profiles name files;
    others in a folder of their own.
    """
    alone = names and all(name.lower().endswith(".gguf") and "/" not in name for name in names)
    if alone and not any(is_projector(name) for name in names):
        return "~/models"
    return posixpath.join("~/models", repo.rpartition("/")[2])


def fetch_problem(repo: str, error: FetchError, *, token: bool) -> Problem:
    """What a person is told of a failed fetch.

    The hub answers 401 for what is not there and for what may not be seen, with `X-Error-Code` to tell them apart
    (huggingface_hub, `utils/_http.py`, `hf_raise_for_status`).

    Args:
        token: a token was sent.
    """
    page = PAGE + repo
    detail = error.detail
    simple = {
        "no_client": problem("download.no_client"),
        "disk_full": problem("download.disk_full", id=repo),
        "unwritable": problem("download.unwritable", detail=detail),
        "checksum": problem("download.checksum", id=repo, file=error.file),
        "other_file": problem("download.other_file", file=error.file),
        "busy": problem("download.busy", folder=error.file),
        "unsafe": problem("download.unsafe_path", id=repo, file=error.file),
        "network": problem("download.no_network", detail, id=repo),
        "short": problem("download.no_network", detail, id=repo),
    }
    if error.kind in simple:
        return simple[error.kind]
    if error.kind == "http":
        return _http_problem(repo, page, error, token=token)
    return problem("download.failed", detail, id=repo)


def _http_problem(repo: str, page: str, error: FetchError, *, token: bool) -> Problem:
    said = (error.detail,) if error.detail else ()
    if error.code == "GatedRepo" or (error.status == 403 and not error.code):
        return problem("download.gated" if token else "download.gated_no_token", *said, id=repo, page=page)
    if error.code == "EntryNotFound":
        return problem("download.no_file", *said, id=repo, file="")
    if error.code == "RevisionNotFound":
        return problem("download.no_revision", *said, id=repo)
    if error.status == 401 and token:
        return problem("download.token_refused", *said, id=repo, page=page)
    if error.status in (401, 404) or error.code == "RepoNotFound":
        return problem("download.not_found", *said, id=repo, page=page)
    if error.status == 429:
        seconds = error.retry_after
        return problem("download.too_many", *said, seconds=60 if seconds is None else seconds)
    if error.status in _HTTP:
        return problem("download.hub_down", *said, status=error.status)
    return problem("download.failed", *said, id=repo)
