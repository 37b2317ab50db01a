"""The vocabulary of a run: its phases, what can happen to it, what can have to be done. Pure data.

The rules over it are in `run_transition.py`. The path of a start: CHECKING (gate) -> LAUNCHING -> LOADING -> PROVING ->
READY (watch) -> STOPPING -> STOPPED.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from kotaro_bridge.domain.errors import Problem


class Phase(StrEnum):
    """Where a run is. REFUSED and FAILED keep their reason; FAILED is entered only when nothing is left running."""

    IDLE = "idle"
    CHECKING = "checking"
    REFUSED = "refused"
    LAUNCHING = "launching"
    LOADING = "loading"
    PROVING = "proving"
    READY = "ready"
    UNRESPONSIVE = "unresponsive"
    STOPPING = "stopping"
    KILLING = "killing"
    STOPPED = "stopped"
    FAILED = "failed"
    ORPHANED = "orphaned"


RESTING = frozenset({Phase.IDLE, Phase.REFUSED, Phase.STOPPED, Phase.FAILED})
SPAWNED = frozenset({Phase.LAUNCHING, Phase.LOADING, Phase.PROVING, Phase.READY, Phase.UNRESPONSIVE})
STARTING = frozenset({Phase.CHECKING, Phase.LAUNCHING, Phase.LOADING, Phase.PROVING})
SERVING = frozenset({Phase.READY, Phase.UNRESPONSIVE})
ENDING = frozenset({Phase.STOPPING, Phase.KILLING})


class Timer(StrEnum):
    """Named deadlines; arming one again replaces it."""

    CHECK = "check"
    LAUNCH = "launch"
    LOAD = "load"
    PROBE = "probe"
    PROVE = "prove"
    STOP = "stop"
    KILL = "kill"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in seconds. The grace stays below WSL's idle timer of 15 s (reference wsl-exe §4.5). A check asks
    several questions, each of which is given up after 10 to 30 s (`host`): its own deadline is for what has none.
    """

    check_s: float = 120.0
    launch_s: float = 30.0
    load_s: float = 180.0
    first_probe_s: float = 0.25
    probe_s: float = 1.0
    ready_probe_s: float = 5.0
    prove_s: float = 60.0
    grace_s: float = 10.0
    stop_margin_s: float = 4.0
    kill_s: float = 5.0
    retry_s: float = 10.0
    misses_to_unresponsive: int = 3


@dataclass(frozen=True, slots=True)
class Run:
    """State of one profile's run.

    Args:
        generation: counts starts; answers of an earlier generation are dropped.
        problem: why it was refused or is being stopped; None for a stop that was asked for.
        cause: in ORPHANED, why it was being stopped; `problem` then says what is left.
        misses: health probes without an answer in a row.
        attached: the launching process (wsl.exe, sh) is still there.
        warning: what the watch found in a run that may go on with it; only in READY, UNRESPONSIVE and PROVING.
    """

    phase: Phase = Phase.IDLE
    generation: int = 0
    problem: Problem | None = None
    cause: Problem | None = None
    misses: int = 0
    attached: bool = False
    warning: Problem | None = None


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartRequested:
    """A person or script wants the run."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person or script wants it ended."""


@dataclass(frozen=True, slots=True)
class GateAnswered:
    """`problem` is None if the gate passed."""

    generation: int
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The launching process could not be started; nothing runs."""

    generation: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class EngineStarted:
    """The guardian reported the engine's process."""

    generation: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The log or VRAM moved: loading is alive."""

    generation: int


@dataclass(frozen=True, slots=True)
class ReadyLine:
    """The engine's own log says it is listening."""

    generation: int


@dataclass(frozen=True, slots=True)
class Disqualified:
    """Something shows that the model is not wholly on the GPU, or that this can no longer be proved."""

    generation: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Warned:
    """The watch found something that the profile's policy lets go on; it stands until a later proof holds."""

    generation: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class HealthAnswered:
    """Answer of one health probe; `ok` is HTTP 200."""

    generation: int
    ok: bool


@dataclass(frozen=True, slots=True)
class ProofAnswered:
    """`problem` is None if all evidence is there and says GPU."""

    generation: int
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class ProofWanted:
    """After resume or a driver change the proof must hold again before the address is offered."""

    generation: int


@dataclass(frozen=True, slots=True)
class EngineExited:
    """The engine's process ended; `problem` says why, as far as the log tells."""

    generation: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Detached:
    """The launching process ended; nothing more will come from it. `problem` if it had not been expected."""

    generation: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Answer to `Confirm`: None if no process and no VRAM of the run is left."""

    generation: int
    leftover: Problem | None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A deadline passed; `waiting` names what was still asked, as far as that is known."""

    generation: int
    timer: Timer
    waiting: tuple[str, ...] = ()


Event: TypeAlias = (
    StartRequested
    | StopRequested
    | GateAnswered
    | SpawnFailed
    | EngineStarted
    | Progress
    | ReadyLine
    | Disqualified
    | Warned
    | HealthAnswered
    | ProofAnswered
    | ProofWanted
    | EngineExited
    | Detached
    | Confirmed
    | TimerFired
)


# --- effects --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CheckGate:
    """Read the facts and judge them."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the engine under its guardian. Follows only a passed gate of the same generation."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask `/health` once."""


@dataclass(frozen=True, slots=True)
class Prove:
    """Judge all evidence and run the warm-up request."""


@dataclass(frozen=True, slots=True)
class SendStop:
    """TERM to the group, KILL after the grace."""


@dataclass(frozen=True, slots=True)
class SendKill:
    """KILL to the group."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Close the pipes and end the launching process."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Look for processes and VRAM of the run, end what is left, and say what remains."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Set a deadline."""

    timer: Timer
    seconds: float


Effect: TypeAlias = CheckGate | Spawn | Probe | Prove | SendStop | SendKill | Abandon | Confirm | Arm
Step: TypeAlias = tuple[Run, tuple[Effect, ...]]
