"""The part of the tour that shows the models: advice, a plan, one that does not fit, a download, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PySide6.QtWidgets import QWidget

from kotaro_bridge.domain.model.download import RESTING
from kotaro_bridge.ui.dialogs.models import ModelsWindow
from kotaro_bridge.ui.dialogs.wslconfig_window import USUAL
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.tour_settings import TourError, Until

FITS = "qwen2.5-14b-instruct-q4_k_m"
TOO_LARGE = "qwen2.5-14b-instruct-awq"
SMALL = "qwen2.5-coder-7b-instruct-q4_k_m"


def show_models(shell: Shell, shoot: Callable[[QWidget, str], None], *, download: bool) -> Iterator[Until]:
    """Walk through the models; `shoot` takes a picture of a window under a name.

    Args:
        download: there is time for the beginning of a download.
    """
    shell.tray.models.trigger()
    window = shell.models
    if window is None:
        raise TourError("the models")
    window.resize(USUAL)
    fit, files = window.fit, window.files
    yield Until("what fits the card", lambda: fit.sight is not None or bool(fit.details.choices))
    yield Until("the files", lambda: not files.looking)
    if fit.sight is not None:
        shoot(window, "models-advice")
        for entry, name in ((FITS, "models-plan"), (TOO_LARGE, "models-other-card")):
            fit.show_entry(entry)
            yield _painted()
            shoot(window, name)
        if download:
            yield from _download(window, shoot)
    window.tabs.setCurrentWidget(files)
    yield _painted()
    shoot(window, "models-files")
    window.tabs.setCurrentWidget(fit)
    window.close_button.click()
    yield Until("the end of the models", lambda: not window.isVisible())


def _download(window: ModelsWindow, shoot: Callable[[QWidget, str], None]) -> Iterator[Until]:
    """A download begins, is seen, and is paused."""
    window.fit.show_entry(SMALL)
    begin = window.fit.details.choices.get("download")
    if begin is None:
        return  # an earlier tour of this PC has ended it
    begin.click()
    yield Until("a download", lambda: bool(window.panel.lines))
    name, line = next(iter(window.panel.lines.items()))
    yield Until("its progress", lambda: line.bar.maximum() > 0 and line.bar.value() > 0, 30)
    shoot(window, "models-download")
    line.pause.click()
    models = window.models
    yield Until("the pause", lambda: all(view.state in RESTING for view in models.transfers() if view.id == name))


def _painted() -> Until:
    return Until("the models, painted", lambda: True)
