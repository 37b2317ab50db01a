"""The recordings of `tests/data/captures`, as text and as lines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from kotaro_bridge.domain.engine.engine_log import LogLine, Stream

FOLDER = Path(__file__).parents[1] / "data" / "captures"


def split_log(text: str, stream: Stream) -> Iterator[LogLine]:
    """Lines of a whole log file, in order; empty ones are left out.

    Progress bars overwrite themselves with `\\r`, so each of their states is a line of its own, but the number stays
    that of the line in the file: a person who opens it in an editor finds it.
    """
    for number, row in enumerate(text.split("\n"), start=1):
        for piece in row.split("\r"):
            if piece:
                yield LogLine(stream, number, piece)


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


def long_log(count: int) -> Iterator[str]:
    """The recording of a start, then `count` rows of what a day of requests prints: for measurements."""
    requests = (
        "1.02.533.120 I slot   operator(): id  3 | task 0 | new prompt, n_ctx_slot = 8192, n_keep = 0, n_tokens = 12",
        "1.02.533.120 I slot print_timing: id  3 | task 0 | n_gen =    128, tg =  141.20 t/s, tg_3s =  140.20 t/s",
        "1.02.533.120 D slot update_slots: id  3 | task 0 | n_decoded = 17, n_remaining = 111, next token:   264 ' a'",
        "1.02.533.120 I srv  log_server_r: done request: POST /v1/chat/completions 127.0.0.1 200",
        "1.02.533.120 D que    start_loop: waiting for new tasks",
        "1.02.533.120 D srv  update_slots: decoding batch, n_tokens = 1",
    )
    yield from llama_text("full14-lv4").split("\n")
    for number in range(count):
        yield requests[number % len(requests)]
