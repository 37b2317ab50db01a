"""The proof: after the engine says it is healthy, and before anybody is told so.

Owns the comparison of three witnesses: the engine's own log (`placement`), the machine (VRAM growth, shared
GPU memory) and the engine's answers (context per slot, speed: `speedometer.py`). Any of them missing or at odds fails
the proof. Owns too what the log is expected to show, and whether the card's memory is free again after the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from kotaro_bridge.domain.engine.engine_log import DeviceFacts, Engine, LogFacts
from kotaro_bridge.domain.engine.reasons import Expectation, Judgement, Reason, Verdict
from kotaro_bridge.domain.errors import Param, Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuSnapshot, cards_at
from kotaro_bridge.domain.model.context_shape import context_shape
from kotaro_bridge.domain.model.kv_cache import cache_bytes
from kotaro_bridge.domain.ports_http import EngineHttp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.other_programs import explained
from kotaro_bridge.domain.run.run_view import Speed
from kotaro_bridge.domain.run.speed import shown
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service.gatekeeper import Clearance
from kotaro_bridge.service.learning import remember
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.speedometer import Measured, Speedometer

T = TypeVar("T")

SHARED_ALLOWANCE = 256 * MIB
"""Beyond the pinned buffers that the log names; start value of the design, not yet measured on WSL2."""

GROWTH_SLACK = 256 * MIB
"""VRAM may have grown by that much less than the log claims: other programs may give memory back while we load. No
share of the claim is allowed on top. In every recorded run wholly on a card (H100 and H200, 4.6 to 24 GB) it grew by
595 MiB or more beyond the claim, which is the CUDA context, so that the others may really give back 850 MiB.
"""

_SHARED_SAMPLES = 3
_SHARED_PAUSE_S = 0.2
FREED_SHARE = 0.8  # other programs may have taken some of what we gave back
FREED_SLACK = 300 * MIB
_FREED_POLL_S = 0.25
_LATER_S = 10.0  # as long as the watch takes over three samples while nobody looks
_LATER_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Proof:
    """Outcome: `problem` is None if everything is there and says GPU.

    Args:
        vram_taken: bytes by which VRAM grew, of all cards together; per_card: of each. None and empty where not known.
    """

    judgement: Judgement
    problem: Problem | None = None
    speed: Speed | None = None
    per_card: tuple[int, ...] = ()

    @property
    def vram_taken(self) -> int | None:
        return sum(self.per_card) if self.per_card else None


def reason_problem(reason: Reason) -> Problem:
    """A reason of the placement rule as a problem, with the line that proves it."""
    return problem(f"proof.{reason.code.value}", *([reason.line] if reason.line else []), **reason.params)


def log_problem(judgement: Judgement) -> Problem | None:
    """What the log alone says against the run: anything but `gpu`, and under `gpu` what is not as it was asked for."""
    if judgement.reasons:
        return reason_problem(judgement.reasons[0])
    if judgement.verdict is not Verdict.GPU:
        return problem("proof.not_proved", verdict=judgement.verdict.value)
    return None


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the machine says of the run's memory. `doubt`: what is no proof alone, but makes a slow run a failed one.

    Args:
        taken: bytes by which VRAM grew on each card; empty where that says nothing.
    """

    taken: tuple[int, ...]
    failed: Problem | None
    doubt: Problem | None = None


