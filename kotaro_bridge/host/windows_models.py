"""The stores of LM Studio and Ollama on this side, read only. Implements `domain.ports_models.ForeignStores`.

Owns where those programs keep their files. Never writes, moves or removes anything there, and never starts a program.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.model_files import Condition, FileEntry, FolderListing, Place, StoredModel, models_in
from kotaro_bridge.domain.model.model_stores import OllamaBlob, OllamaManifest, model_name, read_manifest

log = logging.getLogger(__name__)

HERE = "windows"
_CHUNK = 1 << 22
_DEPTH = 4  # HOST/NAMESPACE/MODEL/TAG


class Stores:
    """What the programs of one user have.

    Args:
        home: of the user.
        environment: `OLLAMA_MODELS` moves Ollama's store (ollama/ollama, `envconfig/config.go`).
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        named = environment.get("OLLAMA_MODELS", "").strip().strip("\"'")
        self._ollama = Path(named) if named else home / ".ollama" / "models"

    def models(self) -> tuple[StoredModel, ...]:
        """See `ForeignStores.models`."""
        return (*self._lm_studio_models(), *(self._ollama_model(manifest) for manifest in self.ollama()))

    def ollama(self) -> tuple[OllamaManifest, ...]:
        """See `ForeignStores.ollama`."""
        folder = self._ollama / "manifests"
        found = []
        for path in sorted(_files(folder)):
            parts = path.relative_to(folder).parts
            if len(parts) != _DEPTH:
                continue
            try:
                found.append(read_manifest(model_name("/".join(parts)), path.read_bytes()))
            except (ProblemError, OSError) as error:
                log.info("no model of Ollama: %s: %s", path, error)
        return tuple(found)

    def read(self, sha256: str, size: int) -> Iterator[bytes]:
        """See `ForeignStores.read`."""
        path = self._blob(OllamaBlob(sha256, size))
        try:
            found = path.stat().st_size
            if found != size:
                raise ProblemError(problem("models.ollama_blob", path=str(path), detail=f"{found} != {size}"))
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise ProblemError(problem("models.ollama_blob", path=str(path), detail=str(error))) from error

    def _blob(self, blob: OllamaBlob) -> Path:
        return self._ollama / "blobs" / blob.file

    def _ollama_model(self, manifest: OllamaManifest) -> StoredModel:
        blobs = (manifest.model, *manifest.projectors)
        files = tuple(self._blob_entry(blob) for blob in blobs)
        sizes = [entry.size for entry in files]
        missing = any(size is None for size in sizes)
        whole = sizes == [blob.size for blob in blobs]
        condition = Condition.WHOLE if whole else Condition.PARTIAL if missing else Condition.BROKEN
        projectors = tuple(blob.file for blob in manifest.projectors)
        path = str(self._blob(manifest.model))
        root = str(self._ollama)
        return StoredModel(
            manifest.name, Place.OLLAMA, HERE, path, root, "gguf", files, condition, projectors=projectors
        )

    def _blob_entry(self, blob: OllamaBlob) -> FileEntry:
        path = self._blob(blob)
        try:
            size: int | None = path.stat().st_size
        except OSError:
            size = None  # Ollama calls what it is still fetching `sha256-…-partial`
        return FileEntry(f"blobs/{blob.file}", size, str(path))

    def _lm_studio_models(self) -> Iterable[StoredModel]:
        for folder in self._lm_studio_folders():
            entries = tuple(entry for path in sorted(_files(folder)) if (entry := _entry(path, folder)) is not None)
            listing = FolderListing(Place.LM_STUDIO, folder.as_posix(), entries, {})
            for model in models_in(listing, HERE):
                yield replace(model, id=f"lm-studio:{model.path.removeprefix(listing.root).strip('/')}")

    def _lm_studio_folders(self) -> tuple[Path, ...]:
        """`~/.lmstudio/models`, elsewhere where `.lmstudio-home-pointer` or `settings.json` says so, and the folder of
        versions before 0.3 (LM Studio's documentation, "Download an LLM"; lmstudio.js, `findLMStudioHome`)."""
        home = self._home / ".lmstudio"
        pointer = _text(self._home / ".lmstudio-home-pointer").strip()
        if pointer:
            home = Path(pointer)
        try:
            settings = json.loads(_text(home / "settings.json") or "{}")
        except ValueError:
            settings = {}
        named = settings.get("downloadsFolder") if isinstance(settings, dict) else None
        folders = [Path(named)] if isinstance(named, str) and named else [home / "models"]
        return (*folders, self._home / ".cache" / "lm-studio" / "models")


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; none where there is no such folder, or it may not be read."""
    try:
        for path in folder.iterdir():
            if path.is_dir():
                yield from _files(path)
            else:
                yield path
    except OSError as error:
        log.debug("not listed: %s", error)


def _entry(path: Path, folder: Path) -> FileEntry | None:
    try:
        stat = path.stat()
        magic = _magic(path) if path.suffix.lower() == ".gguf" else None
    except OSError:
        return None
    identity = f"{stat.st_dev}:{stat.st_ino}" if stat.st_ino else str(path)
    return FileEntry(path.relative_to(folder).as_posix(), stat.st_size, identity, magic=magic)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)
