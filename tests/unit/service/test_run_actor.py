"""One run from the request to its confirmed end: every way there is, with the phases that were published."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kotaro_bridge.domain.engine.placement import Verdict
from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.ports import ChannelClosed, Exited
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.metrics import RatesSample
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Endpoint, RunView
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service import run_actor
from kotaro_bridge.service.gatekeeper import GateResult
from kotaro_bridge.service.run_session import UNWATCHED_LOOKS, Session
from tests.helpers.captures import llama_lines
from tests.helpers.machine import CLAIMED, DEADLINE_S, LLAMA, VLLM, Life, Machine, Process, life

START = [Phase.CHECKING, Phase.LAUNCHING]
LOADED = [*START, Phase.LOADING]
PROVED = [*LOADED, Phase.PROVING]
SERVED = [*PROVED, Phase.READY]
INTERNAL = pytest.mark.allow_log("unexpected failure", reason="a defect is put in on purpose")


def code(view: RunView) -> str | None:
    return view.problem.code if view.problem else None


# --- the normal life --------------------------------------------------------------------------------------------------


def test_a_normal_life_from_idle_to_stopped() -> None:
    with life() as run:
        assert (run.actor.view.phase, run.actor.view.endpoint) == (Phase.IDLE, None)
        engine = run.serves()
        view = run.actor.view
        assert view.endpoint == Endpoint("http://127.0.0.1:8080/v1", "q14", None, images=False)
        assert view.judgement is not None
        assert view.judgement.verdict is Verdict.GPU
        assert view.vram_taken == CLAIMED + 525 * MIB
        assert view.speed is not None
        assert (view.speed.tokens_per_s, round(view.speed.of_limit or 0, 2)) == (38.0, 0.64)
        assert view.gate is not None
        assert view.gate.ok
        run.actor.stop()
        stopped = run.waits_for(Phase.STOPPED)
        assert (stopped.problem, stopped.endpoint) == (None, None)
        assert run.heard.phases == [*SERVED, Phase.STOPPING, Phase.STOPPED]
        assert [change.old for change in run.heard.changes] == [Phase.IDLE, *SERVED, Phase.STOPPING]
        assert engine.calls == ["stop 10"]
        assert (run.file.closed, run.machine.http.closed) == (1, 1)
        assert run.file.lines == [line.text for line in run.actor.ring.tail(5000)]


def test_no_address_is_offered_before_the_proof_and_none_after_the_end() -> None:
    with life() as run:
        run.serves()
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        offered = {change.view.phase for change in run.heard.changes if change.view.endpoint is not None}
        assert offered == {Phase.READY}


def test_the_log_is_in_the_file_while_the_engine_is_silent() -> None:
    with life() as run:
        run.serves()
        assert run.file.flushed >= 1


def test_a_start_of_a_run_under_way_changes_nothing() -> None:
    with life() as run:
        run.serves()
        run.actor.start()
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        assert run.heard.phases == [*SERVED, Phase.STOPPING, Phase.STOPPED]
        assert len(run.machine.target.launches) == 1


def test_a_second_start_is_a_new_generation() -> None:
    with life() as run:
        run.serves()
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        run.machine.http.status = 503
        run.actor.start()
        second = run.machine.target.engine(2)
        second.starts()
        view = run.waits_for(Phase.LOADING)
        assert view.generation == 2
        assert (view.judgement, view.speed, view.vram_taken) == (None, None, None)


def test_http_and_clearance_belong_to_the_run() -> None:
    with life() as run:
        assert (run.actor.http, run.actor.clearance) == (None, None)
        run.serves()
        assert run.actor.http is run.machine.http
        assert run.actor.clearance is not None
        assert run.actor.clearance.shared_before == 190 * MIB
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        assert run.actor.http is None


# --- refused ----------------------------------------------------------------------------------------------------------


def test_a_refused_start_spawns_nothing_and_keeps_its_reason() -> None:
    machine = Machine()
    machine.gpu.used = machine.gpu.total - 100 * MIB
    with life(machine=machine) as run:
        run.actor.start()
        view = run.waits_for(Phase.REFUSED)
        assert code(view) == "gate.vram.failed"
        assert view.gate is not None
        assert not view.gate.ok
        assert run.heard.phases == [Phase.CHECKING, Phase.REFUSED]
    assert machine.target.launches == []
    assert not machine.target.entered.is_set()


def test_a_gate_that_passes_nothing_and_blocks_nothing_refuses() -> None:
    """A report without a single passed check (the driver) is no clearance, though no check blocks."""
    machine = Machine()
    machine.gpu.failure = problem("gpu.no_driver")
    with life(machine=machine) as run:
        run.actor.start()
        assert code(run.waits_for(Phase.REFUSED)) == "gpu.no_driver"
    assert machine.target.launches == []


def test_a_refused_start_can_be_tried_again() -> None:
    with life() as run:
        run.machine.taken_ports.add(8080)
        run.actor.start()
        assert code(run.waits_for(Phase.REFUSED)) == "gate.port_windows.failed"
        run.machine.taken_ports.clear()
        run.serves()
        assert run.heard.phases == [Phase.CHECKING, Phase.REFUSED, *SERVED]


# --- disqualified by the log ------------------------------------------------------------------------------------------


def test_the_first_disqualifying_line_stops_the_engine_at_once() -> None:
    lines = llama_lines("partial20")
    # Before it the same words stand in the dry run of fit, which decides nothing.
    first = max(i for i, line in enumerate(lines) if "offloaded 20/49" in line.text)
    with life() as run:
        engine = run.loads()
        engine.says(lines[: first + 1])
        view = run.waits_for(Phase.FAILED)
        assert code(view) == "proof.layers_on_cpu"
        assert view.problem is not None
        assert "offloaded 20/49" in view.problem.evidence[0]
        assert engine.calls == ["stop 10"]
        assert run.heard.phases == [*LOADED, Phase.STOPPING, Phase.FAILED]


@pytest.mark.parametrize(
    ("name", "words", "verdict"),
    [
        ("partial20", "offloaded 20/49", Verdict.PARTIAL),
        ("cuda-hidden", "failed to initialize CUDA", Verdict.CPU),
    ],
)
def test_a_disqualified_run_has_the_verdict_of_its_log_and_not_that_of_a_dead_engine(
    name: str, words: str, verdict: Verdict
) -> None:
    lines = llama_lines(name)
    with life() as run:
        run.loads().says(lines[: 1 + max(i for i, line in enumerate(lines) if words in line.text)])
        view = run.waits_for(Phase.FAILED)
        assert view.judgement is not None
        assert view.judgement.verdict is verdict


def test_a_proof_that_comes_too_late_does_not_speak_for_a_run_that_is_ending() -> None:
    """A line of the warm-up itself disqualifies; the proof was begun with what the log said before."""
    answered = threading.Event()
    with life() as run:
        prove = run.actor._prove

        def proves(session: Session) -> rs.Event:
            event = prove(session)
            answered.set()
            return event

        def warm_up() -> None:
            run.engine.says([line for line in llama_lines("partial20") if "offloaded" in line.text])
            run.waits_for(Phase.STOPPING)

        run.actor._prove = proves  # type: ignore[method-assign]
        run.machine.http.on_warm_up = warm_up
        engine = run.loads()
        engine.obeys = False
        engine.takes()
        engine.says(llama_lines("full14-np1"))
        run.machine.http.status = 200
        assert answered.wait(DEADLINE_S)
        engine.exits()
        view = run.waits_for(Phase.FAILED)
        assert (code(view), view.speed) == ("proof.layers_on_cpu", None)
        assert view.judgement is not None
        assert view.judgement.verdict is Verdict.PARTIAL


def test_a_line_that_disqualifies_a_serving_run_changes_its_verdict() -> None:
    with life() as run:
        engine = run.serves()
        engine.says([line for line in llama_lines("partial20") if "CPU KV buffer size" in line.text][:1])
        view = run.waits_for(Phase.FAILED)
        assert code(view) == "proof.kv_on_cpu"
        assert view.judgement is not None
        assert view.judgement.verdict is Verdict.PARTIAL
        assert engine.calls == ["stop 10"]


def test_a_watcher_outside_can_disqualify_and_an_old_one_cannot() -> None:
    with life() as run:
        run.serves()
        run.actor.disqualify(0, problem("watch.spill"))
        run.actor.disqualify(1, problem("gpu.driver_lost"))
        assert code(run.waits_for(Phase.FAILED)) == "gpu.driver_lost"


# --- the engine ends by itself ----------------------------------------------------------------------------------------

ENDS = [
    (["llama_model_load: error loading model: bad file"], 1, None, "proof.model_load_failed"),
    (["nothing to see"], None, 9, "engine.killed"),
    (["nothing to see"], None, 11, "engine.signalled"),
    (["nothing to see"], 3, None, "engine.exited"),
]


@pytest.mark.parametrize(("lines", "status", "signal", "why"), ENDS)
def test_an_engine_that_ends_names_its_cause(
    lines: list[str], status: int | None, signal: int | None, why: str
) -> None:
    with life() as run:
        engine = run.loads()
        engine.says(lines)
        engine.exits(status, signal)
        view = run.waits_for(Phase.FAILED)
        assert code(view) == why
        assert view.problem is not None
        assert view.problem.evidence == tuple(lines)
        assert view.judgement is not None
        assert view.judgement.verdict is Verdict.FAILED
        assert run.heard.phases == [*LOADED, Phase.STOPPING, Phase.FAILED]
        assert engine.calls == []


def test_numbers_of_the_end_are_in_the_problem() -> None:
    for status, signal, params in ((3, None, {"code": 3}), (None, 9, {"signal": 9}), (None, 6, {"signal": 6})):
        with life() as run:
            run.loads().exits(status, signal)
            view = run.waits_for(Phase.FAILED)
            assert view.problem is not None
            assert dict(view.problem.params) == params


def test_the_last_lines_of_an_earlier_run_are_no_evidence() -> None:
    with life() as run:
        run.loads().says(["of the first run"])
        run.engine.exits(1)
        run.waits_for(Phase.FAILED)
        run.actor.start()
        second = run.machine.target.engine(2)
        second.starts()
        run.waits_for(Phase.LOADING)
        second.exits(1)
        view = run.waits_for(Phase.FAILED)
        assert view.problem is not None
        assert view.problem.evidence == ()


def test_an_engine_that_crashes_while_it_serves_names_what_killed_it() -> None:
    with life() as run:
        engine = run.serves()
        engine.says(["CUDA error: an illegal memory access was encountered", "Aborted"])
        engine.exits(None, 6)
        view = run.waits_for(Phase.FAILED)
        assert view.problem is not None
        assert (view.problem.code, view.problem.params["cause"]) == (
            "proof.cuda_error",
            "an illegal memory access was encountered",
        )
        assert view.problem.evidence[-2:] == ("CUDA error: an illegal memory access was encountered", "Aborted")
        assert run.heard.phases == [*SERVED, Phase.STOPPING, Phase.FAILED]


def test_video_memory_that_runs_out_while_serving_is_not_said_of_the_loading() -> None:
    with life() as run:
        engine = run.serves()
        engine.says(["CUDA error: out of memory"])
        engine.exits(None, 6)
        assert code(run.waits_for(Phase.FAILED)) == "engine.out_of_vram"


def test_error_lines_of_requests_and_of_the_start_are_no_cause_of_a_later_end() -> None:
    start = llama_lines("full14-np1")
    with life() as run:
        engine = run.answers(["0.00.001.000 E srv init: a file that is not needed is missing", *start])
        run.waits_for(Phase.READY)
        engine.says(["9.00.001.000 E srv send_error: the request exceeds the context"])
        engine.exits(3)
        view = run.waits_for(Phase.FAILED)
        assert view.problem is not None
        assert (view.problem.code, view.problem.params["code"]) == ("engine.exited", 3)


def test_lines_that_prove_a_death_end_nothing_while_the_engine_lives() -> None:
    with life() as run:
        run.serves().says(["CUDA error: an illegal memory access was encountered"])
        run.actor.stop()
        assert run.waits_for(Phase.STOPPED, Phase.FAILED).problem is None


OOM_ENDS = [
    ([], None, 9, 1, "engine.out_of_ram"),
    (["0.00.001.000 E load: error loading model: interrupted"], None, 9, 2, "engine.out_of_ram"),
    ([], None, 9, 0, "engine.killed"),
    ([], None, 9, None, "engine.killed"),
    ([], None, 11, 1, "engine.signalled"),
    ([], 1, None, 1, "engine.exited"),
]


@pytest.mark.parametrize(("lines", "status", "signal", "kills", "why"), OOM_ENDS)
def test_a_kill_for_want_of_ram_is_told_by_the_kernels_count(
    lines: list[str], status: int | None, signal: int | None, kills: int | None, why: str
) -> None:
    with life() as run:
        engine = run.loads()
        engine.says(lines)
        engine.exits(status, signal, kills=kills)
        view = run.waits_for(Phase.FAILED)
        assert view.problem is not None
        assert (view.problem.code, view.problem.evidence) == (why, tuple(lines))


def test_a_lost_channel_is_confirmed_from_outside() -> None:
    with life() as run:
        run.serves().loses_channel()
        view = run.waits_for(Phase.FAILED)
        assert code(view) == "launch.channel_lost"
        assert view.problem is not None
        assert view.problem.evidence == ("last", "words")
        assert run.heard.phases == [*SERVED, Phase.KILLING, Phase.FAILED]
        assert [grace for _, grace in run.machine.target.reaped] == [10.0]


def test_a_target_that_cannot_be_reached_for_the_launch() -> None:
    machine = Machine()
    machine.target.failure = problem("wsl.missing")
    with life(machine=machine) as run:
        run.actor.start()
        assert code(run.waits_for(Phase.FAILED)) == "wsl.missing"
        assert run.heard.phases == [*START, Phase.FAILED]
        assert (run.file.closed, machine.http.closed) == (1, 1)


# --- the proof --------------------------------------------------------------------------------------------------------


def fails_proof(run: Life, engine: Process) -> str | None:
    view = run.waits_for(Phase.FAILED)
    assert run.heard.phases == [*PROVED, Phase.STOPPING, Phase.FAILED]
    assert engine.calls == ["stop 10"]
    return code(view)


def test_a_log_without_evidence_is_no_proof() -> None:
    with life() as run:
        engine = run.answers([line for line in llama_lines("full14-np1") if "offloaded" not in line.text])
        assert fails_proof(run, engine) == "proof.evidence_missing"


def test_memory_that_has_not_grown_is_no_proof() -> None:
    with life() as run:
        run.machine.gpu.used = 900 * MIB
        engine = run.loads()
        engine.takes(527 * MIB)
        engine.says(llama_lines("full14-np1"))
        run.machine.http.status = 200
        assert fails_proof(run, engine) == "proof.growth_short"


def test_an_engine_that_answers_health_but_no_request_is_no_proof() -> None:
    with life() as run:
        run.machine.http.warm = problem("http.timeout", seconds=30)
        assert fails_proof(run, run.answers()) == "proof.no_answer"


def dies_under_the_warm_up(run: Life, end: Callable[[Process], None]) -> RunView:
    """The engine takes the first request, does not answer it, and ends a moment later."""
    object.__setattr__(run.context, "end_s", DEADLINE_S)
    run.machine.http.warm = problem("http.broken", detail="connection closed")
    asked = threading.Event()
    run.machine.http.on_warm_up = asked.set
    engine = run.answers()
    assert asked.wait(DEADLINE_S)
    end(engine)
    return run.waits_for(Phase.FAILED)


def test_an_engine_that_dies_under_the_first_request_says_why_itself() -> None:
    def crashes(engine: Process) -> None:
        engine.says(["ggml.c:9: GGML_ASSERT(x) failed"])
        engine.exits(None, 6)

    with life() as run:
        assert code(dies_under_the_warm_up(run, crashes)) == "proof.engine_crashed"
        assert run.heard.phases == [*PROVED, Phase.STOPPING, Phase.FAILED]


def test_a_channel_lost_under_the_first_request_is_no_silent_engine() -> None:
    with life() as run:
        assert code(dies_under_the_warm_up(run, Process.loses_channel)) == "launch.channel_lost"


def test_a_healthy_engine_without_its_ready_line_is_no_proof() -> None:
    with life() as run:
        engine = run.answers([line for line in llama_lines("full14-np1") if "listening" not in line.text])
        assert fails_proof(run, engine) == "proof.not_ready"


def test_the_ready_line_may_come_a_moment_after_the_first_good_answer() -> None:
    """The engine answers 200 before its last lines have come through the pipes."""
    lines = llama_lines("full14-np1")
    last = next(i for i, line in enumerate(lines) if "listening" in line.text)
    machine = Machine()
    with life(machine=machine) as run:
        object.__setattr__(run.context, "ready_line_s", DEADLINE_S)
        engine = run.answers(lines[:last])
        run.waits_for(Phase.PROVING)
        engine.says(lines[last:])
        run.waits_for(Phase.READY)


def test_a_proof_that_takes_too_long_ends_the_run() -> None:
    asked, answer = threading.Event(), threading.Event()
    machine = Machine()

    def hangs() -> None:
        asked.set()
        answer.wait(DEADLINE_S)

    machine.http.on_warm_up = hangs
    with life(machine=machine, prove_s=0.05) as run:
        engine = run.answers()
        assert asked.wait(DEADLINE_S)
        assert fails_proof(run, engine) == "proof.timeout"
        answer.set()


def test_the_proof_can_be_wanted_again_and_the_address_is_withdrawn_meanwhile() -> None:
    with life() as run:
        run.serves()
        run.actor.prove_again()
        run.until(lambda view: view.phase is Phase.READY and run.heard.phases.count(Phase.READY) == 2)
        assert run.heard.phases == [*SERVED, Phase.PROVING, Phase.READY]
        assert run.heard.changes[-2].view.endpoint is None


def test_what_others_gave_back_meanwhile_fails_no_later_proof() -> None:
    """The level before the start is hours old then: a browser that was closed must not look like missing memory."""
    with life() as run:
        run.machine.gpu.used = 900 * MIB
        run.serves()
        run.machine.gpu.used = CLAIMED + 525 * MIB  # without the 900 MiB
        run.actor.prove_again()
        run.until(lambda view: view.phase is Phase.READY and run.heard.phases.count(Phase.READY) == 2)
        assert run.actor.view.vram_taken == CLAIMED + 525 * MIB


def test_a_run_that_is_at_work_keeps_its_speed_through_a_later_proof() -> None:
    """The PC slept in the middle of a long answer."""
    steps = itertools.count()

    def works() -> RatesSample:
        return RatesSample(0.0, f"llamacpp:requests_processing 1\nllamacpp:n_decode_total {next(steps)}\n")

    with life() as run:
        run.serves()
        run.machine.http.warm = problem("http.timeout", seconds=30)
        run.machine.http.rates_sample = works  # type: ignore[method-assign]
        run.actor.prove_again()
        view = run.until(lambda view: view.phase is Phase.READY and run.heard.phases.count(Phase.READY) == 2)
        assert view.speed is not None
        assert view.speed.tokens_per_s == 38.0


def test_a_later_proof_that_fails_ends_the_run() -> None:
    with life() as run:
        engine = run.serves()
        run.machine.http.warm = problem("http.timeout", seconds=30)
        run.actor.prove_again()
        assert code(run.waits_for(Phase.FAILED)) == "proof.no_answer"
        assert engine.calls == ["stop 10"]
        assert run.heard.phases == [*SERVED, Phase.PROVING, Phase.STOPPING, Phase.FAILED]


def test_a_warning_is_shown_until_a_later_proof_holds() -> None:
    with life() as run:
        run.serves()
        since = run.actor.view.since
        run.actor.warn(0, problem("test.old"))
        run.actor.warn(1, problem("watch.spill"))
        view = run.until(lambda view: view.warning is not None)
        assert (view.phase, view.warning, view.since) == (Phase.READY, problem("watch.spill"), since)
        assert view.endpoint is not None
        run.actor.prove_again()
        run.until(lambda view: view.phase is Phase.READY and view.warning is None)
        assert run.heard.phases == [*SERVED, Phase.READY, Phase.PROVING, Phase.READY]


def test_a_warning_is_told_once_for_each_cause_whatever_its_numbers() -> None:
    with life() as run:
        run.serves()
        for code, size in (("watch.spill", 1), ("watch.spill", 2), ("watch.slow", 2)):
            run.actor.warn(1, problem(code, size=size))
        run.until(lambda view: view.warning == problem("watch.slow", size=2))
        told = [(each.old, each.view.warning) for each in run.heard.changes if each.view.warning is not None]
        assert told == [
            (Phase.READY, problem("watch.spill", size=1)),
            (Phase.READY, problem("watch.slow", size=2)),
        ]


def test_a_run_that_ends_while_its_proof_waits_for_the_ready_line() -> None:
    with life() as run:
        object.__setattr__(run.context, "ready_line_s", DEADLINE_S)
        engine = run.answers([line for line in llama_lines("full14-np1") if "listening" not in line.text])
        run.waits_for(Phase.PROVING)
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        engine.says([line for line in llama_lines("full14-np1") if "listening" in line.text])
    assert run.heard.phases == [*PROVED, Phase.STOPPING, Phase.STOPPED]


def test_an_engine_that_is_gone_is_neither_healthy_nor_proved() -> None:
    """Work that is taken up after the run has ended finds an empty session."""
    with life() as run:
        assert run.actor._probe(run.actor._session) == rs.HealthAnswered(0, False)
        answer = run.actor._prove(run.actor._session)
        assert isinstance(answer, rs.ProofAnswered)
        assert answer.problem is not None


# --- health -----------------------------------------------------------------------------------------------------------


def test_the_ready_line_asks_for_health_at_once() -> None:
    with life(first_probe_s=3600.0, probe_s=3600.0) as run:
        run.machine.http.status = 200
        engine = run.loads()
        engine.takes()
        engine.says(llama_lines("full14-np1"))
        run.waits_for(Phase.READY)


def test_an_engine_that_stops_answering_and_comes_back() -> None:
    with life(ready_probe_s=0.01) as run:
        run.serves()
        run.machine.http.status = None
        view = run.waits_for(Phase.UNRESPONSIVE)
        assert view.endpoint is not None
        run.machine.http.status = 200
        run.waits_for(Phase.READY)
        assert run.heard.phases == [*SERVED, Phase.UNRESPONSIVE, Phase.READY]


# --- the load deadline ------------------------------------------------------------------------------------------------


def test_an_engine_that_hangs_while_it_loads_is_ended() -> None:
    with life(load_s=0.05) as run:
        engine = run.loads()
        view = run.waits_for(Phase.FAILED)
        assert code(view) == "run.load_timeout"
        assert engine.calls == ["stop 10"]


class Looks:
    """Stands before the prover's look at VRAM, which the actor takes each time the load deadline has passed."""

    def __init__(self, run: Life, on_look: Callable[[int], object]) -> None:
        self.count = 0
        used = run.context.prover.used

        def look(indices: tuple[int, ...]) -> tuple[int, ...]:
            self.count += 1
            on_look(self.count)
            return used(indices)

        run.context.prover.used = look  # type: ignore[method-assign]


