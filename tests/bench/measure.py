"""What a measurement is: a figure with its limit, the speed of this machine at that moment, and the table of all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

CALIBRATION_RUNS = 25
_LOOP = 100_000


class NotMeasured(Exception):
    """A measurement cannot be made here; the text is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """One limit and what was found.

    Args:
        name: short name; what: the figure in words.
        value: the figure, None where it could not be measured (`note` says why); limit: the largest that is allowed.
        figures: what the value comes from, and what is good to know beside it; goes into the JSON.
        note: a few words for the table.
    """

    name: str
    what: str
    value: float | None
    unit: str
    limit: float
    figures: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def ok(self) -> bool:
        """True if the figure is there and within its limit."""
        return self.value is not None and self.value <= self.limit


Bench: TypeAlias = Callable[[Path], list[Result]]
"""Measures in an empty folder of its own."""


def calibration_ms() -> float:
    """Median time of a fixed loop of plain Python: figures of two machines, or of two hours, compare only beside it."""
    return statistics.median(_loop_ms() for _ in range(CALIBRATION_RUNS))


def _loop_ms() -> float:
    begin = time.perf_counter()
    total = 0
    for number in range(_LOOP):
        total += number * number & 0xFF
    return (time.perf_counter() - begin) * 1000


def spread(values: Sequence[float]) -> dict[str, Any]:
    """A list of figures as it is kept: how many, the median, and the tenth at each end."""
    ordered = sorted(values)
    tenth = len(ordered) // 10
    return {
        "runs": len(ordered),
        "median": round(statistics.median(ordered), 3),
        "low": round(ordered[tenth], 3),
        "high": round(ordered[-1 - tenth], 3),
    }


def table(rows: Sequence[tuple[Result, float]]) -> str:
    """All results with the calibration loop of their moment, for a terminal."""
    head = ("", "measurement", "value", "limit", "loop", "")
    cells = [head, *(_row(result, loop_ms) for result, loop_ms in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head) - 1)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def _row(result: Result, loop_ms: float) -> tuple[str, ...]:
    value = "-" if result.value is None else f"{result.value:.2f} {result.unit}"
    state = "ok" if result.ok else "not measured" if result.value is None else "MISSED"
    limit = f"≤ {result.limit:g} {result.unit}"
    return (state, result.what, value.strip(), limit.strip(), f"{loop_ms:.2f} ms", result.note)
