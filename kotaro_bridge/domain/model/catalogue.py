"""The catalogue: models that are known to be worth a look, with everything a plan needs before a byte is downloaded.

Owns the typed form of `resources/catalog/*.toml` and errors that name file and key. Must not read files and holds no
model's facts: those and their sources are in the files. Sizes in bytes.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeAlias

import msgspec

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.gguf_recipe import Mix, gguf_of
from kotaro_bridge.domain.model.hf_config import HfModel, decode_hf_config
from kotaro_bridge.domain.model.hf_weights import computed_weights, stored_bytes
from kotaro_bridge.domain.planning.plan_parts import GgufPlanned, HfPlanned, Origin, PlannedModel
from kotaro_bridge.domain.run.speed import gguf_read_bytes, vllm_read_bytes
from kotaro_bridge.domain.units import GIB

_BASE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_MIXES = frozenset(mix.value for mix in Mix)


class Strength(StrEnum):
    """What a model is good at."""

    JAPANESE = "japanese"
    CODE = "code"
    IMAGES = "images"


class Licence(StrEnum):
    """Terms of use. Sentences: `catalogue.licence.<value>`."""

    APACHE_2 = "apache-2"
    MINICPM = "minicpm"


class About(StrEnum):
    """What a person is told about a model. Sentences: `catalogue.about.<value>`."""

    QWEN_INSTRUCT = "qwen_instruct"
    QWEN_CODER = "qwen_coder"
    MINICPM_V = "minicpm_v"


_Positive: TypeAlias = Annotated[int, msgspec.Meta(gt=0)]


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a repository."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    bytes: _Positive


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is often said of a model: that it runs on a card of this size with this many tokens."""

    card_gib: _Positive
    context: _Positive

    @property
    def card_bytes(self) -> int:
        """The card's memory as it is advertised."""
        return self.card_gib * GIB


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model in one quantization.

    Args:
        id: the model's and the quantization in lower case; model: the model's, the name of its file.
        title: of the model; quantization: as people name it (`AWQ`, `Q4_K_M`).
        repository: on Hugging Face; revision: where the sizes were listed, "" where none is named.
        files: what to download; empty where it is the whole repository. projector: a GGUF's vision part.
        download_bytes: of all of it; its origin is STATED, or FORMULA where it was computed from the shape.
        weights_bytes: of them, what lies on the card at least.
        parameters: of the whole model.
        shape_measured: a run of this shape was recorded, so the plan was held against one.
        about, licence: None where nobody says. claim: what is often said of it.
        planned: what a plan is made from.
        read_bytes: what one token reads of the card's memory; None where that is not known.
        source: of all this.
    """

    id: str
    model: str
    title: str
    quantization: str
    engine: Engine
    repository: str
    revision: str
    files: tuple[ModelFile, ...]
    projector: ModelFile | None
    download_bytes: int
    origin: Origin
    weights_bytes: int
    parameters: int
    about: About | None
    good_at: tuple[Strength, ...]
    licence: Licence | None
    licence_url: str
    shape_measured: bool
    claim: Claim | None
    planned: PlannedModel
    read_bytes: int | None
    source: str

    @property
    def name(self) -> str:
        """Model and quantization, for sentences."""
        return f"{self.title} {self.quantization}".strip()

    @property
    def sees_images(self) -> bool:
        """True if requests may carry images."""
        return Strength.IMAGES in self.good_at


class _Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One quantization of a model. `packing`: what config.json says as `quantization_config`."""

    quantization: Annotated[str, msgspec.Meta(min_length=1)]
    repository: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]+/[\w.-]+$")]
    source: Annotated[str, msgspec.Meta(min_length=1)]
    revision: str = ""
    computed: bool = False
    packing: dict[str, Any] | None = None
    files: tuple[ModelFile, ...] = ()
    projector: ModelFile | None = None
    often_said: Claim | None = None