@pytest.mark.parametrize("what", ["log", "vram"])
def test_the_load_deadline_moves_with_the_log_and_with_vram(what: str) -> None:
    """As long as something moves from look to look, the load goes on; then it ends."""
    with life(load_s=0.02) as run:

        def move(look: int) -> None:
            if look < 5:
                run.engine.says(["still loading"]) if what == "log" else run.engine.takes(look * 500 * MIB)

        looks = Looks(run, move)
        run.actor.start()
        run.engine.says(["loading"])
        run.engine.starts()
        assert code(run.waits_for(Phase.FAILED)) == "run.load_timeout"
        assert looks.count >= 6


def test_the_comings_and_goings_of_the_desktop_do_not_move_the_load_deadline() -> None:
    """Windows takes and gives back a few MiB all the time: an engine that hangs must not live on that."""
    machine = Machine()

    def flicker(look: int) -> None:
        machine.gpu.used = (900 + 10 * (look % 2)) * MIB

    with life(machine=machine, load_s=0.02) as run:
        looks = Looks(run, flicker)
        run.loads()
        assert code(run.waits_for(Phase.FAILED)) == "run.load_timeout"
        assert 2 <= looks.count <= 3  # at the deadline, at the end and, if in time, as it begins


# --- stop -------------------------------------------------------------------------------------------------------------


