"""The figures of a plan: the colour each has in the bar, name, size, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.figures import FigureRow
from kotaro_bridge.ui.widgets.basics import label, put
from kotaro_bridge.ui.widgets.vram_gauge import Swatch, colours

_SWATCH_WIDTH = 12


class FigureTable(QWidget):
    """Shows rows; cheap while only their words change, as they do while a slider moves."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._kinds: tuple[str, ...] = ()
        self.cells: list[tuple[QLabel, QLabel, QLabel]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(UNIT)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnMinimumWidth(0, _SWATCH_WIDTH)
        self._grid.setColumnMinimumWidth(3, 3 * UNIT)
        self._grid.setColumnStretch(3, 1)

    def show_rows(self, rows: Sequence[FigureRow]) -> None:
        """Show these figures and no others."""
        kinds = tuple(each.kind for each in rows)
        if kinds != self._kinds:
            self._make(kinds)
        for cells, figure in zip(self.cells, rows, strict=True):
            for cell, words in zip(cells, (figure.name, figure.size, figure.origin), strict=True):
                put(cell, words)
                if cell.toolTip() != figure.about:
                    cell.setToolTip(figure.about)

    def _make(self, kinds: tuple[str, ...]) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        self._kinds, self.cells, coloured = kinds, [], colours(self._theme)
        for line, kind in enumerate(kinds):
            if kind in coloured:
                self._grid.addWidget(Swatch(self._theme, kind), line, 0)
            role = "" if kind else "strong"
            cells = (label("", role), label("", role, selectable=True), label("", "small", wrap=True))
            cells[1].setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column, cell in enumerate(cells, 1):
                self._grid.addWidget(cell, line, column)
            self.cells.append(cells)
