"""The protocols that adapters (`host`) and the simulated PC (`simulator`) implement, and the values that cross them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from kotaro_bridge.domain.engine.engine_devices import DeviceAnswer
from kotaro_bridge.domain.engine.engine_log import Engine, LogLine
from kotaro_bridge.domain.gpu import GpuCounters, GpuSnapshot
from kotaro_bridge.domain.planning.learned import Learned, Start
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.profile_edit import Changes


class GpuProbe(Protocol):
    """Facts about the cards from the machine that owns them (NVML on Windows and local Linux)."""

    def snapshot(self) -> tuple[GpuSnapshot, ...]:
        """All cards now.

        Raises:
            ProblemError: no driver, no NVML library, driver lost.
        """


class CountersProbe(Protocol):
    """Windows performance counters of the GPU: shared memory and holders by process."""

    def read(self) -> GpuCounters | None:
        """The counters now; `None` where there are none (Linux, or counters switched off)."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished one-off command. `stdout` and `stderr` are text, CRLF normalised to LF.

    Args:
        asked: what was asked, in as many words as name it; limit_s: how long it might take.
    """

    code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    asked: str = ""
    limit_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Started:
    """The engine's process leader exists inside the target."""

    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The engine's process leader ended.

    Args:
        code: None when `signal` ended it.
        oom_kills: processes that the kernel has killed for want of RAM since the start, anywhere in the VM; None if it
            does not tell.
    """

    code: int | None
    signal: int | None
    oom_kills: int | None = None


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The guardian looked for survivors of the run; `left` are pids that even KILL did not end."""

    left: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The launching process (wsl.exe, sh) ended; nothing more will come. `cleaned` tells whether the guardian had
    reported.

    Args:
        code: exit code of the launching process.
        tail: last lines it printed itself, for the details (wsl.exe errors come on stdout).
    """

    code: int
    cleaned: bool
    tail: tuple[str, ...]


ProcessEvent: TypeAlias = Started | Exited | Cleaned | ChannelClosed


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """A command for the Linux side, ready to run.

    Args:
        argv: program and arguments; a leading `~/` of any argument means the home folder of the target's user.
        env: variables to set.
        unset: names or prefixes (ending in `*`) of variables to remove first, unless named in `keep`.
        keep: variables that survive `unset`.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    unset: tuple[str, ...]
    keep: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that an engine reads by itself, whatever its command line.

    Args:
        avoidable: the environment of a start keeps the engine from it.
        lines: how it begins.
    """

    path: str
    avoidable: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What a target says about engine, model and port. None: it did not say.

    Args:
        engine: True if the executable can be run, False if it is not there; `engine_unusable`: there, but not
            executable.
        model, projector: bytes of the file, 0 for a folder, -1 if it is missing; None where not asked for.
        port_free: nobody listens on the port inside the target.
        devices: the engine's answer to the question for its devices.
        configs: files that the engine would read by itself.
        memory, swap: bytes of RAM and swap that the target has in all.
        missing_parts: files that the index of a model folder names and that are not there.
    """

    engine: bool | None
    engine_unusable: bool
    model: int | None
    projector: int | None
    port_free: bool | None
    devices: DeviceAnswer | None = None
    configs: tuple[ConfigFile, ...] | None = None
    memory: int | None = None
    swap: int | None = None
    missing_parts: tuple[str, ...] = ()


class EngineProcess(Protocol):
    """A running engine under its guardian. All methods return at once; what follows arrives as process events."""

    def stop(self, grace_s: float) -> None:
        """TERM to the whole group, KILL after `grace_s` seconds."""

    def kill(self) -> None:
        """KILL to the whole group now."""

    def abandon(self) -> None:
        """Close every pipe and end the launching process; the guardian then ends the engine by itself."""


