"""`python3 dev.py bench`: every limit of speed and size, each beside what it is compared with, in one run.

The table goes to stdout, everything else that was found to build/bench.json. Exit code 1 if a limit is missed or could
not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench import (
    catalogue,
    editor,
    flood,
    frozen,
    plan,
    resident,
    settings,
    start,
    to_ready,
    to_term,
    verdict,
    wslconfig,
)
from tests.bench.measure import Bench, NotMeasured, Result, calibration_ms, table
from tools.console import BUILD, say

BENCHES: dict[str, Bench] = {
    "start": start.measure,
    "memory": resident.measure_memory,
    "idle": resident.measure_idle,
    "term": to_term.measure,
    "ready": to_ready.measure_ready,
    "probe": to_ready.measure_probe,
    "flood": flood.measure,
    "verdict": verdict.measure,
    "wslconfig": wslconfig.measure,
    "settings": settings.measure,
    "editor": editor.measure,
    "plan": plan.measure,
    "catalogue": catalogue.measure,
    "frozen": frozen.measure,
}
REPORT = BUILD / "bench.json"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="dev.py bench", description="Measure speed and size against their limits.")
    parser.add_argument("--only", action="append", choices=BENCHES, help="one measurement; may be given again")
    names = parser.parse_args().only or list(BENCHES)
    rows: list[tuple[Result, float]] = []
    for name in names:
        say(f"bench: {name}")
        found = _measured(name)
        loop_ms = calibration_ms()
        rows += [(result, loop_ms) for result in found]
    print(table(rows))
    _write(rows)
    say(f"All figures: {REPORT}")
    return 0 if all(result.ok for result, _ in rows) else 1


def _measured(name: str) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix=f"kotaro-bench-{name}-", ignore_cleanup_errors=True) as folder:
        try:
            return BENCHES[name](Path(folder))
        except NotMeasured as why:
            return [Result(name, name, None, "", 0, note=str(why))]


def _write(rows: Sequence[tuple[Result, float]]) -> None:
    BUILD.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    results = [asdict(result) | {"ok": result.ok, "calibration_ms": round(loop_ms, 3)} for result, loop_ms in rows]
    text = json.dumps({"machine": machine, "results": results}, ensure_ascii=False, indent=2)
    REPORT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