def test_a_stop_of_a_resting_run_changes_nothing() -> None:
    with life() as run:
        run.actor.stop()
        run.serves()
        assert run.heard.phases == SERVED


def test_a_stop_while_checking_spawns_nothing() -> None:
    machine = Machine()
    asked, answer = threading.Event(), threading.Event()

    def slow_probe(*_: object) -> object:
        asked.set()
        answer.wait(DEADLINE_S)
        return machine.target.facts

    machine.target.probe = slow_probe  # type: ignore[assignment,method-assign]
    with life(machine=machine) as run:
        run.actor.start()
        assert asked.wait(DEADLINE_S)
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        answer.set()
    assert run.heard.phases == [Phase.CHECKING, Phase.STOPPED]
    assert machine.target.launches == []


def test_a_stop_before_the_engine_has_said_that_it_started() -> None:
    with life() as run:
        run.actor.start()
        engine = run.engine
        run.actor.stop()
        assert run.waits_for(Phase.STOPPED).problem is None
        assert engine.calls == ["stop 10"]
        assert run.heard.phases == [*START, Phase.STOPPING, Phase.STOPPED]


def test_a_stop_while_loading() -> None:
    with life() as run:
        engine = run.loads()
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        assert engine.calls == ["stop 10"]


def test_a_stop_while_proving() -> None:
    machine = Machine()
    asked, answer = threading.Event(), threading.Event()

    def hangs() -> None:
        asked.set()
        answer.wait(DEADLINE_S)

    machine.http.on_warm_up = hangs
    with life(machine=machine) as run:
        run.answers()
        assert asked.wait(DEADLINE_S)
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        answer.set()
    assert run.heard.phases == [*PROVED, Phase.STOPPING, Phase.STOPPED]


