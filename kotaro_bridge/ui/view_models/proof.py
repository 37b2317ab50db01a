"""What was proved about a run, as rows of a table. Must not import Qt, and must not judge: `domain.placement` does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kotaro_bridge.domain.engine.engine_log import LogFacts
from kotaro_bridge.domain.engine.reasons import Verdict
from kotaro_bridge.domain.run.run_view import RunView, Speed
from kotaro_bridge.domain.units import format_gib, format_mib
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.view_models.status import is_live, is_slow, rate_digits


@dataclass(frozen=True, slots=True)
class ProofRow:
    """A name and what the log or the measurement said; `mark` is shown beside it where it proves nothing."""

    name: str
    value: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class ProofTable:
    """The panel's content; `tone` is `good`, `warn`, `bad` or empty where nothing is proved yet."""

    headline: str
    tone: str
    rows: tuple[ProofRow, ...]


def proof_table(texts: Texts, view: RunView) -> ProofTable:
    """The table of a run; empty rows before there is a judgement."""
    judgement = view.judgement
    if judgement is None:
        return ProofTable(texts.text("ui.proof.none"), "", ())
    if view.warning is not None and is_live(view.phase):
        headline, tone = texts.text("ui.warned.proof", what=texts.message(view.warning).what), "warn"
    elif is_slow(view):
        headline, tone = texts.text("ui.slow.headline"), "warn"
    elif is_live(view.phase) and judgement.verdict is Verdict.GPU:
        headline, tone = texts.text("ui.proof.holds"), "good"
    elif judgement.verdict is Verdict.GPU:
        headline, tone = texts.text("ui.proof.log_only"), ""
    else:
        headline, tone = texts.text(f"ui.proof.verdict.{judgement.verdict}"), "bad"
    return ProofTable(headline, tone, tuple(_rows(texts, view, judgement.facts)))


def _rows(texts: Texts, view: RunView, facts: LogFacts) -> Iterator[ProofRow]:
    for key, value in _values(texts, view, facts):
        slow = key == "speed" and view.speed is not None and view.speed.slow
        yield ProofRow(texts.text(f"ui.proof.{key}"), value, texts.text("ui.slow.mark") if slow else "")


def _values(texts: Texts, view: RunView, facts: LogFacts) -> Iterator[tuple[str, str]]:
    gpu = {name: device for name, device in facts.devices.items() if name.startswith("CUDA")}
    weights = facts.weights if facts.weights is not None else _sum(device.model for device in gpu.values())
    if weights is not None:
        yield "weights", texts.text("ui.proof.on_card", size=format_gib(weights))
    if facts.host_model:
        yield "host_weights", texts.text("ui.proof.host_value", size=format_mib(facts.host_model))
    kv = facts.available_kv if facts.weights is not None else _sum(device.kv for device in gpu.values())
    if kv is not None:
        yield "kv", texts.text("ui.proof.on_card", size=format_gib(kv))
    compute = _sum(device.compute for device in gpu.values())
    if compute is not None:
        yield "compute", texts.text("ui.proof.on_card", size=format_mib(compute))
    if facts.layers is not None and facts.layers_total is not None:
        yield "layers", texts.text("ui.proof.of", part=facts.layers, whole=facts.layers_total)
    if facts.splits is not None:
        yield "splits", str(facts.splits)
    context = facts.n_ctx_slot if facts.n_ctx_slot is not None else facts.n_ctx
    if context is not None:
        yield "context", texts.text("ui.tokens", tokens=f"{context:,}")
    if facts.kv_tokens is not None:
        yield "kv_tokens", texts.text("ui.tokens", tokens=f"{facts.kv_tokens:,}")
    if view.vram_taken is not None:
        yield "growth", format_mib(view.vram_taken)
    if view.speed is not None:
        yield "speed", speed_words(texts, view.speed)
    if facts.version is not None:
        yield "version", facts.version


def _sum(values: Iterator[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def speed_words(texts: Texts, speed: Speed) -> str:
    """`38 tok/s (usually 40) · 63 % of what this card can do`, as far as it is known."""
    words = texts.text("ui.rate", rate=rate_digits(speed.tokens_per_s))
    if speed.baseline is not None:
        words += " " + texts.text("ui.proof.usual", rate=rate_digits(speed.baseline))
    if speed.of_limit is not None:
        words += " · " + texts.text("ui.proof.of_limit", percent=round(speed.of_limit * 100))
    return words
