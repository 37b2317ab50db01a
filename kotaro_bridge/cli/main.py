"""The command line: everything the windows do that makes sense in a terminal.

Owns arguments, exit codes (0 done, 1 refused or failed with the reason on stderr, 2 wrong usage) and the JSON documents
(architecture, command line). With `--json` stdout holds one document and nothing else. Sentences come from `texts`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from kotaro_bridge import __version__
from kotaro_bridge.app.session import DEFAULT_SCENARIO, in_session, run_windows
from kotaro_bridge.cli.diagnostics import write_diagnostics
from kotaro_bridge.cli.end import forget_user, quit_program
from kotaro_bridge.cli.models import models_cli
from kotaro_bridge.cli.plan import plan_command
from kotaro_bridge.cli.print import (
    RunPrinter,
    explain,
    print_json,
    print_remedies,
    print_report,
    print_run,
    report_document,
)
from kotaro_bridge.cli.profiles import profiles_cli
from kotaro_bridge.cli.remedy import remedy
from kotaro_bridge.cli.session import Json, interrupted, product, raise_if_error, session
from kotaro_bridge.cli.settings import settings_cli
from kotaro_bridge.cli.update import update
from kotaro_bridge.cli.verdict import verdict
from kotaro_bridge.cli.wslconfig import wslconfig_cli
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.units import format_gib, parse_size
from kotaro_bridge.host.control import ask
from kotaro_bridge.resources import resource
from kotaro_bridge.service.owner_desk import gpu_document

cli = typer.Typer(name="kotaro-bridge", no_args_is_help=False, add_completion=False, pretty_exceptions_enable=False)
cli.add_typer(profiles_cli, name="profiles")
cli.add_typer(wslconfig_cli, name="wslconfig")
cli.add_typer(models_cli, name="models")
cli.add_typer(settings_cli, name="settings")
cli.command()(remedy)
cli.command()(verdict)
cli.command("plan")(plan_command)
cli.command()(update)
cli.command("quit")(quit_program)
cli.command("diagnostics")(write_diagnostics)
cli.command("forget-user")(forget_user)


def run_command_line(arguments: list[str]) -> int:
    """Run one command; `--simulate` and `--lang` are understood anywhere in the line. Returns the exit code."""
    return in_session(arguments, _run)


def _run(arguments: list[str]) -> int:
    if arguments[:1] != ["settings"]:  # which tells it itself
        for wrong in session.settings.problems:
            explain(session.texts, wrong)
    try:
        cli(arguments, prog_name="kotaro-bridge")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


@cli.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    opened: Annotated[bool, typer.Option("--open", help="The tray application with its dashboard in front.")] = False,
) -> None:
    """Kotaro Bridge: the model runs 100 % on the GPU, or it does not run, and you are told why.

    Without a command the tray application opens. --simulate SCENARIO (anywhere in the line) uses a simulated PC,
    --lang en|ja chooses the language.
    """
    if version:
        typer.echo(f"kotaro-bridge {__version__}")
    elif context.invoked_subcommand is None:
        raise typer.Exit(run_windows(opened=opened))


@cli.command()
def demo(
    tour: Annotated[Path | None, typer.Option(help="Walk through by itself and leave numbered PNG files here.")] = None,
    theme: Annotated[str | None, typer.Option(help="light or dark; the system's by default.")] = None,
    scale: Annotated[float | None, typer.Option(min=1.0, max=3.0, help="Scale of the windows, 1.5 for 150 %.")] = None,
    opened: Annotated[bool, typer.Option("--open", help="With the dashboard in front.")] = False,
) -> None:
    """The tray application on a simulated PC."""
    session.scenario = session.scenario or DEFAULT_SCENARIO
    raise typer.Exit(run_windows(tour, theme, scale, opened=opened))


@cli.command()
def check(
    profile: Annotated[
        str | None, typer.Option(help="Id of a profile; also checks its engine, model, ports and VRAM.")
    ] = None,
    need: Annotated[str | None, typer.Option(help="VRAM that has to be free, such as 10GiB.")] = None,
    as_json: Json = False,
) -> None:
    """The gate's answer without a start. Exit code 1 if a start would be refused."""
    if profile and need:
        raise typer.BadParameter("--profile and --need exclude each other.")
    wanted = None
    if need is not None:
        try:
            wanted = parse_size(need)
        except ValueError:
            raise typer.BadParameter(f"{need!r} is not a size such as 10GiB.") from None
    with product() as made:
        result = made.supervisor.check(profile, wanted)
    report = result.report
    if as_json:
        print_json(report_document(session.texts, report, result.remedies))
    else:
        print_report(session.texts, report)
        print_remedies(session.texts, profile or "", result.remedies, session.scenario)
    for blocked in report.blocking:
        if as_json:
            explain(session.texts, blocked.message)
    raise typer.Exit(0 if report.ok else 1)


