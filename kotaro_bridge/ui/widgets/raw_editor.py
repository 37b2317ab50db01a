"""A .wslconfig as text: line numbers, shapes beside the lines that something is said about, and what WSL reads in
colour. Works on the shown form of a text (`view_models.wslconfig_text`).
"""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QEvent, QRect, QSize, Qt, Slot
from PySide6.QtGui import (
    QColor,
    QFont,
    QHelpEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QTextBlock,
    QTextCharFormat,
    QTextCursor,
    QTextLayout,
)
from PySide6.QtWidgets import QPlainTextEdit, QToolTip, QWidget

from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.icons import glyph_pixmap
from kotaro_bridge.ui.theme import UNIT, Theme, mono_font
from kotaro_bridge.ui.view_models.wslconfig import FindingView
from kotaro_bridge.ui.view_models.wslconfig_text import Kind, Part, parts_of, units
from kotaro_bridge.ui.widgets.setting_row import tone_colour

MARK = 14
_WEIGHT = ("bad", "warn", "muted")


class Colours:
    """Sections, keys, values and comments in colour; what WSL makes nothing of is struck out.

    Of a block at a time, when it comes into sight: a file can be a hundred thousand lines.
    """

    def __init__(self, theme: Theme) -> None:
        t = theme.tokens
        self._name = t.text
        self._formats: dict[Kind, QTextCharFormat] = {}
        colours = {
            Kind.SECTION: t.series[3],
            Kind.KEY: t.accent,
            Kind.VALUE: t.text,
            Kind.COMMENT: t.muted,
            Kind.IGNORED: t.muted,
        }
        for kind, colour in colours.items():
            made = self._formats[kind] = QTextCharFormat()
            made.setForeground(QColor(colour))
        self._formats[Kind.SECTION].setFontWeight(QFont.Weight.DemiBold)
        self._formats[Kind.COMMENT].setFontItalic(True)
        self._formats[Kind.IGNORED].setFontStrikeOut(True)

    def paint(self, block: QTextBlock, ignored: bool) -> None:
        """Colour a block, unless it is so already: its state holds what it was coloured for."""
        text = block.text()
        state = hash((text, ignored, self._name)) & 0x7FFFFFFF
        if block.userState() != state:
            block.setUserState(state)
            block.layout().setFormats([self._range(part) for part in parts_of(text, ignored)])
            block.document().markContentsDirty(block.position(), block.length())

    def _range(self, part: Part) -> QTextLayout.FormatRange:
        made = QTextLayout.FormatRange()
        made.start, made.length, made.format = part.start, part.length, self._formats[part.kind]
        return made


