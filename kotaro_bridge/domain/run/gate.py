"""The gate: facts read just before a start → passed, failed or unknown, and the verdict.

Owns which checks exist and what each demands. Any check that is not passed or skipped refuses the start; there is no
way around it. Must not read anything itself (`service/gatekeeper.py` collects the facts).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from kotaro_bridge.domain.errors import Param, Problem, problem
from kotaro_bridge.domain.gpu import GpuSnapshot, card_at, cards_at
from kotaro_bridge.domain.ports import ConfigFile
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.units import MIB, format_mib

_WORTH_NAMING = 512 * MIB


class CheckId(StrEnum):
    """The checks, in the order in which they are shown."""

    PROFILE = "profile"
    DRIVER = "driver"
    WSL = "wsl"
    GPU_IN_TARGET = "gpu_in_target"
    ENGINE = "engine"
    ENGINE_GPU = "engine_gpu"
    CONFIG_FILE = "config_file"
    MODEL = "model"
    PORT_WINDOWS = "port_windows"
    PORT_TARGET = "port_target"
    LOCALHOST_FORWARDING = "localhost_forwarding"
    VRAM = "vram"


class Status(StrEnum):
    """Outcome of one check. UNKNOWN blocks like FAILED."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One check with its message: a code with the numbers, for `detail` and `remedy`."""

    id: CheckId
    status: Status
    message: Problem

    @property
    def blocks(self) -> bool:
        """True if this check refuses the start."""
        return self.status in (Status.FAILED, Status.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of VRAM a start needs, and where the figure comes from.

    Args:
        per_card: what of it each of the profile's cards has to have free; empty for one card, which has to have all.
    """

    vram: int
    source: str
    per_card: tuple[int, ...] = ()


Gpus: TypeAlias = tuple[GpuSnapshot, ...]

UNASKED = problem("gate.unasked.unknown")
"""What a target would have to say that could not be reached; why, another check tells."""


@dataclass(frozen=True, slots=True)
class GateFacts:
    """What was read, each part an answer, the problem met while reading, or None where it was not asked.

    Args:
        gpus: indices of the cards that are asked about.
        arguments: problem of the profile's own arguments, None if they are fine.
        driver: cards of the machine that owns them. `driver_late`: the same, read last, for free VRAM.
        local: the target is this machine itself, which then has one set of ports.
        wsl: None if no WSL is involved; True if the distro answers.
        target: cards as nvidia-smi inside the target sees them, read last too.
        engine: the executable is there (text: its version). `engine_gpu`: the cards' names as the engine lists them.
        configs: files that the engine would read by itself; None for an engine that reads none.
        model: the model is there (bytes of its file, or 0 where only vLLM can tell).
        port_windows_free, port_target_free: nobody listens there.
        forwarding: `localhostForwarding` as WSL will read it; None in networking modes where it plays no part.
        need: VRAM needed; holders: who holds the card's memory, largest first; only asked where it is short.
    """

    gpus: tuple[int, ...] = (0,)
    local: bool = False
    arguments: Problem | None = None
    driver: Gpus | Problem | None = None
    driver_late: Gpus | Problem | None = None
    wsl: bool | Problem | None = None
    target: Gpus | Problem | None = None
    engine: str | Problem | None = None
    engine_gpu: str | Problem | None = None
    configs: tuple[ConfigFile, ...] | Problem | None = None
    model: int | Problem | None = None
    port: int = 0
    port_windows_free: bool | Problem | None = None
    port_target_free: bool | Problem | None = None
    forwarding: bool | Problem | None = None
    need: Need | Problem | None = None
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True)
class GateReport:
    """The gate's answer. `gpus` are the cards it saw, best witness first; `holders` is empty where nobody was asked.

    Args:
        free: bytes of each of the profile's cards that counted as free, in its order; empty where that is not known.
    """

    checks: tuple[Check, ...]
    gpus: Gpus = ()
    need: Need | None = None
    holders: tuple[Holder, ...] = ()
    free: tuple[int, ...] = ()

    @property
    def ok(self) -> bool:
        """True if nothing blocks and at least the driver was really checked."""
        return not any(check.blocks for check in self.checks) and any(
            check.id is CheckId.DRIVER and check.status is Status.PASSED for check in self.checks
        )

    @property
    def blocking(self) -> tuple[Check, ...]:
        """The checks that refuse, in order."""
        return tuple(check for check in self.checks if check.blocks)


def judge(facts: GateFacts) -> GateReport:
    """The verdict over the facts."""
    late = facts.driver_late if facts.driver_late is not None else facts.driver
    gpus = late if isinstance(late, tuple) else facts.target if isinstance(facts.target, tuple) else ()
    need = facts.need if isinstance(facts.need, Need) else None
    checks = tuple(_checks(facts, _views(facts, late)))
    return GateReport(checks, gpus, need, facts.holders, free_per_card(facts))


def free_per_card(facts: GateFacts) -> tuple[int, ...]:
    """Bytes free on each of the profile's cards, by the witness that sees less; empty where that is not known."""
    late = facts.driver_late if facts.driver_late is not None else facts.driver
    return tuple(view.free for view in _views(facts, late))


def _checks(facts: GateFacts, views: tuple[_CardView, ...]) -> Iterator[Check]:
    if facts.arguments is not None:
        yield Check(CheckId.PROFILE, Status.FAILED, facts.arguments)
    yield _card(CheckId.DRIVER, "gate.driver", facts.driver, facts.gpus)
    yield _plain(CheckId.WSL, "gate.wsl", facts.wsl)
    yield _card(CheckId.GPU_IN_TARGET, "gate.gpu_in_target", facts.target, facts.gpus)
    yield _plain(
        CheckId.ENGINE, "gate.engine", facts.engine, version=facts.engine if isinstance(facts.engine, str) else ""
    )
    name = facts.engine_gpu if isinstance(facts.engine_gpu, str) else ""
    yield _plain(CheckId.ENGINE_GPU, "gate.engine_gpu", facts.engine_gpu, name=name)
    yield _config_file(facts.configs)
    yield _plain(CheckId.MODEL, "gate.model", facts.model)
    if not facts.local:
        yield _port(CheckId.PORT_WINDOWS, "gate.port_windows", facts.port_windows_free, facts.port)
    yield _port(CheckId.PORT_TARGET, "gate.port_target", facts.port_target_free, facts.port)
    yield _port(CheckId.LOCALHOST_FORWARDING, "gate.localhost_forwarding", facts.forwarding, facts.port)
    yield _vram(facts, views)


def _plain(check: CheckId, code: str, fact: object, **params: Param) -> Check:
    if fact is None:
        return Check(check, Status.SKIPPED, problem(f"{code}.skipped"))
    if isinstance(fact, Problem):
        return Check(check, _status_of(fact), fact)
    return Check(check, Status.PASSED, problem(f"{code}.passed", **params))


def _status_of(fact: Problem) -> Status:
    """A problem whose code ends in `.unknown` says that the question could not be answered."""
    return Status.UNKNOWN if fact.code.endswith(".unknown") else Status.FAILED


def _config_file(fact: tuple[ConfigFile, ...] | Problem | None) -> Check:
    """A file that the engine cannot be kept from may hold anything, and comes before our own arguments."""
    if not isinstance(fact, tuple) or not fact:
        return _plain(CheckId.CONFIG_FILE, "gate.config_file", fact)
    read = next((file for file in fact if not file.avoidable), None)
    if read is not None:
        message = problem("gate.config_file.failed", *read.lines, path=read.path)
        return Check(CheckId.CONFIG_FILE, Status.FAILED, message)
    return Check(CheckId.CONFIG_FILE, Status.PASSED, problem("gate.config_file_unused.passed", path=fact[0].path))


def _port(check: CheckId, code: str, fact: bool | Problem | None, port: int) -> Check:
    if fact is False:
        return Check(check, Status.FAILED, problem(f"{code}.failed", port=port))
    return _plain(check, code, fact, port=port)


def _card(check: CheckId, code: str, fact: Gpus | Problem | None, indices: tuple[int, ...]) -> Check:
    if not isinstance(fact, tuple):
        return _plain(check, code, fact)
    if not fact:
        return Check(check, Status.FAILED, problem(f"{code}.none"))
    for index in indices:
        if card_at(fact, index) is None:
            return Check(check, Status.FAILED, problem("gate.no_such_gpu", index=index, count=len(fact)))
    cards = cards_at(fact, indices)
    names = ", ".join(card.name for card in cards)
    return Check(check, Status.PASSED, problem(f"{code}.passed", name=names, driver=cards[0].driver or "?"))


@dataclass(frozen=True, slots=True)
class _CardView:
    """One of the profile's cards with the smaller of what both witnesses call free."""

    card: GpuSnapshot
    free: int


def _views(facts: GateFacts, late: Gpus | Problem | None) -> tuple[_CardView, ...]:
    """The profile's cards; empty if a witness that was asked does not tell of each, or speaks of another card."""
    witnesses = [late] if facts.target is None else [late, facts.target]
    seen = [cards_at(each, facts.gpus) for each in witnesses if isinstance(each, tuple)]
    if len(seen) < len(witnesses) or not all(seen):
        return ()
    found = []
    for of_card in zip(*seen, strict=True):
        frees = [view.free for view in of_card if view.free is not None]
        if len(frees) < len(of_card) or not all(_same_card(of_card[0], view) for view in of_card):
            return ()
        found.append(_CardView(of_card[0], min(frees)))
    return tuple(found)


def _vram(facts: GateFacts, views: tuple[_CardView, ...]) -> Check:
    """Free VRAM is the smaller of both views; a view that should be there and is not makes the answer unknown. Of
    several cards the one that lacks most is told.
    """
    if facts.need is None:
        return Check(CheckId.VRAM, Status.SKIPPED, problem("gate.vram.skipped"))
    if isinstance(facts.need, Problem):
        # Nobody has to state the need of a model whose file is only not there yet.
        waits = facts.need.code == "gate.need.unknown" and isinstance(facts.model, Problem)
        return Check(CheckId.VRAM, Status.UNKNOWN, problem("gate.need.after_model") if waits else facts.need)
    if facts.target == UNASKED:
        return Check(CheckId.VRAM, Status.UNKNOWN, UNASKED)
    parts = facts.need.per_card or (facts.need.vram,)
    if len(views) < len(parts):
        return Check(CheckId.VRAM, Status.UNKNOWN, problem("gate.vram.unknown", need_bytes=facts.need.vram))
    view, need = max(zip(views, parts, strict=True), key=lambda each: each[1] - each[0].free)
    # Programs worth closing; every desktop has a dozen small ones.
    large = [(_as_program(each), each.bytes) for each in facts.holders if each.bytes and each.bytes >= _WORTH_NAMING]
    holders = ", ".join(f"{name} ({format_mib(size)})" for name, size in large[:3])
    numbers: dict[str, Param] = {
        "need_bytes": need,
        "free_bytes": view.free,
        "total_bytes": view.card.total,
        "missing_bytes": max(0, need - view.free),
        "source": facts.need.source,
        "holders": holders,
    }
    code = "gate.vram."
    if len(views) > 1:
        code = "gate.vram.card_"
        numbers["card"] = f"{view.card.index} ({view.card.name})"
    if need > view.card.total:
        return Check(CheckId.VRAM, Status.FAILED, problem(f"{code}too_small", **numbers))
    if need > view.free:
        return Check(CheckId.VRAM, Status.FAILED, problem(f"{code}{'held' if holders else 'failed'}", **numbers))
    return Check(CheckId.VRAM, Status.PASSED, problem(f"{code}passed", **numbers))


def _as_program(holder: Holder) -> str:
    """What a person would look for: a model's name alone is no program."""
    return f"Ollama {holder.name}" if holder.kind is HolderKind.OLLAMA else holder.name


def _same_card(one: GpuSnapshot, other: GpuSnapshot) -> bool:
    """Both witnesses must speak of the same card; where one does not tell the UUID, the name decides."""
    return one.uuid == other.uuid if one.uuid and other.uuid else one.name == other.name
