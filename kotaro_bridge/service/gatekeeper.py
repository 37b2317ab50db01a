"""The gate's eyes: reads the facts that `domain/run/gate.py` judges, right before a start.

Owns the order of reading (free VRAM last, from both witnesses) and the target's probe script. Decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from kotaro_bridge.domain.engine.command import build_command, device_question
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuCounters, card_at, cards_at
from kotaro_bridge.domain.model.gguf import GgufModel, read_projector
from kotaro_bridge.domain.planning.plan import GgufPlanned, HfPlanned, PlannedModel, vllm_utilization
from kotaro_bridge.domain.ports import EngineCommand, Launcher, TargetFacts
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.gate import (
    UNASKED,
    Check,
    CheckId,
    GateFacts,
    GateReport,
    Gpus,
    Need,
    Status,
    free_per_card,
    judge,
)
from kotaro_bridge.domain.run.remedy import Remedy, at_gate
from kotaro_bridge.domain.wsl.wslconfig import parse
from kotaro_bridge.service import target_facts
from kotaro_bridge.service.asked import Asked
from kotaro_bridge.service.block_cache import HEADER_BLOCK, BlockCache
from kotaro_bridge.service.holders import Holders, Serving
from kotaro_bridge.service.learning import learned_for
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.model_config import planned_from_config
from kotaro_bridge.service.model_header import read_model
from kotaro_bridge.service.needs import Needs, Spread, answer

T = TypeVar("T")

FRESH_S = 5.0  # facts of a start are no older
_READINGS = 3


@dataclass(frozen=True, slots=True)
class Clearance:
    """What a passed gate hands to the start.

    Args:
        command: the engine's command.
        used_before: bytes in use on each of the profile's cards just before the start; empty where not known.
        shared_before: bytes of shared GPU memory then.
        model: the model's header, where it has one.
        counters_before: the whole reading that `shared_before` is of.
        memory, swap: bytes of RAM and swap that the target has in all; None where it did not say.
        projector: bytes of all tensors of the projector, by its header; None without one.
        planned: the model as it was planned; None where the profile alone said what it needs.
    """

    command: EngineCommand
    used_before: tuple[int, ...]
    shared_before: int | None
    model: GgufModel | None
    counters_before: GpuCounters | None = None
    memory: int | None = None
    swap: int | None = None
    projector: int | None = None
    planned: PlannedModel | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """The gate's answer.

    Args:
        clearance: only if the report is ok.
        remedies: what would let a refused start pass, the best first.
        need: bytes of VRAM per card that a start of a changed profile would be held against, empty if that is not
            known.
    """

    report: GateReport
    clearance: Clearance | None
    remedies: tuple[Remedy, ...] = ()
    need: Callable[[Profile], tuple[int, ...]] = lambda _: ()


class Gatekeeper:
    """Reads the facts about one machine.

    Args:
        pool: runs independent reads side by side; a start waits for the slowest, not for the sum.
        clock: monotonic seconds.
        serving: the runs of this user that serve now.
    """

    def __init__(
        self,
        machine: Machine,
        pool: Executor,
        clock: Callable[[], float] = time.monotonic,
        serving: Callable[[], tuple[Serving, ...]] = lambda: (),
    ) -> None:
        self._machine = machine
        self._pool = pool
        self._clock = clock
        self._holders = Holders(machine, serving)

    def check(self, profile: Profile | None = None, need: int | None = None, asked: Asked | None = None) -> GateResult:
        """Read everything and judge it. Without a profile only driver and WSL side are checked, with `need` VRAM as
        well.

        Args:
            asked: where the questions under way can be seen.
        """
        if profile is None:
            stated = Need(need, "") if need is not None else None
            facts = GateFacts(driver=answer(self._machine.gpu.snapshot), need=stated)
            report = judge(facts)
            if not _lacks_vram(report):
                return GateResult(report, None)
            holders = self._holders.find(None, (), self._machine.counters.read(), wsl=False)
            return GateResult(judge(replace(facts, holders=holders)), None)
        stale = GateReport(())
        for _ in range(_READINGS):
            begun = self._clock()
            result = self._read(profile, asked or Asked())
            # The first call may have started the VM: what was read before it is old by the time the rest is there.
            if not result.report.ok or self._clock() - begun <= FRESH_S:
                return result
            stale = result.report
        slow = Check(CheckId.VRAM, Status.UNKNOWN, problem("gate.slow.unknown", seconds=FRESH_S))
        return GateResult(replace(stale, checks=(*stale.checks[:-1], slow)), None)

    def _read(self, profile: Profile, asked: Asked) -> GateResult:
        launcher = self._machine.launcher(profile)

        def ask(name: str, question: Callable[[], T]) -> Future[T | Problem]:
            return self._pool.submit(asked.answer, name, question)

        driver = ask("NVML", self._machine.gpu.snapshot)
        wsl = ask("wsl.exe --list", partial(self._wsl, profile))
        wanted = "" if target_facts.fetched_by_vllm(profile) else profile.model
        question = device_question(profile)
        probed_by = partial(launcher.probe, profile.engine, question, wanted, profile.projector, profile.port)
        probe = ask("kotaro-probe", probed_by)
        # The header is on its way before the probe has told that there is a model: each call into WSL takes its time.
        begin = ask(wanted, partial(launcher.read_at, wanted, 0, HEADER_BLOCK)) if _has_header(profile) else None
        config = ask(wanted, partial(planned_from_config, launcher, profile)) if _has_config(profile) else None
        forwarding = None if profile.is_local else asked.answer(".wslconfig", self._forwarding)
        port_here = asked.answer(f"port {profile.port}", partial(self._machine.port_free, profile.port))
        wslanswer = wsl.result()
        # What a distro that cannot be reached says of itself is no answer, and is not waited for.
        probed = wslanswer if isinstance(wslanswer, Problem) else probe.result()
        size = target_facts.model(probed, profile)
        model = self._header(profile, launcher, size, begin)
        projector = self._projector(profile, launcher, probed)
        planned = _planned(model, probed, config.result() if config is not None and size is not None else None)
        first_seen = driver.result()
        card = card_at(first_seen, profile.gpus[0]) if isinstance(first_seen, tuple) else None
        learned = learned_for(self._machine, profile, card)
        needs = Needs(planned, not isinstance(probed, Problem), learned)

        def cards_in_target() -> Gpus:
            if isinstance(probed, Problem):
                raise ProblemError(UNASKED)  # where that hangs, so would this
            return launcher.nvidia_smi()

        # Last of all the free VRAM, from both sides at once: an engine that lists its devices holds some meanwhile.
        target = ask("nvidia-smi", cards_in_target)
        late = asked.answer("NVML", self._machine.gpu.snapshot)
        counters = self._machine.counters.read()
        target_gpus = target.result()
        cards = cards_at(late, profile.gpus) if isinstance(late, tuple) else ()
        facts = GateFacts(
            gpus=profile.gpus,
            local=profile.is_local,
            driver=first_seen,
            driver_late=late,
            wsl=probed if isinstance(probed, Problem) and not profile.is_local else wslanswer,
            target=target_gpus,
            engine=target_facts.engine(probed, profile),
            engine_gpu=target_facts.engine_gpu(probed, profile, cards),
            configs=target_facts.configs(probed, profile),
            model=next((fact for fact in (model, projector) if isinstance(fact, Problem)), size),
            port=profile.port,
            port_windows_free=port_here,
            port_target_free=target_facts.port(probed, profile, port_here),
            forwarding=forwarding,
        )
        room = free_per_card(facts), tuple(card.total for card in cards)
        spread = answer(partial(needs.spread, profile, *room))
        layers = spread.layers if isinstance(spread, Spread) else ()
        budget = needs.budget(profile)
        command = answer(partial(self._command, profile, budget, target_gpus, layers))
        facts = replace(
            facts,
            arguments=command if isinstance(command, Problem) else None,
            need=spread.need if isinstance(spread, Spread) else spread,
        )
        report = judge(facts)
        needed = partial(needs.per_card, free=room[0], total=room[1])
        if not report.ok or isinstance(command, Problem):
            return self._refused(profile, facts, report, counters, needed)
        shared = counters.shared if counters else None
        used = [card.used for card in cards if card.used is not None]
        header = model if isinstance(model, GgufModel) else None
        memory, swap = (probed.memory, probed.swap) if isinstance(probed, TargetFacts) else (None, None)
        vision = projector if isinstance(projector, int) else None
        before = tuple(used) if len(used) == len(cards) else ()
        known = planned if not isinstance(planned, Problem) else None
        clearance = Clearance(command, before, shared, header, counters, memory, swap, vision, known)
        return GateResult(report, clearance, need=needed)

    def _refused(
        self,
        profile: Profile,
        facts: GateFacts,
        report: GateReport,
        counters: GpuCounters | None,
        needed: Callable[[Profile], tuple[int, ...]],
    ) -> GateResult:
        """Who is in the way, and what would help. Asked only now: a start that passes does not wait for it."""
        if self._holders.serves(profile):
            # Its own engine has the ports, and the memory that a second one would lack: nothing is to be freed.
            runs = problem("gate.runs_already", title=profile.title)
            here, there = (
                runs if free is False else free for free in (facts.port_windows_free, facts.port_target_free)
            )
            return GateResult(judge(replace(facts, port_windows_free=here, port_target_free=there)), None)
        others = self._holders.others(profile)
        if _lacks_vram(report):
            holders = self._holders.find(profile, others, counters, wsl=facts.wsl is True)
            report = judge(replace(facts, holders=holders))
        else:
            report = replace(report, holders=tuple(each.holder for each in others))
        same_port = {each.profile.id for each in others if each.profile.port == profile.port}
        return GateResult(report, None, at_gate(profile, report, needed, same_port), needed)

    def _wsl(self, profile: Profile) -> bool | None:
        """True if WSL answers and the distro exists; None where no WSL is involved. Raises ProblemError."""
        if profile.is_local:
            return None
        names = self._machine.installed_distros()
        if not names:
            raise ProblemError(problem("wsl.no_distro"))
        if profile.distro and profile.distro.lower() not in (name.lower() for name in names):
            raise ProblemError(problem("wsl.distro_not_found", distro=profile.distro))
        return True

    @staticmethod
    def _header(
        profile: Profile, launcher: Launcher, size: int | Problem | None, begin: Future[bytes | Problem] | None
    ) -> GgufModel | Problem | None:
        """The GGUF header, read anew at every start; None for vLLM; the problem if the file is no whole GGUF."""
        if begin is None or not isinstance(size, int):
            return None
        first = begin.result()
        if isinstance(first, Problem):
            return first
        return answer(partial(read_model, launcher, profile.model, size, first))

    @staticmethod
    def _projector(profile: Profile, launcher: Launcher, probed: TargetFacts | Problem) -> int | Problem | None:
        """Bytes of the projector's tensors, by its own header; None without one, the problem if the file is none."""
        size = probed.projector if isinstance(probed, TargetFacts) else None
        if profile.engine is not Engine.LLAMA_SERVER or not profile.projector or size is None or size < 1:
            return None
        read_at = BlockCache(partial(launcher.read_at, profile.projector), HEADER_BLOCK)
        return answer(partial(read_projector, read_at, size))

    @staticmethod
    def _command(
        profile: Profile, budget: int | None, target: Gpus | Problem, layers: tuple[int, ...]
    ) -> EngineCommand:
        utilization = None
        if profile.engine is Engine.VLLM and budget and isinstance(target, tuple):
            cards = cards_at(target, profile.gpus)
            # The engine's total leaves out what the driver reserves: free and used together (captures: 81,079 of
            # 81,559 MiB). A budget beyond the card is the VRAM check's business; the argument just has to be a share.
            totals = [gpu.free + gpu.used for gpu in cards if gpu.free is not None and gpu.used is not None]
            if totals and len(totals) == len(cards):
                # One share for all cards: the smallest has to grant its part of the budget.
                total = min(totals)
                utilization = vllm_utilization(min(-(-budget // len(cards)), total), total)
        return build_command(profile, utilization=utilization, layers=layers)

    def _forwarding(self) -> bool | None:
        """`localhostForwarding` as WSL will read it; None where the networking mode does not use it (reference
        wsl-exe §5).
        """
        text = self._machine.wslconfig()
        if text is None:
            return True
        values = parse(text).values
        mode = str(values.get("wsl2.networkingMode", "nat")).lower()
        if mode == "none":
            return False
        if mode not in ("nat", "bridged"):
            return None
        return values.get("wsl2.localhostForwarding", True) is not False


def _planned(
    model: GgufModel | Problem | None, probed: TargetFacts | Problem, config: HfPlanned | Problem | None
) -> PlannedModel | Problem | None:
    """The model as far as its own files tell; None where nothing of it could be read."""
    if isinstance(model, GgufModel):
        return GgufPlanned(model, max(0, probed.projector or 0) if isinstance(probed, TargetFacts) else 0)
    return config


def _has_config(profile: Profile) -> bool:
    return profile.engine is Engine.VLLM and not target_facts.fetched_by_vllm(profile)


def _has_header(profile: Profile) -> bool:
    return profile.engine is Engine.LLAMA_SERVER


def _lacks_vram(report: GateReport) -> bool:
    return any(check.id is CheckId.VRAM for check in report.blocking)
