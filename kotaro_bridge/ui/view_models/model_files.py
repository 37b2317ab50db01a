"""Model files in words: a line of the list, facts of one, what a deletion would do. Must not import Qt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kotaro_bridge.domain.model.model_files import Condition, Place, StoredModel
from kotaro_bridge.domain.units import format_size
from kotaro_bridge.service.model_shelf import PlannedRemoval
from kotaro_bridge.texts import Message, Texts

TONES = {Condition.WHOLE: "good", Condition.PARTIAL: "warn", Condition.BROKEN: "bad"}


@dataclass(frozen=True, slots=True)
class FileRow:
    """A line of the list, and all of it in words."""

    key: str
    title: str
    sub: str
    tone: str
    words: str


def key_of(model: StoredModel) -> str:
    """Says which model of the machine is meant."""
    return f"{model.target} {model.place.value} {model.id}"


def grouped(texts: Texts, models: Sequence[StoredModel]) -> Iterator[tuple[str, tuple[StoredModel, ...]]]:
    """The models by where they lie, in the order in which they were found."""
    groups: dict[tuple[str, Place], list[StoredModel]] = {}
    for model in models:
        groups.setdefault((model.target, model.place), []).append(model)
    for (target, place), found in groups.items():
        size = format_size(sum(model.bytes for model in found))
        where = texts.text(f"models.place.{place.value}")
        name = where if model_is_foreign(found[0]) else f"{target.removeprefix('wsl:')}: {where}"
        yield f"{name} ({size})", tuple(found)


def model_is_foreign(model: StoredModel) -> bool:
    """True for a model of another program on Windows."""
    return not model.removable


def file_row(texts: Texts, model: StoredModel) -> FileRow:
    """A line of the list."""
    title = model.id.rpartition("/")[2] if model.place is not Place.HUB_CACHE else model.id
    parts = [format_size(model.bytes), texts.text(f"models.condition.{model.condition.value}")]
    if model.used_by:
        parts.append(texts.text("models.used_by", profiles=", ".join(model.used_by)))
    sub = " · ".join(parts)
    return FileRow(key_of(model), title, sub, TONES[model.condition], ", ".join((title, *parts)))


def file_facts(texts: Texts, model: StoredModel) -> Iterator[tuple[str, str]]:
    """What is known of a model's files: names and values."""
    text = texts.text
    yield text("ui.files.size"), format_size(model.bytes)
    condition = text(f"models.condition.{model.condition.value}")
    if model.condition is Condition.WHOLE and model.unfinished_bytes:
        condition = f"{condition}, {text('models.unfinished', size=format_size(model.unfinished_bytes))}"
    yield text("ui.files.condition"), condition
    yield text("ui.files.place"), f"{model.target.removeprefix('wsl:')}: {model.root}"
    yield text("ui.files.path"), model.path
    yield text("ui.files.profiles"), ", ".join(model.used_by) or text("ui.files.no_profile")
    if model.revisions:
        yield text("ui.files.revisions"), ", ".join(revision[:12] for revision in model.revisions)
    if model.projectors:
        yield text("ui.files.projector"), ", ".join(model.projectors)


def condition_words(texts: Texts, model: StoredModel) -> str:
    """What a condition other than whole means; "" for a whole one."""
    if model.condition is Condition.WHOLE:
        return ""
    return texts.text(f"ui.files.{model.condition.value}")


def removal_words(texts: Texts, planned: PlannedRemoval) -> Message:
    """What a deletion would do."""
    freed = format_size(planned.removal.freed_bytes)
    what = texts.text("ui.files.remove.what", name=planned.model.id, size=freed)
    users = ", ".join(planned.model.used_by)
    broken = texts.text("ui.files.remove.breaks", profiles=users) if users else ""
    return Message(what, f"{broken} {texts.text('ui.files.remove.do')}".strip())
