"""What would help a run that failed, and the carrying out of remedies that need more than a changed profile.

Owns the facts that the rules of `domain/run/remedy.py` are asked with after a failure. Decides nothing.
"""

from __future__ import annotations

from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.gpu import cards_at
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.remedy import Remedy, after_failure
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.run_session import Session


def remedies_for(machine: Machine, profile: Profile, session: Session, why: Problem) -> tuple[Remedy, ...]:
    """What would help after a run ended by itself; asks the driver, so not on an actor's thread."""
    try:
        gpus = machine.gpu.snapshot()
    except ProblemError:
        gpus = ()
    frees = [card.free for card in cards_at(gpus, profile.gpus) if card.free is not None]
    return after_failure(profile, why, session.need, tuple(frees) if len(frees) == len(profile.gpus) else ())