def test_a_second_stop_is_not_a_second_term() -> None:
    with life() as run:
        engine = run.serves()
        engine.obeys = False
        run.actor.stop()
        run.actor.stop()
        run.waits_for(Phase.STOPPING)
        run.actor.stop()
        engine.exits()
        run.waits_for(Phase.STOPPED)
        assert engine.calls == ["stop 10"]


def test_an_engine_that_ignores_the_stop_is_killed_and_then_abandoned() -> None:
    with life(grace_s=0.0, stop_margin_s=0.01, kill_s=0.01) as run:
        engine = run.serves()
        engine.obeys = False
        run.actor.stop()
        engine.was_asked("stop 0", "kill", "abandon")
        engine.loses_channel()
        run.waits_for(Phase.STOPPED, Phase.ORPHANED)  # an orphan if the look at VRAM came before the end
        assert Phase.KILLING in run.heard.phases


# --- stop and time-outs around the spawn ------------------------------------------------------------------------------


def held_launch(machine: Machine, run: Life) -> None:
    """A start whose launch hangs in the operating system."""
    machine.target.open.clear()
    run.actor.start()
    assert machine.target.entered.wait(DEADLINE_S)


def test_a_stop_while_spawning_reaches_the_engine_once_there_is_one() -> None:
    machine = Machine()
    with life(machine=machine) as run:
        held_launch(machine, run)
        run.actor.stop()
        run.waits_for(Phase.STOPPING)
        machine.target.open.set()
        run.waits_for(Phase.STOPPED)
        assert run.engine.calls == ["stop 10"]


