"""The part of the tour that shows the settings of WSL: a change is made, looked at, saved, and proved after a restart.

Owns what a step of the tour is, too, so that parts need not know the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PySide6.QtWidgets import QWidget

from kotaro_bridge.ui.dialogs.settings import USUAL as APP_USUAL
from kotaro_bridge.ui.dialogs.wslconfig import WslConfigDialog
from kotaro_bridge.ui.dialogs.wslconfig_window import USUAL
from kotaro_bridge.ui.shell import Shell

CHANGED = "wsl2.memory"


@dataclass(frozen=True, slots=True)
class Until:
    """A step: what is awaited, in words, and for how long at most."""

    what: str
    holds: Callable[[], bool]
    seconds: float = 12.0


class TourError(Exception):
    """The tour cannot go on; the text says what it lacks."""


def show_settings(shell: Shell, shoot: Callable[[QWidget, str], None]) -> Iterator[Until]:
    """Walk through the settings of WSL; `shoot` takes a picture of a window under a name."""
    shell.tray.wslconfig.trigger()
    dialog = shell.settings
    if dialog is None:
        raise TourError("the settings of WSL")
    dialog.resize(USUAL)
    yield Until("the settings of WSL", dialog.isVisible)
    row = dialog.edit.form.rows[CHANGED]
    (row.use if row.view.recommended else row.reset).click()  # the second tour of a PC finds it changed already
    yield _painted()
    shoot(dialog, "wsl-settings")
    dialog.edit.tabs.setCurrentIndex(1)
    yield _painted()
    shoot(dialog, "wsl-settings-text")
    dialog.edit.tabs.setCurrentIndex(0)
    dialog.save_button.click()
    yield _painted()
    shoot(dialog, "wsl-settings-change")
    dialog.review_page.save_button.click()
    yield Until("the save", lambda: not dialog.saving)
    yield Until("what a restart of WSL stops", dialog.restart_page.progress.isHidden)
    if dialog.pages.currentWidget() is dialog.restart_page:
        yield from _restart(dialog, shoot)
    dialog.show_edit()
    dialog.close_button.click()
    yield Until("the end of the settings", lambda: not dialog.isVisible())


def show_app_settings(shell: Shell, shoot: Callable[[QWidget, str], None]) -> Iterator[Until]:
    """Look at the settings of the application itself."""
    shell.tray.settings.trigger()
    window = shell.app_settings
    if window is None:
        raise TourError("the settings of the application")
    window.resize(APP_USUAL)
    yield Until("the settings of the application", window.boxes["theme"].isEnabled)
    yield _painted()
    shoot(window, "settings")
    window.close_button.click()
    yield Until("the end of the settings of the application", lambda: not window.isVisible())


def _restart(dialog: WslConfigDialog, shoot: Callable[[QWidget, str], None]) -> Iterator[Until]:
    page = dialog.restart_page
    shoot(dialog, "wsl-restart")
    page.now.click()
    yield Until("the restart of WSL", lambda: not page.busy, 20)
    yield _painted()
    shoot(dialog, "wsl-proof")


def _painted() -> Until:
    return Until("the settings of WSL, painted", lambda: True)
