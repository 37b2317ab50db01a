"""Says why the program did not start, where there is no terminal to say it in."""

from __future__ import annotations

from PySide6.QtWidgets import QMessageBox

from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.first_icon import make_application
from kotaro_bridge.ui.plain_box import plain_box


def tell_not_started(texts: Texts, what: Problem) -> None:
    """Show it, and wait until it was read."""
    make_application()
    message = texts.message(what)
    plain_box(QMessageBox.Icon.Warning, texts.text("ui.not_started.what"), message.what, message.do).exec()
