"""How much video memory a start has to find free, and what vLLM is then given of it.

Owns how plan and profile come together: the larger of what each says counts. Reads nothing; what fits is the plan's
business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan import (
    RESERVE_BYTES,
    GgufPlanned,
    Plan,
    PlanCard,
    PlannedModel,
    budget_needs,
    free_needed,
    plan,
    request_of,
    stated_card,
)
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.gate import UNASKED, Need

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """What a start needs of each card, and llama-server's layers on each; none for one card."""

    need: Need | Problem
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Needs:
    """One model, for any profile of it.

    Args:
        model: as it can be planned; None where nothing of it could be read, or the problem met.
        asked: the target answered at all.
        learned: what earlier starts on this PC teach.
    """

    model: PlannedModel | Problem | None
    asked: bool
    learned: Learned

    def need(self, profile: Profile) -> Need | Problem:
        """VRAM that has to be free, on all cards together."""
        named = profile.stated_need or 0
        if named and profile.engine is Engine.VLLM:
            named = budget_needs(named)
        stated = Need(named, profile.need.source if profile.need else "")
        found = self._plan(profile)
        if isinstance(found, Problem):
            return stated if named else found
        computed = free_needed(found)
        return stated if named >= computed else Need(computed, "header")

    def budget(self, profile: Profile) -> int | None:
        """Bytes that vLLM's utilization has to grant, on all cards together; None where nobody says."""
        found = self._plan(profile)
        computed = 0 if isinstance(found, Problem) else found.needed_budget or 0
        return max(profile.stated_need or 0, computed) or None

    def spread(self, profile: Profile, free: tuple[int, ...], total: tuple[int, ...]) -> Spread:
        """The need over the profile's cards: layers by free memory for llama-server, like parts for vLLM, whose tensor
        parallel cuts every layer.

        Args:
            free: bytes free on each card, empty where that is not known; total: bytes of each.

        Raises:
            ProblemError: `plan.more_cards_than_layers`.
        """
        need, count = self.need(profile), len(profile.gpus)
        if count == 1 or isinstance(need, Problem):
            return Spread(need)
        if profile.engine is Engine.VLLM:
            each = budget_needs(-(-(self.budget(profile) or 0) // count))
            return Spread(Need(each * count, need.source, (each,) * count))
        if not isinstance(self.model, GgufPlanned) or not free:
            return Spread(replace(need, per_card=(-(-need.vram // count),) * count))
        found = plan(self.model, request_of(profile), _stated(free))
        if not found.fits:
            # Layers by what the cards have in all: of a model that fits them empty, the card is told that others hold.
            found = plan(self.model, request_of(profile), _stated(total))
        computed = [part + RESERVE_BYTES for part in found.per_card]
        # A profile that states more than the plan computes knows something of all cards.
        more = max(0, -(-((profile.stated_need or 0) - sum(computed)) // count))
        per_card = tuple(part + more for part in computed)
        return Spread(Need(sum(per_card), need.source, per_card), found.layers)

    def per_card(self, profile: Profile, free: tuple[int, ...], total: tuple[int, ...]) -> tuple[int, ...]:
        """Bytes of VRAM per card for the model in another profile; empty if that is not known."""
        found = answer(partial(self.spread, profile, free, total))
        if isinstance(found, Problem) or isinstance(found.need, Problem):
            return ()
        return found.need.per_card or (found.need.vram,)

    def _plan(self, profile: Profile) -> Plan | Problem:
        if not self.asked:
            return UNASKED
        if self.model is None:
            return problem("gate.need.unknown")
        if isinstance(self.model, Problem):
            return self.model
        return answer(partial(plan, self.model, request_of(profile), None, self.learned))


def _stated(sizes: tuple[int, ...]) -> tuple[PlanCard, ...]:
    return tuple(replace(stated_card(size), reserve=RESERVE_BYTES) for size in sizes)


def answer(read: Callable[[], T]) -> T | Problem:
    """What was read, or the problem met while reading: the gate judges both."""
    try:
        return read()
    except ProblemError as error:
        return error.problem
