"""Samples of the machine and the watch over runs that serve."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.profile import Profile, WatchPolicy
from kotaro_bridge.domain.run.metrics import RatesSample
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice, Throughput
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.telemetry import HIDDEN_IDLE_S, HIDDEN_RUNNING_S, HISTORY_S, WATCHED_S, Telemetry
from tests.helpers.machine import DEADLINE_S, LLAMA, VLLM, Heard, Life, Machine, life, vllm_lines

SPILLED = 190 * MIB + 7000 * MIB


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A serving run under telemetry, ticked by hand."""

    def __init__(self, run: Life) -> None:
        self.run = run
        self.machine = run.machine
        self.clock, self.wall = Clock(), Clock()
        self.telemetry = Telemetry(run.machine.ports, run.bus, lambda: (run.actor,), self.clock, self.wall)

    def tick(self) -> tuple[Throughput, ...]:
        self.clock.now += 1.0
        self.wall.now += 1.0
        return self.telemetry.tick().throughput

    def ends_as_asked(self) -> bool:
        """Stop the run: whether nothing had ended it before (the actor takes one request after the other)."""
        self.run.actor.stop()
        return self.run.waits_for(Phase.STOPPED, Phase.FAILED).problem is None


@contextmanager
def serving(ready_probe_s: float = 3600.0, profile: Profile = LLAMA) -> Iterator[Watched]:
    with life(profile, ready_probe_s=ready_probe_s) as run:
        run.serves()
        yield Watched(run)


def metrics(generated: int, prompt: int) -> str:
    return f"llamacpp:tokens_predicted_total {generated}\nllamacpp:prompt_tokens_total {prompt}\n"


# --- samples ----------------------------------------------------------------------------------------------------------


def test_a_sample_has_cards_counters_and_its_time() -> None:
    machine, bus, clock = Machine(), Bus(), Clock()
    heard = Heard(bus)
    telemetry = Telemetry(machine.ports, bus, lambda: (), clock)
    assert telemetry.latest() is None
    sample = telemetry.tick()
    assert (sample.at, sample.gpus, sample.throughput) == (1000.0, (machine.gpu.card,), ())
    assert sample.counters is not None
    assert sample.counters.shared == 190 * MIB
    assert telemetry.latest() is sample
    assert heard.samples == [sample]


def test_a_driver_that_does_not_answer_leaves_a_gap() -> None:
    machine = Machine()
    machine.gpu.failure = problem("gpu.driver_lost")
    assert Telemetry(machine.ports, Bus(), lambda: ()).tick().gpus == ()


def test_the_history_ends_ten_minutes_ago() -> None:
    clock = Clock()
    telemetry = Telemetry(Machine().ports, Bus(), lambda: (), clock)
    first = telemetry.tick()
    clock.now += HISTORY_S / 2
    second = telemetry.tick()
    assert telemetry.history() == (first, second)
    clock.now += HISTORY_S / 2 + 1
    assert telemetry.history() == (second,)
    assert telemetry.latest() is second


def test_the_history_is_bounded_however_often_runs_change() -> None:
    telemetry = Telemetry(Machine().ports, Bus(), lambda: (), Clock())
    for _ in range(1000):
        telemetry.tick()
    assert len(telemetry.history()) == HISTORY_S / WATCHED_S


# --- token rates ------------------------------------------------------------------------------------------------------


def test_rates_of_a_serving_run() -> None:
    with serving() as watched:
        http = watched.machine.http
        http.rates = RatesSample(10.0, metrics(100, 50), "[]")
        assert watched.tick() == (Throughput("llama", None, None, 0),), "one sample makes no rate"
        http.rates = RatesSample(12.0, metrics(180, 50), "[]")
        assert watched.tick() == (Throughput("llama", 40.0, 0.0, 0),)
        http.rates = problem("http.timeout", seconds=2)
        assert watched.tick() == (Throughput("llama", None, None, None),)


def test_rates_of_vllm() -> None:
    machine = Machine()
    machine.http.rates = RatesSample(10.0, "vllm:num_requests_running 3\n")
    with life(VLLM, machine) as run:
        engine = run.loads()
        engine.takes(25_000 * MIB)
        engine.says(vllm_lines())
        machine.http.status = 200
        run.waits_for(Phase.READY)
        assert Watched(run).tick() == (Throughput("vllm", None, None, 3),)


