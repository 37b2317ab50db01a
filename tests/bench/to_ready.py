"""Time to READY against the same engine started by hand, and from the engine's ready line to the probe.

Both through the emulated wsl.exe, whose VM runs already. By hand: until /health answers 200.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx

from kotaro_bridge.app.product import Product
from kotaro_bridge.domain.engine.command import build_command
from kotaro_bridge.domain.engine.engine_log import LogLine
from kotaro_bridge.domain.ports import EngineCommand, EngineProcess, Launcher, ProcessEvent
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import PhaseChanged
from kotaro_bridge.host.http_engine import HttpEngine
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.simulator.pc import SimulatedPC
from tests.bench.home import PROFILE_ID, simulated_product, write_profile
from tests.bench.measure import NotMeasured, Result, spread
from tests.helpers.simulated import TIME_SCALE, until

RUNS = 7
FACTOR, PROOF_S = 1.05, 1.5
PROBE_RUNS = 21
PROBE_LIMIT_MS = 20.0
PROOF_LIMIT_S = 1.5
"""`At once`: far below the pace of the probes that a timer makes (250 ms, then 1 s)."""
READY_LINE = "listening on"
END_S = 60.0
POLL_S = 0.01
PARTS = {Phase.CHECKING: "gate_s", Phase.LAUNCHING: "launch_s", Phase.LOADING: "load_s", Phase.PROVING: "proof_s"}


def measure_ready(folder: Path) -> list[Result]:
    """By hand and ours in turns. The limit is a time: 1.05 × by hand + 1.5 s; the value is what is left over it."""
    write_profile(folder, PROFILE_ID)
    by_hand: list[float] = []
    ours: list[float] = []
    parts: dict[str, list[float]] = {name: [] for name in PARTS.values()}
    with simulated_product(folder) as (product, pc):
        pc.boot("Ubuntu")
        for _ in range(RUNS):
            by_hand.append(_by_hand_s(product, pc))
            took, shares = _ours_s(product)
            ours.append(took)
            for name, seconds in shares.items():
                parts[name].append(seconds)
    hand, own = statistics.median(by_hand), statistics.median(ours)
    shares = {name: round(statistics.median(seconds), 3) for name, seconds in parts.items()}
    figures = {"by_hand_s": spread(by_hand), "ours_s": spread(ours), **shares}
    told = ", ".join(f"{name.removesuffix('_s')} {seconds:.2f}" for name, seconds in shares.items())
    limit = round(FACTOR * hand + PROOF_S, 2)
    note = f"by hand {hand:.2f} s; {told}; {RUNS} runs each"
    return [Result("ready", f"time to READY, {FACTOR} × by hand + {PROOF_S} s", own, "s", limit, figures, note)]


def measure_probe(folder: Path) -> list[Result]:
    """When the ready line is taken, when the next probe of /health begins, and what the proof takes; loading goes fast
    here, answers do not.
    """
    write_profile(folder, PROFILE_ID)
    seen = _Seen()
    with simulated_product(folder, change=seen.put_into, time_scale=TIME_SCALE) as (product, pc):
        pc.boot("Ubuntu")
        delays, proofs = [], []
        for _ in range(PROBE_RUNS):
            seen.forget()
            _, shares = _ours_s(product)
            delays.append(seen.delay_ms())
            proofs.append(shares["proof_s"])
    found, proof = spread(delays), spread(proofs)
    note = f"median of {found['runs']}, 10 to 90 %: {found['low']:.1f} to {found['high']:.1f} ms"
    what = "engine's ready line to health probe"
    proof_note = f"median of {proof['runs']}, 10 to 90 %: {proof['low']:.2f} to {proof['high']:.2f} s"
    return [
        Result("probe", what, found["median"], "ms", PROBE_LIMIT_MS, {"ms": found}, note),
        Result(
            "proof",
            "health 200 to READY: proof with warm-up",
            proof["median"],
            "s",
            PROOF_LIMIT_S,
            {"s": proof},
            proof_note,
        ),
    ]


def _by_hand_s(product: Product, pc: SimulatedPC) -> float:
    """The command that the product would run, typed by a person."""
    profile = product.supervisor.profile(PROFILE_ID)
    command = build_command(profile)
    values = [f"{name}={value}" for name, value in command.env.items()]
    argv = [word.replace("~/", f"{pc.home}/", 1) if word.startswith("~/") else word for word in command.argv]
    before = pc.gpu.snapshot()[0].used
    begin = time.monotonic()
    wsl = [*pc.wsl_argv, "--cd", "~", "--exec", "/usr/bin/env", *values, *argv]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(wsl, env={**os.environ, **pc.env}, **streams) as program:  # type: ignore[call-overload]
        try:
            _wait_for_health(profile.port)
            took = time.monotonic() - begin
        finally:
            program.terminate()
    until(lambda: pc.gpu.snapshot()[0].used == before, what="the engine started by hand gives its VRAM back")
    return took


def _wait_for_health(port: int) -> None:
    deadline = time.monotonic() + END_S
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                if client.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(POLL_S)
    raise NotMeasured(f"the engine started by hand was not healthy within {END_S:.0f} s")


def _ours_s(product: Product) -> tuple[float, dict[str, float]]:
    """Seconds from the request to READY, and what each phase took of them; stopped again at the end."""
    entered: dict[Phase, float] = {}

    def hear(message: object) -> None:
        if isinstance(message, PhaseChanged):
            entered.setdefault(message.view.phase, time.monotonic())

    unsubscribe = product.bus.subscribe(hear)
    actor = product.supervisor.actor(PROFILE_ID)
    generation = actor.view.generation
    begin = time.monotonic()
    actor.start()
    ends = (Phase.READY, *rs.RESTING)
    view = actor.wait(lambda v: v.generation > generation and v.phase in ends, END_S)
    ready = time.monotonic()
    if view.phase is not Phase.READY:
        raise NotMeasured(f"the run ended as {view.phase}: {view.problem}")
    actor.stop()
    actor.wait(lambda v: v.phase in rs.RESTING, END_S)
    unsubscribe()
    after = [*list(PARTS)[1:], Phase.READY]
    shares = {name: entered[later] - entered[phase] for (phase, name), later in zip(PARTS.items(), after, strict=True)}
    return ready - begin, shares


@dataclass(slots=True)
class _Seen:
    """Notes when the ready line is taken and when probes begin."""

    line_at: float | None = None
    probes_at: list[float] = field(default_factory=list)

    def forget(self) -> None:
        """Before a run."""
        self.line_at = None
        self.probes_at.clear()

    def delay_ms(self) -> float:
        """From the line to the first probe behind it."""
        line_at = self.line_at
        if line_at is None:
            raise NotMeasured("the engine printed no ready line")
        return (next(at for at in self.probes_at if at >= line_at) - line_at) * 1000

    def put_into(self, machine: Machine) -> Machine:
        """The machine with an ear on log lines and on probes."""
        seen = self

        class Http(HttpEngine):
            def health(self, timeout_s: float) -> int | None:
                seen.probes_at.append(time.monotonic())
                return super().health(timeout_s)

        return replace(
            machine, launcher=lambda profile: _listening(machine.launcher(profile), seen), http=Http.for_profile
        )


def _listening(launcher: Launcher, seen: _Seen) -> Launcher:
    return cast(Launcher, _Listening(launcher, seen))


class _Listening:
    """A launcher that is another one, but for an ear on the engine's log."""

    def __init__(self, inner: Launcher, seen: _Seen) -> None:
        self._inner = inner
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def launch(
        self,
        run_id: str,
        command: EngineCommand,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> EngineProcess:
        """See `Launcher.launch`."""

        def heard(line: LogLine) -> None:
            if READY_LINE in line.text:
                self._seen.line_at = time.monotonic()
            on_line(line)

        return self._inner.launch(run_id, command, heard, on_event)
