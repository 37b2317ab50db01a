"""Telemetry: one thread that reads cards, counters and token rates, tells the bus, and has runs that serve watched.

Owns the pace (slow while nobody looks, at once when a run changes), the history, and carrying out what the watch over a
run finds (`watch.py` judges). Must not touch engines other than through the run's actor.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.gpu import GpuCounters, GpuSnapshot, cards_at
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.metrics import LlamaRates, Rates, VllmRates, rates_of
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice, PhaseChanged, RunView, Sample, Throughput
from kotaro_bridge.service.bus import Bus, Message
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.run_actor import RunActor
from kotaro_bridge.service.watch import RunWatch, Seen, terms

log = logging.getLogger(__name__)

WATCHED_S = 1.0
HIDDEN_RUNNING_S = 3.0
HIDDEN_IDLE_S = 15.0
HISTORY_S = 600.0
ASLEEP_S = 30.0  # no sample takes so long while the PC is awake


@dataclass(slots=True)
class _Watched:
    """What is remembered of one run between ticks.

    Args:
        told: what the person has heard of in this run.
        watch: from one passed proof to the next; None until a tick sees the run serve.
    """

    generation: int
    rates: LlamaRates | VllmRates
    told: set[str] = field(default_factory=set)
    watch: RunWatch | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one tick read of the machine. `lost`: why the driver did not answer."""

    gpus: tuple[GpuSnapshot, ...]
    lost: Problem | None
    counters: GpuCounters | None


@dataclass(frozen=True, slots=True)
class _Serving:
    """A run that serves, at one tick."""

    actor: RunActor
    view: RunView
    run: _Watched
    rates: Rates

    @property
    def throughput(self) -> Throughput:
        return Throughput(self.view.profile_id, self.rates.generation_tps, self.rates.prompt_tps, self.rates.requests)


