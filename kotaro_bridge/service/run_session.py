"""What a run holds while it lasts (`Session`), and what all runs of a machine share (`Context`). Plain data."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from kotaro_bridge.domain.engine.reasons import Judgement
from kotaro_bridge.domain.ports import EngineProcess
from kotaro_bridge.domain.ports_http import EngineHttp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.gate import GateReport
from kotaro_bridge.domain.run.remedy import Remedy
from kotaro_bridge.domain.run.run_view import Speed
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service.asked import Asked
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.gatekeeper import Clearance, Gatekeeper
from kotaro_bridge.service.load_slot import LoadSlot
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.prover import Prover
from kotaro_bridge.service.run_log import LogFile, RunLog

_VRAM_STEP = 64 * MIB  # less is the desktop's coming and going, no sign of a model that loads
UNWATCHED_LOOKS = 12  # one in 5 s while a run serves


@dataclass(frozen=True, slots=True)
class Context:
    """What all actors of a machine share.

    Args:
        open_log: opens the file of a run's log; None keeps no file.
        end_s: how long the end of an engine that does not answer the proof may take to be told.
        clock: monotonic seconds, of which some systems count a sleep and others do not.
        samples: how many samples have been judged for the runs; None where nobody is to watch.
        ready_line_s: how long the ready line may come after the first good answer: it travels through a pipe or two.
    """

    machine: Machine
    gatekeeper: Gatekeeper
    prover: Prover
    pool: Executor
    bus: Bus
    open_log: Callable[[Profile, str], LogFile | None]
    limits: Callable[[Profile], rs.Limits]
    ready_line_s: float = 3.0
    end_s: float = 1.0
    load_slot: LoadSlot = field(default_factory=LoadSlot)
    clock: Callable[[], float] = time.monotonic
    samples: Callable[[], int | None] = lambda: None


@dataclass(slots=True)
class Session:
    """Everything of one generation, from clearance to confirmation.

    Args:
        asked: what the gate has asked and has no answer to yet.
        first_line: cursor of the ring where this run's lines begin.
        proved: a proof has passed; a later one cannot go by what was in use before the start.
        exited: the engine ended (by itself, or after it was told to).
        end_told: an end has been put to the run.
        taken_per_card: bytes by which the memory of each card had grown when it was proved; empty where not known.
        used_at_end: bytes in use on each card when the end began, empty where not known; moved_at_end: bytes by which
            shared GPU memory had risen by then, which are no longer on the card.
        remedies: what would let a refused or failed start work; need: see `GateResult`.
        samples_seen: how many samples had been judged at the last look; unwatched: looks in a row at which there were
            no more of them than before.
        lines_seen, vram_seen: log lines, and the most VRAM in use, when it was last asked whether loading moves;
            load_asked: that is being asked.
    """

    generation: int
    run_id: str
    asked: Asked = field(default_factory=Asked)
    report: GateReport | None = None
    clearance: Clearance | None = None
    log: RunLog | None = None
    process: EngineProcess | None = None
    http: EngineHttp | None = None
    judgement: Judgement | None = None
    speed: Speed | None = None
    vram_taken: int | None = None
    taken_per_card: tuple[int, ...] = ()
    used_at_end: tuple[int, ...] = ()
    moved_at_end: int = 0
    first_line: int = 0
    proved: bool = False
    exited: bool = False
    end_told: threading.Event = field(default_factory=threading.Event)
    remedies: tuple[Remedy, ...] = ()
    need: Callable[[Profile], tuple[int, ...]] = lambda _: ()
    samples_seen: int | None = None
    unwatched: int = 0
    lines_seen: int = 0
    vram_seen: int = 0
    load_asked: bool = False

    def has_moved(self, used: int) -> bool:
        """True if the log moved or VRAM grew since this was asked last: 20 GB from a Windows drive take their time.

        Args:
            used: bytes of VRAM in use on the run's cards.
        """
        lines, grown = self.log.lines if self.log else 0, used > self.vram_seen + _VRAM_STEP
        moved = grown or lines != self.lines_seen
        self.lines_seen, self.vram_seen = lines, used if grown else self.vram_seen
        return moved

    def look_at_load(self, context: Context, cards: tuple[int, ...]) -> rs.Event:
        """At the end of the time for loading: goes it on, or was that all? Blocks."""
        moved = self.has_moved(sum(context.prover.used(cards)))
        self.load_asked = False
        return rs.Progress(self.generation) if moved else rs.TimerFired(self.generation, rs.Timer.LOAD)

    def note_end(self, context: Context, cards: tuple[int, ...]) -> None:
        """What is in use when the end begins, and how much Windows has moved off the card by then. Blocks."""
        self.used_at_end = context.prover.used(cards)
        counters = context.machine.counters.read()
        shared = counters.shared if counters else None
        before = self.clearance.shared_before if self.clearance else None
        self.moved_at_end = max(0, shared - before) if shared is not None and before is not None else 0

    def is_unwatched(self, samples: int | None) -> bool:
        """True if nobody has judged a sample over some looks at a run that serves: telemetry hangs, fails or is gone.
        Looks are counted, not seconds: a PC that sleeps does not look either.

        Args:
            samples: how many have been judged by now; None where nobody is to watch.
        """
        still = self.proved and samples is not None and samples == self.samples_seen
        self.samples_seen, self.unwatched = samples, self.unwatched + 1 if still else 0
        return self.unwatched >= UNWATCHED_LOOKS
