"""The command `plan`: does a model fit, before anything is downloaded or started.

Prints; what fits is `domain/planning/plan`'s business.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from kotaro_bridge.cli.model import LONGEST, entry_named, other_model, stated_vram
from kotaro_bridge.cli.print import columns, explain, padded, print_json
from kotaro_bridge.cli.session import Json, product, session
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan import (
    GgufPlanned,
    Plan,
    PlanCard,
    PlannedModel,
    PlanRequest,
    plan,
    planned_card,
    stated_card,
)
from kotaro_bridge.domain.planning.plan_sums import plan_sums, verdict
from kotaro_bridge.domain.planning.second_opinion import Opinion
from kotaro_bridge.domain.profile import KV_TYPES, KvType, Profile
from kotaro_bridge.domain.units import format_mib
from kotaro_bridge.service.planning import Planning, ProfilePlan

_CONTEXT = 8192
_PARTS = ("weights", "kv", "compute", "overhead")
_SMALLER = {Engine.LLAMA_SERVER: (KvType.Q8_0, KvType.Q4_0), Engine.VLLM: (KvType.FP8,)}
_MODEL_HELP = "A file, a folder (its config.json is enough), an id that `models list` shows, or one of Hugging Face."


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is planned, for what."""

    title: str
    model: PlannedModel
    plan: Plan
    cards: tuple[PlanCard, ...] | None
    learned: Learned
    opinion: Opinion | None = None


def plan_command(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help=_MODEL_HELP)] = None,
    profile: Annotated[str | None, typer.Option(help="Id of a profile, in place of MODEL.")] = None,
    engine: Annotated[Engine | None, typer.Option(help="The model's own by default.")] = None,
    ctx: Annotated[
        int | None, typer.Option(min=256, max=LONGEST, help="Tokens of one request; 8192 by default.")
    ] = None,
    parallel: Annotated[int | None, typer.Option(min=1, max=256, help="Requests at once, each with as much.")] = None,
    kv_type: Annotated[KvType | None, typer.Option(help="Elements of the KV cache.")] = None,
    vram: Annotated[
        str | None, typer.Option(help="What is free for us of each card, such as 12GiB; measured by default.")
    ] = None,
    cards: Annotated[int, typer.Option(min=1, max=8, help="Cards that share the model.")] = 1,
    as_json: Json = False,
) -> None:
    """What a model takes of the card, whether that fits, and what would."""
    if (model is None) == (profile is None):
        raise typer.BadParameter("give either MODEL or --profile.")
    if profile is not None:
        if engine is not None or vram is not None or cards != 1:
            raise typer.BadParameter("--engine, --vram and --cards are the profile's and the machine's with --profile.")
        asked = _of_profile(profile, ctx, parallel, kv_type)
    else:
        asked = _of_model(str(model), engine, ctx, parallel, kv_type or KvType.AUTO, vram, cards)
    if as_json:
        print_json(document(asked.plan, asked.opinion))
    else:
        _print(asked)


def document(found: Plan, opinion: Opinion | None = None) -> dict[str, Any]:
    """A plan as `plan --json` says it (architecture, command line), with where its figures come from."""
    figures = {part: getattr(found, part) for part in _PARTS}
    plain: dict[str, Any] = {part: figure.bytes for part, figure in figures.items()}
    plain |= {"total": found.total, "fits": found.fits, "margin": found.margin, "max_context": found.max_context}
    if found.engine is Engine.VLLM:
        plain |= {
            "utilization": found.utilization,
            "available_kv": found.available_kv,
            "max_concurrency": found.max_concurrency,
            "budget": found.budget,
            "needed_budget": found.needed_budget,
        }
    plain |= {
        "engine": found.engine.value,
        "context": found.request.context,
        "parallel": found.request.parallel,
        "kv_type": found.request.kv_type.value,
        "origins": {part: figure.origin.value for part, figure in figures.items()},
        "band": found.band_bytes,
        "per_card": list(found.per_card),
        "notes": [note.code for note in found.notes],
    }
    if opinion is not None:
        plain["second_opinion"] = {"weights": opinion.weights, "kv": opinion.kv, "compute": opinion.compute}
    return plain


def _of_profile(profile_id: str, ctx: int | None, parallel: int | None, kv_type: KvType | None) -> _Asked:
    import msgspec

    with product() as made:
        profile = made.supervisor.profile(profile_id)
        changes = {"context": ctx, "parallel": parallel, "kv_type": kv_type}
        changed: Profile = msgspec.structs.replace(profile, **{k: v for k, v in changes.items() if v is not None})
        _check_kv_type(changed.engine, changed.kv_type)
        planning = Planning(made.setting.machine)
        found: ProfilePlan = planning.plan(changed)
        cards = tuple(planned_card(card) for card in planning.cards(changed.gpus))
    return _Asked(profile.title, found.model, found.plan, cards, found.learned, found.opinion)


def _of_model(
    name: str,
    engine: Engine | None,
    ctx: int | None,
    parallel: int | None,
    kv_type: KvType,
    vram: str | None,
    cards: int,
) -> _Asked:
    title, planned = _model(name)
    own = Engine.LLAMA_SERVER if isinstance(planned, GgufPlanned) else Engine.VLLM
    wanted = engine or own
    _check_kv_type(wanted, kv_type)
    made_for = planned.model.context_length
    context = ctx or min(_CONTEXT, made_for or _CONTEXT)
    request = PlanRequest(wanted, context, parallel or 1, kv_type, cards=cards, max_num_seqs=max(16, parallel or 1))
    room, learned = _cards(wanted, vram, cards)
    return _Asked(title, planned, plan(planned, request, room, learned), room, learned)


