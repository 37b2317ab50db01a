"""The warm-up: how fast a run that has just loaded generates, against its card and against what is usual for it.

Owns when a speed counts (nothing else may be at work when it speaks against a run, and it is measured twice then),
what stands for an answer to us while the engine answers others, and what is kept as a baseline. The rules and
thresholds are in `domain/run/speed.py`; what a speed does to a run is in `prover.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kotaro_bridge.domain.engine.engine_log import LogFacts
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.model.gguf import GgufModel
from kotaro_bridge.domain.ports import SpeedKey
from kotaro_bridge.domain.ports_http import EngineHttp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.metrics import Work, work_of
from kotaro_bridge.domain.run.run_view import Speed
from kotaro_bridge.domain.run.speed import Yardstick, has_dropped, rated, speed_key, yardstick_of
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.model_config import read_config
from kotaro_bridge.service.target_facts import fetched_by_vllm

_TOKENS = 64
_TIME_LIMIT_S = 1.0
_IDLE_POLL_S = 0.2
_IDLE_POLLS = 15
_WORK_S = 10.0  # longer than any step of an engine takes, also of one that reads a long prompt
_GONE_S = 3.0  # a request that we gave up is out of the engine by then: it looks once a second
_CARD_S = 1.2  # NVML's utilization is of the last second at most
_CARD_BUSY = 0.5  # a desktop on a card that idles at a low clock shows up to a third
_TURN_S = 5.0  # several warm-ups; an engine that hangs in its own must not keep the others from theirs


@dataclass(frozen=True, slots=True)
class Measured:
    """A speed and what it is held against. `counts`: nothing else was at work, as far as that was looked at."""

    speed: Speed
    yardstick: Yardstick | None
    key: SpeedKey | None
    counts: bool = True

    @property
    def dropped(self) -> bool:
        """Clearly below what is usual for the profile."""
        return self.counts and has_dropped(self.speed.tokens_per_s, self.speed.baseline)


class Speedometer:
    """Measures one machine's runs.

    Args:
        sleep: waits that many seconds; clock: monotonic seconds.
    """

    def __init__(
        self,
        machine: Machine,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine = machine
        self._sleep = sleep
        self._clock = clock
        self._turn = threading.Lock()

    def measure(
        self,
        profile: Profile,
        model: GgufModel | None,
        facts: LogFacts,
        http: EngineHttp,
        cards: tuple[GpuSnapshot, ...],
    ) -> Measured | None:
        """The first measurement; None if the answer was too short to tell, or where the engine kept us waiting because
        it answers others. Raises ProblemError without an answer.
        """
        try:
            tokens_per_s = self._warm_up(profile, http)
        except ProblemError as error:
            if error.problem.code != "http.timeout":
                raise
            self._sleep(_GONE_S)
            if not self.works(profile, http):
                raise
            return None
        if tokens_per_s is None:
            return None
        config = self._config(profile) if model is None else None
        yardstick = yardstick_of(profile, model, facts, config, cards)
        key = speed_key(profile, model, facts, cards)
        baseline = self._machine.speeds.baseline(key) if key else None
        return Measured(rated(tokens_per_s, yardstick, baseline), yardstick, key)

    def works(self, profile: Profile, http: EngineHttp) -> bool:
        """True as soon as the engine is seen to get on with requests of others: ours would wait behind them. False once
        it has none, or has not moved for 10 s; never raises.
        """
        deadline = self._clock() + _WORK_S
        seen: float | None = None
        while self._clock() < deadline:
            now = self._work(profile, http)
            if now is not None:
                if not now.requests or now.steps is None:
                    return False
                if seen is not None and now.steps > seen:
                    return True
                seen = now.steps
            self._sleep(_IDLE_POLL_S)
        return False

    @staticmethod
    def _work(profile: Profile, http: EngineHttp) -> Work | None:
        """None without an answer: llama-server gives one between two steps, and after a resume nobody may at first."""
        try:
            return work_of(profile.engine, http.rates_sample())
        except ProblemError:
            return None

    def confirm(self, profile: Profile, http: EngineHttp, first: Measured) -> Measured:
        """A speed that speaks against the run is measured once more, and the better one counts. It speaks against
        nothing where a client has found the engine and is served beside us, or where the card has other work, such as
        a game or another model. Raises ProblemError without an answer.
        """
        if not (first.speed.slow or first.dropped):
            return first
        if self._idle(profile, http):
            again = self._warm_up(profile, http) or 0.0
            if self._idle(profile, http) and not self._card_busy(profile.gpus):
                best = max(first.speed.tokens_per_s, again)
                return replace(first, speed=rated(best, first.yardstick, first.speed.baseline))
        return replace(first, speed=replace(first.speed, slow=False), counts=False)

    def keep(self, measured: Measured) -> None:
        """Remember the speed of a proved run for its baseline, unless something speaks against it."""
        speed = measured.speed
        if measured.key is not None and measured.counts and not speed.slow and not measured.dropped:
            self._machine.speeds.record(measured.key, speed.tokens_per_s, speed.of_limit)

    def _warm_up(self, profile: Profile, http: EngineHttp) -> float | None:
        with self._one_at_a_time():
            return http.warm_up(profile.served_name, max_tokens=_TOKENS, time_limit_s=_TIME_LIMIT_S).tokens_per_s

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """After a resume all runs are proved again; side by side each would get a share of the card."""
        mine = self._turn.acquire(timeout=_TURN_S)
        try:
            yield
        finally:
            if mine:
                self._turn.release()

    def _card_busy(self, indices: tuple[int, ...]) -> bool:
        """True if one of the cards has work while the engine has none; False where the driver does not tell."""
        self._sleep(_CARD_S)
        try:
            gpus = self._machine.gpu.snapshot()
        except ProblemError:
            return False
        return any((gpu.utilization or 0.0) >= _CARD_BUSY for gpu in gpus if gpu.index in indices)

    def _idle(self, profile: Profile, http: EngineHttp) -> bool:
        """True as soon as the engine serves nobody; our own request, which we left, may last another token."""
        for _ in range(_IDLE_POLLS):
            requests = work_of(profile.engine, http.rates_sample()).requests
            if not requests:
                return requests == 0
            self._sleep(_IDLE_POLL_S)
        return False

    def _config(self, profile: Profile) -> str | None:
        """Text of the model folder's `config.json`; None where vLLM fetches the model itself, or it cannot be read."""
        if fetched_by_vllm(profile):
            return None
        try:
            data = read_config(self._machine.launcher(profile), profile)
        except ProblemError:
            return None
        return data.decode(errors="replace")
