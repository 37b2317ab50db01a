"""What the outside sees of runs: values that windows, the command line and other processes read. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.engine.reasons import Judgement
from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.gpu import GpuCounters, GpuSnapshot
from kotaro_bridge.domain.run.gate import GateReport
from kotaro_bridge.domain.run.remedy import Remedy
from kotaro_bridge.domain.run.run_state import Phase


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where clients reach a ready model. `api_key` is None where the engine asks for none."""

    base_url: str
    model: str
    api_key: str | None
    images: bool


@dataclass(frozen=True, slots=True)
class Speed:
    """Result of the warm-up.

    Args:
        of_limit: share of what the card's memory bandwidth allows (0 to 1); None where bandwidth or bytes per token are
            not known.
        baseline: tokens per second that this profile is known for here (same engine, driver and mode); None before the
            first proved run.
        slow: far below what the card allows, and no baseline says that this is usual: shown as "slow, not proved".
    """

    tokens_per_s: float
    of_limit: float | None
    baseline: float | None = None
    slow: bool = False


@dataclass(frozen=True, slots=True)
class RunView:
    """One profile's run, as shown.

    Args:
        since: wall-clock time of the last phase change, seconds since the epoch.
        cause: in ORPHANED, why the run was being stopped.
        endpoint: only in READY and UNRESPONSIVE: before the proof no address is offered.
        vram_taken: bytes by which VRAM has grown since the start, where known.
        warning: what the watch found in a run that serves and whose profile says `watch = "warn"`; None if all is well.
        remedies: what would make a refused or failed start work, the best first.
    """

    profile_id: str
    phase: Phase
    generation: int
    since: float
    problem: Problem | None = None
    cause: Problem | None = None
    gate: GateReport | None = None
    judgement: Judgement | None = None
    speed: Speed | None = None
    endpoint: Endpoint | None = None
    vram_taken: int | None = None
    warning: Problem | None = None
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """Published on every real transition, never for a step that changes nothing. A run that serves and begins to be
    warned of changes too: `old` is then the phase that it is in.
    """

    old: Phase
    view: RunView


@dataclass(frozen=True, slots=True)
class Throughput:
    """Token rates of one run at a moment. None: no data (a gap), 0.0: no requests."""

    profile_id: str
    generation_tps: float | None
    prompt_tps: float | None
    requests: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One tick of telemetry.

    Args:
        at: monotonic seconds; wall: seconds since the epoch.
        gpus: empty if the driver did not answer.
    """

    at: float
    wall: float
    gpus: tuple[GpuSnapshot, ...]
    counters: GpuCounters | None
    throughput: tuple[Throughput, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should hear that is no state of a run, such as what an earlier run left behind.

    Args:
        profile_id: of the profile that it is about, such as one whose remedy failed; empty where it is about none.
    """

    problem: Problem
    profile_id: str = ""
