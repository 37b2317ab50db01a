"""The commands `quit` and `forget-user`, which the installer uses too: the program ends, and what it kept goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from kotaro_bridge.app import last_words
from kotaro_bridge.cli.print import explain
from kotaro_bridge.cli.session import agree, session
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.host.control import OwnerLock, ask
from kotaro_bridge.host.footprint import Trace, TraceKind, traces
from kotaro_bridge.host.paths import Paths

_WAIT_S = 30.0
_LOOK_S = 0.1
_NAMED = 5


def quit_program(
    wait: Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="How long it may take.")] = _WAIT_S,
) -> None:
    """Have the application stop its models in order and end, simulated PCs of this user too. Exit code 1 if it has not
    ended in time.
    """
    deadline = time.monotonic() + wait
    anybody = False
    for folder in _owners_folders():
        anybody = _end_of(folder, deadline, wait) or anybody
    typer.echo(session.texts.text("cli.quit.ended" if anybody else "cli.quit.nobody"))


def forget_user(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove what Kotaro Bridge keeps of this user: settings, profiles, history, logs, token, start at login.

    Models, .wslconfig, what is inside Linux and what others put into its folders stay. Refused while the application
    runs. With --simulate only what it keeps of that simulated PC.
    """
    text = session.texts.text
    if any(not _is_free(folder) for folder in _owners_folders()):
        raise ProblemError(problem("forget.running"))
    found = traces(Paths.of_user(), session.scenario)
    if not found:
        typer.echo(text("cli.forget.nothing"))
        return
    typer.echo(text("cli.forget.title"))
    for trace in found:
        typer.echo(f"  {_name(trace)}")
    typer.echo(text("cli.forget.kept"))
    if not yes:
        agree("cli.forget.now", problem("forget.not_asked"), err=False)
    texts = session.texts  # the settings that name its language are about to go
    failed: dict[Trace, Problem] = {}
    with _nobody_starts():
        last_words.cease()
        for trace in found:
            try:
                trace.remove()
            except ProblemError as error:
                failed[trace] = error.problem
    for trace in found:
        left = trace.clear()
        if trace in failed:
            explain(texts, failed[trace])
        elif left:
            typer.echo(texts.text("cli.forget.left", where=trace.where, names=_few(left)))
        else:
            typer.echo(texts.text("cli.forget.removed", where=trace.where))
    raise typer.Exit(int(bool(failed)))


@contextmanager
def _nobody_starts() -> Iterator[None]:
    """Nobody becomes an owner here meanwhile. Raises ProblemError `forget.running` where somebody is one by now."""
    locks = [OwnerLock(folder) for folder in _owners_folders() if folder.is_dir()]
    try:
        if not all(lock.acquire() for lock in locks):
            raise ProblemError(problem("forget.running"))
        yield
    except BaseException:
        for lock in locks:
            lock.release()
        raise
    for lock in locks:
        lock.forget()


def _few(names: tuple[str, ...]) -> str:
    return ", ".join((*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])))


def _name(trace: Trace) -> str:
    text = session.texts.text
    name = text(f"cli.forget.{trace.kind.value}", where=trace.where)
    holds_backups = trace.kind is TraceKind.FOLDER and any(Path(trace.where).rglob("wslconfig-backups"))
    return f"{name} {text('cli.forget.backups')}" if holds_backups else name


def _owners_folders() -> tuple[Path, ...]:
    """Where owners of this user may be: of the PC that is named, or of this one and all simulated ones."""
    user = Paths.of_user()
    scenarios = (session.scenario,) if session.scenario else user.simulations()
    simulated = tuple(Paths(user.simulated_place(name)).place("state") for name in scenarios)
    return simulated if session.scenario else (user.place("state"), *simulated)


def _is_free(folder: Path) -> bool:
    """True if nobody owns the runs there."""
    if not folder.is_dir():
        return True
    lock = OwnerLock(folder)
    free = lock.acquire()
    lock.release()
    return free


def _end_of(folder: Path, deadline: float, wait_s: float) -> bool:
    """Have the owner end, and wait until its process is gone; False if there is none.

    Raises:
        ProblemError: `quit.not_in_time`.
    """
    if _is_free(folder):
        return False
    answer = None
    process: psutil.Process | None = None
    while True:
        if answer is None and (answer := _asked(folder)) is not None:
            process = _process(answer.get("pid"))
        # The lock goes first; an installer wants the program's files too.
        if _is_free(folder) and not _lives(process):
            return True
        if time.monotonic() > deadline:
            raise ProblemError(problem("quit.not_in_time", seconds=round(wait_s)))
        time.sleep(_LOOK_S)


def _asked(folder: Path) -> dict[str, Any] | None:
    """The owner's answer; None if it does not answer yet, or no longer."""
    try:
        return ask(folder, {"verb": "quit"})
    except ProblemError:
        return None


def _process(pid: object) -> psutil.Process | None:
    try:
        return psutil.Process(pid) if isinstance(pid, int) else None
    except psutil.Error:
        return None


def _lives(process: psutil.Process | None) -> bool:
    """False for one that has ended and is only not buried yet by who started it."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
