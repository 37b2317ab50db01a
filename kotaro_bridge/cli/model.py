"""What a command means by MODEL, by --vram and by --ctx: read the same way wherever they are asked for.

Owns words that a person types for these. Must not plan and must not print.
"""

from __future__ import annotations

import os
from typing import Final

import typer

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.planning.plan import PlannedModel
from kotaro_bridge.domain.units import GIB, parse_size
from kotaro_bridge.host.catalogue_store import load_catalogue

LONGEST: Final = 10_000_000
"""Tokens that `--ctx` takes at most, as a profile's `context`."""
_MOST_VRAM: Final = 16 * 1024 * GIB  # a hundred times the largest card: a slip of the finger


def entry_named(name: str) -> CatalogueEntry | None:
    """The entry of the catalogue with this id, in small or capital letters; None where there is none.

    Raises:
        typer.BadParameter: the name is empty.
    """
    if not name.strip():
        raise typer.BadParameter("MODEL is empty: give a file, a folder, or a name that `models list` shows.")
    wanted = name.casefold()
    return next((entry for entry in load_catalogue() if entry.id.casefold() == wanted), None)


def other_model(name: str) -> PlannedModel:
    """A model that is not in the catalogue.

    Raises:
        ProblemError: `model.unknown_name` (`name`: nothing is called so), and as `resolve_model`.
    """
    from kotaro_bridge.host.model_source import resolve_model

    try:
        return resolve_model(name)
    except ProblemError as error:
        if error.problem.code != "model.missing" or os.path.exists(os.path.expanduser(name)):
            raise
        raise ProblemError(problem("model.unknown_name", name=name)) from error


def stated_vram(text: str) -> int:
    """Bytes that `--vram` says.

    Raises:
        typer.BadParameter: no size with a unit, or more than any card has.
    """
    if text.strip().replace(".", "", 1).isdecimal():
        raise typer.BadParameter(f"--vram {text} has no unit: write it as 12GiB.")
    try:
        size = parse_size(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is not a size such as 12GiB.") from None
    if size > _MOST_VRAM:
        raise typer.BadParameter(f"--vram {text} is more than any card has: write it as 12GiB.")
    return size