class Telemetry:
    """Samples one machine.

    Args:
        actors: the actors whose runs are watched, asked at each tick.
        clock: monotonic seconds; wall: seconds since the epoch.
    """

    def __init__(
        self,
        machine: Machine,
        bus: Bus,
        actors: Callable[[], tuple[RunActor, ...]],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._machine = machine
        self._bus = bus
        self._actors = actors
        self._watched_runs: dict[str, _Watched] = {}
        self._clock = clock
        self._wall = wall
        self._before: tuple[float, float] | None = None
        self._told_awake = False
        self._woke_at: float | None = None
        self._pause_s = 0.0
        self._samples = 0
        self._history: deque[Sample] = deque(maxlen=round(HISTORY_S / WATCHED_S))
        self._watched = False
        self._closed = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="telemetry", daemon=True)

    def start(self) -> None:
        """Begin sampling."""
        self._unsubscribe = self._bus.subscribe(self._hear)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling and wait for the thread."""
        self._unsubscribe()
        self._closed = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def latest(self) -> Sample | None:
        """The newest sample; None before the first."""
        return self._history[-1] if self._history else None

    def history(self) -> tuple[Sample, ...]:
        """The last ten minutes at most, oldest first."""
        oldest = self._clock() - HISTORY_S
        return tuple(sample for sample in tuple(self._history) if sample.at >= oldest)

    def samples(self) -> int:
        """How many samples have been judged: where this stands still, nobody watches."""
        return self._samples

    def set_watched(self, watched: bool) -> None:
        """True while somebody looks at live numbers."""
        self._watched = watched
        self._wake.set()

    def sleeps(self) -> None:
        """The system says that the PC is about to sleep: the next waking is another one, however soon it comes."""
        self._woke_at = None

    def wakes(self) -> None:
        """The system says that the PC has woken up: what serves is proved again now. Returns at once; any thread."""
        self._told_awake = True
        self._wake.set()

    def _hear(self, message: Message) -> None:
        """A run that changes is looked at now, not at the end of a pause that was chosen before."""
        if isinstance(message, PhaseChanged):
            self._wake.set()

    def _loop(self) -> None:
        while not self._closed:
            try:
                self.tick()
                self._pause_s = self._pause()
            except BaseException:  # a defect must not end the watch over the runs; they end where it lasts (`samples`)
                log.exception("a sample failed")
                self._pause_s = HIDDEN_RUNNING_S
            self._wake.wait(self._pause_s)
            self._wake.clear()

    def _pause(self) -> float:
        if self._watched:
            return WATCHED_S
        busy = any(actor.view.phase not in rs.RESTING for actor in self._actors())
        return HIDDEN_RUNNING_S if busy else HIDDEN_IDLE_S

    def tick(self) -> Sample:
        """Take one sample, have it judged, publish."""
        slept = self._slept()
        if slept:
            # Before anything is read: a driver that has just woken up may keep us waiting.
            for actor in self._actors():
                self._prove_again(actor)
        reading = self._read()
        now = [(actor, actor.view) for actor in self._actors()]
        serving = [] if slept else [self._serving(*each) for each in now if each[1].phase in rs.SERVING]
        loading = {actor for actor, view in now if view.phase in rs.SPAWNED - rs.SERVING}
        for each in serving:
            working = loading | {other.actor for other in serving if other.rates.requests}
            self._judge(each, reading, alone=not any(_share_card(each.actor, other) for other in working))
        throughput = tuple(each.throughput for each in serving)
        sample = Sample(self._clock(), self._wall(), reading.gpus, reading.counters, throughput)
        self._history.append(sample)
        self._samples += 1
        self._bus.publish(sample)
        return sample

    def _read(self) -> _Reading:
        try:
            gpus, lost = self._machine.gpu.snapshot(), None
        except ProblemError as error:
            gpus, lost = (), error.problem
        return _Reading(gpus, lost, self._machine.counters.read())

    def _slept(self) -> bool:
        """True if this PC has slept since the last sample: the system said so, or a clock jumped. Windows counts sleep
        in its monotonic clock, Linux only in the time of day. One sleep counts once, whichever is noticed first.
        """
        now = (self._clock(), self._wall())
        before, self._before = self._before, now
        jumped = before is not None and max(now[0] - before[0], now[1] - before[1]) > self._pause_s + ASLEEP_S
        told, self._told_awake = self._told_awake, False
        known = self._woke_at is not None and 0 <= now[1] - self._woke_at < ASLEEP_S
        if not (jumped or (told and not known)):
            return False
        self._woke_at = now[1]
        return True

    def _serving(self, actor: RunActor, view: RunView) -> _Serving:
        run = self._watched_run(actor, view)
        return _Serving(actor, view, run, self._rates(actor, run))

    def _watched_run(self, actor: RunActor, view: RunView) -> _Watched:
        """What is remembered of this generation."""
        run = self._watched_runs.get(view.profile_id)
        if run is None or run.generation != view.generation:
            run = _Watched(view.generation, rates_of(actor.profile.engine))
            self._watched_runs[view.profile_id] = run
        return run

    def _judge(self, serving: _Serving, reading: _Reading, *, alone: bool) -> None:
        """Let the watch judge a sample, and do what it found."""
        actor, view, run = serving.actor, serving.view, serving.run
        cards = cards_at(reading.gpus, actor.profile.gpus)
        seen = Seen(self._clock(), cards, reading.lost, reading.counters, serving.rates, alone)
        clearance = actor.clearance
        if run.watch is None:
            held_to = terms(actor.profile, clearance, view) if clearance else None
            if held_to is None:
                return
            run.watch = RunWatch(held_to, run.told)
        found = run.watch.judge(seen)
        if found.stop is not None:
            actor.disqualify(view.generation, found.stop)
        if found.warning is not None:
            actor.warn(view.generation, found.warning)
        if found.prove_again:
            self._prove_again(actor)
        for notice in found.notices:
            self._bus.publish(Notice(notice, view.profile_id))

    def _prove_again(self, actor: RunActor) -> None:
        """The address is withdrawn until the proof holds again, and the watch begins anew then."""
        actor.prove_again()
        if (run := self._watched_runs.get(actor.profile.id)) is not None:
            run.watch = None

    @staticmethod
    def _rates(actor: RunActor, run: _Watched) -> Rates:
        """Token rates; None (a gap in the graph) where the engine did not answer."""
        http = actor.http
        if http is None or actor.view.phase is not Phase.READY:
            return Rates()
        try:
            raw = http.rates_sample()
        except ProblemError:
            return Rates()
        return run.rates.feed(raw)


def _share_card(one: RunActor, other: RunActor) -> bool:
    """Two runs of which each slows the other down."""
    return one is not other and one.profile.shares_card(other.profile)
