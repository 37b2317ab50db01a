"""The list of models that could be run, grouped by whether they fit. Drawn by hand: a title, a second line, a mark."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from kotaro_bridge.ui.icons import glyph_pixmap
from kotaro_bridge.ui.theme import Theme

ID = Qt.ItemDataRole.UserRole
SUB = Qt.ItemDataRole.UserRole + 1
MARK = Qt.ItemDataRole.UserRole + 2
TONE = Qt.ItemDataRole.UserRole + 3
PAD = 10
_GLYPHS = {"good": "passed", "warn": "warning", "bad": "failed", "hint": "hint", "plain": "hint"}

Row = tuple[str, str, str, str, str, str]
"""Id ("" for a heading), title, second line, mark on the right, tone, and all of it for screen readers."""


class EntryList(QListWidget):
    """Emits `chosen` with an id on selection and `activated_row` on Enter or double click."""

    chosen = Signal(str)
    activated_row = Signal(str)

    def __init__(self, theme: Theme, name: str) -> None:
        super().__init__()
        self._rows: tuple[Row, ...] = ()
        self.setItemDelegate(_Delegate(theme, self))
        self.setAccessibleName(name)
        self.setMouseTracking(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.currentItemChanged.connect(self._on_current)
        self.itemActivated.connect(self._on_activated)
        theme.changed.connect(self.viewport().update)

    def show_rows(self, rows: Sequence[Row], keep: str = "") -> None:
        """Show other rows. The row `keep` becomes the current one, the first where there is none such; `chosen` is
        emitted if another one is current then.
        """
        if tuple(rows) == self._rows:
            return
        before = self.current()
        self._rows = tuple(rows)
        self.blockSignals(True)
        self.clear()
        for row in rows:
            self._add(row)
        self.select(keep)
        self.blockSignals(False)
        if self.current() != before:
            self.chosen.emit(self.current())

    def select(self, row_id: str) -> bool:
        """Make a row the current one, or the first; False where it is not there."""
        items = [self.item(number) for number in range(self.count()) if self.item(number).data(ID)]
        found = next((item for item in items if item.data(ID) == row_id), None)
        if found is not None or items:
            self.setCurrentItem(found or items[0])
        return found is not None

    def current(self) -> str:
        """Id of the current row, "" for none."""
        return str(self.currentIndex().data(ID) or "")

    def _add(self, row: Row) -> None:
        row_id, title, sub, mark, tone, words = row
        item = QListWidgetItem(title, self)
        if not row_id:
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            return
        for role, value in ((ID, row_id), (SUB, sub), (MARK, mark), (TONE, tone)):
            item.setData(role, value)
        item.setData(Qt.ItemDataRole.AccessibleTextRole, words)
        item.setToolTip(words)

    @Slot()
    def _on_current(self) -> None:
        self.chosen.emit(self.current())

    @Slot(QListWidgetItem)
    def _on_activated(self, item: QListWidgetItem) -> None:
        self.activated_row.emit(item.data(ID))


class _Delegate(QStyledItemDelegate):
    """Draws a heading, or a picture of the tone with title, mark and second line."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """Two lines of text and air; a heading has one."""
        height = QFontMetrics(option.font).height()
        return QSize(200, 2 * height + 14 if index.data(ID) else height + 16)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draw one row."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        small = QFont(option.font)
        small.setPointSizeF(small.pointSizeF() * 0.87)
        if index.data(ID):
            self._paint_row(painter, option, index, small)
        else:
            small.setWeight(QFont.Weight.DemiBold)
            painter.setFont(small)
            painter.setPen(QColor(self._theme.tokens.muted))
            area = option.rect.adjusted(PAD, 6, -PAD, 0)
            words = QFontMetrics(small).elidedText(index.data(), Qt.TextElideMode.ElideRight, area.width())
            painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, words)
        painter.restore()

    def _paint_row(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
        small: QFont,
    ) -> None:
        tokens = self._theme.tokens
        frame = QRectF(option.rect).adjusted(2.5, 1.5, -4.5, -1.5)
        self._paint_frame(painter, option, frame)
        tone = index.data(TONE)
        ink = {"good": tokens.good, "warn": tokens.warn, "bad": tokens.bad, "hint": tokens.accent}.get(tone)
        mark = glyph_pixmap(_GLYPHS[tone], ink or tokens.muted, 16, option.widget.devicePixelRatioF())
        painter.drawPixmap(int(frame.left()) + PAD, int(frame.center().y()) - 8, mark)
        text = frame.adjusted(PAD + 26, 5, -PAD, -5)
        right = QRectF(text)
        if index.data(MARK):
            painter.setFont(small)
            painter.setPen(QColor(tokens.good))
            top = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop
            painter.drawText(text, top, index.data(MARK))
            right.setRight(text.right() - QFontMetrics(small).horizontalAdvance(index.data(MARK)) - 8)
        painter.setFont(option.font)
        painter.setPen(QColor(tokens.text))
        title = QFontMetrics(option.font).elidedText(index.data(), Qt.TextElideMode.ElideRight, int(right.width()))
        painter.drawText(right, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop, title)
        painter.setFont(small)
        painter.setPen(QColor(tokens.muted))
        sub = QFontMetrics(small).elidedText(index.data(SUB), Qt.TextElideMode.ElideRight, int(text.width()))
        painter.drawText(text, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom, sub)

    def _paint_frame(self, painter: QPainter, option: QStyleOptionViewItem, frame: QRectF) -> None:
        tokens = self._theme.tokens
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if selected or option.state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(tokens.selected if selected else tokens.hover))
            painter.drawRoundedRect(frame, 5, 5)
        if selected and option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(QColor(tokens.accent))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(frame, 5, 5)