def test_a_launch_that_never_reports_is_abandoned() -> None:
    with life(launch_s=0.5) as run:
        run.actor.start()
        view = run.waits_for(Phase.FAILED)
        assert code(view) == "run.launch_timeout"
        assert run.engine.calls == ["abandon"]
        assert run.heard.phases == [*START, Phase.KILLING, Phase.FAILED]


def test_an_engine_that_comes_after_its_run_was_given_up_is_not_kept() -> None:
    """The launch hangs beyond its deadline and comes back later: nobody would ever watch or stop that engine."""
    machine = Machine()
    with life(machine=machine, launch_s=0.02, kill_s=0.02) as run:
        held_launch(machine, run)
        assert code(run.waits_for(Phase.FAILED)) == "run.launch_timeout"
        machine.target.open.set()
        run.engine.was_asked("abandon")
        assert run.actor.view.phase is Phase.FAILED


def test_an_engine_of_an_earlier_generation_is_not_kept_beside_the_new_one() -> None:
    machine = Machine()
    with life(machine=machine, launch_s=0.02, kill_s=0.02) as run:
        held_launch(machine, run)
        run.waits_for(Phase.FAILED)
        machine.distros = problem("wsl.hangs")  # the second start ends at the gate
        run.actor.start()
        run.waits_for(Phase.REFUSED)
        machine.target.open.set()
        run.engine.was_asked("abandon")


