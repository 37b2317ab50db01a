"""Engines that misbehave: each run ends in a named state, in bounded time, with its reason, and leaves nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kotaro_bridge.app.this_pc import simulated_setting
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.host.profile_store import ProfileFolder, load_profiles
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.supervisor import Supervisor
from tests.e2e.conftest import SCENARIO, Station
from tests.helpers.cli import CommandLine, Done, Running, listens, started
from tests.helpers.own_folders import own_folders
from tests.helpers.words import phase, sentence

pytestmark = pytest.mark.e2e

LLAMA, VLLM = "qwen2.5-14b-q4_k_m", "qwen2.5-7b-awq"
RUN_S, STOP_S = 25.0, 8.0


def assert_failed(done: Done, code: str, line: str) -> None:
    """FAILED with this sentence, what to do, and the engine's own words."""
    assert done.code == 1, done
    assert done.out.splitlines()[-2:] == [phase("stopping"), phase("failed")]
    message = sentence(code)
    assert all(part in done.err for part in (*message.what.split("?"), *message.do.split("?"), line)), done.err


@pytest.fixture(scope="module", autouse=True)
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """Two runs whose engines will crash while they serve; waited for beside the other tests."""
    with ExitStack() as stack:
        runs = {}
        for profile in (LLAMA, VLLM):
            line = CommandLine(tmp_path_factory.mktemp("crash"), SCENARIO)
            stack.callback(line.assert_quiet)
            stack.enter_context(line.pc(engine="crash:8"))
            line.builtin(profile)
            runs[profile] = stack.enter_context(started(line, "run", profile))
        yield runs


@pytest.mark.parametrize(
    ("engine", "profile", "code", "line"),
    [
        ("exit-at-once", LLAMA, "engine.exited", ""),
        ("exit-at-once", VLLM, "engine.exited", ""),
        ("partial,flood:100000", LLAMA, "proof.layers_on_cpu", "offloaded 20/49 layers to GPU"),
        ("partial,flood:100000", VLLM, "proof.offloader_active", "Offloader set to UVAOffloader"),
        ("kv-in-ram,half-utf8", LLAMA, "proof.kv_on_cpu", "CPU KV buffer size =  1536.00 MiB"),
        ("cpu,fork-child-keeps-pipe", LLAMA, "proof.weights_on_cpu", "CPU_Mapped model buffer size"),
        ("oom,fork-child-keeps-pipe", VLLM, "proof.out_of_gpu_memory", "out of memory"),
    ],
)
def test_a_run_that_must_fail(station: Station, engine: str, profile: str, code: str, line: str) -> None:
    station.line.builtin(profile)
    station.pc.set(engine=engine)
    done = station.line.call("run", profile, deadline_s=RUN_S)
    assert_failed(done, code, line)
    assert not listens(station.line.port_of(profile))


@pytest.mark.parametrize(
    ("engine", "profile"),
    [
        ("flood:200000,fork-child-keeps-pipe", LLAMA),
        ("half-utf8,fork-child-keeps-pipe", VLLM),
    ],
)
def test_bad_manners_that_do_not_matter(station: Station, engine: str, profile: str) -> None:
    station.line.builtin(profile)
    station.pc.set(engine=engine)
    with started(station.line, "run", profile) as running:
        running.wait_for("/v1", RUN_S)
        done = running.end(signal.SIGINT, STOP_S)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == phase("stopped")


@pytest.mark.parametrize("profile", [LLAMA, VLLM])
def test_an_engine_that_crashes_while_it_serves(crashing: dict[str, Running], profile: str) -> None:
    done = crashing[profile].end(deadline_s=RUN_S)
    assert phase("ready") in done.out.splitlines()
    assert_failed(done, "proof.cuda_error", "CUDA error: an illegal memory access")


# With short limits, which the command line does not have: the same parts, in this process


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Supervisor, CommandLine]]:
    """All runs of a simulated PC, with limits of a second or two."""
    line = CommandLine(tmp_path, SCENARIO)
    for name, place in own_folders(tmp_path).items():
        monkeypatch.setenv(name, place)
    with line.pc():
        for profile in (LLAMA, VLLM):
            line.builtin(profile)
        setting = simulated_setting(SCENARIO)
        limits = rs.Limits(load_s=1.5, grace_s=1.0, stop_margin_s=2.0)
        profiles = load_profiles(setting.paths.profiles)
        store = ProfileFolder(setting.paths.profiles)
        supervisor = Supervisor(setting.machine, Bus(), profiles, lambda *_: None, lambda _: limits, store=store)
        yield supervisor, line
        assert supervisor.close()
        setting.close()
        line.assert_quiet()


def run_until(supervisor: Supervisor, profile: str, *phases: Phase) -> Phase:
    """Start a profile and wait for one of the phases."""
    supervisor.start(profile)
    return supervisor.actor(profile).wait(lambda view: view.phase in phases, RUN_S).phase


@pytest.mark.parametrize(("engine", "profile"), [("never-ready", LLAMA), ("never-ready,ignore-term", VLLM)])
def test_an_engine_that_never_becomes_healthy(hasty: tuple[Supervisor, CommandLine], profile: str, engine: str) -> None:
    supervisor, line = hasty
    with line.pc(engine=engine):
        assert run_until(supervisor, profile, Phase.FAILED, Phase.ORPHANED) is Phase.FAILED
    why = supervisor.view(profile).problem
    assert why is not None
    assert why.code == "run.load_timeout"
    assert sentence(why.code).do


@pytest.mark.parametrize("profile", [LLAMA, VLLM])
def test_an_engine_that_ignores_term_is_killed(hasty: tuple[Supervisor, CommandLine], profile: str) -> None:
    supervisor, line = hasty
    with line.pc(engine="ignore-term"):
        assert run_until(supervisor, profile, Phase.READY, Phase.FAILED) is Phase.READY
        supervisor.stop(profile)
        view = supervisor.actor(profile).wait(lambda view: view.phase in rs.RESTING, STOP_S)
    assert (view.phase, view.problem) == (Phase.STOPPED, None)
    assert not listens(line.port_of(profile))
