"""The command `remedy`: what would make a refused start work, and doing it from a terminal, without starting."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kotaro_bridge.app.product import Product
from kotaro_bridge.cli.print import explain, print_json, remedy_text
from kotaro_bridge.cli.session import Json, product, raise_if_error, session
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.remedy import Remedy, RemedyKind, changes, parse
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.host.control import ask
from kotaro_bridge.host.profile_store import ProfileFolder
from kotaro_bridge.service.owner_desk import remedy_document


def remedy(
    profile: Annotated[str, typer.Argument(help="Id of a profile.")],
    name: Annotated[
        str | None,
        typer.Argument(
            help="What to do: context=N, kv_type=q8_0, parallel=1, stop=PROFILE, unload=MODEL, forget=speed."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """What would make a refused start work; with NAME it is done, without starting the profile.

    Exit code 1 if the start would be refused and Kotaro Bridge can do nothing about it.
    """
    with product() as made:
        found = made.supervisor.profile(profile)
        if name is None:
            raise typer.Exit(_offer(made, profile, as_json))
        wanted = parse(name, found)
        _carry_out(made, found, wanted)
    if as_json:
        print_json({"profile": profile, **remedy_document(wanted)})
    else:
        typer.echo(session.texts.text("cli.remedy.done", word=wanted.word))


def _offer(made: Product, profile_id: str, as_json: bool) -> int:
    """Print what the gate offers now; the exit code."""
    texts = session.texts
    result = made.supervisor.check(profile_id)
    ok = result.report.ok
    if as_json:
        print_json({"ok": ok, "remedies": [remedy_document(remedy) for remedy in result.remedies]})
    for remedy in () if as_json else result.remedies:
        typer.echo(f"{remedy.word:24}  {remedy_text(texts, remedy)}")
    if ok and not as_json:
        typer.echo(texts.text("cli.remedy.not_needed"))
    if ok or result.remedies:
        return 0
    for check in result.report.blocking:
        explain(texts, check.message)
    typer.echo(texts.text("cli.remedy.none"), err=True)
    return 1


def _carry_out(made: Product, profile: Profile, wanted: Remedy) -> None:
    """Change the profile's file, or free memory. Raises ProblemError."""
    paths = made.setting.paths
    if wanted.changes_profile:
        ProfileFolder(paths.profiles).change(profile.id, changes(profile, wanted))
        raise_if_error(ask(paths.state, {"verb": "reload", "profile": profile.id}) or {})
    elif wanted.kind is RemedyKind.UNLOAD:
        made.setting.machine.ollama.unload(wanted.value)
    elif wanted.kind is RemedyKind.FORGET:
        made.setting.machine.speeds.forget(profile.id)
    else:
        other = made.supervisor.profile(wanted.value)
        answer: dict[str, Any] = ask(paths.state, {"verb": "stop", "profile": other.id}) or {"stopped": []}
        raise_if_error(answer)
        if any(view["state"] == Phase.ORPHANED for view in answer["stopped"]):
            raise ProblemError(problem("remedy.still_there", title=other.title))
