"""What a release weighs, and how its start compares with the same program from source, on the Windows of KOTARO_WINLAB.

The frozen folder is the one of `dev.py build`, or the one that KOTARO_FROZEN names; the installer lies in `dist/`.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

from tests.bench.measure import NotMeasured, Result, spread
from tests.windows import lab
from tools.build_bundle import LIMIT_BYTES, MIB, size_of
from tools.console import ROOT

FROZEN = "KOTARO_FROZEN"
RUNS = 7
LIMIT = 1.5
INSTALLER_LIMIT_MB = 60.0
CLOCK = Path(__file__).with_name("frozen_clock.py")
MEASURE_S = 1200.0


def measure(_folder: Path) -> list[Result]:
    """Sizes and start."""
    frozen = Path(os.environ.get(FROZEN) or ROOT / "build" / "frozen" / "Kotaro Bridge")
    if not frozen.is_dir():
        raise NotMeasured(f"no frozen folder: `dev.py build` makes it, or {FROZEN} names one")
    installed = size_of(frozen) / MIB
    files = sum(1 for path in frozen.rglob("*") if path.is_file())
    return [
        Result("installed", "frozen folder", installed, "MB", LIMIT_BYTES / MIB, {"files": files}),
        _installer(),
        _start(frozen),
    ]


def _installer() -> Result:
    found = sorted((ROOT / "dist").glob("KotaroBridge-*-setup.exe"))
    size = found[-1].stat().st_size / MIB if found else None
    note = found[-1].name if found else "no installer in dist/: `dev.py build` makes it"
    return Result("installer", "installer", size, "MB", INSTALLER_LIMIT_MB, note=note)


def _start(frozen: Path) -> Result:
    what = "frozen start to tray icon, × from source"
    if (reason := lab.missing_reason()) is not None:
        return Result("frozen-start", what, None, "×", LIMIT, note=reason)
    windows = lab.windows()
    # As they are for whoever installed it: this Windows may forbid writing compiled modules, not making them.
    library = windows.python("import os; print(os.path.dirname(os.__file__))").strip()
    compile_all = ("-m", "compileall", "-q", "-x", "site-packages|test", "kotaro_bridge", library)
    windows.run("py", *compile_all, timeout_s=MEASURE_S)
    python = windows.python("import os, sys; print(os.path.dirname(sys.executable))").strip()
    source = [f"{python}\\pythonw.exe", "-m", "kotaro_bridge"]
    commands = [json.dumps(source), json.dumps([windows.path(frozen / "KotaroBridge.exe")])]
    with lab.scratch("bench") as place:
        ended = windows.run("py", windows.path(CLOCK), str(RUNS), windows.path(place), *commands, timeout_s=MEASURE_S)
    if ended.code:
        return Result("frozen-start", what, None, "×", LIMIT, note=ended.err.decode("utf-8", "replace").strip()[-200:])
    from_source, from_frozen = json.loads(ended.text)
    ours, theirs = statistics.median(from_frozen), statistics.median(from_source)
    figures = {"frozen_ms": spread(from_frozen), "source_ms": spread(from_source)}
    note = f"{ours:.0f} ms against {theirs:.0f} ms, {RUNS} runs each"
    return Result("frozen-start", what, ours / theirs, "×", LIMIT, figures, note)
