"""What a person calls a model, turned into what a plan needs: a file, a folder, an address, or an id of the hub.

Owns finding the files that belong together: parts of a split GGUF, its projector, the shards of a safetensors model.
Reads headers alone. Must not download a model and must not plan.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.model.gguf import read_gguf, read_projector
from kotaro_bridge.domain.model.gguf_check import check_gguf
from kotaro_bridge.domain.model.gguf_cursor import BLOCK_BYTES, ReadAt
from kotaro_bridge.domain.model.gguf_split import MAX_PARTS, join_parts, part_names, read_gguf_part
from kotaro_bridge.domain.model.hf_config import decode_hf_config
from kotaro_bridge.domain.model.hf_fields import MAX_CONFIG_BYTES
from kotaro_bridge.domain.model.hub import PAGE, FetchError, HubFile, HubListing, checked_id, choose, fetch_problem
from kotaro_bridge.domain.model.model_files import is_projector, shard_of
from kotaro_bridge.domain.model.safetensors import MAX_INDEX_BYTES, read_index, read_safetensors
from kotaro_bridge.domain.planning.plan import GgufPlanned, HfPlanned, PlannedModel
from kotaro_bridge.host.header_source import Source, open_source
from kotaro_bridge.host.http_source import HttpSource, http_client, url_problem

if TYPE_CHECKING:
    import httpx

CONFIG: Final = "config.json"
_INDEX: Final = "model.safetensors.index.json"
_SINGLE: Final = "model.safetensors"
_ADAPTER: Final = "adapter_"
_TENSORS: Final = ".safetensors"
_MAX_LISTING_BYTES: Final = 8 << 20
_SMALL_BLOCK: Final = 256 << 10  # holds the header of a shard, so that one request does
_AT_ONCE: Final = 8  # files whose headers are read side by side
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:.+)?", re.ASCII)
_PAGE_FILE = re.compile(r"/([^/]+/[^/]+)/(?:blob|resolve)/([^/]+)/(.+)")
_QUANTIZATION = re.compile(r"\w+", re.ASCII)  # such as Q4_K_M, in place of a file's name
_OF_THE_MODEL: Final = (401, 403, 404)
_FILES: Final = (".gguf", ".json", _TENSORS)
# What the places call a file that is not there.
_ABSENT: Final = ("model.missing", "model.url_not_found", "download.no_file", "download.not_found")

_Open: TypeAlias = Callable[[str, int], AbstractContextManager[Source]]
"""(name of a file, least bytes of a request) -> the file."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder, here or on the network. `names` of its files, None where nobody can list them."""

    open: _Open
    names: tuple[str, ...] | None
    title: str

    def read(self, name: str, read: Callable[[ReadAt, int | None], _T], block: int = _SMALL_BLOCK) -> _T:
        """What a reader makes of a file."""
        with self.open(name, block) as source:
            return read(source.read_at, source.size)

    def read_all(self, names: Sequence[str], read: Callable[[ReadAt, int | None], _T]) -> list[_T]:
        """The same for files that must be there: a download may have ended half-way."""

        def one(name: str) -> _T:
            try:
                return self.read(name, read)
            except ProblemError as error:
                if error.problem.code not in _ABSENT:
                    raise
                raise ProblemError(problem("model.part_missing", name=name)) from error

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(one, names))


