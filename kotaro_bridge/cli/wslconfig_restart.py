"""The commands `wslconfig restart` and `wslconfig proof`: the file takes effect, and what came of it.

Runs that another process of this user owns, such as the tray application, are stopped and started by that one.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kotaro_bridge.cli.print import print_json, problem_of
from kotaro_bridge.cli.session import Json, agree, product, raise_if_error, session
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.host.control import ask
from kotaro_bridge.service.owner_desk import affected_document, report_document

_RESTART_S = 1800.0
"""An answer to a restart; the steps have their own limits, and a model may load for minutes before the next one."""


def restart(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Restart WSL so that .wslconfig takes effect: our runs are stopped before and started again, and what came of the
    file is shown. All distros are stopped, Docker Desktop's too. Exit code 1 if it differs.
    """
    document = _asked("wsl-affected")
    if document is not None:
        _confirm(document, yes, as_json)
        report = _asked("wsl-restart")
        if report is None:
            raise ProblemError(problem("wslconfig.restart.owner_gone"))
        _show(report, as_json)
    with product(owner=True) as made:
        _confirm(affected_document(made.wslconfig.affected()), yes, as_json)
        told = (lambda _: None) if as_json else _say_step
        done = report_document(made.wslconfig.restart(told))
    _show(done, as_json)


def proof(as_json: Json = False) -> None:
    """What the running WSL made of .wslconfig. Starts nothing. Exit code 1 if it differs."""
    with product() as made:
        report = report_document(made.wslconfig.effects())
    _show(report, as_json)


def _asked(verb: str) -> dict[str, Any] | None:
    """The answer of the owner of this user's runs; None if there is none. Raises ProblemError."""
    answer = ask(session.paths.state, {"verb": verb}, answer_s=_RESTART_S)
    if answer is not None:
        raise_if_error(answer)
    return answer


def _confirm(affected: dict[str, Any], yes: bool, as_json: bool) -> None:
    """Say what would be stopped, and ask. Raises ProblemError where nobody can be asked, Exit for a no."""
    text = session.texts.text
    if names := ", ".join(affected["distros"]):
        lines = [text("cli.wslconfig.restart.distros", names=names)]
    else:
        lines = [text("cli.wslconfig.restart.nothing")]
    lines += [text("cli.wslconfig.restart.run", title=title) for title in affected["runs"]]
    lines += [text("cli.wslconfig.restart.docker")] if affected["docker"] else []
    for line in lines:
        typer.echo(line, err=as_json)
    if yes:
        return
    agree("cli.wslconfig.restart.now", problem("wslconfig.restart.not_asked"), err=as_json)


def _say_step(step: str) -> None:
    typer.echo(session.texts.text(f"wslconfig.step.{step}"), err=True)


def _show(report: dict[str, Any], as_json: bool) -> None:
    """Print a report and end: exit code 1 on a difference."""
    texts = session.texts
    if as_json:
        for effect in report["effects"]:
            message = texts.message(problem_of(effect["why"])) if effect["why"] else None
            effect["why"] = f"{message.what} {message.do}".strip() if message else None
        print_json(report)
    for effect in () if as_json else report["effects"]:
        mark = {True: "ok", False: "differs", None: "not_told"}[effect["ok"]]
        words = {"key": effect["key"], "wanted": effect["wanted"] or "-", "found": effect["found"] or "-"}
        typer.echo(texts.text(f"cli.wslconfig.effect.{mark}", **words))
        if effect["why"]:
            message = texts.message(problem_of(effect["why"]))
            for line in (message.what, *(f"  {said}" for said in effect["why"]["evidence"]), message.do):
                if line:
                    typer.echo(f"    {line}")
    raise typer.Exit(0 if report["ok"] else 1)
