"""A plan as bars, figures and sentences, and the command beside it. Must not import Qt, and computes no memory."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kotaro_bridge.domain.engine.command import UTILIZATION, build_command
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan import Plan, PlanCard, PlannedModel, plan, planned_card, request_of
from kotaro_bridge.domain.planning.plan_sums import plan_sums, verdict
from kotaro_bridge.domain.profile import KvType, Profile
from kotaro_bridge.domain.run.run_state import SERVING
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.domain.units import format_gib, format_mib
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.view_models.figures import FigureRow
from kotaro_bridge.ui.view_models.proof import speed_words

PARTS = ("weights", "kv", "compute", "overhead")
_SMALLER = {Engine.LLAMA_SERVER: KvType.Q8_0, Engine.VLLM: KvType.FP8}
_WHOLE = (KvType.AUTO, KvType.F16, KvType.BF16)


@dataclass(frozen=True, slots=True)
class Room:
    """A card to plan for; `others`: bytes that are held by somebody else now, the driver's own among them."""

    name: str
    card: PlanCard
    others: int
    total: int


@dataclass(frozen=True, slots=True)
class BarView:
    """A card as a bar.

    Args:
        parts: share of the whole bar and kind; words: the same for screen readers.
        mark: where the card ends, as a share of the bar; None where all is on it.
    """

    name: str
    parts: tuple[tuple[float, str], ...]
    words: str
    mark: float | None


@dataclass(frozen=True, slots=True)
class PlanView:
    """Everything that is shown of a plan.

    Args:
        verdict: the answer in a sentence, `tone`: good, warn, bad or empty.
        facts: further sentences.
        longest: tokens of the longest context that fits; None where that is not known.
        limit: tokens that the model was made for; None where that is not known.
    """

    verdict: str
    tone: str = ""
    bars: tuple[BarView, ...] = ()
    rows: tuple[FigureRow, ...] = ()
    facts: tuple[str, ...] = ()
    longest: int | None = None
    limit: int | None = None
    found: Plan | None = None


def rooms(cards: Sequence[GpuSnapshot], own: RunView | None) -> tuple[Room, ...]:
    """The profile's cards. What its own run holds is its own: a start takes it anew.

    Args:
        own: the run of the profile that is edited.
    """
    live = own is not None and own.phase in SERVING and len(cards) == 1
    taken = own.vram_taken or 0 if live and own is not None else 0
    found = []
    for card in cards:
        known = planned_card(card)
        free = min(known.total, known.free + taken)
        found.append(Room(card.name, replace(known, free=free), card.total - free, card.total))
    return tuple(found)


def limit_of(model: PlannedModel) -> int | None:
    """Tokens that a model was made for."""
    return model.model.context_length or None


def plan_view(
    texts: Texts, profile: Profile, model: PlannedModel, learned: Learned, places: tuple[Room, ...], *, quick: bool
) -> PlanView:
    """The plan of a profile for its cards.

    Args:
        places: empty where the cards are not known.
        quick: while a slider moves: without what would help.
    """
    cards = tuple(room.card for room in places) or None
    try:
        found = plan(model, request_of(profile), cards, learned)
    except ProblemError as error:
        message = texts.message(error.problem)
        return PlanView(f"{message.what} {message.do}".strip(), "bad", limit=limit_of(model))
    facts = list(_facts(texts, profile, found))
    if not quick and found.margin is not None and found.margin < 0:
        facts += _instead(texts, profile, model, cards)
    return PlanView(
        verdict=_verdict(texts, found, cards),
        tone="" if found.fits is None else "good" if found.fits else "bad",
        bars=tuple(_bar(texts, found, place, places) for place in range(len(places))),
        rows=tuple(_rows(texts, found, places)),
        facts=tuple(facts),
        longest=found.max_context,
        limit=limit_of(model),
        found=found,
    )


def _verdict(texts: Texts, found: Plan, cards: tuple[PlanCard, ...] | None) -> str:
    sums = plan_sums(found, cards)
    if sums is None:
        return texts.text("ui.editor.plan.no_card", total=format_mib(found.total))
    return texts.message(verdict(found, sums)).what


def _facts(texts: Texts, profile: Profile, found: Plan) -> Iterator[str]:
    if found.fits is False and found.max_context:
        yield texts.text("ui.editor.plan.longest", tokens=f"{found.max_context:,}")
    if found.utilization is not None and found.available_kv is not None and found.fits:
        kv, requests = format_mib(found.available_kv), f"{found.max_concurrency or 0:.1f}"
        yield texts.text("plan.answer.vllm", utilization=f"{found.utilization:.3f}", kv=kv, requests=requests)
        yield texts.text("ui.editor.plan.loading")
    if profile.need is not None:
        yield texts.text("ui.editor.plan.stated", need=format_mib(profile.stated_need or 0))
    if found.band_bytes:
        yield texts.text("plan.band", band=format_mib(found.band_bytes))
    for note in found.notes:
        message = texts.message(note)
        yield f"{message.what} {message.do}".strip()


