"""Downloads and copies, one below the other, with their buttons. Hidden while there are none."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QProgressBar, QVBoxLayout, QWidget

from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT
from kotaro_bridge.ui.view_models.transfers import TransferRow
from kotaro_bridge.ui.widgets.basics import Elided, button, in_scroll, label, put, row, set_property

HIGHEST = 132
"""Pixels of the panel; the rest is scrolled."""
SHARE = 6
"""And of the window's height a sixth at most."""


class TransferLine(QWidget):
    """One transfer. Emits what a button asks for: `paused`, `resumed`, `cancelled`, `dropped`."""

    paused = Signal()
    resumed = Signal()
    cancelled = Signal()
    dropped = Signal()

    def __init__(self, texts: Texts, shown: TransferRow) -> None:
        super().__init__()
        text = texts.text
        self._texts = texts
        self.name = Elided("", "strong")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedSize(240, 8)
        self.words = label("", "small", selectable=True)
        self.told = label("", "small", wrap=True, selectable=True)
        self.pause = button(text("ui.transfer.pause"), "quiet")
        self.resume = button(text("ui.transfer.resume"), "quiet")
        self.cancel = button(text("ui.transfer.cancel"), "quiet")
        self.drop = button(text("ui.transfer.drop"), "quiet")
        self.pause.clicked.connect(self.paused)
        self.resume.clicked.connect(self.resumed)
        self.cancel.clicked.connect(self.cancelled)
        self.drop.clicked.connect(self.dropped)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(0)
        line = row(self.name, self.pause, self.resume, self.cancel, self.drop)
        line.setStretch(0, 1)
        box.addLayout(line)
        box.addLayout(row(self.bar, self.words, 1))
        box.addWidget(self.told)
        self.show_row(shown)

    def show_row(self, shown: TransferRow) -> None:
        """Show how it is now."""
        put(self.name, shown.name)
        if shown.permille is None:
            self.bar.setRange(0, 0 if not shown.rests else 1)
        else:
            self.bar.setRange(0, 1000)
            self.bar.setValue(shown.permille)
        self.bar.setAccessibleName(f"{shown.name}: {shown.words}")
        put(self.words, shown.words)
        put(self.told, shown.told)
        set_property(self.told, "tone", shown.tone)
        self.told.setVisible(bool(shown.told))
        done = shown.rests and not shown.can_resume
        for each, seen in (
            (self.pause, shown.can_pause),
            (self.resume, shown.can_resume),
            (self.cancel, not done),
            (self.drop, done),
        ):
            had_focus = each.hasFocus() and not seen
            each.setVisible(seen)
            each.setAccessibleName(f"{each.text()}: {shown.name}")
            if had_focus:  # the keyboard stays on the line
                (self.resume if shown.can_resume else self.drop if done else self.cancel).setFocus()


class TransferPanel(QFrame):
    """Emits the id of a transfer with what a button asks for."""

    paused = Signal(str)
    resumed = Signal(str)
    cancelled = Signal(str)
    dropped = Signal(str)

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self.setObjectName("Card")
        self._texts = texts
        self.lines: dict[str, TransferLine] = {}
        content = QWidget()
        self._box = QVBoxLayout(content)
        self._box.setContentsMargins(0, 0, UNIT, 0)
        self._box.setSpacing(4)
        self._content = content
        self._scroll = in_scroll(content)
        frame = QVBoxLayout(self)
        frame.setContentsMargins(2 * UNIT, UNIT, UNIT, UNIT)
        frame.addWidget(self._scroll)
        self.hide()

    def show_rows(self, rows: tuple[TransferRow, ...]) -> None:
        """Show these transfers."""
        gone = self.lines.keys() - {shown.id for shown in rows}
        for transfer in gone:
            line = self.lines.pop(transfer)
            line.hide()
            line.deleteLater()
        for shown in rows:
            if shown.id in self.lines:
                self.lines[shown.id].show_row(shown)
            else:
                self._add(shown)
        self.setVisible(bool(rows))
        self.fit()

    def _add(self, shown: TransferRow) -> None:
        line = TransferLine(self._texts, shown)
        transfer = shown.id
        line.paused.connect(lambda: self.paused.emit(transfer))
        line.resumed.connect(lambda: self.resumed.emit(transfer))
        line.cancelled.connect(lambda: self.cancelled.emit(transfer))
        line.dropped.connect(lambda: self.dropped.emit(transfer))
        self.lines[transfer] = line
        self._box.addWidget(line)
        line.show()  # at once: what is not shown yet has no height

    def fit(self) -> None:
        """As high as its lines, up to a part of the window."""
        width = max(200, self._scroll.viewport().width())
        height = self._box.heightForWidth(width) if self._box.hasHeightForWidth() else self._box.sizeHint().height()
        most = min(HIGHEST, self.window().height() // SHARE)
        self._scroll.setFixedHeight(min(most, max(height, self._box.minimumSize().height(), 30)))
