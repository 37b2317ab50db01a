"""However the process that owns a run ends, the engine and its memory go with it; the next one cleans up the rest."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from kotaro_bridge.simulator.procs import start_ticks
from tests.e2e.conftest import LLAMA, Station, ready, used
from tests.helpers.cli import listens, started
from tests.helpers.simulated import TIME_SCALE, until
from tests.helpers.words import phase, sentence

if sys.platform == "win32":
    pytest.skip("it ends processes by signals; `tests/windows` ends them as Windows does", allow_module_level=True)

pytestmark = pytest.mark.e2e

VLLM = "qwen2.5-7b-awq"
END_S = 8.0
GRACE_S = 15.0


def processes(station: Station, *parts: str) -> list[int]:
    """Pids of this PC's live processes with one of the parts in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            mark = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:  # gone, or somebody else's
            continue
        ours = str(station.line.folder) in line + mark or line.startswith("VLLM::")
        if ours and any(part in line for part in parts) and start_ticks(int(entry.name)) is not None:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_even_twice_and_while_loading(station: Station, number: signal.Signals) -> None:
    station.line.builtin(LLAMA)
    station.pc.set(time_scale=1.0)
    with started(station.line, "run", LLAMA) as running:
        running.wait_for(phase("loading"))
        running.process.send_signal(number)
        running.process.send_signal(number)
        done = running.end(deadline_s=END_S)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-2:] == [phase("stopping"), phase("stopped")]


def test_stop_from_a_second_process(station: Station) -> None:
    line = station.line
    line.builtin(VLLM)
    with started(line, "run", VLLM) as running:
        ready(station, running, VLLM)
        done = line.call("stop", "--json", deadline_s=END_S)
        ended = running.end(deadline_s=END_S)
    assert (done.code, done.err) == (0, "")
    (stopped,) = done.json["stopped"]
    assert (stopped["profile"], stopped["state"], stopped["problem"]) == (VLLM, "stopped", None)
    assert stopped["base_url"] is None
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == phase("stopped")


@pytest.mark.parametrize(("profile", "number"), [(LLAMA, signal.SIGHUP), (VLLM, signal.SIGKILL)])
def test_a_killed_owner_takes_the_engine_along(station: Station, profile: str, number: signal.Signals) -> None:
    line = station.line
    line.builtin(profile)
    with started(line, "run", profile) as running:
        ready(station, running, profile)
        running.end(number, END_S)

    def left() -> list[str]:
        return [each for each in line.left() if "control.key" not in each]

    until(lambda: not left(), what="the engine ends", deadline_s=GRACE_S)
    assert not listens(line.port_of(profile))
    status = line.call("status", "--json", deadline_s=END_S)
    assert (status.code, status.json["owner"], status.json["runs"]) == (0, False, [])
    stop = line.call("stop", deadline_s=END_S)
    assert stop.code == 0
    assert stop.err.splitlines()[0] == sentence("app.killed_before", runs=f"{profile} ({line.scenario}): ready").what


def kill_at_once(station: Station, owner: int, *parts: str) -> None:
    """An owner and processes, by parts of their command lines. Stopped first, also what they started just now: none
    may see the end of another, and end what they owned.
    """
    stopped: set[int] = set()
    while more := {owner, *processes(station, *parts)} - stopped:
        for pid in more:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= more
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_an_engine_that_lost_its_guardian_is_ended_and_reported_by_the_next_start(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA)
    with started(line, "run", LLAMA) as running:
        ready(station, running, LLAMA)
        kill_at_once(station, running.process.pid, "kotaro-guardian")
        running.end(deadline_s=END_S)
    assert listens(line.port_of(LLAMA))
    with started(line, "run", LLAMA) as running:
        ready(station, running, LLAMA)
        done = running.end(signal.SIGINT, END_S)
    assert done.code == 0
    said = sentence("stop.leftover_ended", run=LLAMA).what.partition(LLAMA)
    assert said[0] + LLAMA in done.err
    assert said[2].lstrip("?") in done.err


def test_the_core_of_vllm_that_survived_its_server_is_ended_by_stop(station: Station) -> None:
    line = station.line
    line.builtin(VLLM)
    with started(line, "run", VLLM) as running:
        ready(station, running, VLLM)
        kill_at_once(station, running.process.pid, "kotaro-guardian", "engine_vllm")
        running.end(deadline_s=END_S)
    (core,) = processes(station, "VLLM::EngineCore")
    assert used(station) > 8000 << 20
    done = line.call("stop", deadline_s=GRACE_S)
    assert done.code == 0
    assert VLLM in done.err
    assert start_ticks(core) is None


def test_a_run_whose_output_nobody_reads_goes_on_and_ends(station: Station) -> None:
    station.line.builtin(LLAMA)
    station.pc.set(time_scale=TIME_SCALE)
    reader, writer = os.pipe()
    with started(station.line, "run", LLAMA, stdout=writer) as running:
        os.close(writer)
        os.close(reader)
        until(lambda: listens(station.line.port_of(LLAMA)), what="the engine listens", deadline_s=20)
        running.end(signal.SIGTERM, END_S)
    assert "Traceback" not in running.err
