"""`models list`, `models show` and `models advise`: the catalogue for this card now, and which engine for which use.

Prints; what fits and what to advise is `domain/planning/catalogue_rank` and `domain/planning/advice`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from kotaro_bridge.cli.model import LONGEST, entry_named, other_model, stated_vram
from kotaro_bridge.cli.print import columns, padded, print_json
from kotaro_bridge.cli.session import Json, product, session
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.model.catalogue import CatalogueEntry, entry_of
from kotaro_bridge.domain.planning.advice import NAMES, Advice, Objection, advise, for_entry, objection
from kotaro_bridge.domain.planning.catalogue_rank import LEAST_CONTEXT, CardNow, Fit, Ranked, Use, rank, ranked
from kotaro_bridge.domain.planning.plan_parts import stated_card
from kotaro_bridge.domain.planning.speed_forecast import SpeedRange
from kotaro_bridge.domain.run.holders import Holder
from kotaro_bridge.domain.units import format_gib, format_mib
from kotaro_bridge.host.catalogue_store import load_catalogue
from kotaro_bridge.service.card_sight import look_at_card

Vram = Annotated[str | None, typer.Option(help="VRAM that is free for us, such as 12GiB, in place of this PC's card.")]
For = Annotated[Use, typer.Option("--use", help="What the model is for.")]
Context = Annotated[int, typer.Option("--ctx", min=256, max=LONGEST, help="Tokens that a request has to hold.")]
Gpu = Annotated[int, typer.Option(min=0, help="Index of the card.")]
_MODEL_HELP = "An id that `models list` shows, a file, a folder, or an id of Hugging Face."
Model = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL_HELP)]


class _Place:
    """The card that is asked about: its figures, who holds it, and the engines that it cannot run."""

    def __init__(self, now: CardNow, holders: tuple[Holder, ...], limits: dict[Engine, Problem]) -> None:
        self.now = now
        self.holders = holders
        self.limits = limits

    @property
    def able(self) -> CardNow:
        """The card with the engines that run on it."""
        return replace(self.now, engines=self.now.engines - self.limits.keys())


def models_list(
    use: For = Use.ONE,
    context: Context = LEAST_CONTEXT,
    vram: Vram = None,
    gpu: Gpu = 0,
    every: Annotated[bool, typer.Option("--all", help="Also what does not fit.")] = False,
    as_json: Json = False,
) -> None:
    """Models that are worth a look, the best for this card first."""
    place = _place(vram, gpu)
    found = rank(load_catalogue(), place.able, use, context)
    if as_json:
        print_json({"card": _card_document(place), "use": use.value, "models": [_document(each) for each in found]})
        return
    _print_card(place)
    _print_ranking(found, every)
    for limit in place.limits.values():
        _say(limit)


def models_show(model: Model, vram: Vram = None, gpu: Gpu = 0, as_json: Json = False) -> None:
    """One model of the catalogue: what it is good at, its licence and files, and what it takes of this card."""
    entry = _entry(model)
    place = _place(vram, gpu)
    found = ranked(entry, place.able)
    if as_json:
        print_json({"card": _card_document(place), **_document(found)})
        return
    text = session.texts.text
    typer.echo(entry.name)
    if entry.about is not None:
        typer.echo(text(f"catalogue.about.{entry.about.value}"))
    rows = [
        *(_catalogue_rows(entry) if entry.repository else ()),
        ("engine", entry.engine.value),
        ("fit", _fit_words(found)),
        ("context", f"{found.max_context:,}" if found.max_context else "-"),
        ("need", text("catalogue.need", need_bytes=found.need_bytes, context=found.context) if found.found else "-"),
        ("speed", _range(found.speed)),
        ("source", entry.source),
    ]
    labels = {key: text(f"catalogue.column.{key}") for key, _ in rows}
    widest = max(columns(label) for label in labels.values())
    for key, value in rows:
        for number, line in enumerate(value.splitlines()):
            typer.echo(f"{padded('' if number else labels[key], widest)}  {line}")
    if not entry.shape_measured:
        typer.echo(text("catalogue.unmeasured"))


def _fit_words(found: Ranked) -> str:
    """Whether it fits; where only a shorter context does, how long that is."""
    text = session.texts.text
    if found.fit is Fit.NO and 0 < found.max_context < found.context:
        return text("catalogue.fit.shorter", longest=found.max_context, context=found.context)
    return text(f"catalogue.fit.{found.fit.value}")


def _catalogue_rows(entry: CatalogueEntry) -> Iterator[tuple[str, str]]:
    """What only the catalogue knows of a model."""
    text = session.texts.text
    yield "good_at", ", ".join(text(f"catalogue.good_at.{each.value}") for each in entry.good_at)
    if entry.licence is not None:
        yield "licence", f"{text(f'catalogue.licence.{entry.licence.value}')}\n{entry.licence_url}"
    yield "repository", f"{entry.repository} {entry.revision[:12]}".strip()
    yield "download", f"{format_gib(entry.download_bytes)} ({text(f'catalogue.origin.{entry.origin.value}')})"
    yield "files", "\n".join(each.name for each in _files(entry)) or text("catalogue.whole_repository")


def models_advise(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help=_MODEL_HELP)] = None,
    use: For = Use.ONE,
    context: Context = LEAST_CONTEXT,
    vram: Vram = None,
    gpu: Gpu = 0,
    as_json: Json = False,
) -> None:
    """Which engine suits the use on this card, and why. Exit code 1 if MODEL, or nothing, fits."""
    entries = load_catalogue()
    entry = _entry(model) if model is not None else None
    place = _place(vram, gpu)
    if entry is None:
        found = advise(entries, place.now, use, place.limits, context)
    else:
        against = objection(entries, entry, context, place.able, use)
        limit = place.limits.get(entry.engine)
        found = Advice(
            None if limit else entry.engine,
            (for_entry(entry), *((limit,) if limit else ())),
            (against,) if against else (),
            () if against or limit else (ranked(entry, place.able.for_use(use), use, context),),
        )
    if as_json:
        print_json({"card": _card_document(place), "use": use.value, **_advice_document(found)})
    else:
        _print_card(place)
        _print_advice(found, "advice.engine" if entry is None else "advice.engine_of_model")
        if entry is None and not found.offers:
            typer.echo(f"\n{session.texts.text('advice.nothing', context=context)}")
    raise typer.Exit(0 if found.engine and found.offers else 1)


def _entry(wanted: str) -> CatalogueEntry:
    """An entry of the catalogue, or any other model. Raises ProblemError."""
    return entry_named(wanted) or entry_of(other_model(wanted), wanted)


def _place(vram: str | None, gpu: int) -> _Place:
    """The card of this PC, or one of which nothing is known but its free memory. Raises ProblemError."""
    if vram is not None:
        return _Place(CardNow(stated_card(stated_vram(vram))), (), {})
    with product() as made:
        sight = look_at_card(
            made.setting.machine.gpu.snapshot, lambda need: made.supervisor.check(need=need).report, gpu
        )
    return _Place(sight.now, sight.holders, sight.limits)


def _print_card(place: _Place) -> None:
    card, text = place.now.card, session.texts.text
    if not card.name:
        typer.echo(text("catalogue.card_stated", free=format_gib(card.free)))
        return
    typer.echo(text("catalogue.card", name=card.name, free=format_gib(card.free), total=format_gib(card.total)))
    if place.holders:
        names = ", ".join(f"{each.name} {format_mib(each.bytes or 0)}" for each in place.holders)
        typer.echo(text("catalogue.closable", size=format_mib(place.now.closable_bytes), names=names))


def _print_ranking(found: Sequence[Ranked], every: bool) -> None:
    text = session.texts.text
    for fit in Fit:
        of_fit = [each for each in found if each.fit is fit]
        if not of_fit:
            continue
        typer.echo(f"\n{text(f'catalogue.group.{fit.value}', count=len(of_fit))}")
        if fit is not Fit.NO or every:
            _print_table(of_fit)
    typer.echo(f"\n{text('catalogue.more')}")


def _print_table(places: Iterable[Ranked]) -> None:
    text = session.texts.text
    head = ("model", "engine", "context", "speed", "download")
    rows = [tuple(text(f"catalogue.head.{key}") for key in head), *(_row(each) for each in places)]
    widths = [max(columns(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = [
            padded(cell, width, right=column > 1) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


def _row(each: Ranked) -> tuple[str, ...]:
    entry = each.entry
    context = f"{each.max_context:,}" if each.max_context else "-"
    return (entry.id, entry.engine.value, context, _range(each.speed), format_gib(entry.download_bytes))


def _range(speed: SpeedRange | None) -> str:
    return f"{speed.low:.0f}-{speed.high:.0f}" if speed else "?"


def _print_advice(found: Advice, title: str) -> None:
    """`title`: key of what the engine is named under."""
    text = session.texts.text
    if found.engine is not None:
        typer.echo(f"\n{text(title, engine=NAMES[found.engine])}")
    for reason in found.reasons:
        _say(reason)
    for against in found.objections:
        typer.echo("")
        for what in (against.said, against.why):
            if what is not None:
                _say(what)
        for offer in against.instead:
            _say(offer)
    if found.offers:
        typer.echo(f"\n{text(f'advice.offers.{found.offers[0].fit.value}')}")
        _print_table(found.offers)


def _say(what: Problem) -> None:
    """A reason in words, on stdout: it is the answer, not a failure."""
    message = session.texts.message(what)
    for line in (message.what, message.do):
        if line:
            typer.echo(line)


def _files(entry: CatalogueEntry) -> tuple[Any, ...]:
    return (*entry.files, *((entry.projector,) if entry.projector else ()))


def _card_document(place: _Place) -> dict[str, Any]:
    card = place.now.card
    return {
        "name": card.name or None,
        "total": card.total,
        "free": card.free,
        "closable": place.now.closable_bytes,
        "holders": [{"kind": each.kind.value, "name": each.name, "bytes": each.bytes} for each in place.holders],
        "bandwidth": place.now.bandwidth,
        "engines": sorted(engine.value for engine in place.able.engines),
    }


def _document(each: Ranked) -> dict[str, Any]:
    entry = each.entry
    return {
        "id": entry.id,
        "title": entry.title,
        "quantization": entry.quantization,
        "engine": entry.engine.value,
        "fit": each.fit.value,
        "max_context": each.max_context or None,
        "need": each.need_bytes or None,
        "tokens_per_s": [round(each.speed.low, 1), round(each.speed.high, 1)] if each.speed else None,
        "download": entry.download_bytes,
        "download_origin": entry.origin.value,
        "repository": entry.repository or None,
        "revision": entry.revision or None,
        "files": [{"name": file.name, "bytes": file.bytes} for file in entry.files],
        "projector": {"name": entry.projector.name, "bytes": entry.projector.bytes} if entry.projector else None,
        "good_at": [strength.value for strength in entry.good_at],
        "licence": entry.licence.value if entry.licence else None,
        "licence_url": entry.licence_url,
        "shape_measured": entry.shape_measured,
        "source": entry.source,
    }


def _advice_document(found: Advice) -> dict[str, Any]:
    return {
        "engine": found.engine.value if found.engine else None,
        "reasons": [_said(reason) for reason in found.reasons],
        "objections": [_objection_document(each) for each in found.objections],
        "offers": [_document(each) for each in found.offers],
    }


def _objection_document(against: Objection) -> dict[str, Any]:
    return {
        "id": against.entry.id,
        "said": _said(against.said) if against.said else None,
        "why": _said(against.why),
        "instead": [_said(offer) for offer in against.instead],
    }


def _said(what: Problem) -> dict[str, Any]:
    return {"code": what.code, "params": dict(what.params), "text": session.texts.message(what).what}
