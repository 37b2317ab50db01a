"""A sentence over a page with the answers that a person can give. One at a time; the next takes its place."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout

from kotaro_bridge.texts import Message
from kotaro_bridge.ui.theme import UNIT
from kotaro_bridge.ui.widgets.basics import button, label, put, set_property, tab_after

Answer = tuple[str, str, Callable[[], None]]
"""Caption, kind of the button, and what it does."""


class NoticeBar(QFrame):
    """Hidden while there is nothing to say. `about` names what it is about, "" while it is hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("Banner")
        self.about = ""
        self.what = label("", "strong", wrap=True, selectable=True)
        self.do = label("", wrap=True, selectable=True)
        self.answers: list[QPushButton] = []
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self.what)
        words.addWidget(self.do)
        self._line = QHBoxLayout(self)
        self._line.setContentsMargins(2 * UNIT, UNIT, UNIT, UNIT)
        self._line.setSpacing(UNIT)
        self._line.addLayout(words, 1)
        self.hide()

    def say(self, about: str, message: Message, tone: str, *answers: Answer) -> None:
        """Show a sentence; `tone` is `good`, `warn` or `bad`."""
        self.about = about
        put(self.what, message.what)
        put(self.do, message.do)
        self.do.setVisible(bool(message.do))
        set_property(self, "tone", tone)
        for old in self.answers:
            old.hide()
            old.deleteLater()
        self.answers = []
        for caption, kind, act in answers:
            made = button(caption, kind)
            made.clicked.connect(act)
            self._line.addWidget(made)
            self.answers.append(made)
        tab_after(self.do, *self.answers)
        self.show()

    def drop(self, *about: str) -> None:
        """Hide it, if it is about one of these; always without any."""
        if not about or self.about in about:
            self.about = ""
            self.hide()
