"""Another language while the program runs: what is open opens anew, but where something typed would be lost.

Owns which windows are made again. One with unsaved changes, a try or a restart of WSL under way keeps its words until
it is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QWidget

if TYPE_CHECKING:
    from kotaro_bridge.ui.shell import Shell

RETIRE_MS = 20_000
"""What was asked in the background may still come back to a window; later than this it cannot."""


def speak(shell: Shell, language: str) -> None:
    """Args: language: `en`, `ja` or "" for the system's."""
    shell.desk.texts.use(language or shell.desk.system_language)
    shell.tray.speak()
    shell.editors.renew()
    settings = shell.settings
    if settings is not None and not settings.unsaved and not settings.restart_page.busy:
        shell.settings = None
        _renew(settings, shell.open_settings, lambda: shell.settings)
    if shell.models is not None:
        models, shell.models = shell.models, None
        _renew(models, shell.open_models, lambda: shell.models)
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
    if shell.app_settings is not None:  # the last one, in front: the language was chosen in it
        app_settings, shell.app_settings = shell.app_settings, None
        _renew(app_settings, shell.open_app_settings, lambda: shell.app_settings)


def _renew(old: QWidget, opens: Callable[[], None], made: Callable[[], QWidget | None]) -> None:
    """Put a window away, and open its like in its place if it was open."""
    was_open, maximized, place = old.isVisible(), old.isMaximized(), old.normalGeometry()
    old.hide()
    QTimer.singleShot(RETIRE_MS, old, old.deleteLater)
    if was_open:
        opens()
        new = made()
        if new is not None:
            new.setGeometry(place)
            if maximized:
                new.showMaximized()
