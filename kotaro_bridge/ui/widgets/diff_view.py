"""A unified diff to read: what goes and what comes, by sign and by colour."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Slot
from PySide6.QtGui import QColor, QTextBlockFormat, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit

from kotaro_bridge.ui.theme import Theme, mono_font
from kotaro_bridge.ui.view_models.wslconfig_text import shown

LOWEST = 160
"""Pixels in which a change can be read."""


class DiffView(QPlainTextEdit):
    """Read-only; empty where nothing differs."""

    def __init__(self, theme: Theme, name: str) -> None:
        super().__init__()
        self._theme = theme
        self._lines: tuple[str, ...] = ()
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setFont(mono_font())
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setMinimumHeight(LOWEST)
        self.setAccessibleName(name)
        theme.changed.connect(self._colour)

    def show_diff(self, lines: Sequence[str]) -> None:
        """Show the lines of a unified diff; the two that name the file say nothing new."""
        self._lines = tuple(shown(line) for line in lines[2:])
        self.setPlainText("\n".join(self._lines))
        self._colour()

    @Slot()
    def _colour(self) -> None:
        t = self._theme.tokens
        grounds = {"+": t.good_back, "-": t.bad_back, "@": t.side}
        cursor = QTextCursor(self.document())
        for line in self._lines:
            made = QTextBlockFormat()
            if line[:1] in grounds:
                made.setBackground(QColor(grounds[line[:1]]))
            cursor.setBlockFormat(made)
            cursor.movePosition(QTextCursor.MoveOperation.NextBlock)
