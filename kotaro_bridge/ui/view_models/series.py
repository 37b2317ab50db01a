"""Telemetry as curves: one list of times and one of values for each line of a graph.

Owns the rule of gaps: an unknown value is NaN and leaves a gap, zero is a value. Must not import Qt or numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kotaro_bridge.domain.run.run_view import Sample
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.ui.view_models.status import card_of, throughput_of

GAP_S = 15.0
"""Samples further apart than this are not joined: the computer slept, or nobody measured."""

STEPS_S = (40.0, 80.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True, slots=True)
class Curves:
    """Values over `x`, seconds before now (0 or negative). GiB, tokens per second, percent, watts; NaN is a gap."""

    x: list[float]
    used: list[float]
    shared: list[float]
    generation: list[float]
    prompt: list[float]
    busy: list[float]
    power: list[float]


def curves(history: Sequence[Sample], profile_id: str, gpus: tuple[int, ...], now: float, span_s: float) -> Curves:
    """The curves of one run on its cards over the last `span_s` seconds; `now` on the clock of `Sample.at`."""
    made = Curves([], [], [], [], [], [], [])
    before: float | None = None
    for sample in history:
        if sample.at < now - span_s:
            continue
        if before is not None and sample.at - before > GAP_S:
            _append(made, (before + sample.at) / 2 - now, (math.nan,) * 6)
        before = sample.at
        _append(made, sample.at - now, _values(sample, profile_id, gpus))
    return made


def _values(sample: Sample, profile_id: str, gpus: tuple[int, ...]) -> tuple[float, ...]:
    card = card_of(sample, gpus)
    rate = throughput_of(sample, profile_id)
    shared = sample.counters.shared if sample.counters else None
    return (
        _gap(card.used if card else None, 1 / GIB),
        _gap(shared, 1 / GIB),
        _gap(rate.generation_tps if rate else None),
        _gap(rate.prompt_tps if rate else None),
        _gap(card.utilization if card else None, 100),
        _gap(card.power_w if card else None),
    )


def _gap(value: float | None, factor: float = 1.0) -> float:
    return math.nan if value is None else value * factor


def _append(made: Curves, x: float, values: tuple[float, ...]) -> None:
    made.x.append(x)
    lines = (made.used, made.shared, made.generation, made.prompt, made.busy, made.power)
    for line, value in zip(lines, values, strict=True):
        line.append(value)


def window_s(history: Sequence[Sample], span_s: float) -> float:
    """Width of the time axis: what there is to see, in a few steps, up to `span_s`."""
    age = history[-1].at - history[0].at if history else 0.0
    return next((step for step in STEPS_S if step >= age or step >= span_s), span_s)


def nice_ceiling(values: Sequence[float], least: float) -> float:
    """A round upper end for an axis: 1, 2, 2.5, 5 times a power of ten, not below `least`; NaN is ignored."""
    top = max((value for value in values if not math.isnan(value)), default=0.0) * 1.05
    if top <= least:
        return least
    power = 10.0 ** math.floor(math.log10(top))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= top)
