"""The gate's eyes: reads the facts that `domain/gate.py` judges, right before a start.

Owns the order of reading (free VRAM last, from both witnesses) and the target's probe script. Decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from kotaro_bridge.domain.command import build_command, device_question
from kotaro_bridge.domain.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gate import (
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
from kotaro_bridge.domain.gguf import GgufModel, read_gguf, read_projector
from kotaro_bridge.domain.gpu import GpuCounters, cards_at
from kotaro_bridge.domain.plan import (
    RESERVE_BYTES,
    GgufPlanned,
    budget_needs,
    free_needed,
    plan,
    request_of,
    stated_card,
    vllm_utilization,
)
from kotaro_bridge.domain.ports import EngineCommand, Launcher, TargetFacts
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.remedy import Remedy, at_gate
from kotaro_bridge.domain.wslconfig import parse
from kotaro_bridge.service import target_facts
from kotaro_bridge.service.holders import Holders, Serving
from kotaro_bridge.service.machine import Machine

T = TypeVar("T")

FRESH_S = 5.0  # facts of a start are no older
_READINGS = 3
_HEADER_BLOCK = 8 << 20  # one call into the target costs more than the bytes: a Qwen tokenizer fits into one block


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
    """

    command: EngineCommand
    used_before: tuple[int, ...]
    shared_before: int | None
    model: GgufModel | None
    counters_before: GpuCounters | None = None
    memory: int | None = None
    swap: int | None = None
    projector: int | None = None


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

    def check(self, profile: Profile | None = None, need: int | None = None) -> GateResult:
        """Read everything and judge it. Without a profile only driver and WSL side are checked, with `need` VRAM as
        well.
        """
        if profile is None:
            stated = Need(need, "") if need is not None else None
            facts = GateFacts(driver=_answer(self._machine.gpu.snapshot), need=stated)
            report = judge(facts)
            if not _lacks_vram(report):
                return GateResult(report, None)
            holders = self._holders.find(None, (), self._machine.counters.read(), wsl=False)
            return GateResult(judge(replace(facts, holders=holders)), None)
        stale = GateReport(())
        for _ in range(_READINGS):
            begun = self._clock()
            result = self._read(profile)
            # The first call may have started the VM: what was read before it is old by the time the rest is there.
            if not result.report.ok or self._clock() - begun <= FRESH_S:
                return result
            stale = result.report
        slow = Check(CheckId.VRAM, Status.UNKNOWN, problem("gate.slow.unknown", seconds=FRESH_S))
        return GateResult(replace(stale, checks=(*stale.checks[:-1], slow)), None)

    def _read(self, profile: Profile) -> GateResult:
        launcher = self._machine.launcher(profile)
        ask = self._pool.submit
        driver = ask(_answer, self._machine.gpu.snapshot)
        wsl = ask(_answer, partial(self._wsl, profile))
        wanted = "" if target_facts.fetched_by_vllm(profile) else profile.model
        question = device_question(profile)
        probe = ask(_answer, partial(launcher.probe, profile.engine, question, wanted, profile.projector, profile.port))
        # The header is on its way before the probe has told that there is a model: each call into WSL takes its time.
        begin = ask(_answer, partial(launcher.read_at, wanted, 0, _HEADER_BLOCK)) if _has_header(profile) else None
        forwarding = None if profile.is_local else _answer(self._forwarding)
        port_here = _answer(partial(self._machine.port_free, profile.port))
        wsl_answer = wsl.result()
        # What a distro that cannot be reached says of itself is no answer, and is not waited for.
        probed = wsl_answer if isinstance(wsl_answer, Problem) else probe.result()
        size = target_facts.model(probed, profile)
        model = self._header(profile, launcher, size, begin)
        projector = self._projector(profile, launcher, probed)
        need = self._need(profile, model, probed)

        def cards_in_target() -> Gpus:
            if isinstance(probed, Problem):
                raise ProblemError(UNASKED)  # where that hangs, so would this
            return launcher.nvidia_smi()

        # Last of all the free VRAM, from both sides at once: an engine that lists its devices holds some meanwhile.
        target = ask(_answer, cards_in_target)
        late = _answer(self._machine.gpu.snapshot)
        counters = self._machine.counters.read()
        target_gpus = target.result()
        cards = cards_at(late, profile.gpus) if isinstance(late, tuple) else ()
        facts = GateFacts(
            gpus=profile.gpus,
            local=profile.is_local,
            driver=driver.result(),
            driver_late=late,
            wsl=probed if isinstance(probed, Problem) and not profile.is_local else wsl_answer,
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
        spread = _answer(partial(_spread, profile, need, model, probed, free_per_card(facts)))
        layers = spread.layers if isinstance(spread, _Spread) else ()
        command = _answer(partial(self._command, profile, target_gpus, layers))
        facts = replace(
            facts,
            arguments=command if isinstance(command, Problem) else None,
            need=spread.need if isinstance(spread, _Spread) else spread,
        )
        report = judge(facts)
        needed = partial(self._needed, model, probed, report.free)
        if not report.ok or isinstance(command, Problem):
            return self._refused(profile, facts, report, counters, needed)
        shared = counters.shared if counters else None
        used = [card.used for card in cards if card.used is not None]
        header = model if isinstance(model, GgufModel) else None
        memory, swap = (probed.memory, probed.swap) if isinstance(probed, TargetFacts) else (None, None)
        vision = projector if isinstance(projector, int) else None
        before = tuple(used) if len(used) == len(cards) else ()
        clearance = Clearance(command, before, shared, header, counters, memory, swap, vision)
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
        read_at = BlockCache(partial(launcher.read_at, profile.model), _HEADER_BLOCK, first)
        return _answer(partial(read_gguf, read_at, size))

    @staticmethod
    def _projector(profile: Profile, launcher: Launcher, probed: TargetFacts | Problem) -> int | Problem | None:
        """Bytes of the projector's tensors, by its own header; None without one, the problem if the file is none."""
        size = probed.projector if isinstance(probed, TargetFacts) else None
        if profile.engine is not Engine.LLAMA_SERVER or not profile.projector or size is None or size < 1:
            return None
        read_at = BlockCache(partial(launcher.read_at, profile.projector), _HEADER_BLOCK)
        return _answer(partial(read_projector, read_at, size))

    @staticmethod
    def _need(profile: Profile, model: GgufModel | Problem | None, probed: TargetFacts | Problem) -> Need | Problem:
        """VRAM that has to be free: the larger of what the plan and the profile say."""
        named = profile.stated_need or 0
        if named and profile.engine is Engine.VLLM:
            named = budget_needs(named)
        stated = Need(named, profile.need.source if profile.need else "")
        if not isinstance(model, GgufModel) or not isinstance(probed, TargetFacts):
            unknown = UNASKED if isinstance(probed, Problem) else problem("gate.need.unknown")
            return stated if stated.vram else unknown
        projector = max(0, probed.projector or 0)
        planned = _answer(partial(plan, GgufPlanned(model, projector), request_of(profile), None))
        if isinstance(planned, Problem):
            return stated if stated.vram else planned
        computed = free_needed(planned)
        return stated if stated.vram >= computed else Need(computed, "header")

    @staticmethod
    def _needed(
        model: GgufModel | Problem | None, probed: TargetFacts | Problem, free: tuple[int, ...], profile: Profile
    ) -> tuple[int, ...]:
        """Bytes of VRAM per card for the same model in another profile."""
        found = _answer(partial(_spread, profile, Gatekeeper._need(profile, model, probed), model, probed, free))
        if not isinstance(found, _Spread) or not isinstance(found.need, Need):
            return ()
        return found.need.per_card or (found.need.vram,)

    def _command(self, profile: Profile, target: Gpus | Problem, layers: tuple[int, ...]) -> EngineCommand:
        utilization = None
        budget = profile.stated_need
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


class BlockCache:
    """A `ReadAt` that fetches large blocks, for channels where a call costs more than its bytes."""

    def __init__(self, read_at: Callable[[int, int], bytes], block: int, begin: bytes = b"") -> None:
        self._read_at = read_at
        self._block = block
        self._start = 0
        self._data = begin

    def __call__(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`."""
        if not (self._start <= offset and offset + size <= self._start + len(self._data)):
            self._start, self._data = offset, self._read_at(offset, max(size, self._block))
        begin = offset - self._start
        return self._data[begin : begin + size]


@dataclass(frozen=True, slots=True)
class _Spread:
    """What a start needs of each card, and llama-server's layers on each; none for one card."""

    need: Need | Problem
    layers: tuple[int, ...] = ()


def _spread(
    profile: Profile,
    need: Need | Problem,
    model: GgufModel | Problem | None,
    probed: TargetFacts | Problem,
    free: tuple[int, ...],
) -> _Spread:
    """A need over the profile's cards: layers by free memory for llama-server, like parts for vLLM, whose tensor
    parallel cuts every layer. Raises ProblemError for more cards than layers.
    """
    count = len(profile.gpus)
    if count == 1 or isinstance(need, Problem):
        return _Spread(need)
    if profile.engine is Engine.VLLM and profile.stated_need:
        each = budget_needs(-(-profile.stated_need // count))
        return _Spread(Need(each * count, need.source, (each,) * count))
    if not isinstance(model, GgufModel) or not free:
        return _Spread(replace(need, per_card=(-(-need.vram // count),) * count))
    projector = max(0, probed.projector or 0) if isinstance(probed, TargetFacts) else 0
    cards = tuple(replace(stated_card(size), reserve=RESERVE_BYTES) for size in free)
    found = plan(GgufPlanned(model, projector), request_of(profile), cards)
    computed = [part + RESERVE_BYTES for part in found.per_card]
    # A profile that states more than the plan computes knows something of all cards.
    more = max(0, -(-((profile.stated_need or 0) - sum(computed)) // count))
    per_card = tuple(part + more for part in computed)
    return _Spread(Need(sum(per_card), need.source, per_card), found.layers)


def _has_header(profile: Profile) -> bool:
    return profile.engine is Engine.LLAMA_SERVER


def _lacks_vram(report: GateReport) -> bool:
    return any(check.id is CheckId.VRAM for check in report.blocking)


def _answer(read: Callable[[], T]) -> T | Problem:
    """What was read, or the problem met while reading: the gate judges both."""
    try:
        return read()
    except ProblemError as error:
        return error.problem
