"""The command `update`: whether there is a newer version, its download, and the start of an installer."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from kotaro_bridge import __version__
from kotaro_bridge.cli.print import print_json
from kotaro_bridge.cli.session import Json, has_person, product, session
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.update import Package, UpdateState, UpdateView
from kotaro_bridge.service.owner_desk import problem_document
from kotaro_bridge.service.updates import Updates


def update(
    check: Annotated[bool, typer.Option("--check", help="Only say whether there is a newer version.")] = False,
    as_json: Json = False,
) -> None:
    """Look for a newer version, download it and compare its checksum; in a terminal its installer is started if you say
    so. A copy that was unpacked from the zip gets the zip. Exit code 1 if something fails.
    """
    with product() as made:
        updates = made.updates
        if not updates.state().has_feed:
            raise ProblemError(problem("update.no_feed"))
        updates.check()
        view = _done(updates.wait(), as_json)
        file = ""
        if view.release is not None and not check:
            if not as_json:
                _tell(view)
            updates.download()
            view = _done(updates.wait(), as_json)
            file = str(made.setting.paths.installers / view.release.file_name) if view.release is not None else ""
        if as_json:
            print_json(_document(view, file))
            return
        if not file:
            _tell(view)
            return
        typer.echo(session.texts.text("cli.update.downloaded", file=file))
        if view.release is not None and view.release.package is Package.PORTABLE:
            typer.echo(session.texts.text("cli.update.unpack"))
        else:
            _offer(updates)


def _offer(updates: Updates) -> None:
    """Start the installer if a person says so; never without one."""
    if sys.platform == "win32" and has_person():
        if typer.confirm(session.texts.text("cli.update.install_now")):
            updates.install()
            _done(updates.wait(), False)


def _done(view: UpdateView, as_json: bool) -> UpdateView:
    """The view, unless it failed. Raises ProblemError."""
    if view.problem is not None:
        if as_json:
            print_json(_document(view, ""))
        raise ProblemError(view.problem)
    return view


def _tell(view: UpdateView) -> None:
    text = session.texts.text
    if view.release is None:
        typer.echo(text("cli.update.current", current=__version__))
    else:
        typer.echo(
            text("cli.update.available", version=view.release.version, current=__version__, page=view.release.page)
        )


def _document(view: UpdateView, file: str) -> dict[str, Any]:
    release = view.release
    return {
        "state": view.state.value,
        "current": view.current,
        "version": release.version if release is not None else None,
        "page": release.page if release is not None else None,
        "checked_at": view.checked_at,
        "file": file if view.state is UpdateState.READY else None,
        "problem": problem_document(view.problem) if view.problem is not None else None,
    }
