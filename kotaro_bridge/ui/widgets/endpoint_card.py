"""Where a chat client connects: address, model name and key to copy, and a test that asks a real question."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QGridLayout, QLineEdit, QVBoxLayout, QWidget

from kotaro_bridge.domain.run.run_view import Endpoint
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme, mono_font
from kotaro_bridge.ui.widgets.basics import CopyButton, GlyphButton, label, put, row

LONGEST_URL = "http://localhost:65535/v1"


class EndpointCard(QWidget):
    """Shows an endpoint only while there is one: before the proof no address is offered."""

    def __init__(self, theme: Theme, texts: Texts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._texts = texts
        self._endpoint: Endpoint | None = None
        self.url = _Value(theme, texts, "url")
        self.model = _Value(theme, texts, "model")
        self.key = _Value(theme, texts, "key")
        self.reveal = GlyphButton(theme, "eye", texts.text("ui.endpoint.reveal"), "quiet")
        self.reveal.setCheckable(True)
        self.reveal.toggled.connect(self._on_reveal)
        self._hint = label(role="muted", wrap=True)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(UNIT)
        grid.setVerticalSpacing(UNIT)
        self.url.field.setMinimumWidth(self.url.field.fontMetrics().horizontalAdvance(LONGEST_URL) + 3 * UNIT)
        fields = (row(self.url.field), row(self.model.field), row(self.key.field, self.reveal))
        for line, (value, field) in enumerate(zip((self.url, self.model, self.key), fields, strict=True)):
            grid.addWidget(value.name, line, 0)
            grid.addLayout(field, line, 1)
            grid.addWidget(value.copy, line, 2)
        grid.setColumnStretch(1, 1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, UNIT, 0, 0)
        whole.setSpacing(UNIT)
        whole.addLayout(grid)
        whole.addWidget(self._hint)
        whole.addStretch(1)
        self.show_endpoint(None)

    def show_endpoint(self, endpoint: Endpoint | None, *, withdrawn: bool = False) -> None:
        """Show where to connect, or that there is nothing to connect to yet, or (`withdrawn`) for the moment."""
        changed = endpoint != self._endpoint
        self._endpoint = endpoint
        text = self._texts.text
        if endpoint is None:
            for value in (self.url, self.model, self.key):
                value.show_text("", text("ui.endpoint.none_again" if withdrawn else "ui.endpoint.none"))
            self._set_key(has_key=False)
            put(self._hint, text("ui.endpoint.hint_again" if withdrawn else "ui.endpoint.hint_none"))
            return
        self.url.show_text(endpoint.base_url, "")
        self.model.show_text(endpoint.model, "")
        self.key.show_text(endpoint.api_key or "", text("ui.endpoint.no_key"))
        if changed:
            self._set_key(has_key=endpoint.api_key is not None)
        put(self._hint, text("ui.endpoint.hint_images" if endpoint.images else "ui.endpoint.hint"))

    def _set_key(self, *, has_key: bool) -> None:
        self.reveal.setChecked(False)
        self.reveal.setVisible(has_key)
        self.key.field.setEchoMode(QLineEdit.EchoMode.Password if has_key else QLineEdit.EchoMode.Normal)

    @Slot(bool)
    def _on_reveal(self, shown: bool) -> None:
        self.key.field.setEchoMode(QLineEdit.EchoMode.Normal if shown else QLineEdit.EchoMode.Password)
        put(self.reveal, self._texts.text("ui.endpoint.hide" if shown else "ui.endpoint.reveal"))


class _Value:
    """A named value in a read-only field with its copy button."""

    def __init__(self, theme: Theme, texts: Texts, name: str) -> None:
        words = texts.text(f"ui.endpoint.{name}")
        self.name = label(words, "muted")
        self.field = QLineEdit()
        self.field.setReadOnly(True)
        self.field.setFont(mono_font())
        self.field.setAccessibleName(words)
        self.copy = CopyButton(theme, texts, texts.text("ui.copy_what", what=words))

    def show_text(self, text: str, placeholder: str) -> None:
        """Show a value, or in its place why there is none."""
        if self.field.text() != text:
            self.field.setText(text)
            self.field.setCursorPosition(0)
        self.field.setPlaceholderText(placeholder)
        self.copy.set_value(text)
