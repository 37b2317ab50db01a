"""A person at the command line of a simulated PC, shared by the tests of a file; none leaves anything behind."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.simulator.state import SWITCHES
from tests.helpers.cli import CommandLine, Running
from tests.helpers.simulated import TIME_SCALE, processes_of, until

SCENARIO = "rtx4070-12gb"
ctrl_c = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C comes from a console there, and tests have none")
LLAMA = "qwen2.5-14b-q4_k_m"
"""A built-in profile whose model the simulated PC has."""


@dataclass(frozen=True, slots=True)
class Station:
    """The command line, and the simulated PC that its commands work on (held open meanwhile)."""

    line: CommandLine
    pc: SimulatedPC

    def reset(self) -> None:
        """As it was at first: no profiles of the user's own, no switch turned."""
        self.pc.set(**{**SWITCHES, "time_scale": TIME_SCALE, **self.pc.scenario.switches})
        shutil.rmtree(self.line.profiles, ignore_errors=True)


def ready(station: Station, running: Running, profile: str) -> None:
    """Wait for the address and see the memory taken."""
    running.wait_for(f"http://127.0.0.1:{station.line.port_of(profile)}/v1")
    assert used(station) > 8000 << 20


def used(station: Station) -> int:
    """Bytes of VRAM in use."""
    return station.pc.gpu.snapshot()[0].used or 0


@pytest.fixture(scope="module")
def shared_station(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One PC for a file, or for each scenario that the file asks for by indirect parameters."""
    scenario = getattr(request, "param", SCENARIO)
    line = CommandLine(tmp_path_factory.mktemp(scenario), scenario)
    with line.pc() as pc:
        pc.set(**pc.scenario.switches)
        yield Station(line, pc)
    until(lambda: not processes_of(line.folder), what=f"everything ends with its PC: {processes_of(line.folder)}")


@pytest.fixture
def station(shared_station: Station) -> Iterator[Station]:
    """The shared PC; after the test nothing runs on it, and it is as it was."""
    yield shared_station
    shared_station.line.assert_quiet()
    shared_station.reset()
