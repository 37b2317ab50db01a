"""How fast a model may be expected to answer on a card, from the card's memory bandwidth, before anything runs.

Owns the two ends of the answer. Must not judge a measured speed (`speed`, whose docstring holds the measurements).

The slow end is what was measured on an H100, launches and all (speed: llama-server 0.7 ms + read / 0.40, vLLM with CUDA
graphs 2.1 ms + read / 0.53); a card with less bandwidth reaches a larger share of it. The fast end is the largest share
that was seen: a 7B in F16 on an RTX 3090 (936 GB/s) made 48.5 tokens a second, 0.70 of the limit (llama.cpp PR 4766).
Both are for one request with a short context.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kotaro_bridge.domain.engine.engine_log import Engine

BEST_SHARE = 0.70
"""Of the bandwidth, at most."""


@dataclass(frozen=True, slots=True)
class SpeedRange:
    """Tokens per second."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Measured:
    """Seconds of launches for each token, and the share of the bandwidth that the rest reaches."""

    launch_s: float
    share: float


_H100: Mapping[Engine, _Measured] = MappingProxyType(
    {Engine.LLAMA_SERVER: _Measured(0.0007, 0.40), Engine.VLLM: _Measured(0.0021, 0.53)}
)


def forecast(engine: Engine, read_bytes: int | None, bandwidth: float | None) -> SpeedRange | None:
    """What to expect; None where the bytes of a token or the bandwidth (bytes per second) are not known."""
    if not read_bytes or not bandwidth:
        return None
    measured = _H100[engine]
    slowest_s = measured.launch_s + read_bytes / (measured.share * bandwidth)
    return SpeedRange(1 / slowest_s, BEST_SHARE * bandwidth / read_bytes)