def _model(name: str) -> tuple[str, PlannedModel]:
    """An entry of the catalogue, or any other model. Raises ProblemError."""
    entry = entry_named(name)
    if entry is not None:
        return entry.name, entry.planned
    planned = other_model(name)
    return planned.name or name, planned


def _check_kv_type(engine: Engine, kv_type: KvType) -> None:
    if kv_type not in KV_TYPES[engine]:
        allowed = ", ".join(sorted(KV_TYPES[engine]))
        raise typer.BadParameter(f"--kv-type {kv_type}: {engine} has {allowed}.")


def _cards(engine: Engine, vram: str | None, count: int) -> tuple[tuple[PlanCard, ...] | None, Learned]:
    """The cards to plan for, and what starts on the first one taught; None where the machine has none that answers,
    which is told.
    """
    if vram is not None:
        return (stated_card(stated_vram(vram)),) * count, Learned()
    with product() as made:
        planning = Planning(made.setting.machine)
        try:
            found = planning.cards(tuple(range(count)))
        except ProblemError as error:
            explain(session.texts, error.problem)
            return None, Learned()
        local = made.setting.simulated is None and sys.platform != "win32"
        learned = planning.learned(engine, found[0], local=local)
    return tuple(planned_card(card) for card in found), learned


def _print(asked: _Asked) -> None:
    text, found, request = session.texts.text, asked.plan, asked.plan.request
    kv_name = KvType.F16.value if request.kv_type is KvType.AUTO else request.kv_type.value
    typer.echo(asked.title)
    typer.echo(
        text(
            "plan.asked", engine=found.engine.value, context=request.context, parallel=request.parallel, kv_type=kv_name
        )
    )
    rows = [
        (text(f"plan.part.{part}"), format_mib(figure.bytes), text(f"plan.origin.{figure.origin.value}"))
        for part in _PARTS
        for figure in (getattr(found, part),)
    ]
    band = text("plan.band", band=format_mib(found.band_bytes)) if found.band_bytes else ""
    rows.append((text("plan.part.total"), format_mib(found.total), band))
    rows += _needed_rows(asked)
    widest = max(columns(row[0]) for row in rows)
    for name, size, origin in rows:
        typer.echo(f"  {padded(name, widest)}  {size:>12}  {origin}".rstrip())
    if len(found.per_card) > 1:
        typer.echo(text("plan.per_card", sizes=", ".join(format_mib(size) for size in found.per_card)))
    for line in (*_answer(asked), *_opinion(asked)):
        typer.echo(line)
    for note in found.notes:
        message = session.texts.message(note)
        typer.echo(f"- {message.what} {message.do}".rstrip())


def _needed_rows(asked: _Asked) -> Iterator[tuple[str, str, str]]:
    """What has to be free beside the total, where the total is not all of it."""
    text, found, sums = session.texts.text, asked.plan, plan_sums(asked.plan, asked.cards)
    is_vllm = found.engine is Engine.VLLM
    if sums is None or not (is_vllm or len(found.per_card) == 1):
        return
    if sums.set_aside:
        yield text("plan.part.set_aside"), format_mib(sums.set_aside), text("plan.part.set_aside_from")
    if sums.reserve:
        yield text("plan.part.kept"), format_mib(sums.reserve), ""
    origin = text("plan.part.needed_from") if is_vllm and found.fits else ""
    yield text("plan.part.needed"), format_mib(sums.needed), origin


def _answer(asked: _Asked) -> Iterator[str]:
    """The answer in a sentence, and where it is no, what would fit."""
    text, found = session.texts.text, asked.plan
    sums = plan_sums(found, asked.cards)
    if sums is None or found.margin is None:
        yield text("plan.answer.no_card")
        return
    yield session.texts.message(verdict(found, sums)).what
    if found.margin < 0:
        yield from _instead(asked)
    if found.utilization is not None and found.available_kv is not None and found.fits:
        yield text(
            "plan.answer.vllm",
            utilization=f"{found.utilization:.3f}",
            kv=format_mib(found.available_kv),
            requests=f"{found.max_concurrency or 0:.1f}",
        )


def _instead(asked: _Asked) -> Iterator[str]:
    """Shorter contexts that fit, with the KV cache as it is and with smaller elements."""
    text, found = session.texts.text, asked.plan
    offers = []
    if found.max_context:
        offers.append(text("plan.instead.context", longest=found.max_context))
    for smaller in _SMALLER[found.engine]:
        if found.request.kv_type in (KvType.AUTO, KvType.F16, KvType.BF16):
            other = plan(asked.model, replace(found.request, kv_type=smaller), asked.cards, asked.learned)
            longest = min(found.request.context, other.max_context or 0)
            if longest > (found.max_context or 0):
                offers.append(text("plan.instead.kv_type", kv_type=smaller.value, longest=longest))
    yield text("plan.instead.title") if offers else text("plan.instead.nothing")
    yield from (f"  {offer}" for offer in offers)


def _opinion(asked: _Asked) -> Iterator[str]:
    """What llama.cpp's own tool says, where it was asked."""
    if asked.opinion is None:
        return
    text, opinion = session.texts.text, asked.opinion
    projector = asked.model.projector_bytes if isinstance(asked.model, GgufPlanned) else 0
    more = opinion.more_than(asked.plan, projector)
    key = "plan.opinion.more" if more else "plan.opinion.agrees"
    yield text(key, weights=format_mib(opinion.weights), kv=format_mib(opinion.kv), more=format_mib(more))
