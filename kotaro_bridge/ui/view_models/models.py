"""Models that fit a card, in words: the list, a plan's parts, what speaks for and against. Must not import Qt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.model.catalogue_files import stored_of
from kotaro_bridge.domain.model.model_files import Condition, StoredModel
from kotaro_bridge.domain.planning.advice import NAMES, Advice, Objection, advise, for_entry, objection
from kotaro_bridge.domain.planning.catalogue_rank import (
    LEAST_CONTEXT,
    PARALLEL_REQUESTS,
    Fit,
    Ranked,
    Use,
    rank,
    ranked,
    request_for,
)
from kotaro_bridge.domain.planning.closable import enough_of
from kotaro_bridge.domain.planning.plan import plan
from kotaro_bridge.domain.planning.plan_parts import Origin, Plan, PlanCard, PlanRequest
from kotaro_bridge.domain.planning.plan_sums import plan_sums
from kotaro_bridge.domain.planning.speed_forecast import SpeedRange
from kotaro_bridge.domain.run.holders import Holder
from kotaro_bridge.domain.units import format_gib, format_mib
from kotaro_bridge.service.card_sight import CardSight
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.view_models.figures import FigureRow

STEP = 256
"""Tokens of one step of the context's slider: llama-server rounds to it (reference llama-server §7)."""
USUAL_CONTEXT = 8192
PARTS = ("weights", "kv", "compute", "overhead")
TONES = {Fit.NOW: "good", Fit.AFTER_CLOSING: "warn", Fit.NO: "bad"}


@dataclass(frozen=True, slots=True)
class Place:
    """One entry on the card, and its files if they are here."""

    ranked: Ranked
    stored: StoredModel | None

    @property
    def entry(self) -> CatalogueEntry:
        """The model."""
        return self.ranked.entry


@dataclass(frozen=True, slots=True)
class EntryRow:
    """A line of the list; `here`: a word for files that are on the machine, "" for none; `words`: all of it."""

    id: str
    title: str
    sub: str
    here: str
    fit: Fit
    words: str


@dataclass(frozen=True, slots=True)
class PlanWords:
    """A plan in words.

    Args:
        tone: `good`, `warn` or `bad`; answer: whether it fits; more: what follows from that.
        bar: shares of the whole for the bar; mark: where the card ends, None where all lies within.
        bar_words: the same for screen readers.
    """

    tone: str
    answer: str
    more: str
    parts: tuple[FigureRow, ...]
    bar: tuple[tuple[float, str], ...]
    mark: float | None
    bar_words: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """A sentence that names another model; `id`: its entry, "" if none is meant; `sub`: what is known of it."""

    words: str
    id: str
    sub: str = ""


@dataclass(frozen=True, slots=True)
class Against:
    """What is often said of a card and does not hold, or why a model does not fit; with what does."""

    what: str
    why: str
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class AdviceWords:
    """Which engine, why, and what to think of common recommendations."""

    title: str
    reasons: tuple[str, ...]
    against: tuple[Against, ...]
    offers_title: str
    offers: tuple[Offer, ...]


def places(
    entries: Sequence[CatalogueEntry], sight: CardSight, use: Use, stored: Sequence[StoredModel]
) -> tuple[Place, ...]:
    """All entries that suit the use, the best first."""
    return tuple(Place(each, stored_of(each.entry, stored)) for each in rank(entries, sight.able, use))


def place_of(entry: CatalogueEntry, sight: CardSight, use: Use, stored: Sequence[StoredModel]) -> Place:
    """One entry, whatever the use was meant for."""
    return Place(ranked(entry, sight.able.for_use(use), use), stored_of(entry, stored))


def matching(found: Iterable[Place], engine: Engine | None, search: str) -> tuple[Place, ...]:
    """Those of an engine whose name, repository or strengths hold every word of a search."""
    words = search.lower().split()

    def holds(place: Place) -> bool:
        entry = place.entry
        told = f"{entry.name} {entry.repository} {entry.engine} {' '.join(entry.good_at)}".lower()
        return (engine is None or entry.engine is engine) and all(word in told for word in words)

    return tuple(place for place in found if holds(place))


def entry_row(texts: Texts, place: Place) -> EntryRow:
    """A line of the list."""
    entry, each = place.entry, place.ranked
    parts = [NAMES[entry.engine]]
    if each.max_context:
        parts.append(texts.text("ui.library.row_context", tokens=f"{each.max_context:,}"))
    if each.fit is not Fit.NO and each.speed is not None:
        parts.append(speed_words(texts, each.speed))
    parts.append(format_gib(entry.download_bytes))
    here = here_word(texts, place.stored)
    sub = " · ".join(parts)
    words = ", ".join(filter(None, (entry.name, texts.text(f"catalogue.fit.{each.fit.value}"), here, *parts)))
    return EntryRow(entry.id, entry.name, sub, here, each.fit, words)