@cli.command()
def run(profile: Annotated[str, typer.Argument(help="Id of a profile.")]) -> None:
    """Start a profile in the foreground; Ctrl-C stops it cleanly."""
    texts = session.texts
    with product(owner=True) as made:
        actor = made.supervisor.actor(profile)
        ended = threading.Event()
        printer = RunPrinter(texts, actor.profile, ended)
        made.bus.subscribe(printer)
        with interrupted(actor.stop):
            actor.start()
            while not ended.wait(0.5):
                pass  # a bare wait would keep Ctrl-C from being seen on Windows
        view = actor.view
    if view.phase is not Phase.STOPPED:
        if view.gate is not None and view.phase is Phase.REFUSED:
            print_report(texts, view.gate)
        else:
            for why in (view.cause, view.problem):
                if why is not None:
                    explain(texts, why)
        print_remedies(texts, profile, view.remedies, session.scenario)
        raise typer.Exit(1)


@cli.command()
def stop(
    profile: Annotated[str | None, typer.Argument(help="Id of a profile; all runs without it.")] = None,
    as_json: Json = False,
) -> None:
    """Stop a run of this user, whoever started it, and what an ended owner left behind."""
    answer = ask(session.paths.state, {"verb": "stop", "profile": profile})
    if answer is None:
        with product(owner=True) as made:
            if profile is not None:
                made.supervisor.profile(profile)
            answer = {"stopped": [], "owner": False}
            made.supervisor.stop_all()
    raise_if_error(answer)
    stopped = answer["stopped"]
    if as_json:
        print_json(answer)
    else:
        for view in stopped:
            typer.echo(f"{view['profile']}: {session.texts.text('ui.phase.' + view['state'])}")
        if not stopped:
            typer.echo(session.texts.text("cli.nothing_runs"))
    raise typer.Exit(1 if any(view["state"] == Phase.ORPHANED for view in stopped) else 0)


@cli.command()
def status(as_json: Json = False) -> None:
    """What runs, and the cards."""
    answer = ask(session.paths.state, {"verb": "status"})
    if answer is None:
        with product() as made:
            report = made.supervisor.check().report
            answer = {"owner": False, "runs": [], "gpus": [gpu_document(gpu) for gpu in report.gpus]}
    raise_if_error(answer)
    if as_json:
        print_json(answer)
        return
    text = session.texts.text
    for view in answer["runs"]:
        print_run(session.texts, view)
    if not answer["runs"]:
        typer.echo(text("cli.nothing_runs"))
    for gpu in answer["gpus"]:
        used = format_gib(gpu["used"]) if gpu["used"] is not None else "?"
        typer.echo(f"GPU {gpu['index']}: {gpu['name']}  {used} / {format_gib(gpu['total'])}")


@cli.command()
def logs(
    profile: Annotated[str | None, typer.Argument(help="Id of a profile; the newest run without it.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many lines.")] = 200,
    as_json: Json = False,
) -> None:
    """The last lines of an engine's log, of a run under way or of the newest one on disk."""
    answer = ask(session.paths.state, {"verb": "logs", "profile": profile, "lines": lines})
    if answer is not None:
        raise_if_error(answer)
    if answer is None or not any(answer["logs"].values()):
        answer = {"logs": _stored_logs(profile, lines)}
    if as_json:
        print_json(answer)
        return
    if not answer["logs"]:
        raise ProblemError(problem("cli.no_logs"))
    for kept in answer["logs"].values():
        typer.echo("\n".join(kept))


def _stored_logs(profile: str | None, lines: int) -> dict[str, list[str]]:
    """The newest log file (of a profile), in the form of the channel's answer."""
    files = sorted(session.paths.logs.glob(f"{profile or ''}*.log"), key=lambda path: path.stat().st_mtime)
    if not files:
        return {}
    kept = files[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return {files[-1].stem: kept}


@cli.command()
def verify_script() -> None:
    """The script that asks the card for its free memory inside Linux, to be kept and put before other start scripts:
    `kotaro-bridge verify-script > verify_gpu.sh`.
    """
    # As bytes: Windows would end the lines of a text in a way that no sh understands.
    typer.echo(resource("guardian/verify_gpu.sh").read_text(encoding="utf-8").encode(), nl=False)
