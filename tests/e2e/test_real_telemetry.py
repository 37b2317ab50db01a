"""A real llama-server, started by the test itself, feeds the real telemetry and the dashboard.

Nothing of the product starts it or calls it ready: on a machine without a GPU no run gets that far.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView, Throughput
from kotaro_bridge.host.http_engine import HttpEngine
from kotaro_bridge.host.ollama import HttpOllama
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.run_actor import RunActor
from kotaro_bridge.service.telemetry import Telemetry
from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.theme import Theme
from tests.helpers.cli import free_port
from tests.helpers.machine import Speeds, Starts
from tests.helpers.simulated import simulated_pc, until
from tests.helpers.tiny_gguf import Shape, write_tiny_gguf
from tests.ui.conftest import OFFSCREEN_SAYS
from tests.ui.fake_desk import FakeSupervisor, FakeWorld, profile

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.qt_log_ignore(*OFFSCREEN_SAYS),
    pytest.mark.skipif(sys.platform == "win32", reason="the card is that of the simulated PC, which needs Linux"),
]

READY_S = 30.0
ANSWER_TOKENS = 4000


@dataclass(eq=False)
class Attached:
    """What telemetry sees of a run: here the test's own server, with nobody's word that it is on a GPU."""

    profile: Profile
    http: HttpEngine
    runs: FakeSupervisor
    clearance: None = None

    @property
    def view(self) -> RunView:
        return self.runs.view(self.profile.id)

    def disqualify(self, generation: int, why: Problem) -> None:
        raise AssertionError(why)


@pytest.fixture
def server(llama_server: Path, tmp_path: Path) -> Iterator[Profile]:
    """A slow talker on the CPU; the profile of its address."""
    model = write_tiny_gguf(tmp_path / "slow.gguf", Shape(vocab=60_000))
    made = replace_port(profile("tiny", "Tiny", Engine.LLAMA_SERVER, 1000), free_port())
    options = ["--device", "none", "-ngl", "0", "--fit", "off", "--metrics", "-np", "1", "-c", "8192", "-t", "1"]
    argv = [str(llama_server), "-m", str(model), "--host", "127.0.0.1", "--port", str(made.port), *options]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield made
        finally:
            process.terminate()


def replace_port(made: Profile, port: int) -> Profile:
    import msgspec

    return msgspec.structs.replace(made, port=port)


def machine(pc: SimulatedPC) -> Machine:
    """The card of the simulated PC; no part of it may be asked for anything else."""

    def never(*_: object) -> Any:
        raise AssertionError("telemetry reads cards, counters and rates only")

    return Machine(
        pc.gpu,
        pc.counters,
        never,
        HttpEngine.for_profile,
        never,
        never,
        never,
        never,
        HttpOllama(None),
        Speeds(),
        Starts(),
    )


@contextmanager
def answer(url: str) -> Iterator[threading.Event]:
    """A streamed answer under way; it is broken off at the end of the block."""
    begun, enough = threading.Event(), threading.Event()

    def read() -> None:
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": ANSWER_TOKENS, "stream": True}
        with httpx.Client(trust_env=False, timeout=30) as client, client.stream("POST", url, json=body) as response:
            for _ in response.iter_lines():
                begun.set()
                if enough.is_set():
                    return

    thread = threading.Thread(target=read, name="answer")
    thread.start()
    try:
        yield begun
    finally:
        enough.set()
        thread.join(30)


def test_speed_rises_during_an_answer_and_falls_to_zero_after_it(
    server: Profile, qapp: QApplication, qtbot: QtBot, tmp_path: Path
) -> None:
    world = FakeWorld(profiles=(server,))
    http = HttpEngine.for_profile(server)
    until(lambda: http.health(1.0) == 200, what="the server is ready", deadline_s=READY_S)
    with simulated_pc(tmp_path / "pc") as pc:
        run = Attached(server, http, world.supervisor)
        telemetry = Telemetry(machine(pc), world.bus, lambda: (cast(RunActor, run),))
        shell = Shell(replace(world.desk, telemetry=telemetry), Theme(qapp, "light"), tray_visible=False)
        world.supervisor.move(server.id, Phase.READY)
        telemetry.start()
        try:
            shell.open_dashboard()
            _watch(telemetry, shell, server, qtbot)
        finally:
            telemetry.close()
            shell.close()
            shell.tray.menu.deleteLater()
            if shell.window is not None:
                shell.window.deleteLater()
            shell.deleteLater()
            QApplication.processEvents()
            http.close()


def _watch(telemetry: Telemetry, shell: Shell, server: Profile, qtbot: QtBot) -> None:
    assert shell.window is not None
    board = shell.window.dashboard
    assert board is not None
    speed = board.metrics.speed

    def rates(wanted: Callable[[Throughput], bool]) -> Throughput:
        """Sample until one is as wanted and the page shows it."""
        found: list[Throughput] = []

        def look() -> bool:
            sample = telemetry.latest()
            found[:] = [each for each in sample.throughput if wanted(each)] if sample else []
            return bool(found)

        qtbot.waitUntil(look, timeout=10_000)
        return found[0]

    quiet = rates(lambda rate: rate.generation_tps == 0.0)
    assert (quiet.prompt_tps, quiet.requests) == (0.0, 0)
    qtbot.waitUntil(lambda: speed.value.text().startswith("0"))
    with answer(f"http://127.0.0.1:{server.port}/v1/chat/completions") as begun:
        qtbot.waitUntil(begun.is_set, timeout=20_000)
        first = rates(lambda rate: bool(rate.generation_tps) and rate.requests == 1)
        assert first.generation_tps is not None
        qtbot.waitUntil(lambda: not speed.value.text().startswith("0"))
        assert "1" in speed.note.text()
        again = rates(lambda rate: bool(rate.generation_tps) and rate is not first)
        assert again.generation_tps is not None
        assert 1 < again.generation_tps < 2000
    rates(lambda rate: rate.generation_tps == 0.0 and rate.requests == 0)
    qtbot.waitUntil(lambda: speed.value.text().startswith("0"))
    _, drawn = board.metrics.speed_plot.drawn(0)
    assert np.nanmax(drawn) > 1  # the graph has the answer in it, and ends at zero
    assert telemetry.history()[-1].throughput[0].generation_tps == 0.0