def test_an_engine_that_does_not_answer_is_not_asked_for_rates() -> None:
    with serving(ready_probe_s=0.01) as watched:
        watched.machine.http.status = None
        watched.run.waits_for(Phase.UNRESPONSIVE)
        watched.machine.http.rates = RuntimeError("must not be asked")
        assert watched.tick() == (Throughput("llama", None, None, None),)


def test_a_run_that_does_not_serve_has_no_rates() -> None:
    with life() as run:
        assert Watched(run).tick() == ()


def test_a_new_generation_starts_its_rates_anew() -> None:
    with serving() as watched:
        run, http = watched.run, watched.machine.http
        http.rates = RatesSample(10.0, metrics(1000, 50), "[]")
        watched.tick()
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        run.actor.start()
        engine = watched.machine.target.engine(2)
        engine.starts()
        engine.takes()
        from tests.helpers.captures import llama_lines

        engine.says(llama_lines("full14-np1"))
        run.waits_for(Phase.READY)
        http.rates = RatesSample(12.0, metrics(2000, 50), "[]")
        assert watched.tick() == (Throughput("llama", None, None, 0),)


# --- the watch --------------------------------------------------------------------------------------------------------


def test_a_spill_over_three_samples_ends_the_run() -> None:
    with serving() as watched:
        watched.machine.counters.shared = SPILLED
        for _ in range(3):
            watched.tick()
        view = watched.run.waits_for(Phase.FAILED)
        assert view.problem is not None
        assert view.problem.code == "watch.spill"
        assert view.problem.params["rise_bytes"] == 7000 * MIB
        assert view.problem.params["allowed_bytes"] == 256 * MIB + 29_978_788


def test_a_spill_that_passes_ends_nothing() -> None:
    with serving() as watched:
        for shared in (SPILLED, SPILLED, 190 * MIB, SPILLED, SPILLED):
            watched.machine.counters.shared = shared
            watched.tick()
        assert watched.ends_as_asked()


@pytest.mark.parametrize("gone", ["shared", "present"])
def test_samples_without_counters_neither_count_nor_clear(gone: str) -> None:
    with serving() as watched:
        counters = watched.machine.counters
        counters.shared = SPILLED
        watched.tick()
        watched.tick()
        setattr(counters, gone, None)
        watched.tick()
        counters.shared, counters.present = SPILLED, True
        watched.tick()
        watched.run.waits_for(Phase.FAILED)


def test_a_driver_lost_over_three_samples_ends_the_run() -> None:
    with serving() as watched:
        watched.machine.gpu.failure = problem("gpu.driver_lost")
        for _ in range(3):
            watched.tick()
        watched.machine.gpu.failure = None
        view = watched.run.waits_for(Phase.FAILED)
        assert view.problem is not None
        assert view.problem.code == "gpu.driver_lost"


def proved_again(watched: Watched) -> bool:
    """Whether the run went through the proof once more, and is ready."""
    return watched.run.heard.phases[-3:] == [Phase.READY, Phase.PROVING, Phase.READY]


def test_a_driver_that_came_back_is_proved_before_the_address_is_offered_again() -> None:
    with serving() as watched:
        watched.machine.gpu.failure = problem("gpu.driver_lost")
        watched.tick()
        watched.machine.gpu.failure = None
        watched.tick()
        watched.run.until(lambda view: proved_again(watched))
        assert watched.run.heard.changes[-2].view.endpoint is None
        assert watched.ends_as_asked()


@pytest.mark.parametrize("clock", ["clock", "wall"])
def test_after_a_sleep_the_proof_is_wanted_again(clock: str) -> None:
    """Windows counts sleep in its monotonic clock, Linux only in the time of day."""
    with serving() as watched:
        watched.tick()
        getattr(watched, clock).now += 30.0
        watched.tick()
        watched.run.until(lambda view: proved_again(watched))
        watched.tick()
        assert watched.ends_as_asked()


def test_the_sample_of_a_pc_that_wakes_up_judges_nothing() -> None:
    """The proof that it asks for does: what is judged beside it would be remembered beyond it."""
    with serving() as watched:
        watched.tick()
        watched.clock.now += 3600.0
        watched.machine.counters.shared = SPILLED
        assert watched.tick() == ()
        assert watched.telemetry._watched_runs["llama"].watch is None


