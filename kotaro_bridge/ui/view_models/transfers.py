"""Downloads and copies in words. Must not import Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kotaro_bridge.domain.model.download import COPY_PREFIX, RESTING, DownloadState, DownloadView
from kotaro_bridge.domain.units import format_size
from kotaro_bridge.texts import Texts


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A transfer as it is shown.

    Args:
        permille: how far it is, None where that is not known.
        told: why it failed or what it waits for, "" for nothing.
        tone: of it. can_pause, can_resume, is_copy, rests: which buttons make sense.
    """

    id: str
    name: str
    permille: int | None
    words: str
    told: str
    tone: str
    can_pause: bool
    can_resume: bool
    is_copy: bool
    rests: bool


def transfer_name(view: DownloadView) -> str:
    """What is transferred: the model, and the file where it is one of several."""
    name = view.request.repo.rpartition("/")[2]
    if len(view.request.files) == 1 and "*" not in view.request.files[0]:
        return view.request.files[0].rpartition("/")[2]
    return name


def transfer_row(texts: Texts, view: DownloadView) -> TransferRow:
    """A transfer as it is shown."""
    state, is_copy = view.state, view.id.startswith(COPY_PREFIX)
    permille = min(1000, view.bytes * 1000 // view.total) if view.total else None
    told = ""
    if view.problem is not None:
        message = texts.message(view.problem)
        told = "\n".join(filter(None, (f"{message.what} {message.do}".strip(), *view.problem.evidence[-3:])))
    return TransferRow(
        view.id,
        transfer_name(view),
        1000 if state is DownloadState.DONE else permille,
        transfer_words(texts, view),
        told,
        "bad" if state is DownloadState.FAILED else "warn",
        can_pause=state not in RESTING and not is_copy,
        can_resume=state in (DownloadState.PAUSED, DownloadState.FAILED) and not is_copy,
        is_copy=is_copy,
        rests=state in RESTING,
    )


def transfer_words(texts: Texts, view: DownloadView) -> str:
    """State, bytes, speed and time left."""
    copy = {DownloadState.RUNNING: "ui.transfer.copying", DownloadState.PAUSED: "ui.transfer.ended"}
    own = copy.get(view.state) if view.id.startswith(COPY_PREFIX) else None
    words = [texts.text(own or f"download.state.{view.state.value}")]
    if view.total:
        words.append(f"{percent(view)} %")
        words.append(f"{format_size(view.bytes)} / {format_size(view.total)}")
    if view.speed is not None:
        words.append(f"{view.speed / 1e6:.1f} MB/s")
    if view.eta is not None:
        minutes, seconds = divmod(round(view.eta), 60)
        words.append(texts.text("download.left", minutes=minutes, seconds=f"{seconds:02}"))
    if view.waits_s is not None:
        words.append(texts.text("download.again", seconds=round(view.waits_s)))
    return " · ".join(words)


def percent(view: DownloadView) -> int:
    """How much of it is there, in whole percent."""
    return view.bytes * 100 // view.total if view.total else 0


def under_way(views: Iterable[DownloadView]) -> DownloadView | None:
    """The transfer that one line can speak of: one that moves before one that waits for its turn."""
    moving = [view for view in views if view.state not in RESTING]
    return next((view for view in moving if view.state is not DownloadState.QUEUED), next(iter(moving), None))


def short_words(texts: Texts, views: Iterable[DownloadView]) -> str:
    """What is on its way, for a menu; "" for nothing."""
    view = under_way(views)
    return texts.text("ui.transfer.short", name=transfer_name(view), percent=percent(view)) if view else ""
