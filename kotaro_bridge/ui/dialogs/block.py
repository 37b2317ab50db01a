"""The dialog that says why a model does not run: what failed, the numbers, what to do, and all checks.

There is no way around the refusal here; the only ways on are to check again and to close.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from kotaro_bridge.domain.gate import Status
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.icons import glyph_pixmap, state_pixmap
from kotaro_bridge.ui.theme import UNIT, Theme, mono_font, style_sheet
from kotaro_bridge.ui.view_models.block import BlockReport, Numbers, copy_text, number_rows
from kotaro_bridge.ui.view_models.status import simulated_words
from kotaro_bridge.ui.widgets.basics import Card, CopyButton, button, chip, label, row
from kotaro_bridge.ui.widgets.vram_gauge import Bar

WIDTH = 620


class BlockDialog(QDialog):
    """Non-modal. Emits `again` with the profile id when a person wants to try again."""

    again = Signal(str)

    def __init__(
        self, theme: Theme, texts: Texts, version: str, simulated: str | None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._theme = theme
        self._texts = texts
        self._version = version
        self._simulated = simulated
        self.report: BlockReport | None = None
        self.folds: list[QPushButton] = []
        self._content: QWidget | None = None
        self.setModal(False)
        self.setStyleSheet(style_sheet(theme.tokens))
        theme.changed.connect(self._restyle)
        self.copy = CopyButton(theme, texts, texts.text("ui.block.copy"), texts.text("ui.block.copy"))
        self.retry = button("")
        self.close_button = button(texts.text("ui.close"), "primary")
        self.retry.clicked.connect(self._on_retry)
        self.close_button.clicked.connect(self.reject)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(3 * UNIT, 2 * UNIT, 3 * UNIT, 2 * UNIT)
        whole.setSpacing(2 * UNIT)
        whole.addWidget(self._scroll, 1)
        whole.addLayout(row(self.copy, 1, self.retry, self.close_button))
        self.setMinimumWidth(WIDTH)

    def show_report(self, report: BlockReport) -> None:
        """Fill the dialog; it is shown by the caller."""
        self.report = report
        self.setWindowTitle(report.title)
        self.copy.set_value(copy_text(self._texts, report, self._version, self._simulated))
        self.retry.setText(report.retry)
        self.retry.setVisible(bool(report.retry))
        self.retry.setEnabled(True)
        self._fill(report)
        self.close_button.setFocus()

    def show_busy(self) -> None:
        """While the checks run again."""
        self.retry.setText(self._texts.text("ui.block.checking"))
        self.retry.setEnabled(False)

    def _fill(self, report: BlockReport) -> None:
        self.folds.clear()
        content = QWidget()
        box = QVBoxLayout(content)
        box.setContentsMargins(0, 0, UNIT, 0)
        box.setSpacing(UNIT + 4)
        box.addWidget(self._head(report))
        for cause in report.causes:
            box.addWidget(_cause(cause.what, cause.do))
        if report.numbers is not None:
            box.addWidget(self._numbers(report.numbers, report.holders))
        if report.checks:
            box.addWidget(self._foldable("ui.block.all_checks", self._checks(report)))
        if report.evidence:
            box.addWidget(self._foldable("ui.block.evidence", _lines(report.evidence), is_open=not report.checks))
        box.addStretch(1)
        self._scroll.setWidget(content)
        self._content = content
        self._fit()

    def _fit(self) -> None:
        """As high as the content needs, up to what a small screen has."""
        if self._content is None:
            return
        self._content.adjustSize()
        inner = self._content.layout()
        width = max(WIDTH, self.width()) - 7 * UNIT
        height = inner.totalHeightForWidth(width) if inner is not None and inner.hasHeightForWidth() else 200
        self.resize(max(WIDTH, self.width()), min(680, height + 104))

    def _head(self, report: BlockReport) -> QWidget:
        picture = QLabel()
        picture.setFixedSize(40, 40)
        picture.setPixmap(state_pixmap(report.look, 40, self.devicePixelRatioF()))
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addWidget(label(report.title, "title", wrap=True))
        words.addWidget(label(report.reassurance, "muted", wrap=True))
        if self._simulated is not None:
            words.addLayout(row(chip(simulated_words(self._texts, self._simulated)), 1))
        holder = QWidget()
        line = row(picture, words, spacing=2 * UNIT)
        line.setAlignment(picture, Qt.AlignmentFlag.AlignTop)
        line.setStretch(1, 1)
        holder.setLayout(line)
        return holder

    def _numbers(self, numbers: Numbers, holders: tuple[str, ...]) -> QWidget:
        card = Card()
        rows = number_rows(self._texts, numbers)
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
        bar = Bar(self._theme)
        words = ", ".join(f"{name} {size}" for name, size in rows)
        bar.set_parts(_need_parts(used, numbers), words, numbers.total / (used + numbers.need))
        card.body.addLayout(grid)
        card.body.addWidget(bar)
        card.body.addWidget(label(self._texts.text("ui.block.bar"), "small", wrap=True))
        if holders:
            card.body.addWidget(
                label(f"{self._texts.text('ui.block.holders')}: {', '.join(holders)}", wrap=True, selectable=True)
            )
        return card

    def _checks(self, report: BlockReport) -> QWidget:
        tokens = self._theme.tokens
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
        for line, check in enumerate(report.checks):
            mark = QLabel()
            mark.setPixmap(glyph_pixmap(check.status.value, colours[check.status], 16, self.devicePixelRatioF()))
            mark.setAccessibleName(check.word)
            grid.addWidget(mark, line, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(label(check.word, "small"), line, 1, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(label(check.name), line, 2, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(label(check.sentence, "muted", wrap=True, selectable=True), line, 3)
        grid.setColumnStretch(3, 1)
        return holder

    def _foldable(self, key: str, inner: QWidget, *, is_open: bool = False) -> QWidget:
        """A part that a press opens and closes."""
        holder = QWidget()
        box = QVBoxLayout(holder)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT)
        name = self._texts.text(key)
        fold = button("", "quiet")
        fold.setCheckable(True)

        def turn(opened: bool) -> None:
            fold.setText(f"{'▾' if opened else '▸'} {name}")
            inner.setVisible(opened)
            self._fit()

        fold.toggled.connect(turn)
        self.folds.append(fold)
        box.addLayout(row(fold, 1))
        box.addWidget(inner)
        fold.setChecked(is_open)
        turn(is_open)
        return holder

    @Slot()
    def _on_retry(self) -> None:
        if self.report is not None:
            self.again.emit(self.report.profile_id)

    @Slot()
    def _restyle(self) -> None:
        self.setStyleSheet(style_sheet(self._theme.tokens))
        if self.report is not None:
            self._fill(self.report)


def _need_parts(used: int, numbers: Numbers) -> tuple[tuple[float, str], ...]:
    """What is taken, what of the need fits, and what does not, as shares of the whole bar."""
    whole = used + numbers.need
    fits = min(numbers.need, numbers.free)
    return ((used / whole, "other"), (fits / whole, "ours"), ((numbers.need - fits) / whole, "bad"))


def _cause(what: str, do: str) -> QFrame:
    frame = QFrame()
    frame.setObjectName("Banner")
    frame.setProperty("tone", "bad")
    box = QVBoxLayout(frame)
    box.setContentsMargins(2 * UNIT, UNIT + 2, 2 * UNIT, UNIT + 2)
    box.setSpacing(4)
    box.addWidget(label(what, "strong", wrap=True, selectable=True))
    if do:
        box.addWidget(label(do, wrap=True, selectable=True))
    return frame


def _lines(lines: tuple[str, ...]) -> QPlainTextEdit:
    view = QPlainTextEdit("\n".join(lines))
    view.setReadOnly(True)
    view.setFont(mono_font())
    view.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    view.setFixedHeight(min(180, 34 + 17 * len(lines)))
    return view
