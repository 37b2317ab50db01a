"""What was proved about the run: where weights and cache are, and how fast it is for this card."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT
from kotaro_bridge.ui.view_models.proof import ProofRow, ProofTable
from kotaro_bridge.ui.widgets.basics import chip, label, put, row, set_property


class ProofPanel(QScrollArea):
    """A headline and rows in two columns."""

    def __init__(self, texts: Texts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName(texts.text("ui.proof.title"))
        self._table: ProofTable | None = None
        self._grid_holder: QWidget | None = None
        self.headline = label(role="head", wrap=True)
        inner = QWidget()
        self._whole = QVBoxLayout(inner)
        self._whole.setContentsMargins(0, UNIT, UNIT, 0)
        self._whole.setSpacing(UNIT)
        self._whole.addWidget(self.headline)
        self._whole.addStretch(1)
        self.setWidget(inner)

    def show_table(self, table: ProofTable) -> None:
        """Show a table; nothing happens where it is the one shown."""
        if table == self._table:
            return
        self._table = table
        put(self.headline, table.headline)
        set_property(self.headline, "tone", table.tone)
        if self._grid_holder is not None:
            self._whole.removeWidget(self._grid_holder)
            self._grid_holder.deleteLater()
        self._grid_holder = self._rows(table)
        self._whole.insertWidget(1, self._grid_holder)

    def _rows(self, table: ProofTable) -> QWidget:
        holder = QWidget()
        grid = QGridLayout(holder)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(3 * UNIT)
        grid.setVerticalSpacing(UNIT - 2)
        half = (len(table.rows) + 1) // 2
        for number, entry in enumerate(table.rows):
            column, line = 2 * (number // half), number % half
            grid.addWidget(label(entry.name, "muted"), line, column, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(_value(entry), line, column + 1)
            grid.setColumnStretch(column + 1, 1)
        return holder


def _value(entry: ProofRow) -> QWidget:
    value = label(entry.value, selectable=True, wrap=True)
    value.setAlignment(Qt.AlignmentFlag.AlignTop)
    if not entry.mark:
        return value
    holder = QWidget()
    box = QVBoxLayout(holder)
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(2)
    box.addWidget(value)
    box.addLayout(row(chip(entry.mark), 1))
    return holder
