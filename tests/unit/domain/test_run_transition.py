"""The run's state machine: the normal life, every way out, and the invariants over random event orders."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.run_state import Phase, Run, Timer
from kotaro_bridge.domain.run.run_transition import transition

LIMITS = rs.Limits()
WHY = problem("test.why")


def walk(*events: rs.Event, run: Run | None = None) -> tuple[Run, list[rs.Effect]]:
    """The run after the events, and all effects."""
    current = run or Run()
    effects: list[rs.Effect] = []
    for event in events:
        current, more = transition(current, event, LIMITS)
        effects += more
    return current, effects


LAUNCHED = (rs.StartRequested(), rs.GateAnswered(1, None))
LOADING = (*LAUNCHED, rs.EngineStarted(1))
PROVING = (*LOADING, rs.HealthAnswered(1, True))
READY = (*PROVING, rs.ProofAnswered(1, None))


def phases(*events: rs.Event) -> list[Phase]:
    run, seen = Run(), []
    for event in events:
        run, _ = transition(run, event, LIMITS)
        seen.append(run.phase)
    return seen


def test_a_normal_life() -> None:
    assert phases(*READY, rs.StopRequested(), rs.EngineExited(1, WHY), rs.Detached(1, WHY), rs.Confirmed(1, None)) == [
        Phase.CHECKING,
        Phase.LAUNCHING,
        Phase.LOADING,
        Phase.PROVING,
        Phase.READY,
        Phase.STOPPING,
        Phase.STOPPING,
        Phase.STOPPING,
        Phase.STOPPED,
    ]


def test_a_refused_start_spawns_nothing_and_keeps_its_reason() -> None:
    run, effects = walk(rs.StartRequested(), rs.GateAnswered(1, WHY))
    assert (run.phase, run.problem) == (Phase.REFUSED, WHY)
    assert effects == [rs.Arm(Timer.CHECK, LIMITS.check_s), rs.CheckGate()]


def test_a_check_that_does_not_end_refuses_and_a_late_answer_starts_nothing() -> None:
    run, _ = walk(rs.StartRequested(), rs.TimerFired(1, Timer.CHECK, ("NVML",)))
    assert (run.phase, run.problem) == (Phase.REFUSED, problem("run.check_timeout", "NVML", seconds=120))
    assert walk(rs.GateAnswered(1, None), run=run) == (run, [])


def test_a_spawn_that_fails_ends_failed() -> None:
    run, _ = walk(*LAUNCHED, rs.SpawnFailed(1, WHY))
    assert (run.phase, run.problem, run.attached) == (Phase.FAILED, WHY, False)


@pytest.mark.parametrize("before", [LAUNCHED, LOADING, PROVING, READY])
def test_a_disqualifying_line_stops_the_engine_wherever_it_is(before: tuple[rs.Event, ...]) -> None:
    run, effects = walk(*before, rs.Disqualified(1, WHY))
    assert (run.phase, run.problem) == (Phase.STOPPING, WHY)
    assert rs.SendStop() in effects
    assert walk(rs.Detached(1, WHY), rs.Confirmed(1, None), run=run)[0].phase is Phase.FAILED


@pytest.mark.parametrize("before", [LAUNCHED, LOADING, PROVING, READY])
def test_a_stop_is_accepted_everywhere_and_ends_stopped(before: tuple[rs.Event, ...]) -> None:
    run, _ = walk(*before, rs.StopRequested(), rs.Detached(1, WHY), rs.Confirmed(1, None))
    assert (run.phase, run.problem) == (Phase.STOPPED, None)


def test_a_stop_while_checking_spawns_nothing() -> None:
    run, effects = walk(rs.StartRequested(), rs.StopRequested(), rs.GateAnswered(1, None))
    assert run.phase is Phase.STOPPED
    assert rs.Spawn() not in effects


def test_a_stop_of_a_resting_run_changes_nothing() -> None:
    assert walk(rs.StopRequested()) == (Run(), [])


def test_the_engine_that_dies_by_itself_ends_failed_with_its_cause() -> None:
    run, effects = walk(*LOADING, rs.EngineExited(1, WHY), rs.Detached(1, problem("other")), rs.Confirmed(1, None))
    assert (run.phase, run.problem) == (Phase.FAILED, WHY)
    assert rs.SendStop() not in effects  # the guardian ends what is left by itself


def test_a_killed_wsl_exe_is_confirmed_from_outside() -> None:
    run, effects = walk(*READY, rs.Detached(1, WHY))
    assert (run.phase, run.problem, run.attached) == (Phase.KILLING, WHY, False)
    assert effects[-1] == rs.Confirm()


def test_a_hanging_launch_is_abandoned() -> None:
    run, effects = walk(*LAUNCHED, rs.TimerFired(1, Timer.LAUNCH))
    assert run.phase is Phase.KILLING
    assert run.problem is not None
    assert run.problem.code == "run.launch_timeout"
    assert rs.Abandon() in effects
    assert walk(rs.TimerFired(1, Timer.KILL), run=run)[1] == [rs.Abandon(), rs.Confirm()]


def test_the_load_deadline_moves_while_there_is_progress() -> None:
    assert walk(*LOADING, rs.Progress(1))[1][-1] == rs.Arm(Timer.LOAD, LIMITS.load_s)
    run, _ = walk(*LOADING, rs.TimerFired(1, Timer.LOAD))
    assert run.problem is not None
    assert (run.phase, run.problem.code) == (Phase.STOPPING, "run.load_timeout")


def test_the_engines_ready_line_is_probed_at_once() -> None:
    assert walk(*LOADING, rs.ReadyLine(1))[1][-1] == rs.Probe()
    assert walk(*LOADING, rs.TimerFired(1, Timer.PROBE))[1][-1] == rs.Probe()
    assert walk(*LOADING, rs.HealthAnswered(1, False))[1][-1] == rs.Arm(Timer.PROBE, LIMITS.probe_s)


@pytest.mark.parametrize("end", [rs.ProofAnswered(1, WHY), rs.TimerFired(1, Timer.PROVE)])
def test_no_address_without_a_proof(end: rs.Event) -> None:
    run, effects = walk(*PROVING, end)
    assert run.phase is Phase.STOPPING
    assert rs.SendStop() in effects


def test_a_silent_server_is_unresponsive_after_three_misses_and_may_come_back() -> None:
    run, _ = walk(*READY, *[rs.HealthAnswered(1, False)] * 2)
    assert (run.phase, run.misses) == (Phase.READY, 2)
    run, _ = walk(rs.HealthAnswered(1, False), run=run)
    assert run.phase is Phase.UNRESPONSIVE
    run, effects = walk(rs.TimerFired(1, Timer.PROBE), rs.HealthAnswered(1, True), run=run)
    assert (run.phase, run.misses) == (Phase.READY, 0)
    assert rs.Probe() in effects


def test_after_resume_the_proof_has_to_hold_again() -> None:
    run, effects = walk(*READY, rs.ProofWanted(1))
    assert run.phase is Phase.PROVING
    assert rs.Prove() in effects


def test_a_warning_stays_with_the_serving_run_until_a_later_proof_holds() -> None:
    silent = [rs.HealthAnswered(1, False)] * 3
    run, effects = walk(rs.Warned(1, WHY), *silent, run=walk(*READY)[0])
    assert (run.phase, run.warning) == (Phase.UNRESPONSIVE, WHY)
    assert rs.SendStop() not in effects
    assert walk(rs.Warned(1, problem("test.newer")), run=run)[0].warning == problem("test.newer")
    run, _ = walk(rs.HealthAnswered(1, True), rs.ProofWanted(1), run=run)
    assert (run.phase, run.warning) == (Phase.PROVING, WHY)
    assert walk(rs.ProofAnswered(1, None), run=run)[0].warning is None
    failed, _ = walk(rs.ProofAnswered(1, problem("test.proof")), run=run)
    assert (failed.phase, failed.problem, failed.warning) == (Phase.STOPPING, problem("test.proof"), None)


@pytest.mark.parametrize(
    "end", [rs.StopRequested(), rs.EngineExited(1, WHY), rs.Detached(1, WHY), rs.Disqualified(1, WHY)]
)
def test_a_warning_ends_with_the_run_it_is_about(end: rs.Event) -> None:
    assert walk(*READY, rs.Warned(1, WHY), end)[0].warning is None


def test_an_engine_that_ignores_term_is_killed() -> None:
    run, effects = walk(*READY, rs.StopRequested(), rs.TimerFired(1, Timer.STOP))
    assert run.phase is Phase.KILLING
    assert rs.SendKill() in effects
    run, effects = walk(rs.Detached(1, WHY), rs.TimerFired(1, Timer.KILL), run=run)
    assert effects == [rs.Confirm(), rs.Confirm()]


def test_what_cannot_be_ended_is_orphaned_and_tried_again() -> None:
    run, _ = walk(*READY, rs.StopRequested(), rs.Detached(1, WHY), rs.Confirmed(1, WHY))
    assert (run.phase, run.problem) == (Phase.ORPHANED, WHY)
    assert walk(rs.TimerFired(1, Timer.RETRY), run=run)[1] == [rs.Confirm()]
    assert walk(rs.StopRequested(), run=run)[1] == [rs.Confirm()]
    assert walk(rs.Confirmed(1, problem("again")), run=run)[0].problem == problem("again")
    ended, _ = walk(rs.Confirmed(1, None), run=run)
    assert ended.problem is not None
    assert (ended.phase, ended.problem.code) == (Phase.FAILED, "stop.orphan_gone")


def test_an_orphan_keeps_why_it_was_stopped() -> None:
    lost = problem("gpu.driver_lost")
    run, _ = walk(*READY, rs.Disqualified(1, lost), rs.Detached(1, WHY), rs.Confirmed(1, WHY))
    assert (run.phase, run.problem, run.cause) == (Phase.ORPHANED, WHY, lost)
    ended, _ = walk(rs.Confirmed(1, WHY), rs.Confirmed(1, None), run=run)
    assert (ended.phase, ended.problem, ended.cause) == (Phase.FAILED, lost, None)


def test_a_spawn_that_fails_while_stopping_rests() -> None:
    assert walk(*LAUNCHED, rs.StopRequested(), rs.SpawnFailed(1, WHY))[0].phase is Phase.FAILED


def test_late_answers_of_an_earlier_start_are_dropped() -> None:
    run, _ = walk(*LAUNCHED, rs.SpawnFailed(1, WHY), rs.StartRequested())
    assert (run.phase, run.generation) == (Phase.CHECKING, 2)
    assert walk(rs.GateAnswered(1, None), rs.Confirmed(1, None), run=run) == (run, [])


def test_a_second_start_of_a_live_run_changes_nothing() -> None:
    run, _ = walk(*READY)
    assert walk(rs.StartRequested(), run=run) == (run, [])


STOPPING = (*READY, rs.StopRequested())
ORPHANED = (*STOPPING, rs.Detached(1, WHY), rs.Confirmed(1, WHY))


@pytest.mark.parametrize(
    ("before", "event"),
    [
        ((rs.StartRequested(),), rs.ReadyLine(1)),
        (LAUNCHED, rs.ReadyLine(1)),
        (LAUNCHED, rs.TimerFired(1, Timer.LOAD)),
        (LOADING, rs.ProofAnswered(1, None)),
        (LOADING, rs.Warned(1, WHY)),
        (PROVING, rs.Warned(1, WHY)),
        (LOADING, rs.TimerFired(1, Timer.STOP)),
        (PROVING, rs.HealthAnswered(1, False)),
        (PROVING, rs.TimerFired(1, Timer.LOAD)),
        (READY, rs.ReadyLine(1)),
        (READY, rs.TimerFired(1, Timer.LOAD)),
        (STOPPING, rs.Disqualified(1, WHY)),
        (STOPPING, rs.Warned(1, WHY)),
        (READY, rs.Warned(2, WHY)),
        (STOPPING, rs.TimerFired(1, Timer.PROBE)),
        (ORPHANED, rs.HealthAnswered(1, True)),
        (ORPHANED, rs.TimerFired(1, Timer.STOP)),
        ((rs.StartRequested(), rs.StopRequested()), rs.ProofAnswered(1, None)),
    ],
)
def test_what_does_not_belong_to_a_phase_changes_nothing(before: tuple[rs.Event, ...], event: rs.Event) -> None:
    run, _ = walk(*before)
    assert walk(event, run=run) == (run, [])


generations = st.integers(1, 3)
reasons = st.sampled_from([WHY, problem("test.other")])
maybe = st.one_of(st.none(), reasons)
EVENTS: tuple[st.SearchStrategy[rs.Event], ...] = (
    st.just(rs.StartRequested()),
    st.just(rs.StopRequested()),
    st.builds(rs.GateAnswered, generations, maybe),
    st.builds(rs.SpawnFailed, generations, reasons),
    st.builds(rs.EngineStarted, generations),
    st.builds(rs.Progress, generations),
    st.builds(rs.ReadyLine, generations),
    st.builds(rs.Disqualified, generations, reasons),
    st.builds(rs.Warned, generations, reasons),
    st.builds(rs.HealthAnswered, generations, st.booleans()),
    st.builds(rs.ProofAnswered, generations, maybe),
    st.builds(rs.ProofWanted, generations),
    st.builds(rs.EngineExited, generations, reasons),
    st.builds(rs.Detached, generations, reasons),
    st.builds(rs.Confirmed, generations, maybe),
    st.builds(rs.TimerFired, generations, st.sampled_from(Timer)),
)


@settings(max_examples=400)
@given(st.lists(st.one_of(*EVENTS), max_size=60))
def test_invariants_hold_in_any_order(events: list[rs.Event]) -> None:
    run = Run()
    passed: set[int] = set()
    proved: set[int] = set()
    spawned: set[int] = set()
    for event in events:
        before = run
        run, effects = transition(run, event, LIMITS)
        if isinstance(event, rs.GateAnswered) and event.problem is None and before.phase is Phase.CHECKING:
            passed.add(event.generation)
        if isinstance(event, rs.ProofAnswered) and event.problem is None and before.phase is Phase.PROVING:
            proved.add(event.generation)
        if rs.Spawn() in effects:
            assert run.generation in passed  # no spawn without a passed gate of the same start
            assert run.generation not in spawned  # one session per start
            spawned.add(run.generation)
        if run.phase in rs.SERVING:
            assert run.generation in proved  # no address without a passed proof
        if run.warning is not None:
            assert run.phase in (*rs.SERVING, Phase.PROVING)  # a warning is about a run that serves
            assert run.generation in proved
        if isinstance(event, rs.Warned):
            assert effects == ()  # a warning ends nothing
            assert run.phase is before.phase  # and proves nothing
        if isinstance(event, rs.ProofAnswered) and run.phase is Phase.READY and before.phase is Phase.PROVING:
            assert run.warning is None
        if run.phase in (Phase.REFUSED, Phase.FAILED, Phase.ORPHANED):
            assert run.problem is not None  # a reason is never lost
        if run.phase in rs.RESTING:
            assert not run.attached
        if run.phase in (*rs.ENDING, Phase.CHECKING) and before.phase is not run.phase:
            assert any(isinstance(effect, (rs.Arm, rs.Confirm)) for effect in effects)  # it has a bound


ANSWERS: dict[type[rs.Effect], Callable[[int], rs.Event]] = {
    rs.SendStop: lambda generation: rs.Detached(generation, WHY),
    rs.SendKill: lambda generation: rs.Detached(generation, WHY),
    rs.Confirm: lambda generation: rs.Confirmed(generation, None),
}


@settings(max_examples=200)
@given(st.lists(st.one_of(*EVENTS), max_size=40), st.booleans())
def test_a_stop_always_comes_to_an_end(events: list[rs.Event], deaf: bool) -> None:
    """From any state: a stop, then only what the effects themselves bring about (or, if nobody answers, the timers)."""
    run, _ = walk(*events)
    run, effects = transition(run, rs.StopRequested(), LIMITS)
    # What an earlier event had set in motion may still be pending: its timers fire.
    pending: list[rs.Event] = [rs.TimerFired(run.generation, timer) for timer in (Timer.STOP, Timer.KILL, Timer.RETRY)]
    for _ in range(40):
        if run.phase in rs.RESTING:
            return
        for effect in effects:
            if isinstance(effect, rs.Arm):
                pending.append(rs.TimerFired(run.generation, effect.timer))
            elif type(effect) in ANSWERS and not (deaf and isinstance(effect, (rs.SendStop, rs.SendKill))):
                pending.append(ANSWERS[type(effect)](run.generation))
        assert pending, run
        run, effects = transition(run, pending.pop(), LIMITS)
    pytest.fail(f"still {run.phase}")