def _instead(texts: Texts, profile: Profile, model: PlannedModel, cards: tuple[PlanCard, ...] | None) -> Iterator[str]:
    """A smaller KV cache, where that alone would do."""
    smaller = _SMALLER[profile.engine]
    if profile.kv_type in _WHOLE and plan(model, replace(request_of(profile), kv_type=smaller), cards).fits:
        yield texts.text("ui.editor.plan.smaller_kv", kv_type=smaller.value)


def _bar(texts: Texts, found: Plan, place: int, places: tuple[Room, ...]) -> BarView:
    """One card; of several each has its share of every part."""
    ours, room = found.per_card[place], places[place]
    scale = ours / found.total if found.total else 0.0
    sizes = [(round(getattr(found, part).bytes * scale), part) for part in PARTS]
    sizes += [(_set_aside(found, places) // len(places), "aside")]
    sizes += [(room.others, "other"), (room.card.reserve, "reserve")]
    sizes = [(size, kind) for size, kind in sizes if size or kind != "aside"]
    taken = sum(size for size, _ in sizes)
    whole = max(room.total, taken)
    spelt = [(size, _name(texts, kind)) for size, kind in sizes]
    spelt.append((abs(room.total - taken), texts.text(f"ui.editor.plan.{'free' if taken <= whole else 'missing'}")))
    words = ", ".join(f"{name} {format_mib(size)}" for size, name in spelt)
    name = texts.text("ui.editor.plan.card", name=room.name, total=format_gib(room.total))
    mark = room.total / whole if taken > room.total else None
    return BarView(name, tuple((size / whole, kind) for size, kind in sizes), f"{name}: {words}", mark)


def _set_aside(found: Plan, places: tuple[Room, ...]) -> int:
    sums = plan_sums(found, tuple(room.card for room in places))
    return sums.set_aside if sums is not None else 0


def _name(texts: Texts, kind: str) -> str:
    if kind == "aside":
        return texts.text("plan.part.set_aside")
    return texts.text(f"plan.part.{kind}") if kind in PARTS else texts.text(f"ui.editor.plan.{_KEYS[kind]}")


_KEYS = {"other": "others", "reserve": "reserve", "free": "free", "bad": "missing"}


def _rows(texts: Texts, found: Plan, places: tuple[Room, ...]) -> Iterator[FigureRow]:
    def about(key: str) -> str:
        return texts.text(f"ui.editor.about.{key}")

    for part in PARTS:
        figure = getattr(found, part)
        origin = texts.text(f"plan.origin.{figure.origin.value}")
        yield FigureRow(part, _name(texts, part), format_mib(figure.bytes), origin, f"{about(part)} {origin}")
    yield FigureRow("", texts.text("plan.part.total"), format_mib(found.total), "", "")
    if not places:
        return
    aside = _set_aside(found, places)
    if aside:
        words = _name(texts, "aside"), format_mib(aside), "", texts.text("plan.part.set_aside_from")
        yield FigureRow("aside", *words)
    others = sum(room.others for room in places)
    reserve = sum(room.card.reserve for room in places)
    left = sum(room.total for room in places) - found.total - aside - others - reserve
    if found.margin is not None and found.margin < 0:
        left = found.margin  # on the tightest card, and with what vLLM has to find free beside its budget
    for kind, size in (("other", others), ("reserve", reserve), ("free" if left >= 0 else "bad", abs(left))):
        yield FigureRow(kind, _name(texts, kind), format_mib(size), "", about(_KEYS[kind]))


def measured_rows(texts: Texts, found: Plan | None, view: RunView) -> tuple[tuple[str, str, str], ...]:
    """What a try was planned to take and what it took: name, plan, measured. The first row is a heading."""
    facts = view.judgement.facts if view.judgement is not None else None
    cards = [device for name, device in facts.devices.items() if name.startswith("CUDA")] if facts else []
    measured: dict[str, int | None] = {"total": view.vram_taken}
    if facts is not None and facts.weights is not None:
        measured |= {"weights": facts.weights, "kv": facts.available_kv}
    else:
        measured |= {"weights": _sum(card.model for card in cards), "kv": _sum(card.kv for card in cards)}
        measured |= {"compute": _sum(card.compute for card in cards)}
    rows = [("", texts.text("ui.editor.try.planned"), texts.text("ui.editor.try.measured"))]
    for kind, size in measured.items():
        planned = None if found is None else found.total if kind == "total" else getattr(found, kind).bytes
        name = texts.text("ui.editor.try.total") if kind == "total" else texts.text(f"plan.part.{kind}")
        rows.append((name, _size(planned), _size(size)))
    if view.speed is not None:
        rows.append((texts.text("ui.editor.try.speed"), "", speed_words(texts, view.speed)))
    return tuple(rows)


def _size(size: int | None) -> str:
    return "-" if size is None else format_mib(size)


def _sum(values: Iterator[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def command_text(profile: Profile, found: Plan | None) -> str:
    """The command as a shell takes it; vLLM's share as the plan has it. Raises ProblemError as `build_command`."""
    utilization = found.utilization if found is not None else None
    command = build_command(profile, utilization=utilization, layers=found.layers if found is not None else ())
    return " ".join(_quoted(word) for word in command.argv)


def has_share(command: str) -> bool:
    """True if the command names a share that each start sets anew."""
    return UTILIZATION in command


def _quoted(word: str) -> str:
    """A leading ~/ stays what the shell takes it for."""
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word)