class RawEditor(QPlainTextEdit):
    """The text with its margin."""

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__()
        self._theme = theme
        self._marks: dict[int, list[FindingView]] = {}
        self.setFont(mono_font())
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setTabChangesFocus(True)
        self.setAccessibleName(texts.text("ui.wslconfig.tab_text_plain"))
        self.setPlaceholderText(texts.text("ui.wslconfig.empty"))
        self._ignored: frozenset[int] = frozenset()
        self._recolour()
        theme.changed.connect(self._recolour)
        self.margin = _Margin(self)
        self.blockCountChanged.connect(self._fit_margin)
        self.updateRequest.connect(self._on_update)
        self._fit_margin()

    def shown_text(self) -> str:
        """What stands there; unlike `toPlainText`, hard blanks and all."""
        return self.document().toRawText().replace("\u2029", "\n")

    def show_text(self, text: str) -> None:
        """Put a text there; only what differs is replaced, so that cursor and undo survive."""
        old = self.shown_text()
        if old == text:
            return
        if not self.document().isUndoAvailable() and not old:
            self.setPlainText(text)  # that there was nothing is nothing to go back to
            return
        head = 0
        most = min(len(old), len(text))
        while head < most and old[head] == text[head]:
            head += 1
        tail = 0
        while tail < most - head and old[-1 - tail] == text[-1 - tail]:
            tail += 1
        cursor = QTextCursor(self.document())
        cursor.setPosition(units(old[:head]))
        cursor.setPosition(units(old[: len(old) - tail]), QTextCursor.MoveMode.KeepAnchor)
        cursor.insertText(text[head : len(text) - tail])

    def show_findings(self, findings: Mapping[int, list[FindingView]], ignored: frozenset[int]) -> None:
        """What is said about lines, and which WSL makes nothing of."""
        self._marks = dict(findings)
        self._ignored = ignored
        self.margin.update()
        self.viewport().update()

    def show_line(self, line: int) -> None:
        """Bring a line into view with the cursor on it, and take the focus."""
        block = self.document().findBlockByNumber(max(0, line - 1))
        cursor = QTextCursor(block if block.isValid() else self.document().lastBlock())
        self.setTextCursor(cursor)
        self.centerCursor()
        self.setFocus(Qt.FocusReason.OtherFocusReason)

    def marks_at(self, line: int) -> list[FindingView]:
        """What is said about a line."""
        return self._marks.get(line, [])

    @Slot()
    def _recolour(self) -> None:
        self._colours = Colours(self._theme)
        self.viewport().update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """What is in sight has its colours when it is drawn."""
        for block, _, _ in self._blocks_in_sight():
            self._colours.paint(block, block.blockNumber() + 1 in self._ignored)
        super().paintEvent(event)

    # The margin

    def margin_width(self) -> int:
        """Room for the shape and the widest number."""
        digits = len(str(max(99, self.blockCount())))
        return UNIT + MARK + UNIT + self.fontMetrics().horizontalAdvance("9") * digits + UNIT

    def paint_margin(self, event: QPaintEvent) -> None:
        """Draw numbers and shapes of the lines in sight."""
        painter = QPainter(self.margin)
        t = self._theme.tokens
        painter.fillRect(event.rect(), QColor(t.side))
        painter.setFont(self.font())
        for block, top, height in self._blocks_in_sight():
            number = block.blockNumber() + 1
            current = block == self.textCursor().block()
            painter.setPen(QColor(t.text if current else t.muted))
            place = QRect(0, top, self.margin.width() - UNIT, height)
            painter.drawText(place, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, str(number))
            if number in self._marks:
                worst = min(self._marks[number], key=lambda each: _WEIGHT.index(each.tone))
                colour = tone_colour(self._theme, worst.tone)
                pixmap = glyph_pixmap(worst.glyph, colour, MARK, self.devicePixelRatioF())
                painter.drawPixmap(UNIT // 2, top + (height - MARK) // 2, pixmap)
        painter.end()

    def line_at(self, y: int) -> int | None:
        """The line at a height of the margin, counted from 1."""
        for block, top, height in self._blocks_in_sight():
            if top <= y < top + height:
                return block.blockNumber() + 1
        return None

    def _blocks_in_sight(self) -> list[tuple[QTextBlock, int, int]]:
        found = []
        block = self.firstVisibleBlock()
        top = self.blockBoundingGeometry(block).translated(self.contentOffset()).top()
        while block.isValid() and top <= self.viewport().height():
            height = self.blockBoundingRect(block).height()
            found.append((block, round(top), round(height)))
            top += height
            block = block.next()
        return found

    @Slot()
    def _fit_margin(self) -> None:
        self.setViewportMargins(self.margin_width(), 0, 0, 0)

    @Slot(QRect, int)
    def _on_update(self, _rect: QRect, _dy: int) -> None:
        self.margin.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The margin is as high as the text."""
        super().resizeEvent(event)
        inner = self.contentsRect()
        self.margin.setGeometry(QRect(inner.left(), inner.top(), self.margin_width(), inner.height()))


class _Margin(QWidget):
    def __init__(self, editor: RawEditor) -> None:
        super().__init__(editor)
        self._editor = editor

    def sizeHint(self) -> QSize:
        return QSize(self._editor.margin_width(), 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        self._editor.paint_margin(event)

    def event(self, event: QEvent) -> bool:
        """What is said about a line, where the pointer rests on its shape."""
        if isinstance(event, QHelpEvent):
            line = self._editor.line_at(event.pos().y())
            said = self._editor.marks_at(line) if line is not None else []
            QToolTip.showText(event.globalPos(), "\n".join(f"{each.what} {each.do}".strip() for each in said), self)
            return True
        return super().event(event)
