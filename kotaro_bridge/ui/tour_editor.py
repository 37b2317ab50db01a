"""The part of the tour that shows the profile editor: what fits is seen at once, tried, and nothing is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PySide6.QtWidgets import QWidget

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.ui.dialogs.wslconfig_window import USUAL
from kotaro_bridge.ui.main_window import MainWindow
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.tour_settings import TourError, Until

FORBIDDEN = "-ngl 20"


def show_editor(
    shell: Shell, window: MainWindow, profile: Profile, shoot: Callable[[QWidget, str], None], *, tries: bool
) -> Iterator[Until]:
    """Walk through the editor of a profile; `shoot` takes a picture under a name.

    Args:
        tries: there is time to start the model once more.
    """
    window.models.select(profile.id)
    window.profile_buttons["edit"].click()
    yield Until("the profile editor", lambda: shell.editors.of(profile.id) is not None)
    editor = shell.editors.of(profile.id)
    if editor is None:
        raise TourError("the profile editor")
    editor.resize(USUAL)
    yield Until("the plan of the profile", lambda: editor.plans.found is not None)
    yield _painted()
    shoot(editor, "profile")
    slider = editor.fields.context.slider
    before = slider.value()
    slider.setValue(slider.maximum())
    yield _painted()
    shoot(editor, "profile-too-long")
    slider.setValue(before)
    if tries:
        editor.tries.panel.start.click()
        yield Until("the end of a try", lambda: not editor.tries.running, 20)
        yield _painted()
        shoot(editor, "profile-tried")
    editor.fields.more.click()
    editor.fields.arguments.field.setPlainText(FORBIDDEN)
    yield _painted()
    editor.fields.ensureWidgetVisible(editor.fields.rows["extra_args"])
    yield _painted()
    shoot(editor, "profile-forbidden")
    editor.close_button.click()
    yield _painted()
    editor.bar.answers[1].click()  # without saving
    yield Until("the end of the profile editor", lambda: shell.editors.of(profile.id) is None)


def _painted() -> Until:
    return Until("the profile editor, painted", lambda: True)