class Prover:
    """Proves one machine's runs.

    Args:
        freed_s: how long a driver may take to show memory as free after the process ended.
        later_s: how long all that a later proof asks may take to be in order: a PC that has just woken up answers
            slowly, and what Windows moved off the card for its sleep comes back as it is used.
        sleep: waits that many seconds; clock: monotonic seconds.
    """

    def __init__(
        self,
        machine: Machine,
        freed_s: float = 5.0,
        later_s: float = _LATER_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine = machine
        self._freed_s = freed_s
        self._later_s = later_s
        self._sleep = sleep
        self._clock = clock
        self._speedometer = Speedometer(machine, sleep, clock)

    def prove(
        self, profile: Profile, clearance: Clearance, judgement: Judgement, http: EngineHttp, *, again: bool = False
    ) -> Proof:
        """Judge everything; blocking, about a second.

        Args:
            again: the run has served meanwhile (resume, driver change). What VRAM was in use before its start says
                nothing any more; then all that is in use has to hold at least what the engine claims. An engine that
                is at work answers by that, and its speed is not measured then.
        """
        failed = log_problem(judgement)
        if failed is not None:
            return Proof(judgement, failed)
        facts = judgement.facts
        try:
            failed = self._in_time(again, lambda: self._answers_as_asked(profile, http), lambda _: True)
            if failed is not None:
                return Proof(judgement, failed)
            measured = None
            if not (again and self._speedometer.works(profile, http)):
                measured = self._speedometer.measure(profile, clearance.model, facts, http, self._cards(profile.gpus))
            memory = self._in_time(
                again, lambda: self._memory(profile, clearance, facts, again), lambda found: found.failed is None
            )
            failed = memory.failed
            if failed is None and measured is not None:
                measured = self._speedometer.confirm(profile, http, measured)
                failed = _too_slow(measured, memory.doubt)
        except ProblemError as error:
            return Proof(judgement, problem("proof.no_answer", *error.problem.evidence, cause=error.problem.code))
        if failed is None and measured is not None:
            self._speedometer.keep(measured)
        if failed is None and not again:
            remember(self._machine, profile, clearance, facts, self._cards(profile.gpus), memory.taken)
        return Proof(judgement, failed, measured.speed if measured else None, memory.taken)

    def _in_time(self, again: bool, ask: Callable[[], T], good: Callable[[T], bool]) -> T:
        """What `ask` answers; in a later proof asked until it is good or the time is up. Raises ProblemError."""
        deadline = self._clock() + (self._later_s if again else 0.0)
        while True:
            try:
                found = ask()
                if good(found) or self._clock() >= deadline:
                    return found
            except ProblemError:
                if self._clock() >= deadline:
                    raise
            self._sleep(_LATER_PAUSE_S)

    @staticmethod
    def _answers_as_asked(profile: Profile, http: EngineHttp) -> Problem | None:
        """Context per request and slots are those asked for. A stranger on the port (Windows skips forwarding without
        a word where a port is taken, reference wsl-exe §5) gives itself away here too. Raises ProblemError.
        """
        props = http.props()
        slots_right = props.slots == profile.parallel or profile.engine is Engine.VLLM
        if props.n_ctx == profile.context and slots_right:
            return None
        said = {"context": props.n_ctx or 0, "slots": props.slots or 0}
        return problem("proof.not_as_asked", **said, asked=profile.context, parallel=profile.parallel)

    def _memory(self, profile: Profile, clearance: Clearance, facts: LogFacts, again: bool) -> _Memory:
        """After the warm-up, so that everything that is touched has been. Memory that went to system RAM is missing on
        the card as well: the spill is the better explanation.
        """
        grown = self._growth(profile, clearance, facts, again)
        spill = self._spill(profile, clearance, facts, again)
        return _Memory(grown.taken, spill.failed or grown.failed, spill.doubt or grown.doubt)

    def _growth(self, profile: Profile, clearance: Clearance, facts: LogFacts, again: bool) -> _Memory:
        """The VRAM of each card must have grown by what the log claims of it. Growth alone proves nothing: a server on
        the CPU took 527 MiB.
        """
        used = self.used(profile.gpus)
        claims = claimed_bytes(facts, profile.devices)
        before = tuple(0 for _ in used) if again else clearance.used_before
        if not used or not before or not claims:
            return _Memory((), problem("proof.growth_unknown"))
        grown = tuple(now - then for now, then in zip(used, before, strict=True))
        taken = () if again else grown
        # Of several cards the one that is furthest below its claim.
        worst = max(range(len(grown)), key=lambda position: claims[position] - grown[position])
        figures: dict[str, Param] = {"grown_bytes": max(0, grown[worst]), "claimed_bytes": claims[worst]}
        short, slow = "proof.growth_short", "proof.slow_and_short"
        if len(grown) > 1:
            short, slow = "proof.growth_short_on_card", "proof.slow_and_short_on_card"
            figures["card"] = profile.gpus[worst]
        if grown[worst] < claims[worst] - GROWTH_SLACK:
            return _Memory(taken, problem(short, **figures))
        # With its CUDA context a run whose memory is all there is never below its claim: the slack is in use.
        return _Memory(taken, None, problem(slow, **figures) if grown[worst] < claims[worst] else None)

    def _spill(self, profile: Profile, clearance: Clearance, facts: LogFacts, again: bool) -> _Memory:
        """Shared GPU memory may rise by the pinned buffers that the log names and an allowance. The lowest of up to
        three samples counts: what passes is no spill, and a healthy start waits for none.

        At a start everything counts: which process carries WSL's share is unverified, and a surface that two programs
        share is counted twice, so what a browser seems to have taken may hide a spill. The next start, with the browser
        open, tells. Hours later that would stop every run: what other programs took is left out, as the watch does.
        """
        before = clearance.shared_before
        if profile.is_local and before is None:
            return _Memory((), None)  # Linux owns the card: no driver there backs CUDA memory with system RAM
        allowed = shared_allowed(facts)
        rises: list[int] = []
        others = 0
        while not rises or (len(rises) < _SHARED_SAMPLES and min(rises) > allowed - SHARED_ALLOWANCE // 2):
            if rises:
                self._sleep(_SHARED_PAUSE_S)
            counters = self._machine.counters.read()
            if counters is None or counters.shared is None or before is None:
                return _Memory((), problem("proof.shared_unknown"))
            others = explained(clearance.counters_before, counters) if clearance.counters_before else 0
            rises.append(counters.shared - before - (others if again else 0))
        rise = min(rises)
        figures = {"rise_bytes": rise, "allowed_bytes": allowed}
        if rise > allowed >= rise - others and not again:
            return _Memory((), problem("proof.spill_unclear", **figures, others_bytes=others))
        if rise > allowed:
            return _Memory((), problem("proof.spill", **figures))
        doubtful = rise > allowed - SHARED_ALLOWANCE // 2
        return _Memory((), None, problem("proof.slow_and_spilled", **figures) if doubtful else None)

    def vram_left(
        self, indices: tuple[int, ...], before: tuple[int, ...], at_end: tuple[int, ...], taken: tuple[int, ...]
    ) -> Problem | None:
        """What is left of a run on its cards. None if each is as free as before the start, or if what the run had taken
        came back, whatever other programs took meanwhile.

        Args:
            before, at_end: bytes in use on each card just before the start, and when the end began.
            taken: bytes that the run had taken of each. Empty where not known.
        """
        if not before:
            return None
        allowed = [each + FREED_SLACK for each in before]
        if at_end and taken:
            back = (end - round(share * FREED_SHARE) for end, share in zip(at_end, taken, strict=True))
            allowed = [max(pair) for pair in zip(allowed, back, strict=True)]
        deadline = time.monotonic() + self._freed_s
        while not (used := self.used(indices)) or any(now > most for now, most in zip(used, allowed, strict=True)):
            if time.monotonic() >= deadline:
                return self._left(indices, before, allowed, used)
            time.sleep(_FREED_POLL_S)
        return None

    @staticmethod
    def _left(indices: tuple[int, ...], before: tuple[int, ...], allowed: list[int], used: tuple[int, ...]) -> Problem:
        if not used:
            return problem("stop.vram_unknown")
        worst = max(range(len(used)), key=lambda position: used[position] - allowed[position])
        figures = {"before_bytes": before[worst], "used_bytes": used[worst]}
        if len(used) > 1:
            return problem("stop.vram_left_on_card", **figures, card=indices[worst])
        return problem("stop.vram_left", **figures)

    def used(self, indices: tuple[int, ...]) -> tuple[int, ...]:
        """Bytes in use on each of these cards now; empty if the driver does not tell of all."""
        used = [card.used for card in self._cards(indices) if card.used is not None]
        return tuple(used) if len(used) == len(indices) else ()

    def _cards(self, indices: tuple[int, ...]) -> tuple[GpuSnapshot, ...]:
        try:
            gpus = self._machine.gpu.snapshot()
        except ProblemError:
            return ()
        return cards_at(gpus, indices)


def _too_slow(measured: Measured, doubt: Problem | None) -> Problem | None:
    """A speed that ends a run: far below what is usual for it, or slow for the card while memory is in doubt."""
    if measured.dropped:
        return problem("proof.speed_drop", **shown(measured.speed))
    if measured.speed.slow and doubt is not None:
        return replace(doubt, params={**doubt.params, **shown(measured.speed)})
    return None


def expectation(profile: Profile, clearance: Clearance) -> Expectation:
    """What the engine's log has to show, from the model's own header."""
    model = clearance.model
    if model is None:
        return Expectation(devices=profile.devices, n_ctx=profile.context, vision=profile.sees_images)
    return Expectation(
        devices=profile.devices,
        weights_on_gpu_bytes=model.weights_on_gpu,
        kv_bytes=cache_bytes(model, context_shape(profile)),
        n_ctx=profile.context,
        parallel=profile.parallel,
        vision=profile.sees_images,
        host_allowed_bytes=model.input_span,
        projector_bytes=clearance.projector,
    )


def shared_allowed(facts: LogFacts) -> int:
    """Bytes by which shared GPU memory may rise in a healthy run: pinned host memory is counted there."""
    return (facts.pinned_host or 0) + SHARED_ALLOWANCE


def claimed_bytes(facts: LogFacts, devices: tuple[str, ...]) -> tuple[int, ...]:
    """Bytes that the engine says it put on each of its devices; empty if the log does not tell. The CUDA context comes
    on top. vLLM's parts are alike: each card has its part of every layer and as much KV cache as the others.
    """
    if facts.weights is not None:
        claimed = facts.weights + max(0, facts.available_kv or 0) + (facts.graphs or 0)
        return (claimed,) * len(devices)
    found = [facts.devices.get(name, DeviceFacts()) for name in devices]
    parts = [[size for size in (each.model, each.kv, each.compute) if size is not None] for each in found]
    return tuple(sum(sizes) for sizes in parts) if all(parts) else ()


def gpu_sum(facts: LogFacts, parts: tuple[str, ...]) -> int | None:
    """Bytes of some parts (`model`, `kv`, `compute`) on the card, by llama-server's log; None if it does not tell."""
    sizes = [getattr(d, part) for name, d in facts.devices.items() if name.startswith("CUDA") for part in parts]
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None
