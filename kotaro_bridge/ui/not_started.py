"""Says why the program did not start, where there is no terminal to say it in."""

from __future__ import annotations

from PySide6.QtWidgets import QMessageBox

from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.first_icon import make_application


def tell_not_started(texts: Texts, what: Problem) -> None:
    """Show it, and wait until it was read."""
    make_application()
    message = texts.message(what)
    box = QMessageBox(QMessageBox.Icon.Warning, "Kotaro Bridge", message.what)
    box.setInformativeText(message.do)
    box.exec()
