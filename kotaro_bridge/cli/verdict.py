"""The command `verdict`: where the model was, judged from a log that somebody has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kotaro_bridge.cli.print import print_json
from kotaro_bridge.cli.session import Json, session
from kotaro_bridge.domain.engine.engine_log import Engine, Stream
from kotaro_bridge.domain.engine.log_judge import JudgedLog, judge_rows
from kotaro_bridge.domain.engine.reasons import Verdict
from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.host.log_reader import read_rows


def verdict(
    engine: Annotated[Engine, typer.Argument(help="Whose log it is.")],
    log_file: Annotated[Path, typer.Argument(metavar="LOGFILE", help="Stdout, or both streams in one file.")],
    stderr: Annotated[Path | None, typer.Option(help="Stderr, where it was kept apart.")] = None,
    as_json: Json = False,
) -> None:
    """Where the model was, judged from an engine's log alone. Exit code 0 only for `gpu`.

    Of a log with several starts the last one is judged.
    """
    judged = judge_rows(engine, read_rows(log_file), read_rows(stderr) if stderr else None)
    judgement = judged.judgement
    if as_json:
        print_json(_document(engine, judged))
    else:
        typer.echo(judgement.verdict.value)
    if not as_json or judgement.verdict is not Verdict.GPU:
        # What to do is said of what no line alone proves, since that sums the lines up; else of the main reason.
        telling = [reason for reason in judgement.reasons if not reason.line_no] or judgement.reasons[:1]
        for reason in judgement.reasons:
            file = stderr if stderr and reason.stream is Stream.STDERR else log_file
            where = f" ({file.name}:{reason.line_no})" if reason.line_no else ""
            _say(Problem(f"proof.{reason.code.value}", reason.params), where, do=reason in telling)
        if judged.starts > 1:
            _say(problem("cli.last_start_judged", starts=judged.starts, line=judged.first_line))
    raise typer.Exit(0 if judgement.verdict is Verdict.GPU else 1)


def _say(what: Problem, where: str = "", *, do: bool = True) -> None:
    message = session.texts.message(what)
    typer.echo(f"- {message.what}{where}", err=True)
    if do and message.do:
        typer.echo(f"  {message.do}", err=True)


def _document(engine: Engine, judged: JudgedLog) -> dict[str, object]:
    judgement = judged.judgement
    return {
        "engine": engine.value,
        "verdict": judgement.verdict.value,
        "reasons": [reason.to_json() for reason in judgement.reasons],
        "facts": {
            **judgement.facts.to_json(),
            "judged": {"starts": judged.starts, "first_line": judged.first_line, "last_line": judged.last_line},
        },
    }
