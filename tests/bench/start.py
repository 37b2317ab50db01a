"""From the start of the program to its icon on the tray, against the smallest PySide6 program that does the same."""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from kotaro_bridge.host.control import ask
from tests.bench.home import PYTHON, environment, simulated_paths
from tests.bench.measure import NotMeasured, Result, spread
from tests.bench.screen import IconEye, screen_with_tray

RUNS = 21
LIMIT = 2.0
BARE = [str(PYTHON), str(Path(__file__).with_name("bare_tray.py"))]
OURS = [str(PYTHON.with_name("kotaro-bridge")), "demo"]
ICON_S = 30.0
ANSWER_RUNS = 5
ANSWER_POLL_S = 0.02
END_S = 30.0
PAUSE_S = 0.2


def measure(folder: Path) -> list[Result]:
    """Interleaved runs; the first of each fills caches and is not counted."""
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    with screen_with_tray() as display:
        env = {**environment(folder), "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
        eye = IconEye(display)
        try:
            answers = [_answer_ms(folder, env) for _ in range(ANSWER_RUNS)]
            for run in range(RUNS + 1):
                for name, command in (("bare", BARE), ("ours", OURS)):
                    took = _icon_ms(command, env, eye)
                    if run:
                        times[name].append(took)
        finally:
            eye.close()
    bare, ours = statistics.median(times["bare"]), statistics.median(times["ours"])
    figures = {"bare_ms": spread(times["bare"]), "ours_ms": spread(times["ours"]), "answers_ms": spread(answers)}
    whole = f"answers as owner after {statistics.median(answers):.0f} ms"
    note = f"{ours:.0f} ms against {bare:.0f} ms, {RUNS} runs each; {whole}"
    return [Result("start", "start to tray icon, × bare tray", ours / bare, "×", LIMIT, figures, note)]


def _answer_ms(folder: Path, env: dict[str, str]) -> float:
    """Until all behind the icon is loaded: the program answers on its control channel. Has no limit of its own."""
    state = simulated_paths(folder).state
    begin = time.monotonic()
    with subprocess.Popen(OURS, env=env, stderr=subprocess.DEVNULL) as program:
        while ask(state, {"verb": "status"}) is None:
            if time.monotonic() - begin > ICON_S:
                program.kill()
                raise NotMeasured(f"{OURS[-1]} did not answer within {ICON_S:.0f} s")
            time.sleep(ANSWER_POLL_S)
        took = (time.monotonic() - begin) * 1000
        _end(program)
    return took


def _icon_ms(command: Sequence[str], env: dict[str, str], eye: IconEye) -> float:
    eye.forget()
    begin = time.monotonic()
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as program:
        seen = eye.wait_for_icon(ICON_S)
        _end(program)
    if seen is None:
        raise NotMeasured(f"{Path(command[-1]).name} showed no icon within {ICON_S:.0f} s")
    time.sleep(PAUSE_S)  # the tray takes the old icon away
    return (seen - begin) * 1000


def _end(program: subprocess.Popen[bytes]) -> None:
    program.send_signal(signal.SIGTERM)
    try:
        program.wait(END_S)
    except subprocess.TimeoutExpired:
        program.kill()
