"""The plan of a profile on this PC: its model read where it lies, the card as it is now, and a second opinion.

Owns the reading. What fits is the plan's business; a start asks `gatekeeper`, which reads the same by the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from kotaro_bridge.domain.engine.command import device_question
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.gpu import GpuSnapshot, cards_at
from kotaro_bridge.domain.model.gguf import read_projector
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan import GgufPlanned, Plan, PlanCard, PlannedModel, plan, planned_card, request_of
from kotaro_bridge.domain.planning.second_opinion import Opinion, decode_opinion, question
from kotaro_bridge.domain.ports import Launcher
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.service.block_cache import HEADER_BLOCK, BlockCache
from kotaro_bridge.service.learning import learned_at, learned_for, place_on
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.model_config import planned_from_config
from kotaro_bridge.service.model_header import read_model
from kotaro_bridge.service.target_facts import fetched_by_vllm

_OPINION_S = 60.0  # a stopped distro has to boot first
# Nothing of the target's environment reaches the tool but what finds it and its libraries: LLAMA_ARG_* would change the
# answer. A leading ~/ is the home folder there.
_ASK = """
for a do case $a in "~/"*) a=$HOME/${a#"~/"} ;; esac; set -- "$@" "$a"; shift; done
exec env -i HOME="$HOME" PATH="$PATH" LD_LIBRARY_PATH="$LD_LIBRARY_PATH" "$@"
"""


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """A profile's plan; `opinion` is llama.cpp's own estimate, None where there is none; `learned` what it rests on."""

    model: PlannedModel
    plan: Plan
    opinion: Opinion | None
    learned: Learned


class Planning:
    """Plans profiles of one machine. Blocking; not for an actor's thread."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def cards(self, indices: tuple[int, ...]) -> tuple[GpuSnapshot, ...]:
        """The cards now.

        Raises:
            ProblemError: the driver does not answer, or `plan.no_card` (`index`).
        """
        found = cards_at(self._machine.gpu.snapshot(), indices)
        if not found:
            raise ProblemError(problem("plan.no_card", index=max(indices)))
        return found

    def learned(self, engine: Engine, card: GpuSnapshot, *, local: bool) -> Learned:
        """What earlier starts of an engine teach on this card; `local`: Linux owns it, not Windows."""
        return learned_at(self._machine, place_on(engine, card, local=local))

    def model(self, profile: Profile) -> PlannedModel:
        """The model by the headers of its files, read on the target.

        Raises:
            ProblemError: the target or the files cannot be read, or `plan.model_elsewhere` (vLLM fetches it itself).
        """
        launcher = self._machine.launcher(profile)
        if profile.engine is Engine.VLLM:
            if fetched_by_vllm(profile):
                raise ProblemError(problem("plan.model_elsewhere", model=profile.model))
            return planned_from_config(launcher, profile)
        model = read_model(launcher, profile.model, None)
        projector = 0
        if profile.projector:
            projector = read_projector(BlockCache(partial(launcher.read_at, profile.projector), HEADER_BLOCK), None)
        return GgufPlanned(model, projector, profile.title)

    def plan(self, profile: Profile) -> ProfilePlan:
        """The plan for the cards as they are now. Raises ProblemError as `model`, `cards` and `plan`."""
        model, cards = self.model(profile), self.cards(profile.gpus)
        known: tuple[PlanCard, ...] = tuple(planned_card(card) for card in cards)
        learned = learned_for(self._machine, profile, cards[0])
        found = plan(model, request_of(profile), known, learned)
        return ProfilePlan(model, found, self._opinion(profile), learned)

    def _opinion(self, profile: Profile) -> Opinion | None:
        """Asked in the environment of a start; a tool that is not there or fails has no opinion."""
        asked = question(profile) if profile.engine is Engine.LLAMA_SERVER else None
        if asked is None:
            return None
        settings = (f"{name}={value}" for name, value in device_question(profile).env.items())
        return _answer(self._machine.launcher(profile), (*settings, *asked))


def _answer(launcher: Launcher, asked: tuple[str, ...]) -> Opinion | None:
    try:
        done = launcher.run(["/bin/sh", "-c", _ASK, "second-opinion", *asked], timeout_s=_OPINION_S)
    except ProblemError:
        return None
    return decode_opinion(done.stdout) if done.code == 0 else None
