"""The EngineCore of the simulated vLLM: a process of its own, titled `VLLM::EngineCore`, that holds the VRAM.

Nobody watches its parent: it survives a SIGKILL of the API server and keeps the memory (reference vllm §1.1).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from kotaro_bridge.simulator import behaviour as words
from kotaro_bridge.simulator import procs, signals
from kotaro_bridge.simulator.card import MIB, Claim, Usage
from kotaro_bridge.simulator.state import State
from kotaro_bridge.simulator.vllm_link import CoreLine
from kotaro_bridge.simulator.vllm_memory import Budget, Shape
from kotaro_bridge.simulator.wakeup import Wakeup

TITLE = "VLLM::EngineCore"
STEPS = 12
KEPT_WHEN_OFFLOADED = 0.6  # share of the weights that `partial` leaves on the GPU
# Shares of the loading time, after captures p32awq_24g.
START, WEIGHTS, COMPILE, GRAPHS, WARM = 0.2, 0.25, 0.25, 0.15, 0.15


class Core:
    """Loads and then waits.

    Args:
        seconds: time that loading takes. port: of the line to the API server, which need not live as long as this.
        cards: indices of those that the model is spread over; the real one has a process for each of several.
    """

    def __init__(
        self,
        state: State,
        behaviour: words.Behaviour,
        shape: Shape,
        budget: Budget,
        seconds: float,
        say: Callable[[str, dict[str, Any]], None],
        port: int,
        cards: list[int],
    ) -> None:
        self.state = state
        self.behaviour = behaviour
        self.shape = shape
        self.budget = budget
        self.seconds = seconds
        self.say = say
        self.port = port
        self.cards = cards
        self.stop = threading.Event()

    def run(self) -> int:
        """The exit code; 1 when loading failed."""
        procs.set_title(TITLE)
        wakeup = Wakeup()
        if "ignore-term" in self.behaviour:
            signals.ignore(signals.TERM)
        signals.ignore(signals.INT)
        claims = [Claim(self.state, TITLE, card) for card in self.cards]

        def work(busy: float) -> None:
            for claim in claims:
                claim.work(busy)

        line = CoreLine(self.port, work)
        failed = self._load(claims)
        if failed is not None:
            self.say(failed, {"held": claims[0].bytes / 1024 / MIB})
            return 1
        if "ignore-term" not in self.behaviour:
            # Prints nothing itself: a second TERM in the middle of `say` would wait for its own lock.
            signals.handle(lambda: self._end(wakeup), signals.TERM)
        line.ready()
        while not self.stop.is_set():
            wakeup.wait()
        self.say("stop_core", {})
        return 0

    def _end(self, wakeup: Wakeup) -> None:
        self.stop.set()
        wakeup.wake()

    def _load(self, claims: list[Claim]) -> str | None:
        """Go through loading; the part of the log that tells of a failure, None if all went well."""
        context = self.state.scenario["gpu"]["cuda_context_mib"] * MIB
        time.sleep(self.seconds * START)
        if not all(claim.grow(context) for claim in claims):
            return "failed_memory"
        self.say("engine", {})
        words.while_loading(self.behaviour, 1, f"(EngineCore pid={os.getpid()}) INFO filler line, nothing to see here")
        early = self.budget.failure()
        if early == "failed_free":
            return early
        started = time.monotonic()
        kept = KEPT_WHEN_OFFLOADED if "partial" in self.behaviour else 1.0
        if not self._take(claims, round(self.shape.weights * kept), self.seconds * WEIGHTS):
            return "failed_memory"
        self.say("loaded", {"weights_s": time.monotonic() - started})
        time.sleep(self.seconds * COMPILE)
        self.say("compile", {})
        if early is not None:
            return early
        self.say("kv", {})
        rest = self.budget.graphs + self.budget.outside - context
        if not self._take(claims, self.budget.kv, 0.0):
            return "failed_memory"
        self.say("graphs", {})
        if not self._take(claims, rest, self.seconds * GRAPHS):
            return "failed_memory"
        self.say("captured", {})
        time.sleep(self.seconds * WARM)
        self.say("warm", {})
        return None

    def _take(self, claims: list[Claim], size: int, seconds: float) -> bool:
        """Claim VRAM of each card in steps; False when one has none left."""
        spills = self.state.switches()["vram_limit_mib"] is not None
        least = min(Usage(self.state, card).free for card in self.cards)
        if "oom" in self.behaviour or (size > least and not spills):
            return False
        for step in range(STEPS):
            if "host-oom" in self.behaviour and step == STEPS // 2:
                self.state.oom_kill()
                procs.die(procs.KILL)
            for claim in claims:
                claim.grow(size * (step + 1) // STEPS - size * step // STEPS)
            time.sleep(seconds / STEPS)
        return True