def test_a_spawn_whose_run_ended_before_its_turn_spawns_nothing() -> None:
    machine = Machine()
    with life(machine=machine) as run:
        released = threading.Event()
        pool = run.context.pool
        check = run.context.gatekeeper.check

        def check_and_fill(*arguments: object, **named: object) -> object:
            for _ in range(4):
                pool.submit(released.wait, DEADLINE_S)
            return check(LLAMA)

        run.context.gatekeeper.check = check_and_fill  # type: ignore[assignment,method-assign]
        run.actor.start()
        run.waits_for(Phase.LAUNCHING)
        run.actor.stop()
        run.waits_for(Phase.STOPPING)
        released.set()
        assert run.waits_for(Phase.STOPPED).problem is None
    assert machine.target.launches == []


def test_a_closed_actor_keeps_no_engine_that_comes_late() -> None:
    machine = Machine()
    with life(machine=machine) as run:
        held_launch(machine, run)
        assert run.actor.close(DEADLINE_S)
        machine.target.open.set()
        run.engine.was_asked("abandon")


# --- the end is confirmed ---------------------------------------------------------------------------------------------


def test_processes_that_stay_make_an_orphan_which_is_tried_again() -> None:
    machine = Machine()
    with life(machine=machine, retry_s=0.01) as run:
        run.serves()
        machine.target.left = (4711, 4712)
        run.actor.stop()
        view = run.waits_for(Phase.ORPHANED)
        assert code(view) == "stop.processes_left"
        assert view.problem is not None
        assert view.problem.params["pids"] == "4711, 4712"
        run.actor.start()  # not beside an orphan
        machine.target.left = (4712,)
        run.until(lambda view: view.problem is not None and view.problem.params.get("pids") == "4712")
        machine.target.left = ()
        view = run.waits_for(Phase.FAILED)
        assert code(view) == "stop.orphan_gone"
        assert run.heard.phases == [*SERVED, Phase.STOPPING, Phase.ORPHANED, Phase.FAILED]
        assert len(machine.target.launches) == 1


def test_a_stop_looks_for_an_orphan_at_once() -> None:
    machine = Machine()
    with life(machine=machine) as run:
        run.serves()
        machine.target.left = problem("wsl.hangs")
        run.actor.stop()
        assert code(run.waits_for(Phase.ORPHANED)) == "wsl.hangs"
        machine.target.left = ()
        run.actor.stop()
        run.waits_for(Phase.FAILED)


def test_memory_that_stays_makes_an_orphan() -> None:
    machine = Machine()
    with life(machine=machine) as run:
        engine = run.serves()
        engine.obeys = False
        run.actor.stop()
        engine.was_asked("stop 10")
        engine.exits(frees=False)
        view = run.waits_for(Phase.ORPHANED)
        assert code(view) == "stop.vram_left"
        assert view.problem is not None
        assert dict(view.problem.params) == {"before_bytes": 900 * MIB, "used_bytes": machine.gpu.used}
        machine.gpu.used = None
        run.actor.stop()
        run.until(lambda view: code(view) == "stop.vram_unknown")
        machine.gpu.used = 1100 * MIB  # others took something meanwhile
        run.actor.stop()
        run.waits_for(Phase.FAILED)


