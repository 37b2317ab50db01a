"""What profile a window is about, and what saving it would mean."""

from __future__ import annotations

from PySide6.QtWidgets import QVBoxLayout, QWidget

from kotaro_bridge.service.profile_desk import Opened
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT
from kotaro_bridge.ui.view_models.status import simulated_words
from kotaro_bridge.ui.widgets.basics import Elided, chip, label, put, row


class ProfileHead(QWidget):
    """Title, file, and whether it came with the product."""

    def __init__(self, texts: Texts, simulated: str | None) -> None:
        super().__init__()
        self._texts = texts
        self.title = Elided("", "title")
        self.note = label("", "small", wrap=True)
        self.place = Elided("", "small")
        line = row(self.title)
        line.setStretch(0, 1)
        if simulated is not None:
            line.addWidget(chip(simulated_words(texts, simulated)))
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT // 2)
        box.addLayout(line)
        box.addWidget(self.note)
        box.addWidget(self.place)

    def show_profile(self, opened: Opened) -> str:
        """Show it; returns the window's title."""
        text, profile, stored = self._texts.text, opened.profile, bool(opened.text)
        title = text("ui.editor.title", name=profile.title) if stored else text("ui.editor.title_new")
        put(self.title, profile.title if stored else title)
        note = "builtin" if profile.builtin else "own_of_builtin" if opened.replaces_builtin else ""
        put(self.note, text(f"ui.editor.{note}") if note else "")
        self.note.setVisible(bool(note))
        put(self.place, str(opened.file) if stored else "")
        self.place.setVisible(stored and not profile.builtin)
        return title
