"""A PC by hand: the ports of `domain.ports` as small classes that tests script, and a run on it that tests drive.

For every branch of `service` without processes, files or waiting: what an engine does, a test says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn, TypeVar

import msgspec

from kotaro_bridge.domain.engine.engine_devices import DeviceAnswer
from kotaro_bridge.domain.engine.engine_log import Engine, LogLine, Stream
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess, GpuSnapshot
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.planning.learned import Learned, Start
from kotaro_bridge.domain.ports import (
    ChannelClosed,
    Cleaned,
    Completed,
    EngineCommand,
    Exited,
    OllamaModel,
    ProcessEvent,
    SpeedKey,
    Started,
    StartPlace,
    TargetFacts,
)
from kotaro_bridge.domain.ports_http import ChatPiece, EngineProps, WarmUp
from kotaro_bridge.domain.profile import Profile, VramNeed
from kotaro_bridge.domain.profile_edit import Changes, Value
from kotaro_bridge.domain.run.metrics import RatesSample
from kotaro_bridge.domain.run.run_state import Limits, Phase
from kotaro_bridge.domain.run.run_view import PhaseChanged, RunView, Sample
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service.bus import Bus, Message
from kotaro_bridge.service.gatekeeper import Gatekeeper
from kotaro_bridge.service.machine import Machine as Ports
from kotaro_bridge.service.prover import Prover
from kotaro_bridge.service.run_actor import RunActor
from kotaro_bridge.service.run_log import LogFile
from kotaro_bridge.service.run_session import Context
from tests.helpers.captures import llama_lines, split_log, vllm_text
from tests.helpers.gguf_header import Q14, pack_header, qwen2_shape, reader
from tests.helpers.simulated import PATIENCE

T = TypeVar("T")

DEADLINE_S = 10.0 * PATIENCE
"""For what other threads do at once; only a test that fails waits that long."""

PROJECTOR = "~/mmproj.gguf"
PROJECTOR_HEADER = pack_header({"general.architecture": "clip"}, [("v.class_embd", (128,), "F32")]) + bytes(512)
HEADER = qwen2_shape(*Q14)
MODEL = read_gguf(reader(HEADER, 1 << 40), 1 << 40)
MODEL_BYTES = MODEL.data_offset + MODEL.weights_total
CLAIMED = 10_279_599_473
"""Bytes on the GPU by the log of `full14-np1`."""

LLAMA = Profile(
    title="14B",
    engine=Engine.LLAMA_SERVER,
    executable="~/llama-server",
    model="~/q14.gguf",
    served_name="q14",
    context=8192,
    port=8080,
    id="llama",
    target="wsl:Ubuntu",
)
VLLM = Profile(
    title="14B",
    engine=Engine.VLLM,
    executable="~/vllm",
    model="Qwen/Q14",
    served_name="q14",
    context=8192,
    port=8000,
    id="vllm",
    target="wsl:Ubuntu",
    need=VramNeed(vram_mib=24_000, source="measured"),
)

FACTS = TargetFacts(True, False, MODEL_BYTES, None, True, configs=(), memory=32 * 1024 * MIB, swap=0)
CUDA_LINKED = ("libcudart.so.13 => /usr/local/cuda/lib64/libcudart.so.13 (0x0)",)
LISTED = ("Available devices:", "  CUDA0: RTX (32000 MiB, 31000 MiB free)")
ASKED = (
    """vllm 0.25.0|torch 2.11.0+cu130|cuda 13.0|library ok|driver ok|init 0|driver_cuda 13000|count 1|device 8.9 RTX"""
)

QUICK = Limits(first_probe_s=0.01, probe_s=0.02, ready_probe_s=3600.0, retry_s=3600.0)
"""Deadlines under which nothing happens by itself but the probes of a load."""


class Scripted:
    """Base of the ports: a Problem (or any exception) where an answer should be is raised."""

    @staticmethod
    def answer(what: T | Problem | Exception) -> T:
        if isinstance(what, Problem):
            raise ProblemError(what)
        if isinstance(what, BaseException):
            raise what
        return what


class Gpu(Scripted):
    """NVML with one card of 32 GiB; `used` may be changed at any time. `more`: further cards."""

    def __init__(self) -> None:
        self.total = 32 * 1024 * MIB
        self.used: int | None = 900 * MIB
        self.utilization: float | None = 0.1
        self.failure: Problem | Exception | None = None
        self.asked = 0
        self.more: tuple[GpuSnapshot, ...] = ()

    @property
    def card(self) -> GpuSnapshot:
        free = None if self.used is None else self.total - self.used
        busy = self.utilization
        return GpuSnapshot(0, "GPU-1", "RTX", self.total, free, self.used, "580", "8.9", busy, 50, 100.0, 10501, 192)

    def snapshot(self) -> tuple[GpuSnapshot, ...]:
        self.asked += 1
        return self.answer(self.failure or (self.card, *self.more))


class Counters:
    """Windows counters; `shared` None as where there are none at all."""

    def __init__(self) -> None:
        self.shared: int | None = 190 * MIB
        self.processes: tuple[GpuProcess, ...] = ()
        self.present = True

    def read(self) -> GpuCounters | None:
        return GpuCounters(self.shared, self.processes) if self.present else None


class Process:
    """An engine under a guardian, of which a test says what it does. `calls` is what was asked of it.

    `obeys`: a stop, a kill or an abandon ends it at once and in order.
    """

    def __init__(
        self,
        gpu: Gpu,
        command: EngineCommand,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> None:
        self.command = command
        self.calls: list[str] = []
        self.asked = threading.Condition()
        self.obeys = True
        self._gpu = gpu
        self._base = gpu.used
        self._line, self.event = on_line, on_event

    def says(self, lines: Sequence[LogLine | str]) -> None:
        for number, line in enumerate(lines, 1):
            self._line(line if isinstance(line, LogLine) else LogLine(Stream.STDERR, number, line))

    def starts(self) -> None:
        self.event(Started(4711))

    def takes(self, size: int = CLAIMED + 525 * MIB) -> None:
        """VRAM, until it ends."""
        assert self._base is not None
        self._gpu.used = self._base + size

    def exits(
        self, code: int | None = 0, signal: int | None = None, *, frees: bool = True, kills: int | None = 0
    ) -> None:
        """The engine ends, the guardian cleans up, the channel closes."""
        if frees:
            self._gpu.used = self._base
        self.event(Exited(code, signal, kills))
        self.event(Cleaned(()))
        self.event(ChannelClosed(0, True, ()))

    def loses_channel(self) -> None:
        """wsl.exe was killed; the engine ends on its own."""
        self._gpu.used = self._base
        self.event(ChannelClosed(-9, False, ("last", "words")))

    def stop(self, grace_s: float) -> None:
        self._asked(f"stop {grace_s:g}")

    def kill(self) -> None:
        self._asked("kill")

    def abandon(self) -> None:
        self._asked("abandon")

    def _asked(self, what: str) -> None:
        with self.asked:
            self.calls.append(what)
            self.asked.notify_all()
        if self.obeys and self.calls == [what]:
            self.exits()

    def was_asked(self, *calls: str) -> None:
        """Wait until these calls, and no others, have been made."""
        with self.asked:
            self.asked.wait_for(lambda: len(self.calls) >= len(calls), DEADLINE_S)
            assert tuple(self.calls) == calls


class Target(Scripted):
    """A launcher. `launches` holds the engines that were started; `held` keeps launches waiting while it is set."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.facts: TargetFacts | Problem | Exception = FACTS
        self.devices: dict[Engine, DeviceAnswer | None] = {
            Engine.LLAMA_SERVER: DeviceAnswer(0, LISTED, CUDA_LINKED),
            Engine.VLLM: DeviceAnswer(0, tuple(ASKED.split("|"))),
        }
        self.header = HEADER
        self.projector = PROJECTOR_HEADER
        self.files: dict[str, bytes] = {}
        self.said: Completed | Problem = Completed(127, "", "")
        self.ran: list[tuple[str, ...]] = []
        self.smi: tuple[GpuSnapshot, ...] | Problem | None = None
        self.smi_asked = 0
        self.failure: Problem | Exception | None = None
        self.launches: list[Process] = []
        self.launched = threading.Condition()
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.runs: tuple[str, ...] | Problem = ()
        self.left: tuple[int, ...] | Problem | Exception = ()
        self.reaped: list[tuple[str, float]] = []

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None) -> Completed:
        self.ran.append(tuple(argv))
        return self.answer(self.said)

    def probe(self, engine: Engine, question: EngineCommand, model: str, projector: str, port: int) -> TargetFacts:
        return replace(self.answer(self.facts), devices=self.devices[engine])

    def read_at(self, path: str, offset: int, size: int, *, timeout_s: float = 30.0) -> bytes:
        if path in self.files:
            return self.files[path][offset : offset + size]
        if path == PROJECTOR:
            return reader(self.projector)(offset, size)
        return reader(self.header, MODEL_BYTES)(offset, size)

    def launch(
        self,
        run_id: str,
        command: EngineCommand,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> Process:
        self.entered.set()
        assert self.open.wait(DEADLINE_S)
        self.answer(self.failure)
        process = Process(self._gpu, command, on_line, on_event)
        with self.launched:
            self.launches.append(process)
            self.launched.notify_all()
        return process

    def engine(self, number: int = 1) -> Process:
        """The engine of that launch, as soon as there is one."""
        with self.launched:
            assert self.launched.wait_for(lambda: len(self.launches) >= number, DEADLINE_S)
            return self.launches[number - 1]

    def leftovers(self) -> tuple[str, ...]:
        return self.answer(self.runs)

    def reap(self, run_id: str, grace_s: float) -> tuple[int, ...]:
        self.reaped.append((run_id, grace_s))
        return self.answer(self.left)

    def nvidia_smi(self) -> tuple[GpuSnapshot, ...]:
        self.smi_asked += 1
        return self.answer((self._gpu.card, *self._gpu.more) if self.smi is None else self.smi)


class Http(Scripted):
    """An engine's HTTP side; all clients of the machine are this one."""

    def __init__(self) -> None:
        self.status: int | None = 503
        self.warm: WarmUp | Problem | Exception = WarmUp(38, 1.0, 38.0)
        self.said: EngineProps | Problem | Exception = EngineProps(LLAMA.context, LLAMA.parallel, "0.5.0")
        self.rates: RatesSample | Problem | Exception = RatesSample(0.0, None)
        self.pieces: list[ChatPiece | Problem] = [ChatPiece("Hi"), ChatPiece("", True, 38.0, 0.1)]
        self.asked: list[tuple[str, str, bool]] = []
        self.on_warm_up: Callable[[], object] = lambda: None
        self.closed = 0
        self.health_asked = 0

    def health(self, timeout_s: float) -> int | None:
        self.health_asked += 1
        return self.status

    def rates_sample(self) -> RatesSample:
        return self.answer(self.rates)

    def props(self) -> EngineProps:
        return self.answer(self.said)

    def warm_up(self, model: str, *, max_tokens: int = 64, time_limit_s: float = 1.0) -> WarmUp:
        self.on_warm_up()
        return self.answer(self.warm)

    def chat(self, model: str, question: str, *, with_image: bool) -> Iterator[ChatPiece]:
        self.asked.append((model, question, with_image))
        for piece in self.pieces:
            yield self.answer(piece)

    def close(self) -> None:
        self.closed += 1


class OllamaProgram(Scripted):
    """Ollama with the models a test gives it; on unloading it lets go of their memory, unless it is told to fail."""

    def __init__(self, gpu: Gpu) -> None:
        self.models: tuple[OllamaModel, ...] = ()
        self.failure: Problem | None = None
        self.asked = 0
        self.unloaded: list[str] = []
        self._gpu = gpu

    def loaded(self) -> tuple[OllamaModel, ...]:
        self.asked += 1
        return self.models

    def unload(self, name: str) -> None:
        self.answer(self.failure)
        self.unloaded.append(name)
        gone = sum(model.vram_bytes or 0 for model in self.models if model.name == name)
        self._gpu.used = (self._gpu.used or 0) - gone
        self.models = tuple(model for model in self.models if model.name != name)


class Speeds:
    """Measured speeds in memory; the newest one is the baseline."""

    def __init__(self) -> None:
        self.kept: dict[SpeedKey, float] = {}

    def baseline(self, key: SpeedKey) -> float | None:
        return self.kept.get(key)

    def record(self, key: SpeedKey, tokens_per_s: float, of_limit: float | None) -> None:
        self.kept[key] = tokens_per_s

    def forget(self, profile_id: str) -> None:
        self.kept = {key: speed for key, speed in self.kept.items() if key.profile != profile_id}


class Starts:
    """What starts took, in memory; one engine version."""

    def __init__(self) -> None:
        self.kept: list[tuple[StartPlace, str, Start]] = []

    def learned(self, place: StartPlace) -> Learned:
        return Learned(tuple(start for at, _, start in reversed(self.kept) if at == place))

    def record(self, place: StartPlace, version: str, start: Start) -> None:
        self.kept.append((place, version, start))


class ProfileFiles(Scripted):
    """Profiles on a disk that a test may let fail."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self.profiles = {profile.id: profile for profile in profiles}
        self.failure: Problem | None = None
        self.changes: list[tuple[str, dict[str, Value | None]]] = []

    def read(self, profile_id: str) -> Profile:
        self.answer(self.failure)
        if profile_id not in self.profiles:
            raise ProblemError(problem("profile.unreadable", file=f"{profile_id}.toml", detail="gone"))
        return self.profiles[profile_id]

    def change(self, profile_id: str, changes: Changes) -> Profile:
        self.answer(self.failure)
        self.changes.append((profile_id, dict(changes)))
        whole = msgspec.to_builtins(self.profiles[profile_id]) | dict(changes)
        self.profiles[profile_id] = msgspec.convert(whole, Profile)
        return self.profiles[profile_id]


class LogPart(LogFile):
    """A log file in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.flushed = 0
        self.closed = 0

    def write(self, line: LogLine) -> None:
        self.lines.append(line.text)

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1


class Machine(Scripted):
    """The PC. Everything is in order until a test says otherwise."""

    def __init__(self) -> None:
        self.gpu = Gpu()
        self.counters = Counters()
        self.target = Target(self.gpu)
        self.http = Http()
        self.taken_ports: set[int] = set()
        self.wslconfig: bytes | Problem | None = None
        self.distros: tuple[str, ...] | Problem | Exception = ("Ubuntu",)
        self.running: tuple[str, ...] | Problem | Exception = ("Ubuntu",)
        self.ollama = OllamaProgram(self.gpu)
        self.speeds = Speeds()
        self.starts = Starts()

    @property
    def ports(self) -> Ports:
        return Ports(
            gpu=self.gpu,
            counters=self.counters,
            launcher=lambda _: self.target,
            http=lambda _: self.http,
            port_free=lambda port: port not in self.taken_ports,
            wslconfig=lambda: self.answer(self.wslconfig),
            installed_distros=lambda: self.answer(self.distros),
            running_distros=lambda: self.answer(self.running),
            ollama=self.ollama,
            speeds=self.speeds,
            starts=self.starts,
        )


class Heard:
    """Everything a bus said, with phases and samples apart."""

    def __init__(self, bus: Bus) -> None:
        self.messages: list[Message] = []
        self._heard = threading.Condition()
        bus.subscribe(self._hear)

    def _hear(self, message: Message) -> None:
        with self._heard:
            self.messages.append(message)
            self._heard.notify_all()

    def phase(self, *phases: Phase) -> RunView:
        """Wait until the newest change is to one of the phases."""

        def there() -> bool:
            return bool(self.changes) and self.changes[-1].view.phase in phases

        with self._heard:
            self._heard.wait_for(there, DEADLINE_S)
            assert there(), f"wanted {phases}, heard {[(c.view.phase.value, c.view.problem) for c in self.changes]}"
            return self.changes[-1].view

    @property
    def changes(self) -> list[PhaseChanged]:
        return [message for message in self.messages if isinstance(message, PhaseChanged)]

    @property
    def phases(self) -> list[Phase]:
        return [change.view.phase for change in self.changes]

    @property
    def samples(self) -> list[Sample]:
        return [message for message in self.messages if isinstance(message, Sample)]


class Life:
    """One profile's actor on a machine, with what the bus said. Make it with `life`."""

    def __init__(self, machine: Machine, profile: Profile, limits: Limits, pools: list[ThreadPoolExecutor]) -> None:
        self.machine = machine
        self.bus = Bus()
        self.heard = Heard(self.bus)
        self.file = LogPart()
        self.samples: int | None = None
        self.look: Callable[[], int | None] = lambda: self.samples
        ports = machine.ports
        self.context = Context(
            ports,
            Gatekeeper(ports, pools[1]),
            Prover(ports, freed_s=0.0, later_s=0.0, sleep=lambda _: None),
            pools[0],
            self.bus,
            lambda *_: self.file,
            lambda _: limits,
            ready_line_s=0.0,
            end_s=0.0,
            samples=lambda: self.look(),
        )
        self.actor = RunActor(profile, self.context)

    @property
    def engine(self) -> Process:
        """The engine of the first launch."""
        return self.machine.target.engine()

    def waits_for(self, *phases: Phase) -> RunView:
        return self.heard.phase(*phases)

    def until(self, wanted: Callable[[RunView], bool]) -> RunView:
        view = self.actor.wait(wanted, DEADLINE_S)
        assert wanted(view), view
        return view

    def loads(self) -> Process:
        """Start, and come to LOADING."""
        self.actor.start()
        engine = self.engine
        engine.starts()
        self.waits_for(Phase.LOADING)
        return engine

    def answers(self, lines: Sequence[LogLine | str] | None = None) -> Process:
        """Come to the proof, with the log of a clean run (or `lines`) and memory to match."""
        engine = self.loads()
        engine.takes()
        engine.says(llama_lines("full14-np1") if lines is None else lines)
        self.machine.http.status = 200
        return engine

    def serves(self) -> Process:
        """Come to READY."""
        engine = self.answers()
        self.waits_for(Phase.READY)
        return engine


@contextmanager
def life(
    profile: Profile = LLAMA, machine: Machine | None = None, limits: Limits = QUICK, **changes: float
) -> Iterator[Life]:
    """An actor on a machine; `changes` are deadlines other than those of `limits`. Ends all threads."""
    pools = [ThreadPoolExecutor(4), ThreadPoolExecutor(4)]
    alive = Life(machine or Machine(), profile, replace(limits, **changes), pools)  # type: ignore[arg-type]
    try:
        yield alive
    finally:
        alive.machine.target.open.set()
        assert alive.actor.close(DEADLINE_S)
        for pool in pools:
            pool.shutdown()


def vllm_lines(name: str = "q14") -> list[LogLine]:
    """Both streams of a recorded vLLM run, one after the other."""
    return [
        line for stream in (Stream.STDOUT, Stream.STDERR) for line in split_log(vllm_text(name, stream) or "", stream)
    ]


def unreachable(*_: object) -> NoReturn:
    """For ports that a test must not reach."""
    raise AssertionError("must not be asked")