@pytest.mark.parametrize(("counted", "end"), [(True, Phase.FAILED), (False, Phase.ORPHANED)])
def test_what_windows_had_moved_off_the_card_cannot_come_back_there(counted: bool, end: Phase) -> None:
    """A game squeezed a part of the model out, which ended the run for it: the card stays as full as the game made it,
    and less came back than the run had taken.
    """
    machine = Machine()
    with life(machine=machine) as run:
        engine = run.serves()
        engine.obeys = False
        taken, moved, game = CLAIMED + 525 * MIB, 3000 * MIB, 4000 * MIB
        machine.gpu.used = 900 * MIB + taken - moved + game
        if counted:
            machine.counters.shared = 190 * MIB + moved
        else:
            machine.counters.present = False
        run.actor.disqualify(1, problem("watch.squeezed"))
        engine.was_asked("stop 10")
        run.until(lambda _: run.actor._session.used_at_end != ())
        machine.gpu.used = 900 * MIB + game
        engine.exits(frees=False)
        run.waits_for(end)


# --- late answers, defects, the end of the actor ----------------------------------------------------------------------


def test_late_reports_of_an_earlier_generation_are_dropped() -> None:
    with life() as run:
        first = run.serves()
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        run.machine.http.status = 503
        run.actor.start()
        second = run.machine.target.engine(2)
        first.event(Exited(1, None))
        first.event(ChannelClosed(1, False, ()))
        first.says(["load_tensors: offloaded 1/49 layers to GPU"])
        second.starts()
        run.waits_for(Phase.LOADING)
        run.actor.stop()
        run.waits_for(Phase.STOPPED)
        assert run.heard.phases[-5:] == [*LOADED, Phase.STOPPING, Phase.STOPPED]


