"""The recordings of `tests/data/captures`, as text and as lines."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from kotaro_bridge.domain.engine_log import LogLine, Stream, split_log

FOLDER = Path(__file__).parents[1] / "data" / "captures"


@cache
def llama_text(name: str) -> str:
    """A llama-server log; stdout and stderr are together in it."""
    return (FOLDER / "llama-server" / f"{name}.log").read_bytes().decode()


def llama_lines(name: str) -> list[LogLine]:
    return list(split_log(llama_text(name), Stream.STDERR))


@cache
def vllm_text(name: str, stream: Stream) -> str | None:
    path = FOLDER / "vllm" / f"{name}.{stream.value}"
    return path.read_bytes().decode() if path.exists() else None


def line_number(text: str, part: str, after: str = "") -> int:
    """Number of the first line with `part` in it, behind the first line with `after` in it."""
    rows = text.split("\n")
    start = next((i for i, row in enumerate(rows) if after in row), 0) if after else 0
    return next(i for i, row in enumerate(rows, start=1) if i > start and part in row)
