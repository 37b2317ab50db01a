"""A run as a pure function: `transition(run, event) -> (run, effects)`.

Owns every state change of a run. Nothing else decides whether an engine is started, stopped or called ready. Must not
do anything: effects are carried out by `service/run_actor.py`, whose answers come back as events.
"""

from __future__ import annotations

from dataclasses import replace

from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.run.run_state import (
    ENDING,
    RESTING,
    SPAWNED,
    Abandon,
    Arm,
    CheckGate,
    Confirm,
    Confirmed,
    Detached,
    Disqualified,
    EngineExited,
    EngineStarted,
    Event,
    GateAnswered,
    HealthAnswered,
    Limits,
    Phase,
    Probe,
    Progress,
    ProofAnswered,
    ProofWanted,
    Prove,
    ReadyLine,
    Run,
    SendKill,
    SendStop,
    Spawn,
    SpawnFailed,
    StartRequested,
    Step,
    StopRequested,
    Timer,
    TimerFired,
    Warned,
)


def transition(run: Run, event: Event, limits: Limits) -> Step:
    """The next state and what has to be done. Events that do not apply leave the run as it is."""
    after, effects = _step(run, event, limits)
    if after.phase not in SPAWNED and after.warning is not None:
        after = replace(after, warning=None)  # it was about a run that served
    return after, effects


def _step(run: Run, event: Event, limits: Limits) -> Step:
    if isinstance(event, StartRequested):
        return _start(run, limits)
    if isinstance(event, StopRequested):
        return _stop(run, limits)
    if event.generation != run.generation:
        return run, ()
    if run.phase in ENDING:
        return _ending(run, event, limits)
    if run.phase is Phase.ORPHANED:
        return _orphaned(run, event, limits)
    if run.phase is Phase.CHECKING:
        return _checking(run, event, limits)
    if run.phase in SPAWNED:
        return _spawned(run, event, limits)
    return run, ()


def _start(run: Run, limits: Limits) -> Step:
    if run.phase not in RESTING:
        return run, ()
    return Run(Phase.CHECKING, run.generation + 1), (Arm(Timer.CHECK, limits.check_s), CheckGate())


def _stop(run: Run, limits: Limits) -> Step:
    if run.phase is Phase.CHECKING:
        return replace(run, phase=Phase.STOPPED), ()
    if run.phase in SPAWNED:
        return _end(run, None, limits)
    if run.phase is Phase.ORPHANED:
        return run, (Confirm(),)
    return run, ()


def _end(run: Run, why: Problem | None, limits: Limits) -> Step:
    """Into STOPPING: ask the guardian to stop the group, with a deadline beyond its grace."""
    ending = replace(run, phase=Phase.STOPPING, problem=why, misses=0)
    return ending, (SendStop(), Arm(Timer.STOP, limits.grace_s + limits.stop_margin_s))


def _checking(run: Run, event: Event, limits: Limits) -> Step:
    if isinstance(event, GateAnswered):
        if event.problem is not None:
            return replace(run, phase=Phase.REFUSED, problem=event.problem), ()
        launching = replace(run, phase=Phase.LAUNCHING, attached=True)
        return launching, (Spawn(), Arm(Timer.LAUNCH, limits.launch_s))
    if isinstance(event, TimerFired) and event.timer is Timer.CHECK:
        hangs = problem("run.check_timeout", *event.waiting, seconds=round(limits.check_s))
        return replace(run, phase=Phase.REFUSED, problem=hangs), ()
    return run, ()


def _spawned(run: Run, event: Event, limits: Limits) -> Step:
    """LAUNCHING to UNRESPONSIVE: first what ends a run wherever it is, then what belongs to the phase."""
    if isinstance(event, SpawnFailed):
        return replace(run, phase=Phase.FAILED, problem=event.problem, attached=False), ()
    if isinstance(event, Disqualified):
        return _end(run, event.problem, limits)
    if isinstance(event, EngineExited):
        # The guardian ends what the engine left behind and then goes: nothing to send, only a deadline.
        ending = replace(run, phase=Phase.STOPPING, problem=event.problem)
        return ending, (Arm(Timer.STOP, limits.grace_s + limits.stop_margin_s),)
    if isinstance(event, Detached):
        # wsl.exe died or was killed: the guardian got end-of-file and is stopping the engine. Verify from outside.
        return replace(run, phase=Phase.KILLING, problem=event.problem, attached=False), (Confirm(),)
    if run.phase is Phase.LAUNCHING:
        return _launching(run, event, limits)
    if run.phase is Phase.LOADING:
        return _loading(run, event, limits)
    if run.phase is Phase.PROVING:
        return _proving(run, event, limits)
    return _serving(run, event, limits)


