"""Another language while the program runs: what is open opens anew, with what was typed in it.

Owns which windows are made again. One that is at work (a try, a save, a restart of WSL) keeps its words until it is
closed, and so does one with a value that is none yet: it is in no file and in no editor's hands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QWidget

from kotaro_bridge.ui.window_size import take_place

if TYPE_CHECKING:
    from kotaro_bridge.ui.shell import Shell

RETIRE_MS = 20_000
"""What was asked in the background may still come back to a window; later than this it cannot."""


def speak(shell: Shell, language: str) -> None:
    """Args: language: `en`, `ja` or "" for the system's."""
    shell.desk.texts.use(language or shell.desk.system_language)
    shell.tray.speak()
    shell.notices.speak()
    shell.editors.renew()
    settings = shell.settings
    if settings is not None and settings.can_be_renewed():
        shell.settings = None
        _renew(settings, partial(shell.open_settings, settings.editor), lambda: shell.settings)
        if shell.settings is not None:
            shell.settings.edit.tabs.setCurrentIndex(settings.edit.tabs.currentIndex())
    if shell.models is not None:
        models, shell.models = shell.models, None
        _renew(models, shell.open_models, lambda: shell.models)
        if shell.models is not None:
            shell.models.take_typed(models)
    for profile_id, dialog in tuple(shell.dialogs.items()):
        if dialog.progress.isHidden():  # else it waits for what was chosen in it
            del shell.dialogs[profile_id]
            again = partial(shell.explain, profile_id) if profile_id else shell.show_problems
            _renew(dialog, again, partial(shell.dialogs.get, profile_id))
    if shell.window is not None:
        window, shell.window = shell.window, None
        _renew(window, shell.open_dashboard, lambda: shell.window)
        if shell.window is not None:
            shell.window.models.select(window.models.current())
            if shell.told and window.notice.about == shell.told[-1].about:  # it is still said
                shell.told = [each.renewed() for each in shell.told]
                shell.show_told()
    if shell.app_settings is not None:  # the last one, in front: the language was chosen in it
        app_settings, shell.app_settings = shell.app_settings, None
        _renew(app_settings, shell.open_app_settings, lambda: shell.app_settings)


def _renew(old: QWidget, opens: Callable[[], None], made: Callable[[], QWidget | None]) -> None:
    """Put a window away, and open its like in its place if it was open."""
    was_open = old.isVisible()
    old.hide()
    QTimer.singleShot(RETIRE_MS, old, old.deleteLater)
    if was_open:
        opens()
        new = made()
        if new is not None:
            take_place(new, old)