class Launcher(Protocol):
    """Runs things on the Linux side of one target (a WSL distro, this machine)."""

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None) -> Completed:
        """Run one short command and wait.

        Raises:
            ProblemError: the target cannot be reached (wsl.exe missing, no such distro, WSL broken).
        """

    def probe(self, engine: Engine, question: EngineCommand, model: str, projector: str, port: int) -> TargetFacts:
        """What the target says about engine, model and port, in one call; "" for what is not wanted.

        Args:
            question: for the engine's devices, see `domain.command.device_question`. While it is answered it may hold
                a CUDA context of some 530 MiB.

        Raises:
            ProblemError: the target cannot be reached.
        """

    def read_at(self, path: str, offset: int, size: int, *, timeout_s: float = 30.0) -> bytes:
        """Up to `size` bytes of a file of the target from `offset`.

        Raises:
            ProblemError: the file is missing or unreadable, or the target cannot be reached.
        """

    def launch(
        self,
        run_id: str,
        command: EngineCommand,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> EngineProcess:
        """Start an engine under the guardian; callbacks come from pump threads.

        Raises:
            ProblemError: the target cannot be reached.
        """

    def leftovers(self) -> tuple[str, ...]:
        """Run ids of engines that an earlier owner left behind and that still live. Does not start a stopped distro."""

    def reap(self, run_id: str, grace_s: float) -> tuple[int, ...]:
        """End a leftover run; returns the pids still there afterwards."""

    def nvidia_smi(self) -> tuple[GpuSnapshot, ...]:
        """The second witness: the cards as nvidia-smi inside the target sees them.

        Raises:
            ProblemError: nvidia-smi missing, blocked, or without an answer.
        """


class ProfileStore(Protocol):
    """The files of the profiles."""

    def read(self, profile_id: str) -> Profile:
        """A profile as its file is now.

        Raises:
            ProblemError: the file is gone, unreadable or no profile.
        """

    def change(self, profile_id: str, changes: Changes) -> Profile:
        """Set keys of the user's file, None to take one out; a built-in profile is copied to the user first.

        Returns:
            The profile as it is now.

        Raises:
            ProblemError: the file cannot be read or written, or would be no profile any more. It is as it was then.
        """


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """A model that Ollama has loaded.

    Args:
        name: as Ollama calls it, tag included.
        vram_bytes: its part on the card; None where Ollama does not tell.
    """

    name: str
    vram_bytes: int | None


class Ollama(Protocol):
    """The Ollama of this machine, the usual other program that keeps a model on the card."""

    def loaded(self) -> tuple[OllamaModel, ...]:
        """The models it has loaded; empty where no Ollama listens. Never raises."""

    def unload(self, name: str) -> None:
        """Have it let go of one model, and wait until it has. A model that is not loaded is fine.

        Raises:
            ProblemError: Ollama does not answer, refuses, or keeps the model.
        """


@dataclass(frozen=True, slots=True)
class SpeedKey:
    """What a measured speed belongs to: another value of any part is another baseline.

    Args:
        profile: the profile's id; settings: fingerprint of what in it changes the speed.
        version: of the engine; driver: of the card, as NVML says it.
        mode: how the engine runs (`graphs`, `eager`, "" where there is one way only).
    """

    profile: str
    settings: str
    engine: str
    version: str
    driver: str
    card: str
    mode: str


@dataclass(frozen=True, slots=True)
class StartPlace:
    """Where a start was measured: what it took holds there alone.

    Args:
        card: its name, as NVML says it.
        driver: branch of the driver and whose memory it manages, such as `580 wsl`.
    """

    engine: str
    card: str
    driver: str


class StartHistory(Protocol):
    """What proved starts took of the card. No method raises: a store that is broken has learned nothing."""

    def learned(self, place: StartPlace) -> Learned:
        """The newest starts there, of the engine version that was started last."""

    def record(self, place: StartPlace, version: str, start: Start) -> None:
        """Keep what a proved start took."""


class SpeedHistory(Protocol):
    """Speeds of proved runs. No method raises: a store that is broken has no baseline."""

    def baseline(self, key: SpeedKey) -> float | None:
        """Tokens per second that are usual under this key; None before the first proved run."""

    def record(self, key: SpeedKey, tokens_per_s: float, of_limit: float | None) -> None:
        """Keep what a proved run measured; `of_limit` is its share of what the card allows, where known."""

    def forget(self, profile_id: str) -> None:
        """Forget what is usual for a profile: its next proved run is measured as the first one was."""