def test_time_within_a_pause_and_a_clock_that_is_put_back_are_no_sleep() -> None:
    with serving() as watched:
        watched.tick()
        watched.telemetry._pause_s = HIDDEN_IDLE_S
        watched.clock.now += 44.0
        watched.wall.now -= 3600.0
        watched.tick()
        watched.tick()
        assert watched.ends_as_asked()
        assert watched.run.heard.phases.count(Phase.PROVING) == 1


def test_what_the_system_says_of_a_sleep_counts_at_once_and_the_jump_of_the_clock_with_it() -> None:
    with serving() as watched:
        watched.tick()
        watched.telemetry.sleeps()
        watched.clock.now += 3600.0
        watched.wall.now += 3600.0
        watched.telemetry.wakes()
        assert watched.tick() == ()
        watched.run.until(lambda view: proved_again(watched))
        watched.tick()
        assert watched.ends_as_asked()
        assert watched.run.heard.phases.count(Phase.PROVING) == 2


def test_a_sleep_that_the_clock_told_first_is_not_another_one_when_the_system_tells_it() -> None:
    with serving() as watched:
        watched.tick()
        watched.wall.now += 3600.0
        watched.tick()
        watched.run.until(lambda view: proved_again(watched))
        watched.telemetry.wakes()
        watched.tick()
        assert watched.ends_as_asked()
        assert watched.run.heard.phases.count(Phase.PROVING) == 2


def test_a_short_second_sleep_counts_where_the_system_told_its_beginning() -> None:
    with serving() as watched:
        watched.tick()
        phases = watched.run.heard.phases
        for _ in range(2):
            watched.telemetry.sleeps()
            watched.clock.now += 5.0
            watched.telemetry.wakes()
            watched.tick()
            phases.extend((Phase.PROVING, Phase.READY))
            watched.run.until(lambda view: watched.run.heard.phases == phases)
        assert watched.ends_as_asked()


def test_a_sleep_of_runs_that_do_not_serve_needs_nothing() -> None:
    with life() as run:
        watched = Watched(run)
        watched.tick()
        watched.clock.now += 3600.0
        watched.tick()
        assert run.actor.view.phase is Phase.IDLE


def test_under_warn_a_spill_is_shown_and_told_and_ends_nothing() -> None:
    with serving(profile=msgspec.structs.replace(LLAMA, watch=WatchPolicy.WARN)) as watched:
        watched.machine.counters.shared = SPILLED
        for _ in range(5):
            watched.tick()
        view = watched.run.until(lambda view: view.warning is not None)
        assert view.warning is not None
        assert (view.phase, view.warning.code) == (Phase.READY, "watch.spill")
        assert view.endpoint is not None
        told = [message.problem for message in watched.run.heard.messages if isinstance(message, Notice)]
        assert told == [view.warning]
        assert watched.ends_as_asked()


def crawls(watched: Watched) -> None:
    """40 s of a long answer at 1 token per second."""
    for second in range(40):
        slots = f'[{{"id": 0, "is_processing": true, "id_task": 1, "next_token": [{{"n_decoded": {second}}}]}}]'
        watched.machine.http.rates = RatesSample(float(second), metrics(0, 9), slots)
        watched.tick()


def usually_fast() -> Machine:
    machine = Machine()
    machine.speeds.baseline = lambda key: 38.0  # type: ignore[method-assign]
    return machine


@pytest.mark.parametrize(
    ("gpu", "phase", "busy", "excused"),
    [
        (0, Phase.READY, True, True),
        (0, Phase.READY, False, False),
        (0, Phase.LOADING, False, True),
        (0, Phase.IDLE, False, False),
        (1, Phase.READY, True, False),
    ],
)
def test_a_second_model_at_work_on_the_card_excuses_a_low_speed(
    gpu: int, phase: Phase, busy: bool, excused: bool
) -> None:
    with life(machine=usually_fast()) as run, life(msgspec.structs.replace(LLAMA, id="second")) as second:
        run.serves()
        if phase is Phase.READY:
            second.serves()
        elif phase is Phase.LOADING:
            second.loads()
        second.actor.profile = msgspec.structs.replace(second.actor.profile, gpus=(gpu,))  # that machine has one card
        slots = '[{"id": 0, "is_processing": true, "id_task": 1, "next_token": [{"n_decoded": 1}]}]'
        second.machine.http.rates = RatesSample(0.0, "", slots if busy else "[]")
        watched = Watched(run)
        watched.telemetry = Telemetry(
            run.machine.ports, run.bus, lambda: (run.actor, second.actor), watched.clock, watched.wall
        )
        crawls(watched)
        assert watched.ends_as_asked() is excused


