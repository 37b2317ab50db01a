"""The parts of the block dialog that help: remedies, and who holds the memory. What a click does is the dialog's."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QPushButton, QWidget

from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT
from kotaro_bridge.ui.view_models.remedies import HolderRow, RemedyRow
from kotaro_bridge.ui.widgets.basics import Card, Elided, label

WIDEST = 372
"""Of a remedy's button, in pixels: what it does has its place beside it."""

MakeButton = Callable[[RemedyRow, str], QPushButton]
"""Makes the button of a remedy, of a kind that the style sheet knows."""


def remedies_part(texts: Texts, rows: tuple[RemedyRow, ...], make: MakeButton) -> QWidget:
    """The remedies, the best first and prominent, each with what it does besides."""
    card = Card()
    card.body.addWidget(label(texts.text("ui.remedy.title"), "head"))
    grid = QGridLayout()
    grid.setHorizontalSpacing(UNIT + 4)
    grid.setVerticalSpacing(UNIT - 2)
    for line, each in enumerate(rows):
        button = make(each, "" if line else "primary")
        button.setMaximumWidth(WIDEST)
        button.setAccessibleDescription(each.says)
        grid.addWidget(button, line, 0)
        grid.addWidget(label(each.says, "small", wrap=True), line, 1)
    grid.setColumnStretch(1, 1)
    card.body.addLayout(grid)
    return card


def holders_part(texts: Texts, rows: tuple[HolderRow, ...], make: MakeButton) -> QWidget:
    """Who holds memory and how much, with a button where it can be freed from here."""
    holder = QWidget()
    grid = QGridLayout(holder)
    grid.setContentsMargins(0, UNIT // 2, 0, 0)
    grid.setHorizontalSpacing(2 * UNIT)
    grid.setVerticalSpacing(UNIT // 2)
    grid.addWidget(label(texts.text("ui.block.holders"), "small"), 0, 0, 1, 4)
    for line, each in enumerate(rows, 1):
        size = label(each.size, selectable=True)
        size.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(label(each.kind, "muted"), line, 0)
        grid.addWidget(Elided(each.name), line, 1)
        grid.addWidget(size, line, 2)
        if each.free is not None:
            button = make(each.free, "quiet")
            button.setAccessibleName(f"{each.name}: {each.free.caption}")
            button.setToolTip(each.free.says)
            grid.addWidget(button, line, 3)
    grid.setColumnStretch(1, 1)
    return holder
