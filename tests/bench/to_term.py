"""From the log line that shows the model off the GPU to TERM at the engine, with the real llama-server.

The engine executable is `relay.py`, which drops `--device`: the server starts happily on the CPU of this machine. The
GPU that the gate sees is simulated; nothing else is.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.service.run_actor import RunActor
from tests.bench.home import PYTHON, simulated_product, write_profile
from tests.bench.measure import NotMeasured, Result, spread
from tests.helpers.tiny_gguf import write_tiny_gguf
from tools import llama_server

RUNS = 50
LIMIT_MS = 100.0
WORST_LIMIT_MS = 250.0
END_S = 60.0
TARGETS = {"local": "local", "wsl": "wsl:"}


def measure(folder: Path) -> list[Result]:
    """Both targets, in turns."""
    server = llama_server.cached()
    if server is None:
        raise NotMeasured(llama_server.missing_sentence())
    notes = folder / "notes.json"
    executable = _wrapper(folder, notes, server)
    model = write_tiny_gguf(folder / "tiny.gguf")
    for name, target in TARGETS.items():
        write_profile(folder, name, executable=str(executable), model=str(model), context=2048, target=target)
    times: dict[str, list[float]] = {name: [] for name in TARGETS}
    reasons: set[str] = set()
    with simulated_product(folder) as (product, pc):
        pc.boot("Ubuntu")
        for _ in range(RUNS):
            for name in TARGETS:
                notes.unlink(missing_ok=True)
                view = _run_to_rest(product.supervisor.actor(name), END_S)
                if view.phase is not Phase.FAILED or view.problem is None or not view.problem.evidence:
                    raise NotMeasured(f"the run ended as {view.phase}: {view.problem}")
                reasons.add(view.problem.code)
                times[name].append(_line_to_term_ms(notes, view.problem.evidence[0]))
    words = {"local": "target local", "wsl": "through the emulated wsl.exe"}
    return [result for name, found in times.items() for result in _results(name, words[name], found, reasons)]


def _results(name: str, way: str, found: list[float], reasons: set[str]) -> list[Result]:
    """The median and the worst of one target."""
    ms = spread(found)
    what = f"disqualifying line to TERM, {way}"
    note = f"median of {len(found)}, 10 to 90 %: {ms['low']:.0f} to {ms['high']:.0f} ms"
    figures = {"ms": ms, "reasons": sorted(reasons)}
    worst = Result(
        f"term-{name}-worst", f"the same, worst of {len(found)}", round(max(found), 3), "ms", WORST_LIMIT_MS, figures
    )
    return [Result(f"term-{name}", what, ms["median"], "ms", LIMIT_MS, figures, note), worst]


def _run_to_rest(actor: RunActor, timeout_s: float) -> RunView:
    """Start a run and wait for its end."""
    generation = actor.view.generation
    actor.start()
    return actor.wait(lambda view: view.generation > generation and view.phase in rs.RESTING, timeout_s)


def _wrapper(folder: Path, notes: Path, server: Path) -> Path:
    words = [str(PYTHON), str(Path(__file__).with_name("relay.py")), str(notes), str(server)]
    path = folder / "llama-server"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def _line_to_term_ms(notes: Path, line: str) -> float:
    told = json.loads(notes.read_text(encoding="utf-8"))
    if told["term_ns"] is None:
        raise NotMeasured("the engine ended without a TERM")
    written = next(at for at, text in told["lines"] if text.strip() == line.strip())
    return float(told["term_ns"] - written) / 1e6