def test_a_speed_far_below_the_baseline_ends_the_run() -> None:
    with life(machine=usually_fast()) as run:
        run.serves()
        watched = Watched(run)
        crawls(watched)
        view = run.waits_for(Phase.FAILED)
        assert view.problem is not None
        assert (view.problem.code, view.problem.params["tokens_per_s"]) == ("watch.slow", 1.0)
        # 8,148 MiB of weights, 1,536 MiB of KV cache (captures full14-np1)
        assert view.problem.params["floor"] == pytest.approx(0.5 * 38 * 8148 / (8148 + 1536), abs=0.1)


# --- the thread -------------------------------------------------------------------------------------------------------


def test_the_pace_follows_who_looks_and_what_runs() -> None:
    with life() as run:
        telemetry = Telemetry(run.machine.ports, run.bus, lambda: (run.actor,))
        assert telemetry._pause() == HIDDEN_IDLE_S
        telemetry.set_watched(True)
        assert telemetry._pause() == WATCHED_S
        telemetry.set_watched(False)
        run.loads()
        assert telemetry._pause() == HIDDEN_RUNNING_S


class Samples:
    """Waits for samples on a bus."""

    def __init__(self, bus: Bus) -> None:
        self._came = threading.Semaphore(0)
        bus.subscribe(lambda _: self._came.release())

    def one(self) -> None:
        assert self._came.acquire(timeout=DEADLINE_S)


def test_the_thread_samples_at_once_when_somebody_looks() -> None:
    bus = Bus()
    samples = Samples(bus)
    telemetry = Telemetry(Machine().ports, bus, lambda: ())
    telemetry.start()
    samples.one()
    telemetry.set_watched(True)
    samples.one()
    telemetry.close()


def test_the_thread_samples_at_once_when_the_system_says_that_it_woke_up() -> None:
    bus = Bus()
    samples = Samples(bus)
    telemetry = Telemetry(Machine().ports, bus, lambda: ())
    telemetry.start()
    samples.one()
    telemetry.wakes()
    samples.one()
    telemetry.close()


def test_the_thread_samples_at_once_when_a_run_changes() -> None:
    """The pause was chosen while nothing ran: 15 s would leave a model that just became ready unwatched."""
    with life() as run:
        seen = threading.Event()
        telemetry = Telemetry(run.machine.ports, run.bus, lambda: (run.actor,))
        run.bus.subscribe(lambda _: seen.set() if (last := telemetry.latest()) and last.throughput else None)
        telemetry.start()
        run.serves()
        assert seen.wait(DEADLINE_S)
        telemetry.close()
        count = len(telemetry.history())
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        assert len(telemetry.history()) == count


@pytest.mark.allow_log("a sample failed", reason="a defect is put in on purpose")
@pytest.mark.parametrize("defect", [RuntimeError("a defect"), SystemExit(1)], ids=["error", "exit"])
def test_a_defect_in_a_sample_does_not_end_the_watch(defect: Exception) -> None:
    machine, bus = Machine(), Bus()
    machine.gpu.failure = defect
    asked = threading.Event()
    snapshot = machine.gpu.snapshot

    def noted() -> object:
        asked.set()
        return snapshot()

    machine.gpu.snapshot = noted  # type: ignore[assignment,method-assign]
    samples = Samples(bus)
    telemetry = Telemetry(machine.ports, bus, lambda: ())
    telemetry.start()
    assert asked.wait(DEADLINE_S)
    assert telemetry.samples() == 0
    machine.gpu.failure = None
    telemetry.set_watched(True)
    samples.one()
    telemetry.close()
    assert telemetry.samples() > 0


def test_closing_what_was_never_started_is_no_error() -> None:
    Telemetry(Machine().ports, Bus(), lambda: ()).close()