class Hub:
    """Where ids are looked up.

    Args:
        endpoint: address, a path in it is kept; if empty `HF_ENDPOINT` counts, as for the official client.
        token: of the user, for gated models; sent to the endpoint's host alone.
    """

    def __init__(self, endpoint: str = "", token: str | None = None) -> None:
        self._endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or PAGE).rstrip("/")
        self._token = token

    def listing(self, client: httpx.Client, repo: str) -> HubListing:
        """The files of a model.

        Raises:
            ProblemError: `download.*` (not there, not for this user), `model.url_*`, `model.hub_answer`.
        """
        source = self._source(client, repo, f"{self._endpoint}/api/models/{repo}", _SMALL_BLOCK)
        try:
            found = msgspec.json.decode(_all_of(source.read_at, _MAX_LISTING_BYTES), type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProblemError(problem("model.hub_answer", str(error), id=repo)) from None
        return HubListing(found.sha or "main", tuple(HubFile(file.rfilename) for file in found.siblings))

    def place(self, client: httpx.Client, repo: str, revision: str, names: tuple[str, ...] | None) -> _Place:
        """The files of one revision."""
        base = f"{self._endpoint}/{repo}/resolve/{quote(revision, safe='')}/"
        return _Place(
            lambda name, block: nullcontext(self._source(client, repo, base + quote(name), block)), names, repo
        )

    def within(self, url: str) -> str | None:
        """The part of an address behind the endpoint, None for other addresses."""
        is_ours = url.startswith(self._endpoint + "/")
        return url.removeprefix(self._endpoint).partition("?")[0] if is_ours else None

    def _source(self, client: httpx.Client, repo: str, url: str, block: int) -> Source:

        def describe(error: FetchError) -> Problem:
            """Who may see what is said as for a download, all else as for any address: nothing is downloaded here."""
            if error.kind == "http" and error.status in _OF_THE_MODEL:
                return fetch_problem(repo, error, token=self._token is not None)
            return url_problem(url, error)

        found = HttpSource(client, url, describe, block=block, token=self._token).begin()
        return Source(found.read_at, found.size)


class _Sibling(msgspec.Struct, frozen=True):
    rfilename: str


class _Answer(msgspec.Struct, frozen=True):
    sha: str = ""
    siblings: tuple[_Sibling, ...] = ()


def resolve_model(argument: str, hub: Hub | None = None) -> PlannedModel:
    """The model that `argument` names.

    Args:
        argument: a GGUF file (the first of a split one), a folder with `config.json` or with GGUF files, an address of
            either, or `org/name[:file or quantization]` of the hub.

    Raises:
        ProblemError: `model.*` of the readers; `model.missing`, `model.unreadable`, `model.not_file`, `model.no_model`,
            `model.several_gguf`, `model.part_missing`; of the network `model.url_*`, `model.hub_answer`, `download.*`.
    """
    hub = hub or Hub()
    if argument.lower().startswith(("http://", "https://")):
        with http_client() as client:
            return _at_url(client, hub, argument)
    path = Path(os.path.expanduser(argument))  # ~nobody stays as it is, where the method of `Path` raises
    if path.is_dir():
        return _in_folder(path)
    is_id = _ID.fullmatch(argument) is not None and (":" in argument or path.suffix.lower() not in _FILES)
    if path.exists() or not is_id:
        if path.name == CONFIG or path.suffix == _TENSORS:
            return _hf(_folder(path.parent))
        return _gguf(_folder(path.parent, listed=False), path.name)
    with http_client() as client:
        return _at_hub(client, hub, argument)


def _folder(path: Path, *, listed: bool = True) -> _Place:
    try:
        names = tuple(sorted(entry.name for entry in os.scandir(path) if entry.is_file())) if listed else None
    except OSError as error:
        raise ProblemError(problem("model.unreadable", str(error), path=str(path))) from error
    return _Place(lambda name, _: open_source(path / name), names, path.resolve().name)


def _in_folder(path: Path) -> PlannedModel:
    place = _folder(path)
    names = place.names or ()
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    if CONFIG in names and (_safetensors(names) or not ggufs):
        return _hf(place)
    models = [name for name in ggufs if not is_projector(name) and (shard_of(name) or ("", 1))[1] == 1]
    if not models:
        raise ProblemError(problem("model.no_model", path=str(path)))
    if len(models) > 1:
        raise ProblemError(problem("model.several_gguf", *models, path=str(path)))
    return _gguf(place, models[0], [name for name in ggufs if is_projector(name)])


def _at_url(client: httpx.Client, hub: Hub, url: str) -> PlannedModel:
    within = hub.within(url)
    if within is not None and (page := _PAGE_FILE.fullmatch(within)):
        return _named(hub.place(client, page[1], page[2], None), page[3])
    if within is not None and _ID.fullmatch(within.strip("/")):
        return _at_hub(client, hub, within.strip("/"))
    parts = urlsplit(url)
    folder, _, name = parts.path.rpartition("/")

    def beside(other: str, block: int) -> AbstractContextManager[Source]:
        address = urlunsplit(parts._replace(path=f"{folder}/{quote(other)}"))
        source = HttpSource(client, address, partial(url_problem, address), block=block).begin()
        return nullcontext(Source(source.read_at, source.size))

    return _named(_Place(beside, None, PurePosixPath(unquote(folder)).name), unquote(name))


def _named(place: _Place, name: str) -> PlannedModel:
    """A model by one of its files."""
    return _hf(place) if name == CONFIG or name.endswith(_TENSORS) else _gguf(place, name)


def _at_hub(client: httpx.Client, hub: Hub, argument: str) -> PlannedModel:
    name, _, wanted = argument.partition(":")
    repo = checked_id(name)
    listing = hub.listing(client, repo)
    names = tuple(file.path for file in listing.files)
    place = hub.place(client, repo, listing.commit, names)
    if CONFIG in names and not wanted and not any(name.lower().endswith(".gguf") for name in names):
        return _hf(place)
    pattern = f"*{wanted}*.gguf" if _QUANTIZATION.fullmatch(wanted) else wanted
    taken = [file.path for file in choose(repo, listing, (pattern,) if wanted else ()).files]
    models = [name for name in taken if name.lower().endswith(".gguf") and not is_projector(name)]
    if not models:
        return _hf(place)
    if len({(shard_of(name) or (name,))[0] for name in models}) > 1:
        raise ProblemError(problem("model.several_gguf", *models, path=repo))
    return _gguf(place, min(models), [name for name in names if is_projector(name)])


def _gguf(place: _Place, name: str, projectors: Sequence[str] = ()) -> GgufPlanned:
    """A GGUF model with all its parts, and with its projector if there is just one: a person chooses among several."""
    model = place.read(name, read_gguf, BLOCK_BYTES)
    if not model.is_whole:
        later = part_names(name, model.split_count)[1:]
        model = join_parts(model, place.read_all(later, read_gguf_part))
    sees = place.read(projectors[0], read_projector) if len(projectors) == 1 else 0
    return GgufPlanned(check_gguf(model), sees, PurePosixPath(name).name)


def _hf(place: _Place) -> HfPlanned:
    """A Hugging Face model, with the headers of its files as far as there are any."""
    model = decode_hf_config(place.read(CONFIG, partial(_text, MAX_CONFIG_BYTES)))
    names = _shards(place)
    if not names:
        return HfPlanned(model, None, place.title)
    tensors = place.read_all(names, read_safetensors)
    return HfPlanned(model, tuple(tensor for each in tensors for tensor in each), place.title)


def _shards(place: _Place) -> tuple[str, ...]:
    """The files that hold the tensors; () where only the config is there, or the index before the first download."""
    names = place.names
    if names is None or _INDEX in names:
        try:
            listed = read_index(place.read(_INDEX, partial(_text, MAX_INDEX_BYTES)))
        except ProblemError as error:
            if error.problem.code not in _ABSENT:
                raise
        else:
            return () if names is not None and set(listed).isdisjoint(names) else listed
    if names is not None:
        return _safetensors(names)
    try:
        place.read(_SINGLE, lambda read_at, _: read_at(0, 1))
    except ProblemError as error:
        if error.problem.code not in _ABSENT:
            raise
        return ()
    return (_SINGLE,)


def _safetensors(names: Sequence[str]) -> tuple[str, ...]:
    """Files of tensors, those that are not there yet too where a name says how many there are.

    Without adapters, which are no model, and without a second copy of all tensors in one file (`consolidated`, as
    Mistral's models have it).
    """
    found = [name for name in names if name.endswith(_TENSORS) and "/" not in name]
    found = [name for name in found if not name.startswith(_ADAPTER)]
    chosen = [name for name in found if not name.startswith("consolidated")] or found
    return tuple(sorted({part for name in chosen for part in _with_others(name)}))


def _with_others(name: str) -> tuple[str, ...]:
    """All files of the model in several that a file belongs to; itself alone where it is none.

    Raises:
        ProblemError: `model.part_count` (`parts`: more than any model has).
    """
    shard = shard_of(name)
    if shard is None:
        return (name,)
    whole, _, parts = shard
    if parts > MAX_PARTS:
        raise ProblemError(problem("model.part_count", parts=parts))
    stem = whole.removesuffix(_TENSORS)
    return (name, *(f"{stem}-{number:05}-of-{parts:05}{_TENSORS}" for number in range(1, parts + 1)))


def _text(limit: int, read_at: ReadAt, size: int | None) -> bytes:
    """All of a small file, one byte more than `limit` at most: the reader refuses what is too long."""
    return _all_of(read_at, limit)


def _all_of(read_at: ReadAt, limit: int) -> bytes:
    found = bytearray()
    while len(found) <= limit and (data := read_at(len(found), limit + 1 - len(found))):
        found += data
    return bytes(found)
