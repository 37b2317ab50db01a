"""Notices about the program itself: where each leads, and what can be done about it at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.ui.notices import Told

if TYPE_CHECKING:
    from kotaro_bridge.ui.shell import Shell

_IN_SETTINGS = ("update.", "settings.", "autostart.")
CRASHED = "app.crashed_before"


def told_of_program(shell: Shell, what: Problem) -> Told:
    """The notice of what belongs to no profile."""
    text, in_settings = shell.desk.texts.text, what.code.startswith(_IN_SETTINGS)
    answers: tuple[tuple[str, Callable[[], None]], ...] = ()
    if in_settings:
        answers = ((text("ui.notice.settings"), shell.open_app_settings),)
    elif what.code == CRASHED:
        answers = (
            (text("ui.notice.report"), partial(_open, Path(str(what.params["path"])))),
            (text("ui.notice.diagnostics"), partial(_save_diagnostics, shell)),
        )
    opens = shell.open_app_settings if in_settings else shell.open_dashboard
    again = partial(told_of_program, shell, what)
    return Told(what.code, "Kotaro Bridge", shell.desk.texts.message(what), opens, answers, again=again)


def _open(report: Path) -> None:
    from kotaro_bridge.ui.widgets.about_card import open_folder

    open_folder(report)


def _save_diagnostics(shell: Shell) -> None:
    shell.open_app_settings()
    if shell.app_settings is not None:
        shell.app_settings.help.ask()
