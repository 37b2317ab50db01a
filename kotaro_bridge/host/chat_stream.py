"""Events of a streamed chat answer: their text, and how fast it came.

Owns both dialects (reference llama-server §4, captures vllm/http.txt). Must not read the network or a clock.
"""

from __future__ import annotations

import json
from typing import Any

from kotaro_bridge.domain.errors import Problem, ProblemError, problem

_TEXT_KEYS = ("content", "reasoning_content", "reasoning")  # the last two while a model thinks aloud


class ChatStream:
    """Takes the events of one answer.

    Args:
        started_s: when the request was sent, in monotonic seconds.
    """

    def __init__(self, started_s: float) -> None:
        self._started_s = started_s
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self.tokens = 0
        self.done = False

    def take(self, data: str, now_s: float) -> str:
        """Text that an event adds.

        Raises:
            ProblemError: `http.status` for an error in the middle of the stream (both engines have sent 200 by then),
                `http.broken` for an event that is no JSON object.
        """
        if data == "[DONE]":
            self.done = True
            return ""
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise ProblemError(problem("http.broken", detail=data[:200]))
        if "error" in event:
            raise ProblemError(_error(event["error"]))
        delta = _delta(event)
        text = "".join(part for key in _TEXT_KEYS if isinstance(part := delta.get(key), str))
        before = self.tokens
        counted = _count(event)
        self.tokens = max(before, counted) if counted is not None else before + bool(text)
        if self.tokens > before:
            self._last = (now_s, self.tokens)
            self._first = self._first or self._last
        return text

    @property
    def first_token_s(self) -> float | None:
        """Seconds from the request to the first token."""
        return None if self._first is None else self._first[0] - self._started_s

    @property
    def tokens_after_first(self) -> int:
        """Tokens behind those of the first event that had any."""
        return 0 if self._first is None or self._last is None else self._last[1] - self._first[1]

    @property
    def seconds_after_first(self) -> float:
        """Seconds that they took."""
        return 0.0 if self._first is None or self._last is None else self._last[0] - self._first[0]

    @property
    def tokens_per_s(self) -> float | None:
        """Speed without the first token, which waits for the prompt; None if there were too few tokens to tell."""
        seconds = self.seconds_after_first
        return self.tokens_after_first / seconds if seconds > 0 else None


def _delta(event: dict[str, Any]) -> dict[str, Any]:
    choices = event.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    delta = first.get("delta") if isinstance(first, dict) else None
    return delta if isinstance(delta, dict) else {}


def _count(event: dict[str, Any]) -> int | None:
    """Tokens so far, as the engine counts: an event may hold several, or half a character and no text."""
    for key, name in (("timings", "predicted_n"), ("usage", "completion_tokens")):
        part = event.get(key)
        count = part.get(name) if isinstance(part, dict) else None
        if isinstance(count, int):
            return count
    return None


def _error(error: object) -> Problem:
    details = error if isinstance(error, dict) else {"message": str(error)}
    code, message = details.get("code"), str(details.get("message", ""))[:500]
    return problem("http.status", message, status=code if isinstance(code, int) else 500, body=message)
