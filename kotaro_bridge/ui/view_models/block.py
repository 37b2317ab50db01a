"""Why a run was refused, ended or left something behind, for the block dialog and its copy. Must not import Qt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.gate import CheckId, GateReport, Status
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.domain.units import format_mib
from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.view_models.look import Look
from kotaro_bridge.ui.view_models.remedies import HolderRow, RemedyRow, holder_rows, remedy_row
from kotaro_bridge.ui.view_models.status import is_warned, look_of_run, simulated_words

_WAYS_ON: dict[str, tuple[str, str]] = {
    "warned": ("ui.block.stop", "ui.stopping"),
    Phase.ORPHANED: ("ui.block.stop_again", "ui.stopping"),
}
_OF_PROFILE = frozenset(
    {CheckId.PROFILE, CheckId.ENGINE, CheckId.MODEL, CheckId.PORT_WINDOWS, CheckId.PORT_TARGET, CheckId.VRAM}
)
"""Checks that a changed profile can pass."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Bytes of video memory that the refusal is about."""

    need: int
    free: int
    total: int
    missing: int


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One check: its outcome, its name, and the sentence."""

    status: Status
    word: str
    name: str
    sentence: str


@dataclass(frozen=True, slots=True)
class BlockReport:
    """All that the dialog shows.

    Args:
        reassurance: what was not done, or what is still there.
        causes: each with what to do.
        remedies: what one click changes so that a start works, the best first.
        holders: who holds video memory, largest first.
        evidence: lines of logs or tools that prove the causes.
        retry: words of the button that tries again, or stops what it is about; busy: while that is done.
        failure: why the last remedy did not work.
        editable: another profile could work where this one does not.
    """

    profile_id: str
    look: Look
    title: str
    reassurance: str
    causes: tuple[Message, ...]
    remedies: tuple[RemedyRow, ...]
    numbers: Numbers | None
    holders: tuple[HolderRow, ...]
    checks: tuple[CheckRow, ...]
    evidence: tuple[str, ...]
    retry: str
    busy: str
    failure: Message | None = None
    editable: bool = False


def block_report(texts: Texts, profile: Profile, view: RunView) -> BlockReport:
    """The report of a run in REFUSED, FAILED or ORPHANED, or of one that serves with a warning."""
    kind = "warned" if is_warned(view) else view.phase
    problems = tuple(_problems(view))
    numbers = _numbers(view.gate) if view.phase is Phase.REFUSED else None
    retry, busy = _WAYS_ON.get(kind, ("ui.block.check_again", "ui.block.checking"))
    return BlockReport(
        profile_id=profile.id,
        look=look_of_run(view),
        title=texts.text(f"ui.block.title.{kind}", model=profile.title),
        reassurance=texts.text(f"ui.block.note.{kind}"),
        causes=tuple(texts.message(problem) for problem in problems),
        remedies=tuple(remedy_row(texts, remedy) for remedy in view.remedies),
        numbers=numbers,
        holders=holder_rows(texts, view.gate.holders) if view.gate and numbers else (),
        checks=tuple(_check_rows(texts, view.gate)) if view.gate and kind != "warned" else (),
        evidence=tuple(_evidence(view, problems)),
        retry=texts.text(retry),
        busy=texts.text(busy),
        editable=_is_editable(view),
    )


def _is_editable(view: RunView) -> bool:
    """A driver or a WSL that does not answer stays what it is, whatever the profile says."""
    if view.phase is Phase.REFUSED and view.gate is not None:
        return any(check.id in _OF_PROFILE for check in view.gate.blocking)
    return view.phase is Phase.FAILED


def problem_report(texts: Texts, problems: tuple[Problem, ...]) -> BlockReport:
    """The same for profile files that could not be read."""
    return BlockReport(
        profile_id="",
        look=Look.ALERT,
        title=texts.text("ui.block.title.profiles"),
        reassurance=texts.text("ui.block.note.profiles"),
        causes=tuple(texts.message(problem) for problem in problems),
        remedies=(),
        numbers=None,
        holders=(),
        checks=(),
        evidence=tuple(line for problem in problems for line in problem.evidence),
        retry="",
        busy="",
    )


def copy_text(texts: Texts, report: BlockReport, version: str, simulated: str | None) -> str:
    """The report as plain text for a message or an issue."""
    return "\n".join(_copy_lines(texts, report, version, simulated)) + "\n"


def _copy_lines(texts: Texts, report: BlockReport, version: str, simulated: str | None) -> Iterator[str]:
    yield f"Kotaro Bridge {version}"
    if simulated is not None:
        yield simulated_words(texts, simulated)
    yield report.title
    yield report.reassurance
    for cause in (*((report.failure,) if report.failure else ()), *report.causes):
        yield ""
        yield cause.what
        if cause.do:
            yield cause.do
    if report.numbers is not None:
        yield ""
        for name, size in number_rows(texts, report.numbers):
            yield f"{name}: {size}"
    for holder in report.holders:
        yield f"{texts.text('ui.block.holders')}: {holder.name}, {holder.size}"
    if report.checks:
        yield ""
        for check in report.checks:
            yield f"[{check.word}] {check.name}: {check.sentence}"
    if report.evidence:
        yield ""
        yield from report.evidence


def number_rows(texts: Texts, numbers: Numbers) -> tuple[tuple[str, str], ...]:
    """Needed, free, total, missing: name and size."""
    values = (("need", numbers.need), ("free", numbers.free), ("total", numbers.total), ("missing", numbers.missing))
    return tuple((texts.text(f"ui.block.{key}"), format_mib(size)) for key, size in values)


def _problems(view: RunView) -> Iterator[Problem]:
    """Each check that refuses has its say; a run that ended or serves with a warning has one reason."""
    blocking = view.gate.blocking if view.gate and view.phase is Phase.REFUSED else ()
    messages = [check.message for check in blocking]
    reason = view.warning or view.problem
    if reason is not None and reason not in messages:
        yield reason
    yield from messages


def _numbers(gate: GateReport | None) -> Numbers | None:
    check = next((check for check in gate.checks if check.id is CheckId.VRAM and check.blocks), None) if gate else None
    if check is None:
        return None
    values = [check.message.params.get(f"{name}_bytes") for name in ("need", "free", "total", "missing")]
    if not all(isinstance(value, int) for value in values):
        return None
    need, free, total, missing = (int(value) for value in values if value is not None)
    return Numbers(need, free, total, missing)


def _check_rows(texts: Texts, gate: GateReport) -> Iterator[CheckRow]:
    for check in gate.checks:
        word = texts.text(f"ui.status.{check.status}")
        yield CheckRow(check.status, word, texts.text(f"ui.check.{check.id}"), texts.message(check.message).what)


def _evidence(view: RunView, problems: tuple[Problem, ...]) -> Iterator[str]:
    """The lines of the problems, then those of the judgement that are not among them."""
    seen: set[str] = set()
    lines = [line for problem in problems for line in problem.evidence]
    if view.judgement is not None and view.phase is not Phase.REFUSED:
        lines += [reason.line for reason in view.judgement.reasons if reason.line]
    for line in lines:
        if line not in seen:
            seen.add(line)
            yield line
