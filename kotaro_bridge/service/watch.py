"""The watch over one run that serves: judges samples, one after the other.

Owns what is remembered between samples (levels at the start, strikes, the window of the speed) and what a sample makes
of it. Must not sample, wait, or touch a run: `telemetry.py` brings the samples and carries out what is found.

What is watched, and when it counts:

- spill: shared GPU memory above its level before the start by more than the pinned buffers and the allowance that the
  proof grants, over 3 samples. What other programs took of it is no spill (`domain/run/other_programs.py`).
- speed: below `speed_floor` over 30 s in which nothing but generation went on, and no other run of ours had work on the
  card.
- counters gone for 30 s on a run that had them: a spill could no longer be seen.
- driver: without an answer over 3 samples it is lost; one that comes back earlier, or in another version, has to be
  proved anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kotaro_bridge.domain.engine.engine_log import LogFacts
from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.gpu import GpuCounters, GpuSnapshot
from kotaro_bridge.domain.profile import Profile, WatchPolicy
from kotaro_bridge.domain.run.metrics import Rates
from kotaro_bridge.domain.run.other_programs import dedicated_growth, explained, shared_growth
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.domain.run.speed import DROP, gguf_read_bytes
from kotaro_bridge.domain.units import MIB, format_mib
from kotaro_bridge.service.gatekeeper import Clearance
from kotaro_bridge.service.prover import gpu_sum, shared_allowed

STRIKES = 3  # samples in a row before a watch ends a run
BURST_S = 0.5  # samples closer together are one: a run that changes is looked at at once, and a start has many changes
SPEED_WINDOW_S = 30.0
COUNTERS_S = 30.0
SQUEEZE = 256 * MIB  # what a program has to have taken to be called the cause
TIGHT_FREE = 300 * MIB
TIGHT_GROWTH = 64 * MIB  # less is the desktop's coming and going


@dataclass(frozen=True, slots=True)
class Seen:
    """One sample as it concerns one run.

    Args:
        at_s: monotonic seconds.
        cards: the run's cards; empty if the driver did not show each.
        lost: why the driver did not answer; None if it did.
        alone: no other run of ours has work on the card.
    """

    at_s: float
    cards: tuple[GpuSnapshot, ...]
    lost: Problem | None
    counters: GpuCounters | None
    rates: Rates
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What a sample makes of a run. At most one of `stop` and `prove_again` is set.

    Args:
        stop: the run ends, for this reason.
        prove_again: the proof has to hold again before the address is offered any further.
        warning: the run goes on, and shows this.
        notices: for the person, each once.
    """

    stop: Problem | None = None
    prove_again: bool = False
    warning: Problem | None = None
    notices: tuple[Problem, ...] = ()


