"""A desk for window tests: the real bus and log ring, runs that the test moves by hand, telemetry from a formula."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kotaro_bridge.domain.engine.engine_log import DeviceFacts, Engine, LogFacts, LogLine, Stream
from kotaro_bridge.domain.engine.reasons import Judgement, Reason, ReasonCode, Verdict
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess, GpuSnapshot
from kotaro_bridge.domain.profile import Profile, VllmOptions, VramNeed
from kotaro_bridge.domain.run.gate import GateFacts, GateReport, Need, judge
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.run.remedy import Remedy, RemedyKind
from kotaro_bridge.domain.run.run_state import RESTING, Phase
from kotaro_bridge.domain.run.run_view import Endpoint, PhaseChanged, RunView, Sample, Speed, Throughput
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.domain.wsl.wslconfig_effect import Affected, EffectReport
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts, ModelLoad
from kotaro_bridge.domain.wsl.wslconfig_store import WslConfigStore
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.log_ring import LogRing
from kotaro_bridge.service.supervisor import TRIAL
from kotaro_bridge.service.wslconfig_edit import Editor
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.desk import About, Desk
from tests.helpers.memory_store import MemoryStore
from tests.ui.fake_app import FakeDiagnostics, FakeSettings, FakeUpdates
from tests.ui.fake_models import FakeModels
from tests.ui.fake_profiles import FakeProfiles

CARD = GpuSnapshot(
    0,
    "GPU-1",
    "NVIDIA GeForce RTX 4070",
    12282 * MIB,
    11000 * MIB,
    1062 * MIB,
    "581.57",
    "8.9",
    0.02,
    41,
    14.0,
    10501,
    192,
)


def profile(profile_id: str, title: str, engine: Engine, need_mib: int, *, images: bool = False) -> Profile:
    """A profile as the built-in ones look."""
    return Profile(
        title=title,
        engine=engine,
        executable="~/llama.cpp/llama-server",
        model=f"~/models/{profile_id}.gguf",
        served_name=profile_id,
        context=8192,
        port=8080 if engine is Engine.LLAMA_SERVER else 8000,
        id=profile_id,
        need=VramNeed(need_mib, "measured: captures"),
        vllm=VllmOptions(images=images) if engine is Engine.VLLM else None,
    )


Q14 = profile("qwen2.5-14b-q4", "Qwen2.5 14B Q4_K_M", Engine.LLAMA_SERVER, 10405)
Q32 = profile("qwen2.5-32b-q4", "Qwen2.5 32B Q4_K_M", Engine.LLAMA_SERVER, 21500)
A7 = profile("qwen2.5-7b-awq", "Qwen2.5 7B AWQ", Engine.VLLM, 8600)
A14 = profile("qwen2.5-14b-awq", "Qwen2.5 14B AWQ", Engine.VLLM, 13400)
A32 = profile("qwen2.5-32b-awq", "Qwen2.5 32B AWQ", Engine.VLLM, 22900)
F7 = profile("qwen2.5-7b-fp16", "Qwen2.5 7B FP16", Engine.VLLM, 17900)
CPM = profile("minicpm-v-2.6", "MiniCPM-V 2.6", Engine.VLLM, 9800, images=True)
PROFILES = (Q14, Q32, A7, A14, A32, F7, CPM)

GOOD = Judgement(
    Verdict.GPU,
    (),
    LogFacts(
        devices={"CUDA0": DeviceFacts(8148 * MIB, 1536 * MIB, 307 * MIB)},
        devices_used=("CUDA0",),
        host_model=417 * MIB,
        layers=49,
        layers_total=49,
        splits=2,
        n_ctx=8192,
        n_ctx_slot=8192,
        version="v0.5.0-dev (10566)",
    ),
)
BAD = Judgement(
    Verdict.PARTIAL,
    (
        Reason(
            ReasonCode.LAYERS_ON_CPU,
            Stream.STDERR,
            182,
            "load_tensors: offloaded 20/49 layers to GPU",
            {"layers": 20, "total": 49},
        ),
        Reason(
            ReasonCode.KV_ON_CPU,
            Stream.STDERR,
            240,
            "llama_kv_cache:        CPU KV buffer size =   896.00 MiB",
            {"device": "CPU", "size_bytes": 896 * MIB},
        ),
    ),
    LogFacts(devices={"CUDA0": DeviceFacts(3400 * MIB, 640 * MIB, 300 * MIB)}, layers=20, layers_total=49, splits=408),
)


HOLDERS = (
    Holder(HolderKind.OLLAMA, "qwen3:8b", 5200 * MIB, "qwen3:8b"),
    Holder(HolderKind.RUN, "Qwen2.5 7B AWQ", 3100 * MIB, "qwen2.5-7b-awq"),
    Holder(HolderKind.PROCESS, "blender.exe", 640 * MIB),
    Holder(HolderKind.DISTRO, "WSL (docker-desktop)", None),
)
REMEDIES = (
    Remedy(RemedyKind.UNLOAD, "qwen3:8b", "qwen3:8b"),
    Remedy(RemedyKind.STOP_RUN, "qwen2.5-7b-awq", "Qwen2.5 7B AWQ"),
    Remedy(RemedyKind.CONTEXT, "6144", "6144"),
    Remedy(RemedyKind.KV_TYPE, "q8_0", "q8_0"),
)
SPILLED = problem(
    "watch.spill",
    "shared GPU memory: 1480 MiB, 210 MiB before the start",
    rise_bytes=1270 * MIB,
    allowed_bytes=256 * MIB,
)


def gate(
    need_mib: int,
    free_mib: int = 11000,
    *,
    port_free: bool | None = True,
    total_mib: int = 12282,
    holders: tuple[Holder, ...] = HOLDERS,
) -> GateReport:
    """The real gate's answer for a card with this much free."""
    cards = (replace(CARD, free=free_mib * MIB, total=total_mib * MIB),)
    return judge(
        GateFacts(
            driver=cards,
            driver_late=cards,
            wsl=True,
            target=cards,
            engine="v0.5.0-dev",
            model=9 * GIB,
            port=8080,
            port_windows_free=port_free,
            port_target_free=True,
            forwarding=True,
            need=Need(need_mib * MIB, "measured: captures"),
            holders=holders,
        )
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a streamed answer."""

    text: str
    done: bool = False
    tokens_per_s: float | None = None
    first_token_s: float | None = None


class FakeSupervisor:
    """Runs that the test moves with `move`; calls are kept in `asked`."""

    def __init__(self, bus: Bus, profiles: tuple[Profile, ...] = PROFILES) -> None:
        self.bus = bus
        self.asked: list[tuple[str, str]] = []
        self.problems: tuple[Problem, ...] = ()
        self.read: Callable[[str], Profile] = self._never_read
        self.on_start: Callable[[str], None] | None = None
        self.on_stop: Callable[[str], None] | None = None
        self.on_apply: Callable[[str, Remedy], None] | None = None
        self._profiles = profiles
        self._views = {p.id: RunView(p.id, Phase.IDLE, 0, time.time()) for p in profiles}
        self._logs = {p.id: LogRing() for p in profiles}

    def _never_read(self, profile_id: str) -> Profile:
        raise ProblemError(problem("profile.unknown", id=profile_id, known=""))

    def profiles(self) -> tuple[Profile, ...]:
        return self._profiles

    def profile_problems(self) -> tuple[Problem, ...]:
        return self.problems

    def view(self, profile_id: str) -> RunView:
        return self._views[profile_id]

    def log(self, profile_id: str) -> LogRing:
        return self._logs[profile_id]

    def start(self, profile_id: str) -> None:
        self.asked.append(("start", profile_id))
        if self.on_start is not None:
            self.on_start(profile_id)

    def stop(self, profile_id: str) -> None:
        self.asked.append(("stop", profile_id))
        if self.on_stop is not None:
            self.on_stop(profile_id)

    def apply(self, profile_id: str, remedy: Remedy) -> None:
        self.asked.append((remedy.word, profile_id))
        if self.on_apply is not None:
            self.on_apply(profile_id, remedy)

    def stop_all(self) -> None:
        for profile_id, view in self._views.items():
            if view.phase not in RESTING:
                self.stop(profile_id)

    def end_all(self) -> None:
        self.stop_all()

    def live(self) -> tuple[RunView, ...]:
        return tuple(view for view in self._views.values() if view.phase not in RESTING)

    def all_resting(self) -> bool:
        return not self.live()

    def begin_try(self) -> None:
        self._views[TRIAL] = RunView(TRIAL, Phase.CHECKING, 1, time.time())

    def adopt(self, profiles: tuple[Profile, ...]) -> None:
        """The profiles as their files are now."""
        self._profiles = profiles
        for profile in profiles:
            self._views.setdefault(profile.id, RunView(profile.id, Phase.IDLE, 0, time.time()))
            self._logs.setdefault(profile.id, LogRing())

    def reload(self, profile_id: str) -> None:
        known = {profile.id: profile for profile in self._profiles}
        self.adopt(tuple((known | {profile_id: self.read(profile_id)}).values()))

    def forget(self, profile_id: str) -> None:
        try:
            self.reload(profile_id)
        except ProblemError:
            self._profiles = tuple(profile for profile in self._profiles if profile.id != profile_id)

    def check_resting(self, profile_id: str) -> None:
        if self.view(profile_id).phase not in RESTING:
            raise ProblemError(problem("profile.running", id=profile_id))

    def change(self, changed: Profile) -> None:
        """A remedy changed a profile."""
        self._profiles = tuple(changed if profile.id == changed.id else profile for profile in self._profiles)

    def move(self, profile_id: str, phase: Phase, **more: object) -> None:
        """Publish a transition, as the actor would."""
        old = self._views[profile_id]
        view = replace(old, phase=phase, since=time.time(), problem=None, endpoint=None, warning=None, remedies=())
        if phase in (Phase.READY, Phase.UNRESPONSIVE):
            view = replace(
                view,
                endpoint=self.endpoint(profile_id),
                judgement=GOOD,
                speed=Speed(38.2, 0.63),
                vram_taken=10405 * MIB,
            )
        if phase in RESTING:
            view = replace(view, vram_taken=None)
        view = replace(view, **more)  # type: ignore[arg-type]
        self._views[profile_id] = view
        self.bus.publish(PhaseChanged(old.phase, view))

    def endpoint(self, profile_id: str) -> Endpoint:
        chosen = next(p for p in self._profiles if p.id == profile_id)
        return Endpoint(
            f"http://localhost:{chosen.port}/v1", chosen.served_name, "kb-4f1d93c07a2e5588", chosen.sees_images
        )

    def refuse(self, profile_id: str, report: GateReport, *remedies: Remedy) -> None:
        self.move(profile_id, Phase.CHECKING)
        self.move(profile_id, Phase.REFUSED, gate=report, problem=report.blocking[0].message, remedies=remedies)

    def warn(self, profile_id: str) -> None:
        self.move(profile_id, Phase.READY, warning=SPILLED)

    def fail(self, profile_id: str) -> None:
        self.move(profile_id, Phase.STOPPING, judgement=BAD)
        why = problem("proof.layers_on_cpu", "load_tensors: offloaded 20/49 layers to GPU", layers=20, total=49)
        self.move(profile_id, Phase.FAILED, judgement=BAD, problem=why)

    def orphan(self, profile_id: str) -> None:
        self.move(profile_id, Phase.ORPHANED, problem=problem("stop.processes_left", pids="812, 815"))


class FakeTelemetry:
    """Samples from a formula: the card fills while a run is live, and answers come in waves."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.samples: list[Sample] = []
        self.watched: list[bool] = []
        self.power: list[str] = []

    def latest(self) -> Sample | None:
        return self.samples[-1] if self.samples else None

    def history(self) -> tuple[Sample, ...]:
        return tuple(self.samples)

    def set_watched(self, watched: bool) -> None:
        self.watched.append(watched)

    def sleeps(self) -> None:
        self.power.append("sleeps")

    def wakes(self) -> None:
        self.power.append("wakes")

    def fill(
        self, seconds: int, profile_id: str | None = None, taken_mib: int = 0, gap: tuple[int, int] = (0, 0)
    ) -> None:
        """One sample a second, ending now; in the `gap` (seconds from the start) nothing answers."""
        start = self.samples[-1].at + 1 if self.samples else 1000.0
        for second in range(seconds):
            self.samples.append(self._sample(start + second, profile_id, taken_mib, silent=gap[0] <= second < gap[1]))

    def tick(self) -> None:
        self.bus.publish(self.samples[-1])

    def _sample(self, at: float, profile_id: str | None, taken_mib: int, *, silent: bool) -> Sample:
        wave = max(0.0, math.sin(at / 7.0)) if profile_id else 0.0
        used = (1062 + taken_mib) * MIB
        card = replace(
            CARD,
            used=used,
            free=CARD.total - used - 220 * MIB,
            utilization=min(0.97, 0.02 + wave),
            power_w=14 + 150 * wave,
            temperature_c=round(41 + 20 * wave),
        )
        processes = (GpuProcess(4, "ollama.exe", 640 * MIB, 0), GpuProcess(5, "chrome.exe", 212 * MIB, 0))
        counters = GpuCounters(round((0.21 + 0.02 * wave) * GIB), processes)
        speed = 0.0 if wave < 0.15 else 36 + 4 * math.sin(at)
        prompt = 1450.0 if 0.15 < wave < 0.4 else 0.0
        rates = (Throughput(profile_id, speed, prompt, 1 if wave else 0),) if profile_id else ()
        return Sample(at, time.time(), () if silent else (card,), None if silent else counters, () if silent else rates)


class FakeConnect:
    """Answers with prepared pieces, then fails if told so."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = [Piece("The bridge "), Piece("stands."), Piece("", True, 38.2, 0.31)]
        self.error: Problem | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.images: list[bool] = []

    def test_chat(self, endpoint: Endpoint, *, with_image: bool) -> Iterator[Piece]:
        self.images.append(with_image)
        for piece in self.pieces:
            if not self.hold.wait(10):
                return
            yield piece
        if self.error is not None:
            raise ProblemError(self.error)


STEPS = ("stop_runs", "shutdown", "start", "prove", "start_runs")
"""Of a restart, as `service.wslconfig_restart.Step` names them."""
PC = HostFacts(32 * GIB, 16, 400 * GIB, None, (ModelLoad("Qwen2.5 14B Q4_K_M", 9 * GIB),))
"""The PC that the settings of WSL are for."""


class FakeWslConfig:
    """The real editor on a file in memory or of the test; WSL is what the test says."""

    def __init__(self) -> None:
        self.store: WslConfigStore = MemoryStore(None)
        self.facts = PC
        self.met = Affected(("Ubuntu-24.04",), ("Qwen2.5 14B Q4_K_M",), False)
        self.report = EffectReport(())
        self.error: Problem | None = None
        self.waits_after_save = True
        self.running_with: bytes | None = None
        self.restarts = 0

    def use(self, store: WslConfigStore) -> None:
        """Another file, with which WSL runs."""
        self.store = store
        self.running_with = store.read().data

    def editor(self) -> Editor:
        return Editor(self.store, self.facts)

    def affected(self) -> Affected:
        if self.error is not None:
            raise ProblemError(self.error)
        return self.met

    def restart(self, progress: Callable[[str], None]) -> EffectReport:
        self.restarts += 1
        for step in STEPS:
            progress(step)
        if self.error is not None:
            raise ProblemError(self.error)
        self.running_with = self.store.read().data
        return self.report

    def effects(self) -> EffectReport:
        if self.error is not None:
            raise ProblemError(self.error)
        return self.report

    def pending(self) -> bool:
        return self.waits_after_save and self.store.read().data != self.running_with


class FakeWorld:
    """The desk with the parts that a test moves."""

    def __init__(
        self, language: str = "en", simulated: str | None = "rtx4070-12gb", profiles: tuple[Profile, ...] = PROFILES
    ):
        self.bus = Bus()
        self.supervisor = FakeSupervisor(self.bus, profiles)
        self.telemetry = FakeTelemetry(self.bus)
        self.connect = FakeConnect()
        self.wslconfig = FakeWslConfig()
        self.profiles = FakeProfiles(self.supervisor, GOOD)
        self.models = FakeModels(self.bus)
        self.settings = FakeSettings()
        self.updates = FakeUpdates(self.bus)
        self.diagnostics = FakeDiagnostics()
        self.threads: list[threading.Thread] = []
        self.desk = Desk(
            self.supervisor,
            self.telemetry,
            self.connect,
            self.bus,
            self.submit,
            Texts(language),
            simulated,
            "0.1.0",
            self.wslconfig,
            self.models,
            self.profiles,
            self.settings,
            self.updates,
            self.diagnostics,
            About(Path("logs"), Path("licences")),
            "en",
        )

    def submit(self, call: Callable[[], None]) -> None:
        thread = threading.Thread(target=call, daemon=True)
        self.threads.append(thread)
        thread.start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()

    def log(self, profile_id: str, *lines: str) -> None:
        for number, text in enumerate(lines, 1):
            self.supervisor.log(profile_id).append(LogLine(Stream.STDERR, number, text))
