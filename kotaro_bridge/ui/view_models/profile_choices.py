"""Models to choose from as rows, and what choosing one puts into the fields. Must not import Qt."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.model.catalogue_files import stored_of
from kotaro_bridge.domain.model.model_files import StoredModel
from kotaro_bridge.domain.planning.catalogue_rank import Fit, Ranked
from kotaro_bridge.domain.profile_edit import Value
from kotaro_bridge.domain.profile_form import keys_of_entry, with_engine
from kotaro_bridge.domain.units import format_gib
from kotaro_bridge.service.profile_desk import Choices
from kotaro_bridge.texts import Texts

_NAMES = ("title", "served_name")
_FITS = {Fit.AFTER_CLOSING: "ui.editor.picker.after_closing", Fit.NO: "ui.editor.picker.no"}


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """A model.

    Args:
        group: heading that it stands under; detail: size, fit, engine in a line.
        keys: what it puts into the fields; longest: the longest context that fits, 0 if not known.
    """

    group: str
    name: str
    detail: str
    keys: Mapping[str, Value]
    longest: int = 0


def choice_rows(texts: Texts, choices: Choices) -> tuple[ChoiceRow, ...]:
    """What is on the machine first, then the catalogue in its order."""
    return (*_here(texts, choices), *(_of_entry(texts, each, choices.here) for each in choices.catalogue))


def _here(texts: Texts, choices: Choices) -> Iterator[ChoiceRow]:
    group = texts.text("ui.editor.picker.here")
    for model in choices.here:
        if not model.removable or model.format not in ("gguf", "safetensors"):
            continue  # no engine in Linux can be pointed at another program's files
        engine = Engine.LLAMA_SERVER if model.format == "gguf" else Engine.VLLM
        name = posixpath.basename(model.path.rstrip("/")) or model.id
        keys: dict[str, Value] = {
            "engine": engine.value,
            "model": model.path,
            "target": model.target,
            "title": name.removesuffix(".gguf"),
        }
        keys["projector"] = _projector(model)
        detail = [texts.text(f"ui.engine.{engine}"), format_gib(model.bytes), posixpath.dirname(model.path)]
        yield ChoiceRow(group, name, " · ".join(part for part in detail if part), keys)


def _projector(model: StoredModel) -> str:
    if not model.projectors:
        return ""
    return posixpath.join(posixpath.dirname(model.path), posixpath.basename(model.projectors[0]))


def _of_entry(texts: Texts, ranked: Ranked, here: tuple[StoredModel, ...]) -> ChoiceRow:
    entry, stored = ranked.entry, stored_of(ranked.entry, here)
    keys = dict(keys_of_entry(entry))
    if stored is not None:
        keys |= {"model": stored.path, "target": stored.target}
        if keys.get("projector"):
            keys["projector"] = _projector(stored)
    fit = texts.text("ui.editor.picker.fits", tokens=f"{ranked.max_context:,}")
    detail = [
        texts.text(f"ui.engine.{entry.engine}"),
        format_gib(entry.download_bytes),
        fit if ranked.fit is Fit.NOW else texts.text(_FITS[ranked.fit]),
        *(() if stored is not None else (texts.text("ui.editor.picker.download"),)),
    ]
    group = texts.text("ui.editor.picker.catalogue")
    return ChoiceRow(group, entry.name, " · ".join(detail), keys, ranked.max_context)


def found_rows(rows: tuple[ChoiceRow, ...], words: str) -> tuple[ChoiceRow, ...]:
    """Those whose line holds all words."""
    wanted = words.lower().split()
    return tuple(row for row in rows if all(word in f"{row.name} {row.detail}".lower() for word in wanted))


def with_choice(texts: Mapping[str, str], choice: ChoiceRow, *, new: bool) -> dict[str, str]:
    """The fields with a model that was chosen. What a person has named stays; a context that cannot fit is shortened.

    Args:
        new: the profile is not stored yet: it gets the model's context too.
    """
    keys = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in choice.keys.items()}
    found = with_engine(texts, Engine(keys["engine"]))
    for name in _NAMES:
        keys[name] = found[name].strip() or keys.get(name, "") or keys["title"]
    context = int(keys.pop("context", "0"))
    found |= {"projector": "", "vllm.images": "false"} | keys
    if new and context:
        found["context"] = str(min(context, choice.longest or context))
    return found
