"""What a proved start took of the card, kept for the next plan of this PC.

Owns where a start is remembered and which of its figures. What they may change is `learned`'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kotaro_bridge.domain.engine.command import UTILIZATION
from kotaro_bridge.domain.engine.engine_log import Engine, LogFacts
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.planning.learned import Learned, Start, model_key
from kotaro_bridge.domain.planning.plan import request_of
from kotaro_bridge.domain.ports import EngineCommand, StartPlace
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.service.machine import Machine

if TYPE_CHECKING:
    from kotaro_bridge.service.gatekeeper import Clearance


def place_on(engine: Engine, card: GpuSnapshot, *, local: bool) -> StartPlace | None:
    """Where a start is measured; None where the driver does not tell enough. Windows' driver manages memory in another
    way than Linux's own, also for the same card.
    """
    if card.driver is None or not card.name:
        return None
    side = "linux" if local else "wsl"
    return StartPlace(engine.value, card.name, f"{card.driver.partition('.')[0]} {side}")


def place_of(profile: Profile, card: GpuSnapshot) -> StartPlace | None:
    """Where a start of the profile is measured."""
    return place_on(profile.engine, card, local=profile.is_local)


def learned_at(machine: Machine, place: StartPlace | None) -> Learned:
    """What earlier starts there teach."""
    return machine.starts.learned(place) if place is not None else Learned()


def learned_for(machine: Machine, profile: Profile, card: GpuSnapshot | None) -> Learned:
    """What earlier starts teach about a start of this profile on this card."""
    place = place_of(profile, card) if card is not None and len(profile.gpus) == 1 else None
    return learned_at(machine, place)


def remember(
    machine: Machine,
    profile: Profile,
    clearance: Clearance,
    facts: LogFacts,
    cards: tuple[GpuSnapshot, ...],
    taken: tuple[int, ...],
) -> None:
    """Keep what a start took that was just proved; one on several cards, or of which something is not known, teaches
    nothing.

    Args:
        taken: bytes by which the used memory of each card grew.
    """
    if clearance.planned is None or facts.version is None or len(cards) != 1 or len(taken) != 1:
        return
    place, parts = place_of(profile, cards[0]), _parts(profile, facts)
    if place is None or parts is None:
        return
    budget = _budget(clearance.command, cards[0])
    start = Start(model_key(clearance.planned), request_of(profile), taken[0], *parts, budget)
    machine.starts.record(place, facts.version, start)


def _parts(profile: Profile, facts: LogFacts) -> tuple[int, int, int] | None:
    """Weights, KV cache, and compute buffers or CUDA graphs, by the engine's log."""
    if profile.engine is Engine.VLLM:
        if facts.weights is None or facts.available_kv is None:
            return None
        return facts.weights, facts.available_kv, facts.graphs or 0
    buffers = facts.devices.get(profile.devices[0])
    if buffers is None or buffers.model is None or buffers.kv is None or buffers.compute is None:
        return None
    return buffers.model, buffers.kv, buffers.compute


def _budget(command: EngineCommand, card: GpuSnapshot) -> int | None:
    """What vLLM's utilization stands for; None for llama-server. The engine's total leaves out what the driver
    reserves.
    """
    argv = command.argv
    if UTILIZATION not in argv or card.free is None or card.used is None:
        return None
    return round(float(argv[argv.index(UTILIZATION) + 1]) * (card.free + card.used))
