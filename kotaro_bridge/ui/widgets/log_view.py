"""The engine's log. It asks the ring for what is new while it is visible; the ring never waits for it."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import QHideEvent, QKeySequence, QShortcut, QShowEvent, QTextCursor, QTextDocument
from PySide6.QtWidgets import QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from kotaro_bridge.service.log_ring import LogRing
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme, mono_font
from kotaro_bridge.ui.widgets.basics import CopyButton, button, label, put, row

PULL_MS = 250
KEPT_LINES = 5000
PAGE_LINES = 2000
"""Lines taken over at most in one go: what a person cannot read anyway must not keep the window busy."""


class LogView(QWidget):
    """Follows the tail as long as the end is in sight; scrolling up holds still."""

    def __init__(self, theme: Theme, texts: Texts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._texts = texts
        self._ring: LogRing | None = None
        self._cursor = 0
        self._dropped = 0
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setUndoRedoEnabled(False)
        self.text.setFont(mono_font())
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setMaximumBlockCount(KEPT_LINES)
        self.text.setPlaceholderText(texts.text("ui.log.empty"))
        self.text.setAccessibleName(texts.text("ui.log.title"))
        self.search = QLineEdit()
        self.search.setPlaceholderText(texts.text("ui.log.search"))
        self.search.setAccessibleName(texts.text("ui.log.search"))
        self.search.setClearButtonEnabled(True)
        self.search.setMaximumWidth(320)
        self.search.textChanged.connect(self._search_again)
        self.search.returnPressed.connect(self.find_next)
        self.found = label(role="small")
        self.dropped = label(role="small")
        self.previous = button(texts.text("ui.log.previous"), "quiet")
        self.next = button(texts.text("ui.log.next"), "quiet")
        self.previous.clicked.connect(self.find_previous)
        self.next.clicked.connect(self.find_next)
        self.copy = CopyButton(theme, texts, texts.text("ui.log.copy_all"))
        self.copy.setText(texts.text("ui.copy"))
        self.copy.pressed.connect(self._prepare_copy)
        tools = row(self.search, self.previous, self.next, self.found, 1, self.dropped, self.copy)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, UNIT, 0, 0)
        whole.setSpacing(UNIT)
        whole.addLayout(tools)
        whole.addWidget(self.text, 1)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self, self.search.setFocus)
        self._timer = QTimer(self)
        self._timer.setInterval(PULL_MS)
        self._timer.timeout.connect(self.pull)

    def set_ring(self, ring: LogRing) -> None:
        """Show another log from its beginning."""
        if ring is not self._ring:
            self._ring = ring
            self._cursor = 0
            self._dropped = 0
            self.text.clear()
            self.pull()

    @Slot()
    def pull(self) -> None:
        """Take over what is new."""
        if self._ring is None:
            return
        page = self._ring.since(self._cursor, PAGE_LINES)
        if page.cursor == self._cursor:
            return
        self._cursor = page.cursor
        self._dropped += page.dropped
        if page.lines:
            self._append("\n".join(line.text for line in page.lines))
        put(self.dropped, self._texts.text("ui.log.dropped", count=f"{self._dropped:,}") if self._dropped else "")

    def _append(self, text: str) -> None:
        bar = self.text.verticalScrollBar()
        following = bar.value() >= bar.maximum() - 2
        held = bar.value()
        cursor = QTextCursor(self.text.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(text if self.text.document().isEmpty() else f"\n{text}")
        bar.setValue(bar.maximum() if following else held)

    @Slot()
    def find_next(self) -> None:
        """Select the next hit, from the top again after the last."""
        self._find(QTextDocument.FindFlag(0))

    @Slot()
    def find_previous(self) -> None:
        """Select the hit before."""
        self._find(QTextDocument.FindFlag.FindBackward)

    @Slot()
    def _search_again(self) -> None:
        cursor = self.text.textCursor()
        cursor.setPosition(cursor.selectionStart())
        self.text.setTextCursor(cursor)
        self.find_next()

    def _find(self, flags: QTextDocument.FindFlag) -> None:
        wanted = self.search.text()
        if not wanted:
            put(self.found, "")
            return
        hit = self.text.find(wanted, flags)
        if not hit:
            edge = QTextCursor.MoveOperation.End if flags else QTextCursor.MoveOperation.Start
            before = self.text.textCursor()
            self.text.moveCursor(edge)
            hit = self.text.find(wanted, flags)
            if not hit:
                self.text.setTextCursor(before)
        put(self.found, "" if hit else self._texts.text("ui.log.not_found"))

    @Slot()
    def _prepare_copy(self) -> None:
        self.copy.set_value(self.text.toPlainText() or " ")

    def showEvent(self, event: QShowEvent) -> None:
        """Look for new lines while visible."""
        super().showEvent(event)
        self.pull()
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """A hidden log costs nothing."""
        self._timer.stop()
        super().hideEvent(event)
