"""Stand-in of the Hugging Face hub, real HTTP on 127.0.0.1, for the real client through `HF_ENDPOINT`.

Keeps the client's protocol (huggingface_hub, `utils/_http.py` and `file_download.py`): the list of a model with sizes
and checksums, `resolve` with `X-Repo-Commit`, large files behind a redirect to another origin with `X-Linked-Etag`,
ranges, `X-Error-Code`. Misbehaves on request: cuts, wrong bytes, busy answers, slow lines. `python -m
kotaro_bridge.simulator.hub FOLDER` serves the models of a simulated PC and ends with it.
"""

from __future__ import annotations

import hashlib
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from kotaro_bridge.resources import resource
from kotaro_bridge.simulator import models
from kotaro_bridge.simulator.http_base import Handler, Server
from kotaro_bridge.simulator.server_program import HUB
from kotaro_bridge.simulator.state import State

CHUNK = 1 << 16
MIB = 1024 * 1024
COMMIT = "5eed" * 10
TOKEN = "hf_accepted"  # noqa: S105 - what the stand-in takes for a token of somebody who accepted every licence
KNOWN_TOKENS = (TOKEN, "hf_stranger")
DEMO_RATE = 24 * MIB
_SMALLER = 64
_GATED = ("openbmb/MiniCPM-V-2_6",)


@dataclass
class HubContent:
    """A file of a stand-in model: `data`, or bytes that only its name and size decide.

    Args:
        large: kept behind a redirect and known by its sha256, as Git LFS files are.
    """

    path: str
    size: int
    large: bool = True
    data: bytes = b""

    def blocks(self) -> Iterator[bytes]:
        """The content, in pieces of one MiB or less; GGUF files begin as such."""
        if self.data:
            yield self.data
            return
        seed = hashlib.sha256(self.path.encode()).digest()
        block = seed * (MIB // len(seed))
        first = b"GGUF" + block[4:] if self.path.endswith(".gguf") else block
        for at in range(0, self.size, MIB):
            yield (first if at == 0 else block)[: self.size - at]

    @cached_property
    def sha256(self) -> str:
        made = hashlib.sha256()
        for block in self.blocks():
            made.update(block)
        return made.hexdigest()

    @cached_property
    def git(self) -> str:
        """The checksum that git gives a file."""
        made = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        for block in self.blocks():
            made.update(block)
        return made.hexdigest()

    def part(self, first: int, last: int) -> Iterator[bytes]:
        """Bytes from `first` to `last`, both included."""
        at = 0
        for block in self.blocks():
            if at + len(block) > first and at <= last:
                yield block[max(0, first - at) : last + 1 - at]
            at += len(block)


@dataclass
class HubModel:
    """A model of the stand-in. `gated`: its files want the token of somebody who accepted the licence."""

    id: str
    files: tuple[HubContent, ...]
    gated: bool = False

    def file(self, path: str) -> HubContent | None:
        return next((each for each in self.files if each.path == path), None)


@dataclass
class Trouble:
    """What goes wrong, as long as it is set; counters run down.

    Args:
        answers: (status, headers) given instead of the next answers to `resolve`.
        cuts: after how many bytes of a transfer the line breaks, one for each of the next transfers.
        corrupt: files of which a byte is wrong.
        rate: bytes per second of one transfer.
        no_ranges: ranges are ignored.
    """

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    listings: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    corrupt: set[str] = field(default_factory=set)
    rate: int | None = None
    no_ranges: bool = False


class Hub:
    """The hub and the other origin that large files come from; a context manager."""

    def __init__(self, models: tuple[HubModel, ...], trouble: Trouble | None = None) -> None:
        self.models = {model.id: model for model in models}
        self.trouble = trouble or Trouble()
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.sent = 0
        hub = self

        class Api(_Api):
            shared = hub

        class Storage(_Storage):
            shared = hub

        self._api = Server(("127.0.0.1", 0), Api)
        self._storage = Server(("127.0.0.1", 0), Storage)

    @property
    def address(self) -> str:
        """What `HF_ENDPOINT` names."""
        return f"http://127.0.0.1:{self._api.server_address[1]}"

    @property
    def storage(self) -> str:
        """The origin of large files, another than the hub's, as theirs is. No name: to find that nobody listens at its
        IPv6 address takes Windows two seconds."""
        return f"http://127.0.0.1:{self._storage.server_address[1]}"

    def __enter__(self) -> Hub:
        for server in (self._api, self._storage):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._api, self._storage):
            server.shutdown()
            server.server_close()


