"""The proof: after the engine says it is healthy, and before anybody is told so.

Owns the comparison of three witnesses: the engine's own log (`domain/placement.py`), the machine (VRAM growth, shared
GPU memory) and the engine's answers (context per slot, warm-up speed). Any of them missing or at odds fails the proof.
Owns too what the log is expected to show, and whether the card's memory is free again after the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from kotaro_bridge.domain.engine_log import Engine, LogFacts
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.kv_cache import cache_bytes, context_shape
from kotaro_bridge.domain.ports_http import EngineHttp, WarmUp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.reasons import Expectation, Judgement, Reason, Verdict
from kotaro_bridge.domain.run_view import Speed
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service.gatekeeper import Clearance
from kotaro_bridge.service.machine import Machine

SHARED_ALLOWANCE = (
    256 * MIB
)  # beyond the pinned buffers that the log names; start value of the design, not yet measured on WSL2
GROWTH_TOLERANCE = 0.05  # others may give VRAM back while we load
GROWTH_SLACK = 256 * MIB
_TOKENS = 64
_TIME_LIMIT_S = 1.0
FREED_SHARE = 0.8  # other programs may have taken some of what we gave back
FREED_SLACK = 300 * MIB
_FREED_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Proof:
    """Outcome: `problem` is None if everything is there and says GPU."""

    judgement: Judgement
    problem: Problem | None = None
    speed: Speed | None = None
    vram_taken: int | None = None


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


class Prover:
    """Proves one machine's runs.

    Args:
        freed_s: how long a driver may take to show memory as free after the process ended.
    """

    def __init__(self, machine: Machine, freed_s: float = 5.0) -> None:
        self._machine = machine
        self._freed_s = freed_s

    def prove(self, profile: Profile, clearance: Clearance, judgement: Judgement, http: EngineHttp) -> Proof:
        """Judge everything; blocking, about a second."""
        failed = log_problem(judgement)
        if failed is not None:
            return Proof(judgement, failed)
        shared = [self._shared()]
        try:
            failed = self._answers_as_asked(profile, http)
            if failed is not None:
                return Proof(judgement, failed)
            warm_up = http.warm_up(profile.served_name, max_tokens=_TOKENS, time_limit_s=_TIME_LIMIT_S)
        except ProblemError as error:
            return Proof(judgement, problem("proof.no_answer", *error.problem.evidence, cause=error.problem.code))
        shared.append(self._shared())
        taken, short = self._growth(profile, clearance, judgement.facts)
        shared.append(self._shared())
        # Memory that went to system RAM is missing on the card as well: the spill is the better explanation.
        failed = self._spill(profile, clearance, judgement.facts, shared) or short
        return Proof(judgement, failed, self._speed(profile, judgement.facts, warm_up), taken)

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

    def _growth(self, profile: Profile, clearance: Clearance, facts: LogFacts) -> tuple[int | None, Problem | None]:
        """VRAM must have grown by what the log claims. Growth alone proves nothing: a server on the CPU took 527
        MiB.
        """
        used = self.used(profile.gpu)
        claimed = claimed_bytes(facts)
        if used is None or clearance.used_before is None or claimed is None:
            return None, problem("proof.growth_unknown")
        grown = used - clearance.used_before
        if grown < claimed * (1 - GROWTH_TOLERANCE) - GROWTH_SLACK:
            return grown, problem("proof.growth_short", grown_bytes=max(0, grown), claimed_bytes=claimed)
        return grown, None

    def _spill(self, profile: Profile, clearance: Clearance, facts: LogFacts, seen: list[int | None]) -> Problem | None:
        """Shared GPU memory may rise by the pinned buffers that the log names and an allowance; the lowest sample
        counts.
        """
        if profile.is_local and clearance.shared_before is None:
            return None  # Linux owns the card: no driver there backs CUDA memory with system RAM behind our back
        known = [value for value in seen if value is not None]
        if clearance.shared_before is None or len(known) < len(seen):
            return problem("proof.shared_unknown")
        rise = min(known) - clearance.shared_before
        allowed = shared_allowed(facts)
        return problem("proof.spill", rise_bytes=rise, allowed_bytes=allowed) if rise > allowed else None

    def _speed(self, profile: Profile, facts: LogFacts, warm_up: WarmUp) -> Speed | None:
        """Tokens per second, and their share of what the memory bandwidth allows: every token reads all weights
        once.
        """
        if warm_up.tokens_per_s is None:
            return None
        gpu = next((gpu for gpu in self._machine.gpu.snapshot() if gpu.index == profile.gpu), None)
        bandwidth = gpu.bandwidth() if gpu else None
        weights = weight_bytes(facts)
        share = warm_up.tokens_per_s * weights / bandwidth if bandwidth and weights else None
        return Speed(warm_up.tokens_per_s, share)

    def vram_left(self, index: int, before: int | None, at_end: int | None, taken: int | None) -> Problem | None:
        """What is left of a run on a card. None if it is as free as before the start, or if what the run had taken
        came back, whatever other programs took meanwhile.

        Args:
            before, at_end: bytes in use just before the start, and when the end began.
            taken: bytes that the run had taken. None where not known.
        """
        if before is None:
            return None
        allowed = before + FREED_SLACK
        if at_end is not None and taken is not None:
            allowed = max(allowed, at_end - round(taken * FREED_SHARE))
        deadline = time.monotonic() + self._freed_s
        while (used := self.used(index)) is None or used > allowed:
            if time.monotonic() >= deadline:
                if used is None:
                    return problem("stop.vram_unknown")
                return problem("stop.vram_left", before_bytes=before, used_bytes=used)
            time.sleep(_FREED_POLL_S)
        return None

    def used(self, index: int) -> int | None:
        """Bytes in use on a card now; None if the driver does not tell."""
        try:
            gpus = self._machine.gpu.snapshot()
        except ProblemError:
            return None
        return next((gpu.used for gpu in gpus if gpu.index == index), None)

    def _shared(self) -> int | None:
        counters = self._machine.counters.read()
        return counters.shared if counters else None


def expectation(profile: Profile, clearance: Clearance) -> Expectation:
    """What the engine's log has to show, from the model's own header."""
    model = clearance.model
    if model is None:
        return Expectation(devices=("CUDA0",), n_ctx=profile.context, vision=profile.sees_images)
    return Expectation(
        devices=("CUDA0",),
        weights_on_gpu_bytes=model.weights_on_gpu,
        kv_bytes=cache_bytes(model, context_shape(profile)),
        n_ctx=profile.context,
        parallel=profile.parallel,
        vision=profile.sees_images,
        host_allowed_bytes=model.input_bytes,
    )


def shared_allowed(facts: LogFacts) -> int:
    """Bytes by which shared GPU memory may rise in a healthy run: pinned host memory is counted there."""
    return (facts.pinned_host or 0) + SHARED_ALLOWANCE


def weight_bytes(facts: LogFacts) -> int | None:
    """Bytes of weights on the GPU, by the log."""
    if facts.weights is not None:
        return facts.weights
    return _gpu_sum(facts, ("model",))


def claimed_bytes(facts: LogFacts) -> int | None:
    """Bytes that the engine says it put on the GPU; None if the log does not tell. The CUDA context comes on top."""
    if facts.weights is not None:
        return facts.weights + max(0, facts.available_kv or 0) + (facts.graphs or 0)
    return _gpu_sum(facts, ("model", "kv", "compute"))


def _gpu_sum(facts: LogFacts, parts: tuple[str, ...]) -> int | None:
    sizes = [getattr(d, part) for name, d in facts.devices.items() if name.startswith("CUDA") for part in parts]
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None