@INTERNAL
@pytest.mark.parametrize("where", ["gate", "spawn", "proof", "confirm"])
def test_a_defect_in_the_pool_ends_the_run_with_a_reason(where: str, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    defect = RuntimeError("a defect")
    with life(machine=machine) as run:
        if where == "gate":
            machine.target.facts = defect
            run.actor.start()
            view = run.waits_for(Phase.REFUSED)
        elif where == "spawn":
            machine.target.failure = defect
            run.actor.start()
            view = run.waits_for(Phase.FAILED)
        elif where == "proof":
            machine.http.warm = defect
            run.answers()
            view = run.waits_for(Phase.FAILED)
        else:
            machine.target.left = defect
            run.serves()
            run.actor.stop()
            view = run.waits_for(Phase.ORPHANED)
        assert code(view) == "run.internal"
        assert view.problem is not None
        assert view.problem.evidence == ("RuntimeError('a defect')",)
    assert "a defect" in caplog.text


@INTERNAL
def test_a_defect_in_the_actor_itself_ends_the_run_with_a_reason() -> None:
    machine = Machine()
    with life(machine=machine, load_s=0.02) as run:
        engine = run.loads()
        machine.gpu.failure = RuntimeError("a defect")
        run.waits_for(Phase.STOPPING, Phase.ORPHANED, Phase.FAILED)
        machine.gpu.failure = None
        engine.was_asked("stop 10")
        run.actor.stop()
        stopping = next(change.view for change in run.heard.changes if change.view.phase is Phase.STOPPING)
        assert code(stopping) == "run.internal"


def test_a_timer_that_was_set_again_does_not_fire_at_its_first_time() -> None:
    """The ready line asks for health before the timer does; the answer sets the timer to a later time."""
    with life(first_probe_s=0.5, probe_s=3600.0, load_s=0.35) as run:
        engine = run.loads()
        engine.says([line for line in llama_lines("full14-np1") if "listening" in line.text])
        run.waits_for(Phase.FAILED)
        assert run.machine.http.health_asked == 1  # for the line, and not once more after half a second


@pytest.mark.parametrize(("asleep_s", "end"), [(3600.0, Phase.READY), (65.0, Phase.STOPPING)])
def test_a_deadline_that_passed_in_a_sleep_is_set_anew(asleep_s: float, end: Phase) -> None:
    """Windows counts sleep in its monotonic clock: a lid that was closed during a proof must not end a healthy run."""
    slept, asked, answer = [0.0], threading.Event(), threading.Event()
    machine = Machine()

    def waits() -> None:
        asked.set()
        assert answer.wait(DEADLINE_S)

    machine.http.on_warm_up = waits
    with life(machine=machine) as run:
        object.__setattr__(run.context, "clock", lambda: time.monotonic() + slept[0])
        engine = run.answers()
        engine.obeys = False
        assert asked.wait(DEADLINE_S)
        slept[0] = asleep_s
        run.actor.warn(0, problem("test.wakes_the_actor"))
        if end is Phase.STOPPING:
            assert code(run.waits_for(end)) == "proof.timeout"
        answer.set()
        run.waits_for(end)
        engine.exits()
        run.waits_for(Phase.FAILED)


def test_close_abandons_an_engine_that_still_lives() -> None:
    with life() as run:
        engine = run.serves()
        engine.obeys = False
        assert run.actor.close(DEADLINE_S)
        assert engine.calls == ["abandon"]


def test_waiting_ends_with_the_time_too() -> None:
    with life() as run:
        assert run.actor.wait(lambda view: view.phase is Phase.READY, 0.0).phase is Phase.IDLE


# --- nobody watches ---------------------------------------------------------------------------------------------------


@pytest.mark.allow_log("its thread has ended", reason="the thread is ended on purpose")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("begun", [True, False])
def test_an_actor_whose_thread_ends_takes_its_engine_along_and_shows_no_address(begun: bool) -> None:
    """Nothing that is caught ends it: only what goes past `except Exception`, such as a library's `sys.exit`."""
    with life() as run:
        engine = run.serves() if begun else None

        def leave(_: object) -> None:
            raise SystemExit

        deaf = run.bus.subscribe(leave)
        run.actor.stop() if begun else run.actor.start()
        view = run.until(lambda view: view.phase is Phase.FAILED)
        deaf()
        assert (code(view), view.endpoint) == ("run.internal", None)
        if engine is not None:
            engine.was_asked("abandon")
        deadline = time.monotonic() + DEADLINE_S
        while run.actor.alive and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not run.actor.alive


def test_a_run_that_nobody_watches_ends() -> None:
    """Telemetry that hangs in the driver, fails at each sample, or has lost its thread: the count stands still."""
    with life(ready_probe_s=0.02) as run:
        run.samples = 7
        engine = run.serves()
        engine.was_asked("stop 10")
        assert code(run.waits_for(Phase.FAILED)) == "watch.silent"


def test_a_run_that_is_watched_goes_on() -> None:
    with life(ready_probe_s=0.002) as run:
        counted = itertools.count()
        looks = threading.Event()

        def samples() -> int:
            number = next(counted)
            if number > 40:
                looks.set()
            return number // (UNWATCHED_LOOKS - 1)

        run.look = samples
        run.serves()
        assert looks.wait(DEADLINE_S)
        assert run.actor.view.phase is Phase.READY


def test_an_actor_that_is_closed_while_it_starts_keeps_no_slot() -> None:
    machine = Machine()
    machine.target.open.clear()
    with life(machine=machine) as run:
        run.actor.start()
        run.waits_for(Phase.CHECKING)
        assert run.context.load_slot.take(VLLM) == LLAMA.title
        assert run.actor.close(DEADLINE_S)
        assert run.context.load_slot.take(VLLM) is None


@INTERNAL
def test_an_event_that_nobody_understands_ends_the_run() -> None:
    with life() as run:
        run.loads()
        run.actor._queue.put(object())  # type: ignore[arg-type]
        stopping = run.waits_for(Phase.STOPPING, Phase.ORPHANED, Phase.FAILED)
        assert code(stopping) == "run.internal"


# --- a driver that hangs ----------------------------------------------------------------------------------------------


def test_a_run_that_nobody_watches_ends_where_no_thread_of_the_pool_is_left() -> None:
    """Each run that ends leaves questions to the driver behind."""
    freed = threading.Event()
    with life(ready_probe_s=0.02) as run:
        run.samples = 7
        engine = run.serves()
        for _ in range(4):
            run.context.pool.submit(freed.wait)
        try:
            engine.was_asked("stop 10")
        finally:
            freed.set()
        assert code(run.waits_for(Phase.FAILED)) == "watch.silent"


def test_a_check_that_hangs_ends_by_itself_and_its_late_answer_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = threading.Event()
    with life(check_s=0.5) as run:
        answer, check = run.machine.gpu.snapshot, run.context.gatekeeper.check
        answered = threading.Event()

        def hang() -> tuple[GpuSnapshot, ...]:
            freed.wait(DEADLINE_S)
            return answer()

        def late(*args: Any, **named: Any) -> GateResult:
            try:
                return check(*args, **named)
            finally:
                answered.set()

        monkeypatch.setattr(run.machine.gpu, "snapshot", hang)
        monkeypatch.setattr(run.context.gatekeeper, "check", late)
        run.actor.start()
        view = run.waits_for(Phase.REFUSED)
        assert not answered.is_set()
        assert run.context.load_slot.take(VLLM) is None  # free for others at once
        assert view.problem is not None
        assert (view.problem.code, view.problem.evidence[:1]) == ("run.check_timeout", ("NVML",))
        freed.set()
        assert answered.wait(DEADLINE_S)
        run.context.load_slot.release(VLLM.id)
        run.actor._limits = replace(run.actor._limits, check_s=DEADLINE_S)
        run.serves()  # the next start is another one
        assert run.heard.phases == [Phase.CHECKING, Phase.REFUSED, *SERVED]
        assert len(run.machine.target.launches) == 1


@pytest.mark.parametrize("wanted", [True, False])
def test_a_load_beside_a_driver_that_hangs_can_be_stopped_and_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setattr(run_actor, "_LOAD_ANSWER_S", 3600.0 if wanted else 0.02)
    asked, freed = threading.Event(), threading.Event()
    with life(load_s=0.05) as run:
        engine = run.loads()
        answer = run.machine.gpu.snapshot

        def hang() -> tuple[GpuSnapshot, ...]:
            asked.set()
            freed.wait(DEADLINE_S)
            return answer()

        monkeypatch.setattr(run.machine.gpu, "snapshot", hang)
        try:
            assert asked.wait(DEADLINE_S)
            if wanted:
                run.actor.stop()
            engine.was_asked("stop 10")
            assert not freed.is_set()
        finally:
            freed.set()
        end = run.waits_for(Phase.STOPPED if wanted else Phase.FAILED)
        assert code(end) == (None if wanted else "run.load_timeout")