class _Hubs(Handler):
    shared: Hub

    def do_HEAD(self) -> None:
        self.route("HEAD", self.path)

    def do_GET(self) -> None:
        self.route("GET", self.path)

    def note(self, method: str, path: str) -> None:
        self.shared.asked.append((method, path, dict(self.headers.items())))

    def give(self, code: int, data: bytes, headers: dict[str, str]) -> None:
        """A whole answer; without its body for HEAD."""
        self.send_response_only(code)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": message}
        self.give(status, b"", {**{name: value for name, value in named.items() if value}, **(headers or {})})

    def transfer(self, file: HubContent, headers: dict[str, str]) -> None:
        """The content, or the range of it that is asked for, with what goes wrong on the way."""
        trouble = self.shared.trouble
        wanted = None if trouble.no_ranges else self.headers.get("Range")
        first, last = 0, file.size - 1
        if wanted is not None:
            begin, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end), last) if end else last
        if first > last:
            self.give(416, b"", {"Content-Range": f"bytes */{file.size}"})
            return
        self.send_response_only(200 if wanted is None else 206)
        if wanted is not None:
            headers = {**headers, "Content-Range": f"bytes {first}-{last}/{file.size}"}
        for name, value in {**headers, "Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        left = trouble.cuts.pop(0) if trouble.cuts else None
        for block in file.part(first, last):
            if file.path in trouble.corrupt:
                block = bytes([block[0] ^ 0xFF]) + block[1:]
            for at in range(0, len(block), CHUNK):
                piece = block[at : at + CHUNK] if left is None else block[at : at + min(CHUNK, left)]
                self.wfile.write(piece)
                self.shared.sent += len(piece)
                if trouble.rate:
                    time.sleep(len(piece) / trouble.rate)
                if left is not None and (left := left - len(piece)) <= 0:
                    self.close_connection = True
                    self.connection.close()
                    return


class _Storage(_Hubs):
    """Where large files come from, by their checksum."""

    def route(self, method: str, path: str) -> None:
        """Answer one request."""
        self.note(method, path)
        sha256 = path.strip("/").partition("?")[0]
        files = (file for model in self.shared.models.values() for file in model.files)
        # Only what was asked for at the hub has a checksum by now: those of all others take a minute.
        file = next((file for file in files if vars(file).get("sha256") == sha256), None)
        if file is None:
            self.refuse(404, "EntryNotFound", "not here")
        else:
            self.transfer(file, {"ETag": f'"{file.sha256}"', "Content-Type": "binary/octet-stream"})


class _Api(_Hubs):
    """The hub itself."""

    def route(self, method: str, path: str) -> None:
        """Answer one request."""
        self.note(method, path)
        split = urlsplit(path)
        parts = [unquote(part) for part in split.path.strip("/").split("/")]
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in KNOWN_TOKENS:
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._model("/".join(parts[2:4]), parts[4:], parse_qs(split.query))
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]), token)
        else:
            self.refuse(404, "", "Not found")

    def _known(self, name: str, revision: str) -> HubModel | None:
        model = self.shared.models.get(name)
        if model is None:
            self.refuse(401, "RepoNotFound", "Repository not found")
        elif revision not in ("main", COMMIT):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return model
        return None

    def _model(self, name: str, rest: list[str], query: dict[str, list[str]]) -> None:
        model = self._known(name, rest[1] if len(rest) > 1 else "main")
        if model is None:
            return
        if self.shared.trouble.listings:
            status, headers = self.shared.trouble.listings.pop(0)
            self.refuse(status, "", "", headers)
            return
        if rest[:1] == ["tree"]:
            self.json(200, [_tree_entry(file) for file in model.files])
            return
        siblings = [_sibling(file) if "blobs" in query else {"rfilename": file.path} for file in model.files]
        head = {"_id": COMMIT[:24], "id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": []}
        self.json(200, {**head, "gated": "auto" if model.gated else False, "siblings": siblings})

    def _resolve(self, name: str, revision: str, path: str, token: str) -> None:
        model = self._known(name, revision)
        if model is None:
            return
        if self.shared.trouble.answers:
            status, headers = self.shared.trouble.answers.pop(0)
            self.refuse(status, "", "", headers)
            return
        if model.gated and token != TOKEN:
            self.refuse(403 if token else 401, "GatedRepo", f"Access to model {name} is restricted")
            return
        file = model.file(path)
        if file is None:
            self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": COMMIT})
        elif file.large:
            linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size), "X-Repo-Commit": COMMIT}
            self.give(302, b"", {**linked, "Location": f"{self.shared.storage}/{file.sha256}?signed=1"})
        else:
            self.transfer(file, {"ETag": f'"{file.git}"', "X-Repo-Commit": COMMIT})


def _sibling(file: HubContent) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": file.path, "size": file.size, "blobId": file.git}
    if file.large:
        entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": 135}
    return entry


def _tree_entry(file: HubContent) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": file.path, "size": file.size, "oid": file.git}
    if file.large:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 135}
    return entry


def demo_models() -> tuple[HubModel, ...]:
    """The catalogue's models on a simulated PC's hub: true names, sizes that a demonstration can afford."""
    files: dict[str, dict[str, HubContent]] = {}
    for path in sorted(resource("catalog").glob("*.toml")):
        model = tomllib.loads(path.read_text(encoding="utf-8"))
        for variant in model["variants"]:
            found = _ggufs(variant) if "files" in variant else _safetensors(model, variant)
            files.setdefault(variant["repository"], {}).update({file.path: file for file in found})
    return tuple(HubModel(repo, tuple(own.values()), gated=repo in _GATED) for repo, own in files.items())


def _ggufs(variant: dict[str, Any]) -> Iterator[HubContent]:
    for file in (*variant["files"], *([variant["projector"]] if "projector" in variant else [])):
        yield HubContent(file["name"], file["bytes"] // _SMALLER)


def _safetensors(model: dict[str, Any], variant: dict[str, Any]) -> Iterator[HubContent]:
    folder = variant["repository"].rpartition("/")[2]
    placed = {entry["folder"]: entry["config"] for entry in models.table()["hf"]}
    packing = {"quantization_config": variant["packing"]} if "packing" in variant else {}
    # The config that lies in the simulated home folder already, where there is one.
    config = models.config_text(placed.get(folder, model["config"] | packing)).encode()
    yield HubContent("LICENSE", 11_000, large=False)
    yield HubContent("config.json", len(config), large=False, data=config)
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        yield HubContent(name, 2_000, large=False)
    yield HubContent("model.safetensors.index.json", 30_000, large=False)
    for part in (1, 2):
        yield HubContent(f"model-0000{part}-of-00002.safetensors", 64 * MIB)


@contextmanager
def serving(state: State) -> Iterator[str]:
    """`HF_ENDPOINT` of a simulated PC, while its hub serves."""
    with Hub(demo_models(), Trouble(rate=DEMO_RATE)) as hub:
        yield hub.address


if __name__ == "__main__":
    HUB.main(serving)