NOTHING = Found()


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run is held to.

    Args:
        before: the counters just before the start; None where there are none.
        shared_allowed: bytes by which shared GPU memory may rise.
        floor: tokens per second below which all running requests together must not fall; None where that is not known.
    """

    policy: WatchPolicy
    before: GpuCounters | None
    shared_allowed: int
    floor: float | None


def terms(profile: Profile, clearance: Clearance, view: RunView) -> Terms | None:
    """The terms of a proved run; None for one that is not."""
    if view.judgement is None:
        return None
    facts, speed, floor = view.judgement.facts, view.speed, None
    read = gguf_read_bytes(clearance.model) if clearance.model else facts.weights
    kv = kv_on_gpu(facts)
    # No share of the limit: the bytes per token are not known (a mixture of experts in vLLM).
    if read and kv is not None and speed is not None and speed.baseline is not None and speed.of_limit is not None:
        floor = speed_floor(speed.baseline, read, kv)
    return Terms(profile.watch, clearance.counters_before, shared_allowed(facts), floor)


def kv_on_gpu(facts: LogFacts) -> int | None:
    """Bytes of the whole KV cache on the card, by the log; None if it does not tell."""
    return facts.available_kv if facts.weights is not None else gpu_sum(facts, ("kv",))


def speed_floor(baseline: float, read_bytes: int, kv_bytes: int) -> float:
    """Tokens per second of all running requests together below which a run has dropped.

    The baseline is measured with next to nothing in the KV cache: a token then reads the weights, `read_bytes`. With
    the whole cache filled it reads `read_bytes + kv_bytes`, and takes longer by that ratio, legitimately. Several
    requests at once share one reading of the weights and together read no more than the whole cache, so in sum they are
    never slower than one request that fills it. `DROP` is the proof's own margin (`domain/run/speed.py`).
    """
    return DROP * baseline * read_bytes / (read_bytes + kv_bytes)


@dataclass(slots=True)
class RunWatch:
    """The watch from one passed proof to the next.

    Args:
        told: codes and names that the person has heard of in this run; outlives the proof.
    """

    terms: Terms
    told: set[str]
    _judged_s: float = -BURST_S
    _ready: GpuCounters | None = None
    _driver: str | None = None
    _driver_strikes: int = 0
    _spill_strikes: int = 0
    _missing_since_s: float | None = None
    _steady_s: float = 0.0
    _tokens: float = 0.0
    _warned: set[str] = field(default_factory=set)

    def judge(self, seen: Seen) -> Found:
        """Take the next sample."""
        if seen.at_s - self._judged_s < BURST_S:
            return NOTHING
        self._judged_s = seen.at_s
        driver = self._judge_driver(seen)
        if driver is not NOTHING:
            return driver
        if self._ready is None:
            self._ready = seen.counters
        problems = (
            self._spill(seen.counters),
            self._slow(seen.rates if seen.alone else Rates()),
            self._counters_lost(seen),
        )
        findings = [each for each in problems if each is not None]
        if findings and self.terms.policy is WatchPolicy.STOP:
            return Found(stop=findings[0])
        new = [each for each in findings if each.code not in self._warned]
        self._warned |= {each.code for each in new}
        return Found(warning=new[0] if new else None, notices=(*new, *self._shared_by_others(seen), *self._tight(seen)))

    def _judge_driver(self, seen: Seen) -> Found:
        lost = seen.lost
        if lost is None and not seen.cards:
            lost = problem("gpu.driver_lost")
        if lost is not None:
            self._driver_strikes += 1
            return Found(stop=lost) if self._driver_strikes >= STRIKES else NOTHING
        came_back, self._driver_strikes = self._driver_strikes > 0, 0
        version = seen.cards[0].driver if seen.cards else None
        changed = None not in (version, self._driver) and version != self._driver
        self._driver = version or self._driver
        return Found(prove_again=True) if came_back or changed else NOTHING

    def _rise(self, counters: GpuCounters | None) -> tuple[int, int] | None:
        """Bytes of shared memory above the level before the start, and how much of it others account for."""
        before = self.terms.before
        if counters is None or before is None or counters.shared is None or before.shared is None:
            return None
        return counters.shared - before.shared, explained(before, counters)

    def _spill(self, counters: GpuCounters | None) -> Problem | None:
        found = self._rise(counters)
        if found is None or counters is None:
            return None
        rise, others = found
        allowed = self.terms.shared_allowed
        self._spill_strikes = self._spill_strikes + 1 if rise - others > allowed else 0
        if self._spill_strikes < STRIKES:
            return None
        grown = dedicated_growth(self._ready, counters) if self._ready else ()
        figures = {"rise_bytes": rise, "allowed_bytes": allowed}
        if grown and grown[0].grown >= SQUEEZE:
            cause = grown[0]
            return problem("watch.squeezed", **figures, program=cause.name, grown_bytes=cause.grown)
        return problem("watch.spill", **figures)

    def _shared_by_others(self, seen: Seen) -> list[Problem]:
        """A rise that looks like a spill and is the work of other programs, once."""
        found, before, counters = self._rise(seen.counters), self.terms.before, seen.counters
        if found is None or before is None or counters is None or "watch.shared_by_others" in self.told:
            return []
        rise, others = found
        if not rise - others <= self.terms.shared_allowed < rise:
            return []
        self.told.add("watch.shared_by_others")
        names = ", ".join(f"{each.name} ({format_mib(each.grown)})" for each in shared_growth(before, counters)[:3])
        return [problem("watch.shared_by_others", rise_bytes=rise, programs=names)]

    def _tight(self, seen: Seen) -> list[Problem]:
        """Another program grows into what is left of a card: said before Windows has to move anything. Of several the
        fullest counts; on which of them a program holds its memory the counters do not say.
        """
        free = min((card.free for card in seen.cards if card.free is not None), default=None)
        if free is None or free >= TIGHT_FREE or seen.counters is None or self._ready is None:
            return []
        notices = []
        for each in dedicated_growth(self._ready, seen.counters):
            if each.grown >= TIGHT_GROWTH and each.name not in self.told:
                self.told.add(each.name)
                notices.append(problem("watch.tight", program=each.name, grown_bytes=each.grown, free_bytes=free))
        return notices

    def _slow(self, rates: Rates) -> Problem | None:
        """Over one unbroken stretch: a prompt that was still being processed shows only when it is done, and what was
        measured beside it must not count.
        """
        floor = self.terms.floor
        if floor is None or not rates.steady_s or rates.generation_tps is None:
            self._steady_s = self._tokens = 0.0
            return None
        self._steady_s += rates.steady_s
        self._tokens += rates.generation_tps * rates.steady_s
        if self._steady_s < SPEED_WINDOW_S:
            return None
        speed = self._tokens / self._steady_s
        self._steady_s = self._tokens = 0.0
        if speed >= floor:
            return None
        return problem("watch.slow", tokens_per_s=round(speed, 1), floor=round(floor, 1))

    def _counters_lost(self, seen: Seen) -> Problem | None:
        before = self.terms.before
        had = before is not None and before.shared is not None
        if not had or (seen.counters is not None and seen.counters.shared is not None):
            self._missing_since_s = None
            return None
        if self._missing_since_s is None:
            self._missing_since_s = seen.at_s
        missing_s = seen.at_s - self._missing_since_s
        return problem("watch.counters_lost", seconds=round(missing_s)) if missing_s >= COUNTERS_S else None
