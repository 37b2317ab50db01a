"""A figure of a plan as a row of a table. Must not import Qt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A figure.

    Args:
        kind: as in the bar, "" for a sum; origin: where it comes from; about: what it is about, for a pointer.
    """

    kind: str
    name: str
    size: str
    origin: str
    about: str = ""