class _Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the catalogue."""

    title: Annotated[str, msgspec.Meta(min_length=1)]
    about: About
    good_at: tuple[Strength, ...]
    licence: Licence
    licence_url: str
    shape_measured: bool
    source: Annotated[str, msgspec.Meta(min_length=1)]
    config: dict[str, Any]
    variants: Annotated[tuple[_Variant, ...], msgspec.Meta(min_length=1)]


def decode_catalogue(text: str, *, file: str, model: str) -> tuple[CatalogueEntry, ...]:
    """The entries of one file.

    Args:
        text: content of the file; file: its name, for errors; model: the id that the file's name gives.

    Raises:
        ProblemError: `catalogue.broken` with `file`, `key` ("" for the file as a whole) and `detail`.
    """
    if not _BASE_NAME.match(model):
        _refuse(file, "", f"name: {model}")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _refuse(file, "", str(error))
    try:
        read = msgspec.convert(data, _Model)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at ")
        _refuse(file, path.strip("`").removeprefix("$").lstrip("."), detail)
    return tuple(_entries(read, model, file))


def _refuse(file: str, key: str, detail: str) -> NoReturn:
    raise ProblemError(problem("catalogue.broken", file=file, key=key, detail=detail)) from None


@contextmanager
def _blaming(file: str, key: str) -> Iterator[None]:
    """What is wrong with a model is wrong with the key that says so."""
    try:
        yield
    except ProblemError as error:
        _refuse(file, key, error.problem.code)


def _entries(read: _Model, model: str, file: str) -> Iterator[CatalogueEntry]:
    with _blaming(file, "config"):
        plain = _decoded(read.config)
        parameters = computed_weights(plain) // plain.dtype_bytes
    seen: set[str] = set()
    for index, variant in enumerate(read.variants):
        key = f"variants[{index}]"
        if variant.quantization in seen:
            _refuse(file, f"{key}.quantization", f"{variant.quantization}: twice")
        seen.add(variant.quantization)
        if variant.quantization in _MIXES and not variant.files:
            _refuse(file, f"{key}.files", "missing")
        with _blaming(file, key):
            yield _entry(read, variant, model, plain, parameters)


def _entry(read: _Model, variant: _Variant, model: str, plain: HfModel, parameters: int) -> CatalogueEntry:
    planned = _planned(read, variant, plain)
    files = (*variant.files, *((variant.projector,) if variant.projector else ()))
    is_gguf = isinstance(planned, GgufPlanned)
    return CatalogueEntry(
        id=f"{model}-{variant.quantization.lower()}",
        model=model,
        title=read.title,
        quantization=variant.quantization,
        engine=Engine.LLAMA_SERVER if is_gguf else Engine.VLLM,
        repository=variant.repository,
        revision=variant.revision,
        files=variant.files,
        projector=variant.projector,
        download_bytes=sum(each.bytes for each in files) if files else _weights(planned),
        origin=Origin.STATED if files and not variant.computed else Origin.FORMULA,
        weights_bytes=_weights(planned),
        parameters=parameters,
        about=read.about,
        good_at=read.good_at,
        licence=read.licence,
        licence_url=read.licence_url,
        shape_measured=read.shape_measured,
        claim=variant.often_said,
        planned=planned,
        read_bytes=_read_bytes(planned),
        source=f"{variant.source}; {read.source}",
    )


def _planned(read: _Model, variant: _Variant, plain: HfModel) -> PlannedModel:
    name = f"{read.title} {variant.quantization}"
    if variant.quantization in _MIXES:
        projector = variant.projector.bytes if variant.projector else 0
        return GgufPlanned(gguf_of(plain, Mix(variant.quantization), name), projector, name)
    packed = _decoded(read.config | {"quantization_config": variant.packing}) if variant.packing else plain
    return HfPlanned(packed, None, name)


def _decoded(config: dict[str, Any]) -> HfModel:
    """A model from what its config.json says."""
    return decode_hf_config(json.dumps(config, default=str).encode())


def entry_of(planned: PlannedModel, name: str) -> CatalogueEntry:
    """A model that a person named beside the catalogue, as an entry of it: nothing is known but what a plan needs.

    Raises:
        ProblemError: `model.unknown_packing`.
    """
    is_gguf = isinstance(planned, GgufPlanned)
    sees = planned.projector_bytes > 0 if isinstance(planned, GgufPlanned) else planned.model.vision is not None
    weights = _weights(planned)
    return CatalogueEntry(
        id=name,
        model=name,
        title=planned.name or name,
        quantization="",
        engine=Engine.LLAMA_SERVER if is_gguf else Engine.VLLM,
        repository="",
        revision="",
        files=(),
        projector=None,
        download_bytes=weights,
        origin=Origin.HEADER,
        weights_bytes=weights,
        parameters=0,
        about=None,
        good_at=(Strength.IMAGES,) if sees else (),
        licence=None,
        licence_url="",
        shape_measured=False,
        claim=None,
        planned=planned,
        read_bytes=_read_bytes(planned),
        source="",
    )


def _weights(planned: PlannedModel) -> int:
    """Bytes on the card, of the model alone."""
    if isinstance(planned, GgufPlanned):
        return planned.model.weights_on_gpu
    model, stored = planned.model, planned.stored
    return computed_weights(model) if stored is None else stored_bytes(model, stored).total


def _read_bytes(planned: PlannedModel) -> int | None:
    """What one token reads; a picture's encoder is asked once, not for each."""
    if isinstance(planned, GgufPlanned):
        return gguf_read_bytes(planned.model)
    model = planned.model
    seeing = model.vision.parameters * model.dtype_bytes if model.vision else 0
    text = {"tie_word_embeddings": model.tied_embeddings, "vocab_size": model.vocab, "hidden_size": model.hidden}
    experts = {"num_experts": model.experts.count} if model.experts else {}
    return vllm_read_bytes(_weights(planned) - seeing, json.dumps(text | experts))
