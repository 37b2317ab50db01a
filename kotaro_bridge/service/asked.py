"""The questions of one check that nobody has answered yet, by names that somebody who helps knows.

Owns nothing but that list: a check that does not end says with it what it waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.service.needs import answer

T = TypeVar("T")


class Asked:
    """Questions under way; several threads may ask."""

    def __init__(self) -> None:
        self._open: dict[object, str] = {}

    def answer(self, name: str, question: Callable[[], T]) -> T | Problem:
        """What `question` returns, or the problem that it raises; under way until then."""
        key = object()
        self._open[key] = name
        try:
            return answer(question)
        finally:
            del self._open[key]

    def open(self) -> tuple[str, ...]:
        """Names of what is under way, the oldest first, each once."""
        return tuple(dict.fromkeys(tuple(self._open.values())))
