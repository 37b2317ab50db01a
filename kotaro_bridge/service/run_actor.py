"""One run's actor: a single thread that owns state, engine process and deadlines.

Carries out the effects of `run_transition` and feeds the answers back as events. Everybody else asks (start,
stop) and reads `view`; nobody else touches the engine. Blocking work goes to the pool; its answers carry the
generation they belong to, so that late ones are dropped.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Set
from dataclasses import replace
from functools import partial

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.ports import ChannelClosed, Exited, ProcessEvent, Started
from kotaro_bridge.domain.ports_http import EngineHttp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_transition import transition
from kotaro_bridge.domain.run.run_view import Endpoint, PhaseChanged, RunView
from kotaro_bridge.service.engine_end import why_ended
from kotaro_bridge.service.gatekeeper import Clearance
from kotaro_bridge.service.log_ring import LogRing
from kotaro_bridge.service.prover import expectation, reason_problem
from kotaro_bridge.service.remedies import remedies_for
from kotaro_bridge.service.run_log import RunLog
from kotaro_bridge.service.run_session import Context, Session

log = logging.getLogger(__name__)

_HEALTH_S = 3.0
_SLEPT_S = 10.0  # no deadline is seen so late while the PC is awake
_LOAD_ANSWER_S = 10.0  # a driver that takes longer hangs
_TAIL = 8


class RunActor:
    """Owns the run of one profile. Public methods may be called from any thread and return at once.

    Args:
        after: the actor of the profile as it was before it was changed; its log and its count of starts go on.
    """

    def __init__(self, profile: Profile, context: Context, after: RunActor | None = None) -> None:
        self.profile = profile
        self.ring: LogRing = after.ring if after else LogRing()
        self._context = context
        self._limits = context.limits(profile)
        self._run = rs.Run(generation=after.view.generation if after else 0)
        self._session = Session(self._run.generation, "")
        self._queue: queue.SimpleQueue[rs.Event | None] = queue.SimpleQueue()
        self._deadlines: dict[rs.Timer, tuple[float, int]] = {}
        self._timers: list[tuple[float, int, rs.Timer, int, float]] = []
        self._numbers = itertools.count()
        self._view = RunView(profile.id, Phase.IDLE, self._run.generation, time.time())
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=f"run-{profile.id}", daemon=True)
        self._thread.start()

    # --- asked from outside ---------------------------------------------------------------------------------------

    @property
    def view(self) -> RunView:
        """The run as it is shown now."""
        return self._view

    @property
    def alive(self) -> bool:
        """False once the actor can do nothing any more."""
        return self._thread.is_alive()

    @property
    def http(self) -> EngineHttp | None:
        """Client of the engine while it serves or proves; None otherwise."""
        return self._session.http if self._view.phase in (*rs.SERVING, Phase.PROVING) else None

    @property
    def run_id(self) -> str:
        """Name of this run among the target's processes; empty before the first start."""
        return self._session.run_id

    @property
    def clearance(self) -> Clearance | None:
        """What the gate saw just before the start of this run; None where it has not passed."""
        return self._session.clearance

    def start(self) -> None:
        """Ask for a start; does nothing while a run is under way."""
        self._queue.put(rs.StartRequested())

    def stop(self) -> None:
        """Ask for a stop; accepted in every state."""
        self._queue.put(rs.StopRequested())

    def disqualify(self, generation: int, why: Problem) -> None:
        """A watcher outside (telemetry) saw that the model left the GPU, or can no longer tell."""
        self._queue.put(rs.Disqualified(generation, why))

    def warn(self, generation: int, why: Problem) -> None:
        """A watcher outside found something that the profile's policy lets go on: the run shows it."""
        self._queue.put(rs.Warned(generation, why))

    def prove_again(self) -> None:
        """After resume or a driver change: the address is withdrawn until the proof holds again."""
        self._queue.put(rs.ProofWanted(self._view.generation))

    def wait(self, wanted: Callable[[RunView], bool], timeout_s: float) -> RunView:
        """Wait until `wanted(view)` holds or the time is up; returns the view then."""
        with self._changed:
            self._changed.wait_for(lambda: wanted(self._view), timeout_s)
            return self._view

    def close(self, timeout_s: float) -> bool:
        """End the actor's thread. The run should rest; an engine that still lives is ended by its guardian."""
        self._closed = True
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- the loop -------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while not self._closed:
                try:
                    with contextlib.suppress(queue.Empty):
                        if event := self._queue.get(timeout=self._until_next_timer()):
                            self._step(event)
                    self._fire_timers()
                except Exception as error:  # a defect of ours ends the run, and never leaves it to nobody
                    log.exception("%s: unexpected failure", self.profile.id)
                    self._queue.put(rs.Disqualified(self._run.generation, problem("run.internal", repr(error))))
        finally:
            if self._session.process is not None:
                self._session.process.abandon()
            if self._run.phase in rs.STARTING:  # a start that had just come, too: nobody else gives the slot back
                self._context.load_slot.release(self.profile.id)
            if not self._closed:
                self._perish()  # a defect where defects are dealt with

    def _perish(self) -> None:
        """The thread ends unasked: its guardian ends the engine; no address may be shown for it."""
        old, self._closed = self._run.phase, True
        self._run = replace(self._run, phase=Phase.FAILED, problem=problem("run.internal"))
        log.critical("%s: its thread has ended in %s", self.profile.id, old)
        self._show(time.time())
        self._context.bus.publish(PhaseChanged(old, self._view))

    def _until_next_timer(self) -> float | None:
        return max(0.0, self._timers[0][0] - self._context.clock()) if self._timers else None

    def _fire_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self._context.clock():
            at, number, timer, generation, seconds = heapq.heappop(self._timers)
            if self._deadlines.get(timer, (0.0, -1))[1] == number:
                del self._deadlines[timer]
                if self._context.clock() - at > _SLEPT_S:
                    self._arm(timer, seconds)  # what it waits for has slept as well
                    continue
                if timer is rs.Timer.LOAD and not self._session.load_asked:
                    self._ask_load(self._session)
                else:
                    self._step(rs.TimerFired(generation, timer, self._session.asked.open()))

    def _ask_load(self, session: Session) -> None:
        """Whether loading moves, on the pool: a driver may hang, a stop must not. No answer is none that moves."""
        session.load_asked = True
        self._arm(rs.Timer.LOAD, _LOAD_ANSWER_S)

        look = partial(session.look_at_load, self._context, self.profile.gpus)
        self._pool(look, lambda why: rs.Disqualified(session.generation, why))

    def _arm(self, timer: rs.Timer, seconds: float) -> None:
        number, at = next(self._numbers), self._context.clock() + seconds
        self._deadlines[timer] = (at, number)
        heapq.heappush(self._timers, (at, number, timer, self._run.generation, seconds))

    def _step(self, event: rs.Event) -> None:
        before = self._run
        self._run, effects = transition(before, event, self._limits)
        if self._run.generation != before.generation:
            self._begin()
        if self._run.phase is not before.phase:
            self._enter(before.phase)
        elif self._run != before:
            self._show(self._view.since)
            if _code(self._run.warning) != _code(before.warning):
                self._context.bus.publish(PhaseChanged(before.phase, self._view))
        for effect in effects:
            self._carry_out(effect)

    def _begin(self) -> None:
        self._timers.clear()
        self._deadlines.clear()
        self._session = Session(self._run.generation, f"{self.profile.id}-{time.time_ns():x}")

    def _enter(self, old: Phase) -> None:
        if self._run.phase in rs.RESTING:
            self._timers.clear()
            self._deadlines.clear()
            self._end_session()
        if self._run.phase in rs.ENDING and old in rs.SPAWNED:
            # On the pool: a driver may hang, a stop must not.
            self._context.pool.submit(self._session.note_end, self._context, self.profile.gpus)
            if self._session.log is not None:
                self._session.judgement = self._session.log.judge(ended=self._session.exited)
        if self._run.phase not in rs.STARTING:
            self._context.load_slot.release(self.profile.id)
        log.info("%s: %s -> %s %s", self.profile.id, old, self._run.phase, self._run.problem or "")
        self._show(time.time())
        self._context.bus.publish(PhaseChanged(old, self._view))

    def _show(self, since: float) -> None:
        with self._changed:
            self._view = self._make_view(since)
            self._changed.notify_all()

    def _end_session(self) -> None:
        session = self._session
        if session.log is not None:
            session.log.close()
        if session.http is not None:
            session.http.close()
        session.process = session.http = None

    def _make_view(self, since: float) -> RunView:
        run, session, profile = self._run, self._session, self.profile
        endpoint = None
        if run.phase in rs.SERVING:
            endpoint = Endpoint(f"http://127.0.0.1:{profile.port}/v1", profile.served_name, None, profile.sees_images)
        return RunView(
            profile.id,
            run.phase,
            run.generation,
            since,
            problem=run.problem,
            cause=run.cause,
            gate=session.report,
            judgement=session.judgement,
            speed=session.speed,
            endpoint=endpoint,
            vram_taken=session.vram_taken,
            warning=run.warning,
            remedies=session.remedies if run.phase in (Phase.REFUSED, Phase.FAILED) else (),
        )

    # --- effects --------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: rs.Effect) -> None:
        session, process = self._session, self._session.process
        if isinstance(effect, rs.Arm):
            self._arm(effect.timer, effect.seconds)
        elif isinstance(effect, rs.CheckGate):
            if other := self._context.load_slot.take(self.profile):
                self._queue.put(rs.GateAnswered(session.generation, problem("gate.another_loading", title=other)))
                return
            self._pool(lambda: self._check_gate(session), lambda why: rs.GateAnswered(session.generation, why))
        elif isinstance(effect, rs.Spawn):
            self._pool(lambda: self._spawn(session), lambda why: rs.SpawnFailed(session.generation, why))
        elif isinstance(effect, rs.Probe):
            if session.is_unwatched(self._context.samples()):  # not on the pool: a driver that hangs may fill it
                self._queue.put(rs.Disqualified(session.generation, problem("watch.silent")))
                return
            self._pool(lambda: self._probe(session), lambda why: rs.Disqualified(session.generation, why))
        elif isinstance(effect, rs.Prove):
            self._pool(lambda: self._prove(session), lambda why: rs.ProofAnswered(session.generation, why))
        elif isinstance(effect, rs.Confirm):
            self._pool(lambda: self._confirm(session), lambda why: rs.Confirmed(session.generation, why))
        elif process is None:
            return  # not started yet: `_spawn` sees that nobody wants it any more
        elif isinstance(effect, rs.SendStop):
            process.stop(self._limits.grace_s)
        elif isinstance(effect, rs.SendKill):
            process.kill()
        else:
            process.abandon()

    def _pool(self, work: Callable[[], rs.Event], failed: Callable[[Problem], rs.Event]) -> None:
        """Run `work` on the pool; its event, or `failed` of what went wrong, comes back through the queue."""

        def guarded() -> None:
            try:
                event = work()
            except ProblemError as error:
                event = failed(error.problem)
            except Exception as error:  # a defect of ours ends the run, and never leaves it half checked
                log.exception("%s: unexpected failure", self.profile.id)
                event = failed(problem("run.internal", repr(error)))
            self._queue.put(event)

        self._context.pool.submit(guarded)

    def _check_gate(self, session: Session) -> rs.Event:
        result = self._context.gatekeeper.check(self.profile, asked=session.asked)
        session.report, session.clearance = result.report, result.clearance
        session.remedies, session.need = result.remedies, result.need
        if result.clearance is not None:
            return rs.GateAnswered(session.generation, None)
        blocking = result.report.blocking
        return rs.GateAnswered(session.generation, blocking[0].message if blocking else problem("gate.incomplete"))

    def _spawn(self, session: Session) -> rs.Event:
        clearance, generation, profile = session.clearance, session.generation, self.profile
        if clearance is None or not self._is_in(session, {Phase.LAUNCHING}):
            return rs.Confirmed(generation, None)  # ended before its turn came: nothing was spawned
        session.first_line = self.ring.since(0, 0).cursor
        session.vram_seen = sum(clearance.used_before)
        session.http = self._context.machine.http(profile)
        session.log = RunLog(
            profile.engine,
            expectation(profile, clearance),
            self.ring,
            self._context.open_log(profile, session.run_id),
            lambda reason: self._queue.put(rs.Disqualified(generation, reason_problem(reason))),
            lambda: self._queue.put(rs.ReadyLine(generation)),
        )
        session.process = self._context.machine.launcher(profile).launch(
            session.run_id, clearance.command, session.log.take, lambda event: self._process_event(session, event)
        )
        # The actor cannot end what it does not know yet: a run that ended meanwhile must not keep its engine.
        if self._closed or not self._is_in(session, rs.SPAWNED | rs.ENDING):
            session.process.abandon()
        elif self._is_in(session, rs.ENDING):
            session.process.stop(self._limits.grace_s)
        return rs.Progress(generation)

    def _is_in(self, session: Session, phases: Set[Phase]) -> bool:
        """True if the run is still that of `session`, and in one of the phases. Any thread."""
        run = self._run
        return run.generation == session.generation and run.phase in phases

    def _process_event(self, session: Session, event: ProcessEvent) -> None:
        """From the pump threads: what the guardian reports, as events of the run."""
        generation = session.generation
        if isinstance(event, Started):
            self._queue.put(rs.EngineStarted(generation))
        elif isinstance(event, Exited):
            session.exited = True
            self._queue.put(rs.EngineExited(generation, self._why_ended(session, event)))
            session.end_told.set()
        elif isinstance(event, ChannelClosed):
            self._queue.put(rs.Detached(generation, problem("launch.channel_lost", *event.tail[-5:], code=event.code)))
            session.end_told.set()

    def _why_ended(self, session: Session, event: Exited) -> Problem:
        tail = tuple(line.text for line in self.ring.since(session.first_line, _TAIL).lines)
        cause = session.log.failure if session.log is not None else None
        return why_ended(event, cause, tail, self.profile, session.clearance, served=session.proved)

    def _probe(self, session: Session) -> rs.Event:
        http, run_log = session.http, session.log
        if http is None or run_log is None:
            return rs.HealthAnswered(session.generation, False)  # ended meanwhile
        run_log.flush()
        return rs.HealthAnswered(session.generation, http.health(_HEALTH_S) == 200)

    def _prove(self, session: Session) -> rs.Event:
        http, run_log, clearance = session.http, session.log, session.clearance
        if http is None or run_log is None or clearance is None:
            return rs.ProofAnswered(session.generation, problem("proof.not_proved", verdict="unknown"))
        run_log.wait_ready(self._context.ready_line_s)
        prover, judgement = self._context.prover, run_log.judge(ended=False)
        proof = prover.prove(self.profile, clearance, judgement, http, again=session.proved)
        if self._is_in(session, {Phase.PROVING}):  # else the log has said more meanwhile, and its last word stands
            session.judgement, session.speed = proof.judgement, proof.speed or session.speed
        if not session.proved:
            session.vram_taken, session.taken_per_card = proof.vram_taken, proof.per_card
        session.proved = session.proved or proof.problem is None
        if proof.problem is not None and proof.problem.code == "proof.no_answer":
            # Where the engine has died under the request, its end is on the way, says why, and then comes first.
            session.end_told.wait(self._context.end_s)
        return rs.ProofAnswered(session.generation, proof.problem)

    def _confirm(self, session: Session) -> rs.Event:
        """No process and no VRAM of the run may be left. A survivor is ended here; one that stays is reported."""
        left = self._context.machine.launcher(self.profile).reap(session.run_id, self._limits.grace_s)
        if left:
            return rs.Confirmed(session.generation, problem("stop.processes_left", pids=", ".join(map(str, left))))
        if why := self._run.cause or self._run.problem:
            session.remedies = remedies_for(self._context.machine, self.profile, session, why)
        before = session.clearance.used_before if session.clearance else ()
        # Of which card Windows moved memory off is not known: it counts for each.
        taken = tuple(max(0, each - session.moved_at_end) for each in session.taken_per_card)
        left_over = self._context.prover.vram_left(self.profile.gpus, before, session.used_at_end, taken)
        return rs.Confirmed(session.generation, left_over)


def _code(warning: Problem | None) -> str:
    """What a warning is about, without its numbers: those change with every sample."""
    return warning.code if warning is not None else ""
