"""The parts of the block dialog that only show: causes, numbers, checks, log lines."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QPlainTextEdit, QVBoxLayout, QWidget

from kotaro_bridge.domain.run.gate import Status
from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.icons import glyph_pixmap
from kotaro_bridge.ui.theme import UNIT, Theme, mono_font
from kotaro_bridge.ui.view_models.block import CheckRow, Numbers, number_rows
from kotaro_bridge.ui.widgets.basics import label
from kotaro_bridge.ui.widgets.vram_gauge import Bar


def cause_banner(message: Message, tone: str) -> QFrame:
    """What happened and what to do; `tone` is `bad` or `warn`."""
    frame = QFrame()
    frame.setObjectName("Banner")
    frame.setProperty("tone", tone)
    box = QVBoxLayout(frame)
    box.setContentsMargins(2 * UNIT, UNIT + 2, 2 * UNIT, UNIT + 2)
    box.setSpacing(4)
    box.addWidget(label(message.what, "strong", wrap=True, selectable=True))
    if message.do:
        box.addWidget(label(message.do, wrap=True, selectable=True))
    return frame


def numbers_part(theme: Theme, texts: Texts, numbers: Numbers) -> QWidget:
    """Needed, free, total and missing, with a bar."""
    holder = QWidget()
    box = QVBoxLayout(holder)
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(UNIT)
    rows = number_rows(texts, numbers)
    grid = QGridLayout()
    grid.setHorizontalSpacing(3 * UNIT)
    grid.setVerticalSpacing(2)
    for column, (name, size) in enumerate(rows):
        value = label(size, "head", selectable=True)
        if name == rows[-1][0]:
            value.setProperty("tone", "bad")
        grid.addWidget(label(name, "small"), 0, column)
        grid.addWidget(value, 1, column)
        grid.setColumnStretch(column, 1)
    used = max(0, numbers.total - numbers.free)
    bar = Bar(theme)
    words = ", ".join(f"{name} {size}" for name, size in rows)
    bar.set_parts(_need_parts(used, numbers), words, numbers.total / (used + numbers.need))
    box.addLayout(grid)
    box.addWidget(bar)
    box.addWidget(label(texts.text("ui.block.bar"), "small", wrap=True))
    return holder


def _need_parts(used: int, numbers: Numbers) -> tuple[tuple[float, str], ...]:
    """What is taken, what of the need fits, and what does not, as shares of the whole bar."""
    whole = used + numbers.need
    fits = min(numbers.need, numbers.free)
    return ((used / whole, "other"), (fits / whole, "ours"), ((numbers.need - fits) / whole, "bad"))


def checks_part(theme: Theme, checks: tuple[CheckRow, ...], ratio: float) -> QWidget:
    """All checks as a table; `ratio` is the screen's pixels per point."""
    tokens = theme.tokens
    colours = {
        Status.PASSED: tokens.good,
        Status.FAILED: tokens.bad,
        Status.UNKNOWN: tokens.warn,
        Status.SKIPPED: tokens.muted,
    }
    holder = QWidget()
    grid = QGridLayout(holder)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(UNIT)
    grid.setVerticalSpacing(UNIT - 2)
    for line, check in enumerate(checks):
        mark = QLabel()
        mark.setPixmap(glyph_pixmap(check.status.value, colours[check.status], 16, ratio))
        mark.setAccessibleName(check.word)
        grid.addWidget(mark, line, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(label(check.word, "small"), line, 1, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(label(check.name), line, 2, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(label(check.sentence, "muted", wrap=True, selectable=True), line, 3)
    grid.setColumnStretch(3, 1)
    return holder


def lines_part(lines: tuple[str, ...]) -> QPlainTextEdit:
    """Lines of logs or tools, to scroll and to select."""
    view = QPlainTextEdit("\n".join(lines))
    view.setReadOnly(True)
    view.setTabChangesFocus(True)
    view.setFont(mono_font())
    view.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    view.setFixedHeight(min(180, 34 + 17 * len(lines)))
    return view