def here_word(texts: Texts, stored: StoredModel | None) -> str:
    """Whether a model's files are here, in a word."""
    if stored is None:
        return ""
    whole = stored.condition is Condition.WHOLE
    return texts.text("ui.library.here") if whole else texts.text(f"models.condition.{stored.condition.value}")


def speed_words(texts: Texts, speed: SpeedRange) -> str:
    """`23–41 tokens/s`."""
    return texts.text("ui.library.speed", low=f"{speed.low:.0f}", high=f"{speed.high:.0f}")


def fact_rows(texts: Texts, place: Place) -> Iterator[tuple[str, str]]:
    """What is known of a model besides its plan: names and values."""
    text, entry = texts.text, place.entry
    yield text("catalogue.column.engine"), NAMES[entry.engine]
    if entry.good_at:
        strengths = (text(f"catalogue.good_at.{each.value}") for each in entry.good_at)
        yield text("catalogue.column.good_at"), ", ".join(strengths)
    if place.ranked.speed is not None:
        yield (
            text("catalogue.column.speed"),
            text("ui.library.speed_from", speed=speed_words(texts, place.ranked.speed)),
        )
    origin = "header" if entry.origin is Origin.HEADER else entry.origin.value
    yield (
        text("catalogue.column.download"),
        text("ui.library.size_from", size=format_gib(entry.download_bytes), origin=text(f"ui.library.size.{origin}")),
    )
    yield (
        text("catalogue.column.licence"),
        (text(f"catalogue.licence.{entry.licence.value}") if entry.licence else text("ui.library.licence_unknown")),
    )
    if entry.repository:
        yield text("catalogue.column.repository"), entry.repository
    if place.stored is not None:
        where = f"{place.stored.target.removeprefix('wsl:')} {place.stored.path}"
        yield text("ui.library.place"), f"{where} ({here_word(texts, place.stored)})"


def context_limit(entry: CatalogueEntry) -> int:
    """The longest context that a model was made for."""
    return max(STEP, entry.planned.model.context_length or USUAL_CONTEXT)


