"""The protocol of a running engine's HTTP side, and the values that cross it. `host/http_engine.py` implements it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from kotaro_bridge.domain.run.metrics import RatesSample


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """A part of a streamed answer. The last one has `done` and the numbers.

    Args:
        tokens_per_s: speed without the first token (which waits for the prompt), None for answers too short to tell.
        first_token_s: seconds from the request to the first token.
    """

    text: str
    done: bool = False
    tokens_per_s: float | None = None
    first_token_s: float | None = None


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What a short answer showed: tokens after the first, seconds they took; None where there were too few to tell."""

    tokens: int
    seconds: float
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True)
class EngineProps:
    """What an engine says of itself; None where it does not.

    Args:
        n_ctx: tokens that one request may hold.
        slots: requests served at once (llama-server).
        build: version text.
    """

    n_ctx: int | None
    slots: int | None
    build: str | None


class EngineHttp(Protocol):
    """A client for one engine. All methods block, none for longer than its time limit between two bytes.

    Errors are ProblemErrors: `http.refused` (nobody listens), `http.timeout` (`seconds`), `http.status` (`status`,
    `body`), `http.broken` (`detail`: no HTTP, no JSON, an answer that stops in the middle).
    """

    def health(self, timeout_s: float) -> int | None:
        """Status code of `/health`; None without an answer. Never raises."""

    def rates_sample(self) -> RatesSample:
        """Raw texts for the token rates; a page that the engine refuses is None.

        Raises:
            ProblemError: no answer at all.
        """

    def props(self) -> EngineProps:
        """What the engine says of itself. Raises ProblemError."""

    def warm_up(self, model: str, *, max_tokens: int = 64, time_limit_s: float = 1.0) -> WarmUp:
        """Speed of a short answer, after a first request whose time is not counted. Raises ProblemError."""

    def chat(self, model: str, question: str, *, with_image: bool) -> Iterator[ChatPiece]:
        """Stream a short answer, with a picture of a red circle if `with_image`. Closing the iterator ends the request.

        Raises:
            ProblemError: while iterating.
        """

    def close(self) -> None:
        """Close connections."""
