"""A try goes the way of every start, and nothing of it stays: not when it is refused, cancelled, fails, or is quit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.supervisor import TRIAL, Supervisor
from kotaro_bridge.service.trial import Trial, TrialEnd, TrialResult
from tests.helpers.captures import llama_lines
from tests.helpers.machine import DEADLINE_S, LLAMA, QUICK, VLLM, Heard, LogPart, Machine, Process, ProfileFiles

EDITED = msgspec.structs.replace(LLAMA, id="", title="edited")


class Bench:
    """A supervisor on a machine by hand, and tries on threads of their own."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.bus = Bus()
        self.heard = Heard(self.bus)
        profiles, store = (LLAMA, VLLM), ProfileFiles((LLAMA, VLLM))
        self.supervisor = Supervisor(
            self.machine.ports, self.bus, (profiles, ()), lambda *_: LogPart(), lambda _: QUICK, store=store
        )
        self.results: list[TrialResult] = []

    def begin(self) -> tuple[Trial, threading.Thread]:
        trial = Trial(self.supervisor, EDITED)
        thread = threading.Thread(target=lambda: self.results.append(trial.run()), daemon=True)
        thread.start()
        return trial, thread

    def loads(self) -> Process:
        engine = self.machine.target.engine()
        engine.starts()
        engine.takes()
        return engine

    def ended(self, thread: threading.Thread) -> TrialResult:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        (result,) = self.results
        assert all(actor.profile.id != TRIAL for actor in self.supervisor.actors())
        assert self.supervisor.all_resting()
        return result


@pytest.fixture
def bench() -> Iterator[Bench]:
    with _bench() as made:
        yield made


@contextmanager
def _bench() -> Iterator[Bench]:
    made = Bench()
    try:
        yield made
    finally:
        made.machine.target.open.set()
        made.supervisor.close()


def test_it_is_started_proved_measured_and_stopped(bench: Bench) -> None:
    _, thread = bench.begin()
    engine = bench.loads()
    engine.says(llama_lines("full14-np1"))
    bench.machine.http.status = 200
    result = bench.ended(thread)
    assert result.end is TrialEnd.PROVED
    assert result.view.speed is not None
    assert result.view.speed.tokens_per_s > 0
    assert (result.view.vram_taken or 0) > 1000 * MIB
    engine.was_asked("stop 10")
    assert bench.supervisor.profiles() == (LLAMA, VLLM), "it is stored nowhere"
    assert bench.supervisor.view("llama").phase is Phase.IDLE


def test_what_the_gate_refuses_is_not_started(bench: Bench) -> None:
    bench.machine.gpu.used = bench.machine.gpu.total - 100 * MIB
    _, thread = bench.begin()
    result = bench.ended(thread)
    assert result.end is TrialEnd.REFUSED
    assert result.view.gate is not None
    assert not result.view.gate.ok
    assert bench.machine.target.launches == []


def test_what_is_not_proved_is_stopped_with_its_reason(bench: Bench) -> None:
    _, thread = bench.begin()
    engine = bench.loads()
    engine.says(["load_tensors: offloaded 20/49 layers to GPU"])
    result = bench.ended(thread)
    assert result.end is TrialEnd.FAILED
    assert result.view.problem is not None
    assert result.view.problem.code.startswith("proof.")


def test_it_can_be_cancelled_while_it_loads(bench: Bench) -> None:
    trial, thread = bench.begin()
    engine = bench.loads()
    trial.cancel()
    assert bench.ended(thread).end is TrialEnd.CANCELLED
    engine.was_asked("stop 10")


def test_cancelled_before_it_began_nothing_is_started(bench: Bench) -> None:
    trial = Trial(bench.supervisor, EDITED)
    trial.cancel()
    assert trial.run().end is TrialEnd.CANCELLED
    assert bench.machine.target.launches == []
    assert bench.supervisor.actors() == ()


def test_one_at_a_time(bench: Bench) -> None:
    trial, thread = bench.begin()
    bench.loads()
    with pytest.raises(ProblemError) as caught:
        Trial(bench.supervisor, EDITED)
    assert caught.value.problem == problem("editor.trial_running")
    trial.cancel()
    bench.ended(thread)


def test_the_end_of_the_program_ends_it(bench: Bench) -> None:
    _, thread = bench.begin()
    engine = bench.loads()
    assert bench.supervisor.close()
    engine.was_asked("stop 10")
    thread.join(DEADLINE_S)
    assert bench.results[0].end is TrialEnd.CANCELLED


def test_another_run_is_told_of_it_and_can_stop_it(bench: Bench) -> None:
    """Its id is in no file: it is found all the same."""
    _, thread = bench.begin()
    bench.loads()
    bench.supervisor.stop(TRIAL)
    assert bench.ended(thread).end is TrialEnd.CANCELLED
