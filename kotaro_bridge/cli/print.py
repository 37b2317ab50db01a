"""What the command line prints: problems, reports and runs as lines or JSON. Decides nothing."""

from __future__ import annotations

import contextlib
import json
import shlex
import threading
import unicodedata
from collections.abc import Sequence
from typing import Any

import typer

from kotaro_bridge.app.session import explain as explain
from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.gpu import cards_at, together
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.gate import GateReport
from kotaro_bridge.domain.run.remedy import Remedy
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice, PhaseChanged, RunView, Sample
from kotaro_bridge.domain.run.speed import slow_notice
from kotaro_bridge.domain.units import format_gib
from kotaro_bridge.service.bus import Message
from kotaro_bridge.service.owner_desk import gpu_document, remedy_document
from kotaro_bridge.texts import Texts

_MARK_COLUMNS = 8


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def columns(text: str) -> int:
    """Columns that a text takes in a terminal: a Japanese character takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """A cell of a table, `width` columns wide."""
    gap = " " * (width - columns(text))
    return gap + text if right else text + gap


def report_document(texts: Texts, report: GateReport, remedies: Sequence[Remedy]) -> dict[str, Any]:
    """The gate's answer as the document of `check --json`."""
    checks = []
    for one in report.checks:
        message = texts.message(one.message)
        checks.append({"id": one.id.value, "status": one.status.value, "detail": message.what, "remedy": message.do})
    holders = [{"kind": h.kind.value, "name": h.name, "bytes": h.bytes, "key": h.key} for h in report.holders]
    return {
        "ok": report.ok,
        "checks": checks,
        "gpus": [gpu_document(gpu) for gpu in report.gpus],
        "holders": holders,
        "remedies": [remedy_document(remedy) for remedy in remedies],
    }


def print_report(texts: Texts, report: GateReport) -> None:
    """The gate's answer as lines; what blocks goes to stderr. One cause that blocks several checks is told once."""
    for one in report.checks:
        same = [each for each in report.checks if one.blocks and each.message == one.message] or [one]
        if same[0] is not one:
            continue
        message = texts.message(one.message)
        names = ", ".join(texts.text(f"ui.check.{each.id.value}") for each in same)
        mark = padded(texts.text(f"cli.check.{one.status.value}"), _MARK_COLUMNS)
        typer.echo(f"{mark} {names}: {message.what}", err=one.blocks)
        if one.blocks:
            for line in (*(f"  {line}" for line in one.message.evidence), message.do):
                if line.strip():
                    typer.echo(f"{'':{_MARK_COLUMNS}} {line}", err=True)


def print_remedies(texts: Texts, profile_id: str, remedies: Sequence[Remedy], scenario: str | None) -> None:
    """What would help, as commands on stderr, ready to be copied; `scenario` is the simulated PC they are for."""
    command = f"kotaro-bridge --simulate {shlex.quote(scenario)}" if scenario else "kotaro-bridge"
    if remedies:
        typer.echo(texts.text("cli.remedy.title"), err=True)
    for remedy in remedies:
        word = shlex.quote(remedy.word)
        typer.echo(f"  {command} remedy {profile_id} {word:24} # {remedy_text(texts, remedy)}", err=True)


def remedy_text(texts: Texts, remedy: Remedy) -> str:
    """A remedy as a sentence."""
    return texts.text(f"cli.remedy.{remedy.kind.value}", name=remedy.name or remedy.value)


def print_run(texts: Texts, run: dict[str, Any]) -> None:
    """One run of `status`, with what the watch warns of."""
    state = "ui.warned.word" if run["warning"] else f"ui.phase.{run['state']}"
    where = f"  {run['base_url']}  {run['model']}" if run["base_url"] else ""
    slow = f"  {texts.text('ui.slow.mark')}" if run["slow"] and run["base_url"] else ""
    typer.echo(f"{run['profile']}: {texts.text(state)}{where}{slow}")
    if run["warning"]:
        message = texts.message(problem_of(run["warning"]))
        for line in (message.what, message.do):
            if line:
                typer.echo(f"  {line}")


def problem_of(document: dict[str, Any]) -> Problem:
    """A problem that another process sent as JSON."""
    return Problem(document["code"], document["params"], tuple(document["evidence"]))


class RunPrinter:
    """State changes, warnings and speed of one run as lines, and what else is to be heard meanwhile."""

    def __init__(self, texts: Texts, profile: Profile, ended: threading.Event) -> None:
        self._texts = texts
        self._profile_id = profile.id
        self._gpus = profile.gpus
        self._ended = ended

    def __call__(self, message: Message) -> None:
        if isinstance(message, Sample):
            with contextlib.suppress(BrokenPipeError):  # `run | head`: nobody reads any more, and the run goes on
                self._print_sample(message)
        elif isinstance(message, Notice):
            with contextlib.suppress(BrokenPipeError):
                explain(self._texts, message.problem)
        elif isinstance(message, PhaseChanged) and message.view.profile_id == self._profile_id:
            with contextlib.suppress(BrokenPipeError):
                self._print_phase(message.view)
            if message.view.phase in (*rs.RESTING, Phase.ORPHANED):
                self._ended.set()

    def _print_phase(self, view: RunView) -> None:
        text = self._texts.text
        if view.warning is not None and view.phase in rs.SERVING:
            typer.echo(text("ui.warned.word"))  # why is told by a notice
            return
        typer.echo(text(f"ui.phase.{view.phase.value}"))
        if view.phase is Phase.READY and view.endpoint is not None:
            typer.echo(text("cli.endpoint", url=view.endpoint.base_url, model=view.endpoint.model))
            if view.speed is not None:
                limit = view.speed.of_limit
                share = text("cli.of_limit", percent=round(limit * 100)) if limit else ""
                if view.speed.baseline is not None:
                    share += text("cli.usual", speed=f"{view.speed.baseline:.1f}")
                typer.echo(text("cli.warm_up", speed=f"{view.speed.tokens_per_s:.1f}", share=share))
                if (notice := slow_notice(view.speed)) is not None:
                    explain(self._texts, notice)

    def _print_sample(self, sample: Sample) -> None:
        rate = next((t for t in sample.throughput if t.profile_id == self._profile_id), None)
        if rate is None or rate.generation_tps is None or not rate.generation_tps + (rate.prompt_tps or 0):
            return
        gpu = together(cards_at(sample.gpus, self._gpus))
        vram = f"{format_gib(gpu.used)} / {format_gib(gpu.total)}" if gpu and gpu.used is not None else "?"
        typer.echo(self._texts.text("cli.speed", speed=f"{rate.generation_tps:.1f}", vram=vram))
