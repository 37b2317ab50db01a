"""What judging a long log takes, in process: a clean start and a million lines of its requests."""

from __future__ import annotations

import time
from pathlib import Path

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.engine.log_judge import judge_rows
from kotaro_bridge.domain.engine.reasons import Verdict
from tests.bench.measure import NotMeasured, Result, spread
from tests.helpers.captures import long_log

RUNS = 21
LINES = 1_000_000
LIMIT_S = 5.0


def measure(folder: Path) -> list[Result]:
    """The median; the log is made while it is judged, as a file would be read."""
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        judged = judge_rows(Engine.LLAMA_SERVER, long_log(LINES))
        times.append(time.perf_counter() - begin)
        if judged.judgement.verdict is not Verdict.GPU:
            raise NotMeasured(f"the log was judged {judged.judgement.verdict}")
    found = spread(times)
    note = f"median of {found['runs']}, 10 to 90 %: {found['low']:.2f} to {found['high']:.2f} s"
    return [Result("verdict", f"judging {LINES:,} log lines", found["median"], "s", LIMIT_S, {"s": found}, note)]
