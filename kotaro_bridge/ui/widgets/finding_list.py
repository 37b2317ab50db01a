"""Everything there is to say of a file, as a list; choosing an entry leads to where it is about."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QFontMetrics, QIcon, QPainter, QPalette
from PySide6.QtWidgets import (
    QLabel,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.icons import glyph
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.wslconfig import FindingView
from kotaro_bridge.ui.widgets.basics import label, put
from kotaro_bridge.ui.widgets.setting_row import tone_colour

RIGHT = UNIT // 2
"""Room between a sentence and the scroll bar."""
_ROLE = Qt.ItemDataRole.UserRole
_WRAP = int(Qt.TextFlag.TextWordWrap) | int(Qt.AlignmentFlag.AlignTop)


class _Lines(QStyledItemDelegate):
    """Draws an entry as a shape and a sentence of as many lines as it needs."""

    def __init__(self, view: QListWidget) -> None:
        super().__init__(view)
        self._view = view

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """As high as the wrapped text."""
        place = QRect(0, 0, self._room() - self._indent(index), 10_000)
        height = QFontMetrics(self._view.font()).boundingRect(place, _WRAP, str(index.data())).height()
        return QSize(self._view.viewport().width(), height + UNIT)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Ground, shape, sentence."""
        rect: QRect = option.rect
        state: QStyle.StateFlag = option.state
        palette = self._view.palette()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        if state & (QStyle.StateFlag.State_MouseOver | QStyle.StateFlag.State_HasFocus) and index.data(_ROLE):
            painter.setBrush(palette.color(QPalette.ColorRole.Midlight))
            painter.drawRoundedRect(rect.adjusted(0, 1, 0, -1), 4, 4)
        icon = index.data(Qt.ItemDataRole.DecorationRole)
        if isinstance(icon, QIcon):
            icon.paint(painter, QRect(rect.left() + 4, rect.top() + UNIT // 2 + 1, 16, 16))
        painter.setPen(palette.color(QPalette.ColorRole.Text))
        indent = self._indent(index)
        place = QRect(rect.left() + indent, rect.top() + UNIT // 2, self._room() - indent, rect.height() - UNIT // 2)
        painter.drawText(place, _WRAP, str(index.data()))
        painter.restore()

    def _room(self) -> int:
        """The width for text beside the scroll bar, there or not: heights that follow it come too late."""
        return self._view.width() - self._view.verticalScrollBar().sizeHint().width() - RIGHT

    def _indent(self, index: QModelIndex | QPersistentModelIndex) -> int:
        return 4 + 16 + UNIT if index.data(_ROLE) is not None else 4


class FindingList(QWidget):
    """Emits `chosen` with a FindingView."""

    chosen = Signal(object)

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__()
        self._theme = theme
        self._texts = texts
        self._shown: tuple[tuple[FindingView, ...], tuple[FindingView, ...]] = ((), ())
        self._spoken = 0
        self.title: QLabel = label("", "head")
        self.list = QListWidget()
        self.list.setItemDelegate(_Lines(self.list))
        self.list.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setAccessibleName(texts.text("ui.wslconfig.findings_plain"))
        self.list.itemClicked.connect(self._on_item)
        self.list.itemActivated.connect(self._on_item)
        self.none = label(texts.text("ui.wslconfig.clean"), "muted", wrap=True)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT)
        box.addWidget(self.title)
        box.addWidget(self.none)
        box.addWidget(self.list, 1)
        box.addStretch()
        theme.changed.connect(self._fill)
        self._fill()

    def show_findings(self, advice: Sequence[FindingView], warnings: Sequence[FindingView], spoken: int) -> None:
        """Our advice, and what WSL itself will print: the first ones of so many."""
        if (tuple(advice), tuple(warnings), spoken) != (*self._shown, self._spoken):
            self._shown, self._spoken = (tuple(advice), tuple(warnings)), spoken
            self._fill()

    @Slot()
    def _fill(self) -> None:
        advice, warnings = self._shown
        put(self.title, self._texts.text("ui.wslconfig.findings", count=len(advice)))
        self.list.clear()
        for each in advice:
            self._add(each)
        if warnings:
            head = QListWidgetItem(self._texts.text("ui.wslconfig.wsl_will_say", count=self._spoken))
            head.setFlags(Qt.ItemFlag.NoItemFlags)
            self.list.addItem(head)
            for each in warnings:
                self._add(each)
        self.none.setVisible(not advice and not warnings)
        self.list.setVisible(bool(advice or warnings))

    def _add(self, finding: FindingView) -> None:
        where = self._texts.text("ui.wslconfig.line", line=finding.line) + " " if finding.line else ""
        item = QListWidgetItem(glyph(finding.glyph, tone_colour(self._theme, finding.tone)), f"{where}{finding.what}")
        item.setData(_ROLE, finding)
        item.setToolTip(finding.do)
        item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{finding.word}: {where}{finding.what} {finding.do}".strip())
        self.list.addItem(item)

    @Slot(QListWidgetItem)
    def _on_item(self, item: QListWidgetItem) -> None:
        finding = item.data(_ROLE)
        if finding is not None:
            self.chosen.emit(finding)
