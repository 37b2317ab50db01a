"""What the program takes while it only waits: memory in the tray with a model running, and CPU time.

The model is the simulated llama-server behind the emulated wsl.exe; what these programs take is not counted, they stand
for Windows and for the engine.
"""

from __future__ import annotations

import contextlib
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from kotaro_bridge.host.control import ask
from tests.bench.home import PROFILE_ID, PYTHON, environment, simulated_paths, write_profile
from tests.bench.measure import NotMeasured, Result
from tests.bench.screen import IconEye, screen_with_tray
from tests.bench.start import BARE, END_S, ICON_S

OURS = [str(PYTHON), "-m", "tests.bench.app_with_model", PROFILE_ID]
MEMORY_RUNS = 3
MEMORY_LIMIT = 1.6
HIDDEN_LIMIT = 0.5
OPEN_LIMIT = 4.0
CPU_S = 30.0
CPU_RUNS = 3
SETTLE_S = 5.0
READY_S = 60.0
_MIB = 1 << 20


def measure_memory(folder: Path) -> list[Result]:
    """Each program alone, in turns. RSS decides: it does not depend on who else has the same libraries in memory, as
    USS and PSS do.
    """
    write_profile(folder, PROFILE_ID)
    seen: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    with screen_with_tray() as display:
        for _ in range(MEMORY_RUNS):
            for name, command in (("bare", BARE), ("ours", OURS)):
                with _running(command, folder, display) as program:
                    if command is OURS:
                        _wait_until_ready(folder)
                    time.sleep(SETTLE_S)
                    seen[name].append(_memory(program))
    kinds = ("rss", "pss", "uss")
    medians = {
        name: {kind: statistics.median(run[kind] for run in runs) for kind in kinds} for name, runs in seen.items()
    }
    bare, ours = medians["bare"], medians["ours"]
    figures: dict[str, Any] = {f"{name}_mib": values for name, values in medians.items()}
    figures["ratios"] = {kind: round(ours[kind] / bare[kind], 3) for kind in kinds}
    note = ", ".join(f"{kind.upper()} {ours[kind]:.0f} against {bare[kind]:.0f} MiB" for kind in kinds)
    what = "memory (RSS) in the tray, model running, × bare tray"
    return [Result("memory", what, figures["ratios"]["rss"], "×", MEMORY_LIMIT, figures, note)]


def measure_idle(folder: Path) -> list[Result]:
    """Hidden first, then with the dashboard open; a model is ready and nobody asks it anything."""
    write_profile(folder, PROFILE_ID)
    with screen_with_tray() as display, _running(OURS, folder, display) as program:
        _wait_until_ready(folder)
        time.sleep(SETTLE_S)
        hidden = [_cpu_percent(program) for _ in range(CPU_RUNS)]
        if ask(simulated_paths(folder).state, {"verb": "open"}) is None:
            raise NotMeasured("the application does not answer on its control channel")
        time.sleep(SETTLE_S)
        opened = [_cpu_percent(program) for _ in range(CPU_RUNS)]
    return [
        _idle("idle-hidden", "idle CPU, in the tray, model ready", hidden, HIDDEN_LIMIT),
        _idle("idle-open", "idle CPU, dashboard open, model ready", opened, OPEN_LIMIT),
    ]


def _idle(name: str, what: str, percents: list[float], limit: float) -> Result:
    note = f"median of {CPU_RUNS} × {CPU_S:.0f} s: {', '.join(f'{percent:.2f}' for percent in percents)}; one process"
    return Result(name, what, statistics.median(percents), "%", limit, {"percents": percents}, note)


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, display: str) -> Iterator[psutil.Process]:
    """The program, from its icon on; stopped in order at the end."""
    env = {**environment(folder), "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
    eye = IconEye(display)
    with subprocess.Popen(command, env=env) as program:
        try:
            if eye.wait_for_icon(ICON_S) is None:
                raise NotMeasured(f"{command[-1]} showed no icon within {ICON_S:.0f} s")
            yield psutil.Process(program.pid)
        finally:
            eye.close()
            program.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(END_S)
            program.kill()


def _wait_until_ready(folder: Path) -> None:
    state = simulated_paths(folder).state
    deadline = time.monotonic() + READY_S
    answer: dict[str, Any] | None = None
    while time.monotonic() < deadline:
        answer = ask(state, {"verb": "status"})
        if answer and any(run["state"] == "ready" for run in answer["runs"]):
            return
        time.sleep(0.2)
    raise NotMeasured(f"no model was ready within {READY_S:.0f} s: {answer}")


def _memory(program: psutil.Process) -> dict[str, float]:
    info = program.memory_full_info()
    return {kind: getattr(info, kind) / _MIB for kind in ("uss", "pss", "rss")}


def _cpu_percent(program: psutil.Process) -> float:
    """Percent of one core over a while."""

    def used() -> float:
        times = program.cpu_times()
        return float(times.user + times.system)

    before, begin = used(), time.monotonic()
    time.sleep(CPU_S)
    return (used() - before) / (time.monotonic() - begin) * 100
