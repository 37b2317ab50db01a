"""Problems as codes with parameters.

Owns: the vocabulary in which every layer reports what went wrong. Sentences are made elsewhere (`kotaro_bridge.texts`,
from `resources/i18n`), so that a code can be translated, tested and logged. Must not hold user-facing words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

Param: TypeAlias = str | int | float
EMPTY: Mapping[str, Param] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Problem:
    """What happened, as a code.

    Args:
        code: dotted stable word, the key of the sentence in `resources/i18n/*.toml` (for example `gate.vram_short`).
        params: values for the sentence; sizes in bytes under names that end in `_bytes`.
        evidence: lines that prove it (engine log, tool output), newest last, for the copyable details.
    """

    code: str
    params: Mapping[str, Param] = field(default_factory=lambda: EMPTY)
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The code with its values, for a log."""
        return " ".join([self.code, *(f"{name}={value}" for name, value in self.params.items())])


class ProblemError(Exception):
    """An operation failed for a reason that a person can be told; carries the `Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code, dict(problem.params))
        self.problem = problem


def problem(code: str, /, *evidence: str, **params: Param) -> Problem:
    """Short form of `Problem(code, params, evidence)`."""
    return Problem(code, MappingProxyType(params), evidence)