def _launching(run: Run, event: Event, limits: Limits) -> Step:
    if isinstance(event, EngineStarted):
        timers = (Arm(Timer.LOAD, limits.load_s), Arm(Timer.PROBE, limits.first_probe_s))
        return replace(run, phase=Phase.LOADING), timers
    if isinstance(event, TimerFired) and event.timer is Timer.LAUNCH:
        killing = replace(run, phase=Phase.KILLING, problem=problem("run.launch_timeout", seconds=limits.launch_s))
        return killing, (Abandon(), Arm(Timer.KILL, limits.kill_s))
    return run, ()


def _loading(run: Run, event: Event, limits: Limits) -> Step:
    if isinstance(event, Progress):
        return run, (Arm(Timer.LOAD, limits.load_s),)
    if isinstance(event, ReadyLine):
        return run, (Probe(),)
    if isinstance(event, HealthAnswered):
        if event.ok:
            return replace(run, phase=Phase.PROVING), (Prove(), Arm(Timer.PROVE, limits.prove_s))
        return run, (Arm(Timer.PROBE, limits.probe_s),)
    if isinstance(event, TimerFired):
        if event.timer is Timer.PROBE:
            return run, (Probe(),)
        if event.timer is Timer.LOAD:
            return _end(run, problem("run.load_timeout", seconds=limits.load_s), limits)
    return run, ()


def _proving(run: Run, event: Event, limits: Limits) -> Step:
    if isinstance(event, ProofAnswered):
        if event.problem is not None:
            return _end(run, event.problem, limits)
        ready = replace(run, phase=Phase.READY, misses=0, warning=None)
        return ready, (Arm(Timer.PROBE, limits.ready_probe_s),)
    if isinstance(event, TimerFired) and event.timer is Timer.PROVE:
        return _end(run, problem("proof.timeout", seconds=limits.prove_s), limits)
    return run, ()


def _serving(run: Run, event: Event, limits: Limits) -> Step:
    if isinstance(event, Warned):
        return replace(run, warning=event.problem), ()
    if isinstance(event, ProofWanted):
        return replace(run, phase=Phase.PROVING), (Prove(), Arm(Timer.PROVE, limits.prove_s))
    if isinstance(event, TimerFired) and event.timer is Timer.PROBE:
        # Armed before the answer: one that never comes must not be the last look at a run that is offered.
        return run, (Probe(), Arm(Timer.PROBE, limits.ready_probe_s))
    if isinstance(event, HealthAnswered):
        if event.ok:
            return replace(run, phase=Phase.READY, misses=0), ()
        misses = run.misses + 1
        phase = Phase.UNRESPONSIVE if misses >= limits.misses_to_unresponsive else run.phase
        return replace(run, phase=phase, misses=misses), ()
    return run, ()


def _ending(run: Run, event: Event, limits: Limits) -> Step:
    if isinstance(event, SpawnFailed):
        return _rest(replace(run, problem=run.problem or event.problem))
    if isinstance(event, Detached):
        return replace(run, attached=False), (Confirm(),)
    if isinstance(event, Confirmed):
        if event.leftover is None:
            return _rest(run)
        # An unproved end is never called an end: what is left is shown and tried again.
        return replace(run, phase=Phase.ORPHANED, problem=event.leftover, cause=run.problem), (
            Arm(Timer.RETRY, limits.retry_s),
        )
    if isinstance(event, TimerFired):
        if run.phase is Phase.STOPPING and event.timer is Timer.STOP:
            return replace(run, phase=Phase.KILLING), (SendKill(), Arm(Timer.KILL, limits.kill_s))
        if run.phase is Phase.KILLING and event.timer is Timer.KILL:
            return run, ((Abandon(), Confirm()) if run.attached else (Confirm(),))
    return run, ()


def _orphaned(run: Run, event: Event, limits: Limits) -> Step:
    if isinstance(event, TimerFired) and event.timer is Timer.RETRY:
        return run, (Confirm(),)
    if isinstance(event, Confirmed):
        if event.leftover is None:
            return _rest(replace(run, problem=run.cause or problem("stop.orphan_gone"), cause=None))
        return replace(run, problem=event.leftover), (Arm(Timer.RETRY, limits.retry_s),)
    return run, ()


def _rest(run: Run) -> Step:
    """Nothing is left: STOPPED if it was asked for, else FAILED with the reason."""
    phase = Phase.STOPPED if run.problem is None else Phase.FAILED
    return replace(run, phase=phase, attached=False), ()
