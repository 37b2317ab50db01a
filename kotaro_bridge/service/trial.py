"""A try: an edited profile is started, proved, measured and stopped, stored or not. Nothing of it stays behind.

Owns the order of these steps. The run itself is an actor like any other, with the same gate and the same proof.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run import run_state as rs
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.service.run_actor import RunActor
from kotaro_bridge.service.supervisor import Supervisor

_ENDED = frozenset({Phase.REFUSED, Phase.FAILED, Phase.STOPPED, Phase.ORPHANED})
_START_S = 3600.0  # the run's own deadlines are shorter: loading is waited for as long as it moves
_STOP_S = 60.0


class TrialEnd(StrEnum):
    """What came of a try."""

    PROVED = "proved"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LEFT = "left"
    """It did not come to rest: something is left over."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a try. `view`: as the run was when it was proved, else as it ended."""

    end: TrialEnd
    view: RunView


class Trial:
    """One try of a profile. `cancel` may come from any thread, at any time.

    Raises:
        ProblemError: on construction, `editor.trial_running`.
    """

    def __init__(self, supervisor: Supervisor, profile: Profile) -> None:
        self._supervisor = supervisor
        self._lock = threading.Lock()
        self._cancelled = False
        self._actor: RunActor = supervisor.begin_trial(profile)

    def run(self) -> TrialResult:
        """Start, prove, measure and stop. Blocks until nothing of it runs any more, or is reported as left over."""
        actor = self._actor
        try:
            with self._lock:
                if self._cancelled:
                    return TrialResult(TrialEnd.CANCELLED, actor.view)
                actor.start()
            seen = actor.wait(lambda view: view.phase in (*_ENDED, Phase.READY), _START_S)
            if seen.phase not in rs.RESTING:
                actor.stop()
            last = actor.wait(lambda view: view.phase in (*rs.RESTING, Phase.ORPHANED), _STOP_S)
            if last.phase not in rs.RESTING:
                return TrialResult(TrialEnd.LEFT, last)
            if seen.phase is Phase.READY:
                return TrialResult(TrialEnd.PROVED, seen)
            if last.phase is Phase.REFUSED:
                return TrialResult(TrialEnd.REFUSED, last)
            return TrialResult(TrialEnd.FAILED if last.phase is Phase.FAILED else TrialEnd.CANCELLED, last)
        finally:
            self._supervisor.end_trial(actor)

    def cancel(self) -> None:
        """Stop it wherever it is. Returns at once."""
        with self._lock:
            self._cancelled = True
            self._actor.stop()
