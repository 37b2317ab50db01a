"""Telemetry: one thread that reads cards, counters and token rates, tells the bus, and watches runs that serve.

Owns the pace (slow while nobody looks, at once when a run changes), the history, and the watch over READY runs: spill
into shared memory and a lost driver end a run. Must not touch engines other than through `RunActor.disqualify`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from kotaro_bridge.domain import run_state as rs
from kotaro_bridge.domain.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuCounters, GpuSnapshot
from kotaro_bridge.domain.metrics import LlamaRates, VllmRates
from kotaro_bridge.domain.run_state import Phase
from kotaro_bridge.domain.run_view import PhaseChanged, RunView, Sample, Throughput
from kotaro_bridge.service.bus import Bus, Message
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.prover import shared_allowed
from kotaro_bridge.service.run_actor import RunActor

log = logging.getLogger(__name__)

WATCHED_S = 1.0
HIDDEN_RUNNING_S = 3.0
HIDDEN_IDLE_S = 15.0
HISTORY_S = 600.0
_STRIKES = 3  # samples in a row before a watch ends a run


@dataclass(slots=True)
class _Watch:
    """What is remembered of one serving run between ticks."""

    generation: int
    rates: LlamaRates | VllmRates
    spill_strikes: int = 0
    driver_strikes: int = 0


class Telemetry:
    """Samples one machine.

    Args:
        actors: the actors whose runs are watched, asked at each tick.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        machine: Machine,
        bus: Bus,
        actors: Callable[[], tuple[RunActor, ...]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine = machine
        self._bus = bus
        self._actors = actors
        self._watches: dict[str, _Watch] = {}
        self._clock = clock
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

    def set_watched(self, watched: bool) -> None:
        """True while somebody looks at live numbers."""
        self._watched = watched
        self._wake.set()

    def _hear(self, message: Message) -> None:
        """A run that changes is looked at now, not at the end of a pause that was chosen before."""
        if isinstance(message, PhaseChanged):
            self._wake.set()

    def _loop(self) -> None:
        while not self._closed:
            try:
                self.tick()
            except Exception:  # a defect of ours must not end the watch over the runs
                log.exception("a sample failed")
            self._wake.wait(self._pause())
            self._wake.clear()

    def _pause(self) -> float:
        if self._watched:
            return WATCHED_S
        busy = any(actor.view.phase not in rs.RESTING for actor in self._actors())
        return HIDDEN_RUNNING_S if busy else HIDDEN_IDLE_S

    def tick(self) -> Sample:
        """Take one sample, judge the watches, publish."""
        lost: Problem | None = None
        gpus: tuple[GpuSnapshot, ...] = ()
        try:
            gpus = self._machine.gpu.snapshot()
        except ProblemError as error:
            lost = error.problem
        counters = self._machine.counters.read()
        throughput = tuple(
            self._run_tick(actor, view, counters, lost)
            for actor in self._actors()
            if (view := actor.view).phase in rs.SERVING
        )
        sample = Sample(self._clock(), time.time(), gpus, counters, throughput)
        self._history.append(sample)
        self._bus.publish(sample)
        return sample

    def _run_tick(
        self, actor: RunActor, view: RunView, counters: GpuCounters | None, lost: Problem | None
    ) -> Throughput:
        watch = self._watch_of(actor, view)
        why = self._judge(watch, view, actor.shared_before, counters, lost)
        if why is not None:
            actor.disqualify(watch.generation, why)
        return self._rates(actor, watch)

    def _watch_of(self, actor: RunActor, view: RunView) -> _Watch:
        """The watch of this generation."""
        watch = self._watches.get(view.profile_id)
        if watch is None or watch.generation != view.generation:
            rates = LlamaRates() if actor.profile.engine is Engine.LLAMA_SERVER else VllmRates()
            watch = _Watch(view.generation, rates)
            self._watches[view.profile_id] = watch
        return watch

    @staticmethod
    def _judge(
        watch: _Watch,
        view: RunView,
        shared_before: int | None,
        counters: GpuCounters | None,
        lost: Problem | None,
    ) -> Problem | None:
        """What ends the run: the driver gone, or memory moved to shared memory, over several samples.

        Args:
            shared_before: bytes of shared GPU memory just before the start.
        """
        watch.driver_strikes = watch.driver_strikes + 1 if lost is not None else 0
        if lost is not None and watch.driver_strikes >= _STRIKES:
            return lost
        judgement = view.judgement
        if counters is None or counters.shared is None or shared_before is None or judgement is None:
            return None
        rise, allowed = counters.shared - shared_before, shared_allowed(judgement.facts)
        watch.spill_strikes = watch.spill_strikes + 1 if rise > allowed else 0
        if watch.spill_strikes >= _STRIKES:
            return problem("watch.spill", rise_bytes=rise, allowed_bytes=allowed)
        return None

    @staticmethod
    def _rates(actor: RunActor, watch: _Watch) -> Throughput:
        """Token rates; None (a gap in the graph) where the engine did not answer."""
        http, profile_id = actor.http, actor.profile.id
        if http is None or actor.view.phase is not Phase.READY:
            return Throughput(profile_id, None, None, None)
        try:
            raw = http.rates_sample()
        except ProblemError:
            return Throughput(profile_id, None, None, None)
        rates = watch.rates.feed(raw)
        return Throughput(profile_id, rates.generation_tps, rates.prompt_tps, rates.requests)
