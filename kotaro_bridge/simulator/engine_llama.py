"""A simulated llama-server: `python -m kotaro_bridge.simulator.engine_llama FLAGS…`.

Takes the real flags, replays the real log with the figures of its model file and of the simulated card, claims VRAM
step by step, answers over HTTP, and stops as the real one does: SIGTERM while loading kills it, later it cleans up and
ends with 0 (reference llama-server §6). Misbehaves as `behaviour.py` says.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial
from typing import Any, BinaryIO

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.gguf import GgufModel, read_gguf
from kotaro_bridge.simulator import behaviour as words
from kotaro_bridge.simulator import engine_question, procs, signals
from kotaro_bridge.simulator.card import MIB, Claim, Usage, cards, cuda_total_mib
from kotaro_bridge.simulator.http_base import Server
from kotaro_bridge.simulator.llama_args import WrongArgument, parse
from kotaro_bridge.simulator.llama_http import LlamaApi, LlamaHandler, Slot
from kotaro_bridge.simulator.llama_placement import Placement
from kotaro_bridge.simulator.replay import fill, read_parts
from kotaro_bridge.simulator.state import State
from kotaro_bridge.simulator.wakeup import Wakeup

STEPS = 12
WARMUP_BYTES = 77 * MIB  # measured: VRAM after load less buffers and the first context, captures full14
SPILLED_SPEED = 0.12  # share of the speed that is left when weights come over the PCIe bus
DEFAULT_PORT = "8080"
WEIGHTS_FOR_LOAD_TIME_MIB = 8192


_PER_CARD = {"V": ("g", "visible"), "G": ("g", "used"), "K": ("k", "used")}
"""Conditions of lines that are there for each card: the condition that they stand for, and which cards."""


class Failed(Exception):
    """Loading failed: the parts of the log that say so, and their values."""

    def __init__(self, *parts: str, **values: Any) -> None:
        super().__init__(*parts)
        self.parts = parts
        self.values = values


class Engine:
    """One run of the server."""

    def __init__(
        self, state: State, behaviour: words.Behaviour, options: dict[str, str], devices: dict[str, int]
    ) -> None:
        self.state = state
        self.behaviour = behaviour
        self.options = options
        self.started = time.monotonic()
        self.parts = read_parts("llama-server.log")
        self.verbosity = int(options.get("-lv", "3"))
        self.visible = devices
        self.used = _used(options, devices)
        self.cuda = bool(self.used)
        self.claims = [Claim(state, "llama-server", devices[name]) for name in self.used]
        self.conditions = set("-")
        self.values: dict[str, Any] = {}
        self.model_path = options.get("-m", "")
        self.load_s = 0.0
        self.spoken = threading.Lock()
        self.api = LlamaApi(
            alias=options.get("-a", os.path.basename(self.model_path)),
            keys=_keys(options),
            metrics="--metrics" in options,
            slots_shown="--no-slots" not in options,
            counters_go_back="counters-go-back" in behaviour,
            rate=self.rate,
            say=self.say,
            busy=self._work,
        )
        self.placement: Placement | None = None
        self.free: dict[str, int] = {}
        self.slots: list[Slot] = []
        self.model_info: dict[str, Any] = {}

    def say(self, part: str, values: dict[str, Any]) -> None:
        """Print a part of the log, what the verbosity and the conditions let through."""
        with self.spoken:
            shown = True
            for line in self.parts[part]:
                if line[0] == "+":
                    text = fill(line[3:], {**self.values, **values})
                    os.write(2, f"{text}\n".encode() if shown else b"")
                    continue
                condition, devices = _PER_CARD.get(line[1], (line[1], ""))
                shown = int(line[0]) <= self.verbosity and condition in self.conditions
                known = [self._of_card(name) for name in getattr(self, devices)] if devices else [{}]
                for about in known if shown else ():
                    text = fill(line[3:], {**self.values, **values, **about})
                    os.write(2, f"{self._stamp()} {text}\n".encode())

    def _of_card(self, device: str) -> dict[str, Any]:
        """What the log names of one card."""
        index = self.visible[device]
        gpu = cards(self.state)[index]
        known = {
            "dev": device,
            "gpu_name": gpu["name"],
            "gpu_short": gpu["name"].removeprefix("NVIDIA GeForce "),
            "gpu_total": cuda_total_mib(self.state, index),
            "gpu_free": self.free.get(device, 0),
            "pci": gpu["pci_bus"].removeprefix("0000").lower(),
        }
        if self.placement is None or device not in self.used:
            return known
        position = self.used.index(device)
        part = self.placement.parts[position]
        ours = round(part.model + part.kv + part.compute)
        return known | {
            "gpu_model": part.model,
            "kv_gpu": part.kv,
            "compute": part.compute,
            "self": ours,
            "free_now": Usage(self.state, index).free // MIB,
            "unaccounted": round(self.claims[position].bytes / MIB) - ours,
        }

    def _work(self, count: int) -> None:
        """How busy the cards are with so many requests: with layers of their own, one after the other."""
        for claim in self.claims:
            claim.work(min(1.0, 0.55 + 0.2 * count) / len(self.claims) if count else 0.0)

    def _stamp(self) -> str:
        """`M.SS.mmm.uuu` since the start of the process."""
        micros = int((time.monotonic() - self.started) * 1e6)
        return f"{micros // 60_000_000}.{micros // 1_000_000 % 60:02}.{micros // 1000 % 1000:03}.{micros % 1000:03}"

    def rate(self) -> float:
        """Tokens per second now: bandwidth over the bytes that each token reads, less where memory is elsewhere."""
        if self.placement is None:
            raise AssertionError("asked before the model is loaded")
        placement = self.placement
        if not placement.on_gpu:
            seconds = placement.host_model * MIB / self._bandwidth(0)
        else:
            parts = zip(placement.parts, self.used, strict=True)
            seconds = sum(part.model * MIB / self._bandwidth(self.visible[name]) for part, name in parts)
        spilled = any(Usage(self.state, self.visible[name]).engine_shared > 0 for name in self.used)
        return placement.speed * (SPILLED_SPEED if spilled and placement.on_gpu else 1.0) / seconds

    def _bandwidth(self, index: int) -> float:
        """Bytes per second that an engine gets of a card."""
        gpu = cards(self.state)[index]
        return float(gpu["memory_clock_mhz"] * 1e6 * 2 * gpu["bus_width_bits"] / 8 * gpu["efficiency"])

    def run(self) -> int:
        """Serve until a stop; the exit code."""
        host, port = self.options.get("--host", "127.0.0.1"), int(self.options.get("--port", DEFAULT_PORT))
        self._prepare(host, port)
        complaint = None if "-dev" in self.options else engine_question.cuda_complaint(self.state, self.behaviour)
        if complaint is not None:
            self.say("no_cuda", {"why": complaint})
        self.say("start", {})
        LlamaHandler.api = self.api
        try:
            server = Server((host, port), LlamaHandler)
        except OSError:
            self.say("port_used", {})
            return 1
        threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True).start()
        try:
            self._load()
        except Failed as failure:
            for part in (*failure.parts, "failed"):
                self.say(part, failure.values)
            return 1
        if "never-ready" in self.behaviour:
            if "ignore-term" in self.behaviour:
                signals.ignore(signals.TERM)
            threading.Event().wait()
        return self._serve()

    def _prepare(self, host: str, port: int) -> None:
        self.conditions |= set("n" if not self.api.keys else "") | set("g" if self.cuda else "c")
        self.conditions |= set("a" if "-np" not in self.options else "q")
        self.conditions |= set("f" if self.options.get("-fit", "on") == "on" else "")
        self.free = {name: self._free_mib(index) for name, index in self.visible.items()}
        for claim, name in zip(self.claims, self.used, strict=True):
            index = self.visible[name]
            context = cards(self.state)[index]["cuda_context_mib"] * MIB
            claim.grow(min(context, max(Usage(self.state, index).free, 0)))
        self.values = {
            "gpu_free": sum(self.free[name] for name in self.used),
            "host_total": self.state.scenario["host_ram_gib"] * 512,
            "threads": self.state.scenario["processors"],
            "verbosity": self.verbosity,
            "model": self.model_path,
            "host": host,
            "port": port,
        }

    def _free_mib(self, index: int) -> int:
        return int(max(Usage(self.state, index).free // MIB - cards(self.state)[index]["cuda_context_mib"], 0))

    def _load(self) -> None:
        """Read the model's header and go through loading, in the time that the scenario gives.

        Raises:
            Failed: as the real engine would fail.
        """
        self.say("model", {})
        if not os.path.exists(self.model_path):
            raise Failed("missing")
        model = self._header()
        shares = [float(share) for share in self.options.get("-ts", "").split(",") if share]
        shares = shares or [float(self.free[name]) for name in self.used] or [1.0]
        placement = Placement(model, self.options, self._layers(model), kv_on_gpu=self._kv_on_gpu(), shares=shares)
        self.placement = placement
        self.conditions |= set("w" if placement.context_slot < model.context_length else "")
        if not placement.on_gpu:
            self.conditions = (self.conditions - {"g"}) | {"c"}
        self.conditions |= set("k" if placement.kv_gpu else "") | set("h" if placement.kv_host else "")
        self.values |= placement.values(model)
        self.values["left"] = self.values["gpu_free"] - self.values["projected"]
        seconds = self.state.scenario["engines"]["llama_load_s"] * model.weights_total / MIB / WEIGHTS_FOR_LOAD_TIME_MIB
        self.load_s = self.state.scaled(seconds)
        words.while_loading(
            self.behaviour, 2, f"{self._stamp()} I llama_model_loader: filler line, nothing to see here"
        )
        self.say("header", {})
        time.sleep(self.load_s * 0.25)
        parts = placement.parts if placement.on_gpu else ()
        self._take([part.model for part in parts], "no_memory", before="tensors", seconds=self.load_s * 0.55)
        self.say("context", {})
        self._take([part.kv for part in parts], "no_memory_kv", before="", seconds=self.load_s * 0.1)
        self.say("kv", {})
        self.say("graph", {})
        self._take([part.compute for part in parts], "no_memory_kv", before="", seconds=0.0)
        self.say("compute", {})
        for number in range(placement.slots):
            self.say("slot", {"slot": number})
        time.sleep(self.load_s * 0.1)
        if placement.on_gpu:
            for claim in self.claims:
                claim.grow(WARMUP_BYTES)
            self.claims[0].pin(round((placement.pinned + placement.output) * MIB))
        self.say("loaded", {})
        self.slots = [Slot(number, placement.context_slot) for number in range(placement.slots)]
        self.model_info = {
            "path": self.model_path,
            "n_ctx": placement.context_slot,
            "vision": "-mm" in self.options,
            "n_vocab": model.vocab_size,
            "n_ctx_train": model.context_length,
            "n_embd": model.embedding_length,
            "n_params": round(self.values["billions"] * 1e9),
            "size": model.weights_total,
            "ftype": "Q4_K - Medium",
        }

    def _header(self) -> GgufModel:
        with open(self.model_path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            magic = "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in _read_at(file, 0, 4))
            try:
                # Data that the file lacks is found out later than a broken header, so the size is not told here.
                model = read_gguf(partial(_read_at, file), sys.maxsize)
            except ProblemError as error:
                part = "junk" if error.problem.code == "model.not_gguf" else "broken"
                raise Failed(part, magic=magic) from None
        if size < model.data_offset + model.weights_total:
            raise Failed("truncated")
        return model

    def _layers(self, model: GgufModel) -> int:
        """Layers on the GPU, the output layer counted."""
        whole = model.block_count + 1
        if not self.cuda or "cpu" in self.behaviour:
            return 0
        if "partial" in self.behaviour:
            return round(whole * 20 / 49)
        wanted = self.options.get("-ngl", "auto")
        return whole if wanted in ("auto", "all") or int(wanted) < 0 else min(int(wanted), whole)

    def _kv_on_gpu(self) -> bool:
        return "kv-in-ram" not in self.behaviour and "-nkvo" not in self.options

    def _take(self, sizes: list[float], part: str, *, before: str, seconds: float) -> None:
        """Claim VRAM of each card, MiB, in steps over a time: the engine allocates it at once, Windows counts what is
        written.
        """
        wanted = [round(mib * MIB) for mib in sizes]
        spills = self.state.switches()["vram_limit_mib"] is not None
        for position, (size, name) in enumerate(zip(wanted, self.used, strict=False)):
            room = Usage(self.state, self.visible[name]).free
            if size and ("oom" in self.behaviour or (size > room and not spills)):
                raise Failed(part, wanted=sizes[position], wanted_bytes=size, device=name.removeprefix("CUDA"))
        if before:
            self.say(before, {})
        for step in range(STEPS):
            if "host-oom" in self.behaviour and step == STEPS // 2 and before:
                self.state.oom_kill()
                procs.die(procs.KILL)
            for size, claim in zip(wanted, self.claims, strict=False):
                claim.grow(size * (step + 1) // STEPS - size * step // STEPS)
            time.sleep(seconds / STEPS)

    def _serve(self) -> int:
        stop = threading.Event()
        wakeup = Wakeup()
        if "ignore-term" in self.behaviour:
            signals.ignore(signals.TERM)
        else:
            signals.handle(lambda: self._on_signal(stop, wakeup), signals.TERM)
        signals.handle(lambda: self._on_signal(stop, wakeup), signals.INT)
        self.api.load(self.slots, self.model_info)
        self.say("ready", {})
        crash = self.behaviour.value("crash", 1) if "crash" in self.behaviour else None
        while not stop.is_set():
            if not wakeup.wait(timeout_s=crash):
                self.say("crash", {})
                procs.die(procs.ABORT)
        self.say("stop", {})
        return 0

    def _on_signal(self, stop: threading.Event, wakeup: Wakeup) -> None:
        if stop.is_set():
            os.write(2, b"Received second interrupt, terminating immediately.\n")
            os._exit(1)
        stop.set()
        wakeup.wake()


def _used(options: dict[str, str], devices: dict[str, int]) -> list[str]:
    """The devices that the engine takes of those it sees (llama.cpp, llama_prepare_model_devices)."""
    named = options.get("-dev", "")
    chosen = [] if named == "none" else named.split(",") if named else list(devices)
    if options.get("-sm") == "none" and chosen:
        first = int(options.get("-mg", "0"))
        return chosen[first : first + 1] if first >= 0 else []
    return chosen


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _keys(options: dict[str, str]) -> frozenset[str]:
    text = options.get("--api-key") or os.environ.get("LLAMA_API_KEY", "")
    keys = {key for key in text.split(",") if key}
    if "--api-key-file" in options:
        with open(options["--api-key-file"], encoding="utf-8") as file:
            keys |= {line.strip() for line in file if line.strip() and not line.startswith("#")}
    return frozenset(keys)


def main(arguments: list[str]) -> int:
    signals.default(signals.INT)
    signals.listen()
    state = State.from_environment()
    behaviour = words.Behaviour.read(state)
    if "--list-devices" in arguments and "old-build" not in behaviour:
        return engine_question.tell_devices(state, behaviour)
    words.before_start(behaviour)
    indices = engine_question.llama_devices(state, behaviour)
    devices = {f"CUDA{position}": index for position, index in enumerate(indices)}
    try:
        options = parse(arguments, list(devices))
    except WrongArgument as error:
        os.write(2, str(error).encode())
        return 1
    if "--version" in options:
        os.write(2, b"version: 0.5.0-dev (build 0, commit unknown)\nbuilt with GNU 13.3.0 for Linux x86_64\n")
        return 0
    if "-ngl" in options and not devices:
        os.write(2, NO_GPU.encode())
    return Engine(state, behaviour, options, devices).run()


NO_GPU = (
    "warning: no usable GPU found, --gpu-layers option will be ignored\n"
    "warning: one possible reason is that llama.cpp was compiled without GPU support\n"
    "warning: consult docs/build.md for compilation instructions\n"
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
