"""The command `diagnostics`: everything that helps to find a fault, in one ZIP file without secrets and names."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from kotaro_bridge.app import last_words
from kotaro_bridge.app.diagnostics import Lazily, default_path, diagnostics
from kotaro_bridge.app.product import Product
from kotaro_bridge.app.this_pc import setting_for
from kotaro_bridge.cli.print import explain, print_json
from kotaro_bridge.cli.session import Json, agree, session
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.host.launcher import end_short_commands
from kotaro_bridge.service.diagnostics import Written

_CLOSE_S = 5.0
_INTERRUPTED = 130


def write_diagnostics(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The ZIP file; on the desktop, named by its time, without.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", "--force", help="Also over a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Pack versions, settings, findings, logs and crash reports into one ZIP file, to look at and to pass on.

    Tokens, keys, passwords, names and addresses of people, and what was said to models are taken out. Starts nothing,
    and works while the application runs, while it does not, and when nothing works.
    """
    path, there = _target(file, replace=replace)
    signal.signal(signal.SIGTERM, _interrupt)  # a temporary file is deleted then too
    product = Lazily(lambda: Product(setting_for(session.scenario), session.texts))
    code = 0
    try:
        made = diagnostics(lambda: session.paths, product, session.texts).written(path, replace=there)
        _print(made, as_json=as_json)
    except ProblemError as error:
        explain(session.texts, error.problem)
        code = 1
    except KeyboardInterrupt:
        explain(session.texts, problem("diagnostics.interrupted"))
        code = _INTERRUPTED
    _leave(product, code)


def _target(file: Path | None, *, replace: bool) -> tuple[Path, bool]:
    """Where to, and whether something is there that is to go, which is asked. Raises ProblemError."""
    path = file if file is not None else default_path()
    if path.is_dir():
        raise ProblemError(problem("diagnostics.is_folder", path=str(path)))
    if not path.parent.is_dir():
        raise ProblemError(problem("diagnostics.no_folder", path=str(path.parent)))
    there = path.exists()
    if there and not replace:
        agree("cli.diagnostics.replace", problem("diagnostics.exists", path=str(path)))
    return path, there


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _print(made: Written, *, as_json: bool) -> None:
    if as_json:
        parts: list[dict[str, Any]] = [
            {"name": part.name, "letters": len(part.text), "failed": part.failed, "seconds": round(part.seconds, 2)}
            for part in made.manifest.parts
        ]
        removed = {kind.name.lower(): count for kind, count in made.manifest.removed}
        print_json({"file": str(made.path), "bytes": made.bytes, "parts": parts, "removed": removed})
        return
    text = session.texts.text
    typer.echo(text("cli.diagnostics.written", path=str(made.path), kib=f"{made.bytes / 1024:.0f}"))
    for part in made.manifest.parts:
        if part.failed is not None:
            typer.echo(text("cli.diagnostics.failed", name=part.name, why=part.text.partition("\n")[0]))
    typer.echo(text("cli.diagnostics.look"))


def _leave(product: Lazily, code: int) -> None:
    """End now, also where a part still waits for a program or a driver that will never answer."""
    end_short_commands()  # whoever still waits has been given up
    closing = threading.Thread(target=product.close, name="closing", daemon=True)
    closing.start()
    closing.join(_CLOSE_S)
    if not closing.is_alive():
        raise typer.Exit(code)
    last_words.cease()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)
