"""The stores of other programs: what an Ollama manifest says. Pure; `host/windows_models.py` reads the files.

Owns which layers are model files. Nothing of ours ever writes to, moves or removes what lies in such a store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from kotaro_bridge.domain.errors import ProblemError, problem

_MODEL, _PROJECTOR = "application/vnd.ollama.image.model", "application/vnd.ollama.image.projector"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_DEFAULT = ("registry.ollama.ai", "library")


class _Layer(msgspec.Struct, frozen=True):
    mediaType: str = ""
    digest: str = ""
    size: int = 0


class _Manifest(msgspec.Struct, frozen=True):
    layers: tuple[_Layer, ...]


@dataclass(frozen=True, slots=True)
class OllamaBlob:
    """A model file in Ollama's store: its checksum, which is also its name there (`blobs/sha256-…`), and its bytes."""

    sha256: str
    size: int

    @property
    def file(self) -> str:
        """Its name under `blobs`."""
        return f"sha256-{self.sha256}"


@dataclass(frozen=True, slots=True)
class OllamaManifest:
    """What a model of Ollama consists of: GGUF files. Template, parameters, licence and adapters are left out."""

    name: str
    model: OllamaBlob
    projectors: tuple[OllamaBlob, ...] = ()

    def file_names(self) -> tuple[tuple[OllamaBlob, str], ...]:
        """The files with the names that they get as files of their own."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-.")
        names = [(self.model, f"{plain}.gguf")]
        several = len(self.projectors) > 1
        for number, blob in enumerate(self.projectors, 1):
            names.append((blob, f"{plain}-mmproj{f'-{number}' if several else ''}.gguf"))
        return tuple(names)


def model_name(path: str) -> str:
    """The name that Ollama shows for a manifest `HOST/NAMESPACE/MODEL/TAG` (ollama/ollama, `types/model/name.go`)."""
    host, namespace, model, tag = path.split("/")
    shown = [part for part, usual in zip((host, namespace), _DEFAULT, strict=True) if part != usual]
    if len(shown) == 1 and host != _DEFAULT[0]:
        shown = [host, namespace]
    return "/".join([*shown, f"{model}:{tag}"])


def read_manifest(name: str, data: bytes) -> OllamaManifest:
    """A manifest (ollama/ollama, `manifest/manifest.go`: layers with media type, digest and size).

    Raises:
        ProblemError: `models.ollama_manifest` for what is none, or one without a model file.
    """
    try:
        layers = msgspec.json.decode(data, type=_Manifest).layers
    except msgspec.DecodeError as error:
        raise ProblemError(problem("models.ollama_manifest", name=name, detail=str(error))) from None
    found: dict[str, list[OllamaBlob]] = {_MODEL: [], _PROJECTOR: []}
    for layer in layers:
        digest = _DIGEST.match(layer.digest)
        if layer.mediaType in found and digest is not None:
            found[layer.mediaType].append(OllamaBlob(digest[1], layer.size))
    if len(found[_MODEL]) != 1:
        detail = f"{len(found[_MODEL])} x {_MODEL}"
        raise ProblemError(problem("models.ollama_manifest", name=name, detail=detail))
    return OllamaManifest(name, found[_MODEL][0], tuple(found[_PROJECTOR]))
