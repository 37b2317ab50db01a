"""A flood of log lines through guardian, pumps, judge, ring and file: no line that decides may be lost, and the engine
must not be held up by us.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.engine.reasons import Expectation, Reason
from kotaro_bridge.domain.ports import ChannelClosed, EngineCommand, ProcessEvent
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.log_file import RunLogFile
from kotaro_bridge.service.log_ring import LogRing
from kotaro_bridge.service.run_log import RunLog
from tests.bench.home import PYTHON, at_home
from tests.bench.measure import NotMeasured, Result, spread

LINES = 500_000
PER_S = 50_000
PACED_RUNS = 3
FREE_RUNS = 20
FREE_LINES = 100_000
WRITER_LIMIT = 1.1
END_S = 120.0
WRITER = Path(__file__).with_name("flood_writer.py")


@dataclass(frozen=True, slots=True)
class _Run:
    """What one writer did and what came of it. `seconds`: of the writer; `writing_s`: of these, in its writes."""

    seconds: float
    writing_s: float
    lines: int
    caught: bool


def measure(folder: Path) -> list[Result]:
    """Paced at 50,000 lines a second into us and into `cat`, in turns; then as fast as it goes, many times."""
    seed = time.time_ns()
    chance = random.Random(seed)  # noqa: S311 - where the line stands is no secret
    with at_home(folder):
        pairs = [(_into_cat(folder, LINES, PER_S), _into_us(folder, LINES, PER_S, chance)) for _ in range(PACED_RUNS)]
        free = [_into_us(folder, FREE_LINES, 0, chance) for _ in range(FREE_RUNS)]
    paced = [ours for _, ours in pairs]
    cat_s, own_s = (statistics.median(run.seconds for run in runs) for runs in zip(*pairs, strict=True))
    lost = sum(not run.caught for run in (*paced, *free))
    short = sum(abs(LINES - run.lines) for run in paced) + sum(abs(FREE_LINES - run.lines) for run in free)
    rate = statistics.median(FREE_LINES / run.seconds for run in free)
    figures: dict[str, Any] = {
        "seed": seed,
        "cat_s": spread([cat.seconds for cat, _ in pairs]),
        "ours_s": spread([run.seconds for run in paced]),
        "cat_writing_s": spread([cat.writing_s for cat, _ in pairs]),
        "ours_writing_s": spread([run.writing_s for run in paced]),
        "free_lines_per_s": round(rate),
        "lines_missing": short,
    }
    slower = f"{own_s:.2f} s against {cat_s:.2f} s for {LINES:,} lines, {PACED_RUNS} runs each"
    many = f"{PACED_RUNS} runs of {LINES:,} at {PER_S:,}/s, {FREE_RUNS} of {FREE_LINES:,} unpaced ({rate:,.0f}/s)"
    return [
        Result("flood-lost", "verdict lines and other lines lost in floods", lost + short, "", 0, figures, many),
        Result("flood-writer", "writer at 50,000 lines/s, × into cat", own_s / cat_s, "×", WRITER_LIMIT, {}, slower),
    ]


def _into_cat(folder: Path, lines: int, per_s: int) -> _Run:
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as cat:
        assert cat.stdin
        subprocess.run(_writer(lines, per_s, 0, report), stderr=cat.stdin, check=True)
        cat.stdin.close()
    return _Run(**json.loads(report.read_text(encoding="utf-8")), lines=lines, caught=True)


def _into_us(folder: Path, lines: int, per_s: int, chance: random.Random) -> _Run:
    """The writer as an engine, through everything between an engine and a verdict."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    reasons: list[Reason] = []
    ended = threading.Event()

    def on_event(event: ProcessEvent) -> None:
        if isinstance(event, ChannelClosed):
            ended.set()

    run_id = f"flood-{time.time_ns():x}"
    file = RunLogFile(folder / "log", run_id)
    taken = RunLog(Engine.LLAMA_SERVER, Expectation(), LogRing(), file, reasons.append, lambda: None)
    command = EngineCommand(tuple(_writer(lines, per_s, chance.randrange(lines), report)), {}, (), ())
    LocalLauncher().launch(run_id, command, taken.take, on_event)
    if not ended.wait(END_S):
        raise NotMeasured(f"the flood did not end within {END_S:.0f} s")
    taken.close()
    return _Run(**json.loads(report.read_text(encoding="utf-8")), lines=taken.lines, caught=len(reasons) == 1)


def _writer(lines: int, per_s: int, verdict_at: int, report: Path) -> list[str]:
    return [str(PYTHON), str(WRITER), str(lines), str(per_s), str(verdict_at), str(report)]
