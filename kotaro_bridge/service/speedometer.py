"""The warm-up: how fast a run that has just loaded generates, against its card and against what is usual for it.

Owns when a speed counts (nothing else may be at work when it speaks against a run, and it is measured twice then) and
what is kept as a baseline. The rules and thresholds are in `domain/speed.py`; what a speed does to a run is in
`prover.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from kotaro_bridge.domain.engine_log import Engine, LogFacts
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.gguf import GgufModel
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.metrics import LlamaRates, VllmRates
from kotaro_bridge.domain.ports import SpeedKey
from kotaro_bridge.domain.ports_http import EngineHttp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run_view import Speed
from kotaro_bridge.domain.speed import Yardstick, has_dropped, rated, speed_key, yardstick_of
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.target_facts import fetched_by_vllm

_TOKENS = 64
_TIME_LIMIT_S = 1.0
_CONFIG_BYTES = 1 << 20
_CONFIG_S = 5.0
_IDLE_POLL_S = 0.2
_IDLE_POLLS = 15


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
        sleep: waits that many seconds.
    """

    def __init__(self, machine: Machine, sleep: Callable[[float], None] = time.sleep) -> None:
        self._machine = machine
        self._sleep = sleep

    def measure(
        self, profile: Profile, model: GgufModel | None, facts: LogFacts, http: EngineHttp, card: GpuSnapshot | None
    ) -> Measured | None:
        """The first measurement; None if the answer was too short to tell. Raises ProblemError without an answer."""
        tokens_per_s = self._warm_up(profile, http)
        if tokens_per_s is None:
            return None
        config = self._config(profile) if model is None else None
        yardstick = yardstick_of(profile, model, facts, config, card)
        key = speed_key(profile, model, facts, card)
        baseline = self._machine.speeds.baseline(key) if key else None
        return Measured(rated(tokens_per_s, yardstick, baseline), yardstick, key)

    def confirm(self, profile: Profile, http: EngineHttp, first: Measured) -> Measured:
        """A speed that speaks against the run is measured once more, and the better one counts. It speaks against
        nothing where a client has found the engine and is served beside us. Raises ProblemError without an answer.
        """
        if not (first.speed.slow or first.dropped):
            return first
        if self._idle(profile, http):
            again = self._warm_up(profile, http) or 0.0
            if self._idle(profile, http):
                best = max(first.speed.tokens_per_s, again)
                return replace(first, speed=rated(best, first.yardstick, first.speed.baseline))
        return replace(first, speed=replace(first.speed, slow=False), counts=False)

    def keep(self, measured: Measured) -> None:
        """Remember the speed of a proved run for its baseline, unless something speaks against it."""
        speed = measured.speed
        if measured.key is not None and measured.counts and not speed.slow and not measured.dropped:
            self._machine.speeds.record(measured.key, speed.tokens_per_s, speed.of_limit)

    @staticmethod
    def _warm_up(profile: Profile, http: EngineHttp) -> float | None:
        found = http.warm_up(profile.served_name, max_tokens=_TOKENS, time_limit_s=_TIME_LIMIT_S)
        return found.tokens_per_s

    def _idle(self, profile: Profile, http: EngineHttp) -> bool:
        """True as soon as the engine serves nobody; our own request, which we left, may last another token."""
        rates = LlamaRates() if profile.engine is Engine.LLAMA_SERVER else VllmRates()
        for _ in range(_IDLE_POLLS):
            requests = rates.feed(http.rates_sample()).requests
            if not requests:
                return requests == 0
            self._sleep(_IDLE_POLL_S)
        return False

    def _config(self, profile: Profile) -> str | None:
        """Text of the model folder's `config.json`; None where vLLM fetches the model itself, or it cannot be read."""
        if fetched_by_vllm(profile):
            return None
        try:
            path = f"{profile.model.rstrip('/')}/config.json"
            data = self._machine.launcher(profile).read_at(path, 0, _CONFIG_BYTES, timeout_s=_CONFIG_S)
        except ProblemError:
            return None
        return data.decode(errors="replace")
