"""The page of the Hugging Face token: whether one is kept, keep one, forget it. What is kept is never shown."""

from __future__ import annotations

from PySide6.QtCore import QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.theme import UNIT
from kotaro_bridge.ui.widgets.basics import Card, button, label, put, row, set_property
from kotaro_bridge.ui.widgets.notice_bar import NoticeBar

SETTINGS = "https://huggingface.co/settings/tokens"


class TokenPage(QWidget):
    """Asks the keyring when it is first shown."""

    def __init__(self, desk: Desk, bridge: Bridge) -> None:
        super().__init__()
        self._desk = desk
        self._bridge = bridge
        text = desk.texts.text
        self.bar = NoticeBar()
        self.state = label(text("ui.token.looking"), "head", wrap=True)
        self.field = QLineEdit()
        self.field.setEchoMode(QLineEdit.EchoMode.Password)
        self.field.setPlaceholderText("hf_…")
        self.field.setAccessibleName(text("ui.token.field"))
        self.keep = button(text("ui.token.keep"), "primary")
        self.forget = button(text("ui.token.forget"))
        self.page = button(text("ui.token.page"), "quiet")
        name = label(text("ui.token.field"))
        name.setBuddy(self.field)
        card = Card()
        card.body.addWidget(self.state)
        card.body.addWidget(label(text("ui.token.about"), wrap=True))
        card.body.addWidget(label(text("ui.token.how"), "muted", wrap=True))
        line = row(name, self.field, self.keep, self.forget)
        line.setStretch(1, 1)
        card.body.addLayout(line)
        card.body.addLayout(row(self.page, 1))
        box = QVBoxLayout(self)
        box.setContentsMargins(0, UNIT, 0, 0)
        box.setSpacing(UNIT)
        box.addWidget(self.bar)
        box.addWidget(card)
        box.addStretch(1)
        self.field.textChanged.connect(lambda words: self.keep.setEnabled(bool(words.strip())))
        self.field.returnPressed.connect(self._on_keep)
        self.keep.clicked.connect(self._on_keep)
        self.forget.clicked.connect(self._on_forget)
        self.page.clicked.connect(lambda: QDesktopServices.openUrl(QUrl(SETTINGS)))
        self.keep.setEnabled(False)
        self.forget.setEnabled(False)

    def look(self) -> None:
        """Ask the keyring, in the background: it may have to be unlocked."""
        in_background(self._desk, self._bridge, self._desk.models.has_token, self._show, self._on_failed)

    def _show(self, kept: bool) -> None:
        put(self.state, self._desk.texts.text("ui.token.kept" if kept else "ui.token.none"))
        set_property(self.state, "tone", "good" if kept else "")
        self.forget.setEnabled(kept)

    @Slot()
    def _on_keep(self) -> None:
        token = self.field.text().strip()
        if not token:
            return
        self.field.clear()  # whatever comes of it, it stands in no window any longer
        in_background(
            self._desk, self._bridge, lambda: self._desk.models.keep_token(token), self._on_kept, self._on_failed
        )

    def _on_kept(self, _: None) -> None:
        self.bar.drop()
        self._show(True)

    @Slot()
    def _on_forget(self) -> None:
        in_background(self._desk, self._bridge, self._desk.models.forget_token, self._on_forgotten, self._on_failed)

    def _on_forgotten(self, _found: bool) -> None:
        self.bar.drop()
        self._show(False)

    def _on_failed(self, message: Message) -> None:
        put(self.state, self._desk.texts.text("ui.token.none"))
        self.bar.say("token", message, "bad")
