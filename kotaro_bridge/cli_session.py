"""What all commands of the command line share beside the session itself (`session.py`)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kotaro_bridge.cli_print import problem_of
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.session import product, session

__all__ = ["Json", "product", "raise_if_error", "session"]

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]


def raise_if_error(answer: dict[str, Any]) -> None:
    """Raise the ProblemError that an owner answered with."""
    if error := answer.get("error"):
        raise ProblemError(problem_of(error))
