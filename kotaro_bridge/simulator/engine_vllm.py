"""A simulated vLLM 0.25: `python -m kotaro_bridge.simulator.engine_vllm serve MODEL FLAGS…`.

Two processes as in the real one: this one is the API server, `vllm_core.Core` the engine that holds the VRAM. The port
is bound early but listens only at the end, logs go to stdout and uvicorn's lines and tracebacks to stderr, SIGTERM ends
both with 0, SIGKILL of this one leaves the engine behind (reference vllm §1, §3, §6).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from kotaro_bridge.own_program import module_argv
from kotaro_bridge.simulator import behaviour as words
from kotaro_bridge.simulator import models, procs, signals
from kotaro_bridge.simulator.card import MIB, Usage, cards, cuda_total_mib, visible
from kotaro_bridge.simulator.http_base import Server
from kotaro_bridge.simulator.replay import fill, read_parts
from kotaro_bridge.simulator.state import State
from kotaro_bridge.simulator.vllm_args import Options
from kotaro_bridge.simulator.vllm_core import KEPT_WHEN_OFFLOADED, Core
from kotaro_bridge.simulator.vllm_http import VllmApi, VllmHandler
from kotaro_bridge.simulator.vllm_link import CoreProcess
from kotaro_bridge.simulator.vllm_memory import Budget, Shape
from kotaro_bridge.simulator.wakeup import Wakeup

INTERRUPTED = 130
CORE = "core"
"""First word of the command line of the second process, which ends in three numbers: see `run_core`."""
STATS_EVERY_S = 10.0
DEAD_ENGINE_S = 5.0
EAGER_TOKEN_S = 0.0345  # launching the kernels one by one takes that, whatever the card does (captures: 29 tok/s)
EXCHANGE_S = 0.004  # what two cards pass to each other per token: an estimate
OFFLOADED_SPEED = 0.1
SPILLED_SPEED = 0.12


class ApiServer:
    """One run of `vllm serve`; its core makes one as well, for the same words in the same log."""

    def __init__(self, state: State, behaviour: words.Behaviour, arguments: list[str]) -> None:
        self.state = state
        self.behaviour = behaviour
        self.arguments = arguments
        options = Options(arguments)
        self.options = options
        self.parts = read_parts("vllm.log")
        self.conditions = set("-")
        self.host = str(options.get("host", "0.0.0.0"))  # noqa: S104 - vLLM's own default, printed and bound as it does
        self.port = int(options.get("port", 8000))
        self.values: dict[str, Any] = {
            "api": os.getpid(),
            "core": 0,
            "version": state.scenario["engines"]["vllm_version"],
            "model": options.model,
            "shown": options.model,
            "served": options.served_name,
            "non_default": options.non_default(),
            "host": self.host,
            "port": self.port,
            "eager": bool(options.get("enforce_eager", False)),
            "trust": bool(options.get("trust_remote_code", False)),
            "kv_dtype": options.get("kv_cache_dtype", "auto"),
            "failed": "{}",
            "cards": int(options.get("tensor_parallel_size", 1)),
        }
        self.spoken = threading.Lock()

    def say(self, part: str, values: dict[str, Any]) -> None:
        """Print a part of the log."""
        now = time.localtime()
        moment = {
            "now": time.strftime("%m-%d %H:%M:%S", now),
            "c10": time.strftime("%m%d %H:%M:%S", now) + ".795549729",
        }
        with self.spoken:
            for line in self.parts[part]:
                if line[1] in self.conditions | {"W"}:
                    for rank in range(self.values["cards"] if line[1] == "W" else 1):
                        text = fill(line[3:], {**self.values, **moment, **values, "rank": rank, **self._worker(rank)})
                        os.write(1 if line[0] == "o" else 2, f"{text}\n".encode())

    def _worker(self, rank: int) -> dict[str, str]:
        """Who speaks for a card: with one the engine itself (reference vllm §6)."""
        return {"worker": f"Worker_TP{rank}" if self.values["cards"] > 1 else "EngineCore"}

    def run(self) -> int:
        """Serve until a stop; the exit code."""
        shape = self._shape()
        if shape is None:
            return 1
        try:
            server = Server((self.host, self.port), VllmHandler, bind_and_activate=False)
            server.server_bind()
        except OSError:
            self.say("port_used", {})
            return 1
        context = self.state.scenario["gpu"]["cuda_context_mib"] * MIB
        budget = self._budget(shape, min(Usage(self.state, index).free for index in self._used(shape)) - context)
        self.say("start", {})
        return self._serve(server, shape, budget)

    def run_core(self, api: int, free: int, port: int) -> int:
        """Be the core of the API server `api`, which saw `free` bytes and has the line on `port`; the exit code."""
        shape = self._shape()
        if shape is None:
            return 1
        budget = self._budget(shape, free)
        self.values |= {"api": api, "core": os.getpid()}
        return Core(self.state, self.behaviour, shape, budget, self._load_s(), self.say, port, self._used(shape)).run()

    def _budget(self, shape: Shape, free: int) -> Budget:
        total = min(cuda_total_mib(self.state, index) for index in self._used(shape))
        budget = Budget(shape, self.options, total * MIB, max(free, 0))
        seconds = self._load_s()
        self.values |= {**budget.values(), "compile_s": seconds * 0.4, "init_s": seconds * 0.6}
        return budget

    def _used(self, shape: Shape) -> list[int]:
        """Indices of the cards that the model is spread over."""
        return visible(self.state)[: shape.cards]

    def _load_s(self) -> float:
        return self.state.scaled(self.state.scenario["engines"]["vllm_load_s"])

    def _shape(self) -> Shape | None:
        """The model's shape; None after the words for a start that cannot work."""
        config = os.path.join(self.options.model, "config.json")
        if "torch-cpu" in self.behaviour or not words.gpu_visible(self.state, self.behaviour):
            self.say("no_device", {})
            return None
        folder = os.path.basename(os.path.normpath(self.options.model))
        known = {entry["folder"]: entry["loaded_gib"] for entry in models.table()["hf"]}
        if not os.path.isfile(config) or folder not in known:
            self.say("no_model", {})
            return None
        with open(config, encoding="utf-8") as file:
            shape = Shape(json.load(file), known[folder], self.values["cards"])
        wanted, there = shape.cards, len(visible(self.state))
        if wanted > there:
            self.say("too_few_cards", {"wanted": wanted, "there": there})
            return None
        if shape.heads % wanted:
            self.say("uneven_heads", {"heads": shape.heads, "wanted": wanted})
            return None
        length = self.options.get("max_model_len", shape.longest)
        if shape.remote_code and "trust_remote_code" not in self.options.given:
            self.say("no_trust", {})
            return None
        if length > shape.longest:
            self.say("too_long", {"length": length, "derived": shape.longest})
            return None
        self._conditions(shape)
        self.values |= {
            "architecture": shape.architecture,
            "dtype": shape.dtype,
            "quantization": "auto_awq" if shape.quantized else None,
            "weights": known[folder] / wanted * (KEPT_WHEN_OFFLOADED if "partial" in self.behaviour else 1.0),
            "offloaded": known[folder] * (1 - KEPT_WHEN_OFFLOADED),
            "weights_s": 0.0,
        }
        return shape

    def _conditions(self, shape: Shape) -> None:
        self.conditions |= {"x"} if self.values["eager"] else {"g"}
        self.conditions |= {"q"} if shape.quantized else set()
        self.conditions |= {"b"} if "max_num_batched_tokens" not in self.options.given else set()
        self.conditions |= {"u"} if "partial" in self.behaviour else set()
        self.conditions |= {"h"} if "kv-in-ram" in self.behaviour else {"k"}

    def _serve(self, server: Server, shape: Shape, budget: Budget) -> int:
        stop = threading.Event()
        wakeup = Wakeup()

        def end() -> None:
            stop.set()
            wakeup.wake()

        if "ignore-term" in self.behaviour:
            signals.ignore(signals.TERM, signals.INT)
        else:
            signals.handle(end, signals.TERM, signals.INT)
        command = [*module_argv("kotaro_bridge.simulator.engine_vllm"), CORE, *self.arguments]
        core = CoreProcess([*command, str(os.getpid()), str(budget.free)], wakeup.wake)
        self.values["core"] = core.pid
        loaded = self._wait_for_core(core, stop, wakeup)
        if loaded is None:
            return self._interrupted(core)
        if not loaded:
            return self._core_failed(core)
        api = self._api(shape, budget, core)
        VllmHandler.api = api
        signals.handle(end, signals.INT)
        threading.Thread(target=self._watch_core, args=(core, api, stop, wakeup), daemon=True).start()
        threading.Thread(target=self._tell_stats, args=(api,), daemon=True).start()
        self.say("serve", {})
        server.server_activate()
        threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True).start()
        return self._until_stopped(core, stop, wakeup, api)

    def _wait_for_core(self, core: CoreProcess, stop: threading.Event, wakeup: Wakeup) -> bool | None:
        """Whether the engine has loaded; None when a signal came first."""
        while not stop.is_set() and (core.ready is None or (core.ready and "never-ready" in self.behaviour)):
            wakeup.wait()
        return None if stop.is_set() else core.ready

    def _interrupted(self, core: CoreProcess) -> int:
        core.terminate()
        self.say("interrupted", {})
        return INTERRUPTED

    def _core_failed(self, core: CoreProcess) -> int:
        number = procs.ended_by(core.wait())
        killed = "{}" if number is None else f"{{'EngineCore_DP0': -{number}}}"
        self.say("failed_parent", {"failed": killed})
        return 1

    def _api(self, shape: Shape, budget: Budget, core: CoreProcess) -> VllmApi:
        key = self.options.get("api_key", os.environ.get("VLLM_API_KEY", ""))
        return VllmApi(
            name=self.options.served_name,
            root=self.options.model,
            version=self.values["version"],
            length=budget.length,
            seats=int(self.options.get("max_num_seqs", 256)),
            kv_tokens=budget.tokens,
            sees_images=shape.sees_images,
            keys=frozenset({key} if key else ()),
            counters_go_back="counters-go-back" in self.behaviour,
            rate=lambda: self._rate(shape),
            say=self.say,
            busy=core.work,
        )

    def _rate(self, shape: Shape) -> float:
        """Tokens per second of one request now."""
        used = self._used(shape)
        each_s = [shape.weights / self._bandwidth(index) for index in used]
        exchange_s = EXCHANGE_S if len(used) > 1 else 0.0
        token_s = max(max(each_s) + exchange_s, EAGER_TOKEN_S if self.values["eager"] else 0.0)
        slower = OFFLOADED_SPEED if "partial" in self.behaviour else 1.0
        slower *= SPILLED_SPEED if any(Usage(self.state, index).engine_shared > 0 for index in used) else 1.0
        return float(slower / token_s)

    def _bandwidth(self, index: int) -> float:
        """Bytes per second that an engine gets of a card."""
        gpu = cards(self.state)[index]
        return float(gpu["memory_clock_mhz"] * 1e6 * 2 * gpu["bus_width_bits"] / 8 * gpu["efficiency"])

    def _watch_core(self, core: CoreProcess, api: VllmApi, stop: threading.Event, wakeup: Wakeup) -> None:
        """An engine that dies takes the server with it after some seconds, with exit code 0 (reference vllm §1.10)."""
        core.wait()
        if not stop.is_set():
            api.dead = True
            self.say("died", {})
            stop.wait(self.state.scaled(DEAD_ENGINE_S))
            stop.set()
            wakeup.wake()

    def _tell_stats(self, api: VllmApi) -> None:
        before = api.stats()
        while True:
            time.sleep(STATS_EVERY_S)
            now = api.stats()
            if now[:2] != before[:2]:
                prompt, generated = ((now[i] - before[i]) / STATS_EVERY_S for i in (0, 1))
                shown = {"prompt_rate": prompt, "rate": generated, "running": now[2], "waiting": now[3]}
                self.say("stats", {**shown, "usage": now[4] * 100})
            before = now

    def _until_stopped(self, core: CoreProcess, stop: threading.Event, wakeup: Wakeup, api: VllmApi) -> int:
        crash = self.behaviour.value("crash", 1) if "crash" in self.behaviour else None
        while not stop.is_set():
            if not wakeup.wait(timeout_s=crash):
                self.say("crash", {"core": core.pid})
                core.kill()
                crash = None
        self.say("stop", {})
        if not api.dead:
            self.say("stop_core_wait", {})
            core.terminate()
            core.wait()
        self.say("stopped", {})
        return 0


def main(arguments: list[str]) -> int:
    state = State.from_environment()
    if arguments[:1] in (["--version"], ["-v"]):
        os.write(1, f"{state.scenario['engines']['vllm_version']}\n".encode())
        return 0
    behaviour = words.Behaviour.read(state)
    if arguments[:1] == [CORE]:
        api, free, port = map(int, arguments[-3:])
        return ApiServer(state, behaviour, arguments[1:-3]).run_core(api, free, port)
    words.before_start(behaviour)
    signals.listen()
    return ApiServer(state, behaviour, arguments).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
