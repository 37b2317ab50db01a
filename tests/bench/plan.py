"""The planner: how quickly it answers for a large file, for an editor's slider, and how near the truth it is.

The table of all measured starts is printed and written into the README, between its marks.
"""

from __future__ import annotations

import os
import statistics
import struct
import time
from dataclasses import replace
from pathlib import Path

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.planning.plan import PlanCard, PlanRequest, plan
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.host.model_source import resolve_model
from tests.bench.measure import NotMeasured, Result, spread
from tests.helpers.gguf_header import Q14, qwen2_shape
from tests.helpers.plan_rows import lines, llama_rows, percent, vllm_rows

RUNS = 15
FILE_BYTES = 10 * 10**9
READ_LIMIT_MB, COLD_LIMIT_MS, AGAIN_LIMIT_MS = 16.0, 150.0, 1.0
TOTAL_LIMIT, WEIGHTS_LIMIT, KV_LIMIT_GIB = 3.0, 2.0, 0.15
README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- plan: written by dev.py bench -->", "<!-- plan: end -->"
CARD = PlanCard("RTX 4070", 12 * GIB, 11 * GIB, (8, 9))
TOKENS = 152_064


def measure(folder: Path) -> list[Result]:
    """Speed rows and accuracy rows."""
    print(text_table())
    write_readme()
    return [*_cold(folder), _again(), *_accuracy()]


def large_file(folder: Path) -> Path:
    """A model of 10 GB with a true header, a whole vocabulary in it, and no data."""
    kinds = struct.pack("<IIQ", 9, 5, TOKENS) + struct.pack("<i", 1) * TOKENS
    values = {
        "tokenizer.ggml.tokens": [f"token number {number}" for number in range(TOKENS)],
        "tokenizer.ggml.merges": [f"merge {number} of" for number in range(TOKENS)],
        "tokenizer.ggml.token_type": kinds,
    }
    path = folder / "large.gguf"
    with path.open("wb") as file:
        file.write(qwen2_shape(*Q14, more_values=values))  # type: ignore[arg-type]
        file.truncate(FILE_BYTES)
        os.fsync(file.fileno())
    return path


def _cold(folder: Path) -> list[Result]:
    if not hasattr(os, "posix_fadvise") or not Path("/proc/self/io").exists():
        raise NotMeasured("needs Linux, to forget a file's pages and to count what is read.")
    path, times, read = large_file(folder), [], 0
    request = PlanRequest(Engine.LLAMA_SERVER, 8192)
    for _ in range(RUNS):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before, begin = _bytes_read(), time.perf_counter()
        found = plan(resolve_model(str(path)), request, CARD)
        times.append((time.perf_counter() - begin) * 1000)
        read = _bytes_read() - before
        if found.fits is None:
            raise NotMeasured("the plan has no answer.")
    spent = spread(times)
    note = f"median of {RUNS}, worst {max(times):.0f} ms"
    return [
        Result("plan", "plan of a 10 GB GGUF, file cold", spent["median"], "ms", COLD_LIMIT_MS, {"ms": spent}, note),
        Result("plan", "read of it", round(read / 1e6, 2), "MB", READ_LIMIT_MB),
    ]


def _bytes_read() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(": ")
        if name == "rchar":
            return int(value)
    raise NotMeasured("/proc/self/io does not count what is read.")


def _again() -> Result:
    """The slowest of both engines' models, as a slider asks: each time another context."""
    worst = 0.0
    for row in (llama_rows()[-1], vllm_rows()[-1]):
        times = []
        for step in range(201):
            request = replace(row.request, context=1024 + 16 * step)
            begin = time.perf_counter()
            plan(row.planned, request, CARD)
            times.append((time.perf_counter() - begin) * 1000)
        worst = max(worst, statistics.median(times))
    return Result("plan", "plan again for the editor", round(worst, 3), "ms", AGAIN_LIMIT_MS, note="median of 201")


def _accuracy() -> list[Result]:
    totals = [percent(row.found.total / 2**20, row.after_mib or row.used_mib) for row in llama_rows()]
    vllm = [(row, row.found) for row in vllm_rows()]
    weights = [abs(percent(found.weights.bytes / GIB, row.weights_gib)) for row, found in vllm]
    kv = [abs((found.available_kv or 0) / GIB - row.kv_gib) for row, found in vllm]
    note = f"{min(totals):+.2f} to {max(totals):+.2f} %"
    return [
        Result(
            "plan", f"llama-server, worst of {len(totals)} totals", max(map(abs, totals)), "%", TOTAL_LIMIT, note=note
        ),
        Result("plan", f"vLLM, worst of {len(weights)} weights", max(weights), "%", WEIGHTS_LIMIT),
        Result("plan", f"vLLM, worst of {len(kv)} KV caches", max(kv), "GiB", KV_LIMIT_GIB),
    ]


def text_table() -> str:
    """All rows for a terminal."""
    rows = [("start", "predicted", "measured", "off"), *lines()]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown_table() -> str:
    """All rows for the README."""
    rows = ["| Start | Predicted | Measured | |", "|---|---|---|---|"]
    return "\n".join([*rows, *(f"| {' | '.join(line)} |" for line in lines())])


def write_readme() -> None:
    """Put the table between its marks. A README without them is left alone."""
    text = README.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if mark and end:
        README.write_text(f"{before}{BEGIN}\n\n{markdown_table()}\n\n{END}{after}", encoding="utf-8")