def first_context(place: Place) -> int:
    """What the slider begins with: what is usual, or less where that does not fit."""
    longest = place.ranked.max_context or context_limit(place.entry)
    return max(STEP, min(USUAL_CONTEXT, longest, context_limit(place.entry)) // STEP * STEP)


def request_of(entry: CatalogueEntry, use: Use, context: int) -> PlanRequest:
    """What such a use asks of the entry's engine."""
    return request_for(entry, use, context)


def plan_words(texts: Texts, entry: CatalogueEntry, sight: CardSight, use: Use, context: int) -> PlanWords:
    """A plan with this context on the card now. Quick enough to be asked while a slider moves."""
    seen = sight.now.for_use(use)
    found = plan(entry.planned, request_for(entry, use, context), seen.card)
    tone, answer, more = _answer(texts, entry, found, seen.card, sight, use)
    parts = [
        FigureRow(
            part,
            texts.text(f"plan.part.{part}"),
            format_mib(getattr(found, part).bytes),
            texts.text(f"plan.origin.{getattr(found, part).origin.value}"),
        )
        for part in PARTS
    ]
    band = texts.text("plan.band", band=format_mib(found.band_bytes)) if found.band_bytes else ""
    left = found.margin or 0
    rest, rest_from = texts.text("ui.library.left" if left >= 0 else "ui.library.missing"), ""
    if found.engine is Engine.VLLM and left >= 0:
        rest, rest_from = texts.text("ui.library.vllm.left"), texts.text("ui.library.vllm.left_from")
    sums = plan_sums(found, (seen.card,))
    aside = sums.set_aside if sums is not None else 0
    parts.append(FigureRow("", texts.text("plan.part.total"), format_mib(found.total), band))
    if aside:
        origin = texts.text("plan.part.set_aside_from")
        parts.append(FigureRow("aside", texts.text("plan.part.set_aside"), format_mib(aside), origin))
    parts += [
        FigureRow("", texts.text("ui.library.free"), format_mib(seen.card.free), texts.text("ui.library.free_from")),
        FigureRow("", texts.text("ui.library.reserve"), format_mib(seen.card.reserve), texts.text("ui.library.choice")),
        FigureRow("", rest, format_mib(abs(left)), rest_from),
    ]
    bar, mark = _bar(found, seen.card, aside)
    words = ", ".join(f"{row.name} {row.size}" for row in parts)
    messages = (texts.message(note) for note in found.notes)
    notes = tuple(f"{message.what} {message.do}".strip() for message in messages)
    return PlanWords(tone, answer, more, tuple(parts), bar, mark, words, notes)


def _bar(found: Plan, card: PlanCard, aside: int) -> tuple[tuple[tuple[float, str], ...], float | None]:
    """What others hold, then the parts and what is set aside; a mark where the card ends, if they go beyond."""
    held = card.total - card.free
    whole = max(card.total, held + found.total + aside)
    sizes = [(held, "other"), *((getattr(found, part).bytes, part) for part in PARTS), (aside, "aside")]
    shares = tuple((size / whole, kind) for size, kind in sizes if size)
    return shares, card.total / whole if whole > card.total else None


def _answer(
    texts: Texts, entry: CatalogueEntry, found: Plan, card: PlanCard, sight: CardSight, use: Use
) -> tuple[str, str, str]:
    """Tone, answer, and what follows."""
    text = texts.text
    if limit := sight.limits.get(entry.engine):
        message = texts.message(limit)
        return "bad", message.what, message.do
    left, longest = found.margin or 0, found.max_context or 0
    if found.fits:
        more = text("ui.library.longest", tokens=f"{longest:,}")
        if found.max_concurrency is not None and use is Use.PARALLEL:
            more += " " + text("ui.library.at_once", count=f"{found.max_concurrency:.1f}")
        fits = "ui.library.vllm.fits" if found.engine is Engine.VLLM else "ui.library.fits"
        return "good", text(fits, left=format_mib(left)), more
    if left >= 0:
        return "warn", texts.message(problem("plan.verdict.too_long", longest=longest)).what, ""
    shorter = text("ui.library.shorter", tokens=f"{longest:,}") if longest else ""
    closing = enough_of(sight.holders, -left)
    if closing:
        names = _names(closing)
        return "warn", text("ui.library.after_closing", short=format_mib(-left), names=names), shorter
    return "bad", text("ui.library.no_fit", short=format_mib(-left)), shorter or text("ui.library.never")


def _names(holders: Iterable[Holder]) -> str:
    return ", ".join(f"{each.name} ({format_mib(each.bytes or 0)})" for each in holders)


def card_line(texts: Texts, sight: CardSight) -> str:
    """The card and what is free of it."""
    card = sight.now.card
    return texts.text("catalogue.card", name=card.name, free=format_gib(card.free), total=format_gib(card.total))


def closable_line(texts: Texts, sight: CardSight) -> str:
    """What could be closed; "" where nothing could."""
    if not sight.holders:
        return ""
    size = format_mib(sight.now.closable_bytes)
    return texts.text("catalogue.closable", size=size, names=", ".join(each.name for each in sight.holders))


def advice_words(texts: Texts, entries: Sequence[CatalogueEntry], sight: CardSight, use: Use) -> AdviceWords:
    """Which engine for this use on this card."""
    found: Advice = advise(entries, sight.now, use, sight.limits)
    by_name = {entry.name: entry.id for entry in entries}
    engine = found.engine
    title = texts.text("advice.engine", engine=NAMES[engine]) if engine else texts.text("ui.library.no_engine")
    rows = [entry_row(texts, Place(each, None)) for each in found.offers]
    offers = tuple(Offer(each.title, each.id, each.sub) for each in rows)
    fit = found.offers[0].fit.value if found.offers else ""
    return AdviceWords(
        title,
        tuple(_sentence(texts, reason) for reason in found.reasons),
        tuple(_against(texts, each, by_name) for each in found.objections),
        texts.text(f"advice.offers.{fit}") if fit else texts.text("ui.library.nothing_fits"),
        offers,
    )


def against_words(
    texts: Texts, entries: Sequence[CatalogueEntry], place: Place, sight: CardSight, use: Use
) -> Against | None:
    """What is to be said where a model does not fit, or not as it is often recommended; None if nothing is."""
    entry, engine_runs = place.entry, place.entry.engine not in sight.limits
    claim = entry.claim
    if not engine_runs:
        return None
    by_name = {each.name: each.id for each in entries}
    if claim is not None and use is not Use.IMAGES:
        found = advise(entries, sight.now, use, sight.limits).objections
        if own := next((each for each in found if each.entry is entry), None):
            return _against(texts, own, by_name)
    if place.ranked.fit is not Fit.NO:
        return None
    found_against = objection(entries, entry, LEAST_CONTEXT, sight.able, use)
    return _against(texts, found_against, by_name) if found_against else None


def engine_reason(texts: Texts, entry: CatalogueEntry) -> str:
    """Why a model has the engine that it has."""
    return _sentence(texts, for_entry(entry))


def _against(texts: Texts, each: Objection, by_name: Mapping[str, str]) -> Against:
    offers = tuple(
        Offer(_sentence(texts, offer), by_name.get(str(offer.params.get("name", "")), "")) for offer in each.instead
    )
    said = _sentence(texts, each.said) if each.said else ""
    return Against(said, _sentence(texts, each.why), offers)


def _sentence(texts: Texts, what: Problem) -> str:
    message = texts.message(what)
    return f"{message.what} {message.do}".strip()


def parallel_words(texts: Texts, use: Use) -> str:
    """That several requests are planned, "" for one."""
    return texts.text("ui.library.parallel", count=PARALLEL_REQUESTS) if use is Use.PARALLEL else ""
