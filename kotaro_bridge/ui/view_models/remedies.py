"""What would make a start work, and who holds the memory that it lacks, in words. Must not import Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.run.remedy import Remedy, RemedyKind
from kotaro_bridge.domain.units import format_mib
from kotaro_bridge.texts import Texts

HOLDERS_SHOWN = 5

_PARAMETERS = {
    RemedyKind.CONTEXT: "tokens",
    RemedyKind.KV_TYPE: "type",
    RemedyKind.PARALLEL: "count",
    RemedyKind.STOP_RUN: "profile",
    RemedyKind.UNLOAD: "model",
    RemedyKind.FORGET: "what",
}
_FREED_BY = {HolderKind.RUN: RemedyKind.STOP_RUN, HolderKind.OLLAMA: RemedyKind.UNLOAD}


@dataclass(frozen=True, slots=True)
class RemedyRow:
    """A button that applies a remedy.

    Args:
        caption: of the button, with its mnemonic; says: what it does besides, in one line; busy: while it is done.
    """

    remedy: Remedy
    caption: str
    says: str
    busy: str


@dataclass(frozen=True, slots=True)
class HolderRow:
    """Who holds memory; `free` is None where only the person can end it."""

    kind: str
    name: str
    size: str
    free: RemedyRow | None


def remedy_row(texts: Texts, remedy: Remedy, caption: str | None = None) -> RemedyRow:
    """The words of a remedy; `caption` where the button stands beside what it names."""
    shown = remedy.name or remedy.value
    parameter = {_PARAMETERS[remedy.kind]: f"{int(shown):,}" if shown.isdecimal() else shown}
    escaped = {name: value.replace("&", "&&") for name, value in parameter.items()}
    return RemedyRow(
        remedy,
        caption or texts.text(f"ui.remedy.{remedy.kind}", **escaped),
        texts.text(f"ui.remedy.says.{remedy.kind}", **parameter),
        texts.text(f"ui.remedy.busy.{remedy.kind}", **parameter),
    )


def holder_rows(texts: Texts, holders: Sequence[Holder]) -> tuple[HolderRow, ...]:
    """In their order, which is the largest first; what can be freed here is shown however small it is."""
    small = [holder for holder in holders[HOLDERS_SHOWN:] if holder.kind not in _FREED_BY]
    if len(small) == 1:
        small = []  # a row that says "and 1 more" takes the place of the one
    rows = [_holder_row(texts, holder) for holder in holders if holder not in small]
    if small:
        size = format_mib(sum(holder.bytes or 0 for holder in small))
        rows.append(HolderRow("", texts.text("ui.holder.rest", count=len(small)), size, None))
    return tuple(rows)


def _holder_row(texts: Texts, holder: Holder) -> HolderRow:
    kind = _FREED_BY.get(holder.kind)
    free = None
    if kind is not None and holder.key:
        caption = texts.text(f"ui.holder.{kind}")
        free = remedy_row(texts, Remedy(kind, holder.key, holder.name), caption)
    size = format_mib(holder.bytes) if holder.bytes is not None else texts.text("ui.holder.unknown")
    return HolderRow(texts.text(f"ui.holder.{holder.kind}"), holder.name, size, free)
