"""The dialog that says why a model does not run: what failed, what helps, the numbers, and all checks.

There is no way around the refusal here: a remedy changes what was refused, and the checks decide again.
"""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QDialog, QLabel, QPushButton, QVBoxLayout, QWidget

from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.dialogs.block_parts import cause_banner, checks_part, lines_part, numbers_part
from kotaro_bridge.ui.dialogs.remedies import holders_part, remedies_part
from kotaro_bridge.ui.icons import state_pixmap
from kotaro_bridge.ui.theme import UNIT, Theme, style_sheet
from kotaro_bridge.ui.view_models.block import BlockReport, Numbers, copy_text
from kotaro_bridge.ui.view_models.look import Look
from kotaro_bridge.ui.view_models.remedies import RemedyRow
from kotaro_bridge.ui.view_models.status import simulated_words
from kotaro_bridge.ui.widgets.basics import (
    Card,
    CopyButton,
    ElidedButton,
    button,
    chip,
    label,
    put,
    row,
    set_property,
    stops_of,
    tab_after,
)
from kotaro_bridge.ui.widgets.scroll import Scroll

WIDTH = 620
HIGHEST = 720
LOWEST = 320
FRAME = 72
"""Height that a small screen keeps for the title bar and some air."""


class BlockDialog(QDialog):
    """Non-modal. Emits `again` with the profile id when a person wants to try again, `chosen` with id and remedy,
    `editing` with the id when the profile is to be changed.

    `applying` is true from the choice of a remedy until a report or a failure of it is shown.
    """

    again = Signal(str)
    chosen = Signal(str, object)
    editing = Signal(str)

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
        self.remedies: list[QPushButton] = []
        self.applying = False
        self._content: QWidget | None = None
        self.setModal(False)
        self.setStyleSheet(style_sheet(theme.tokens))
        theme.changed.connect(self._restyle)
        self.copy = CopyButton(theme, texts, texts.text("ui.block.copy"), texts.text("ui.block.copy"))
        self.retry = button("")
        self.edit = button(texts.text("ui.block.edit"))
        self.close_button = button(texts.text("ui.close"))
        self.retry.clicked.connect(self._on_retry)
        self.edit.clicked.connect(lambda: self.report and self.editing.emit(self.report.profile_id))
        self.close_button.clicked.connect(self.reject)
        self.progress = label(wrap=True)
        self.progress.setProperty("role", "strong")
        self._scroll = Scroll()
        whole = QVBoxLayout(self)
        whole.setContentsMargins(3 * UNIT, 2 * UNIT, 3 * UNIT, 2 * UNIT)
        whole.setSpacing(2 * UNIT)
        whole.addWidget(self._scroll, 1)
        whole.addWidget(self.progress)
        whole.addLayout(row(self.copy, 1, self.edit, self.retry, self.close_button))
        self.setMinimumSize(WIDTH, LOWEST)
        # Return presses the button that has the focus, and closes where none has: never a remedy by accident.
        for each in (self.copy, self.edit, self.retry, self.close_button):
            each.setAutoDefault(True)
        self.close_button.setDefault(True)

    def show_report(self, report: BlockReport) -> None:
        """Fill the dialog; it is shown by the caller."""
        self.report = report
        self.setWindowTitle(report.title)
        self.copy.set_value(copy_text(self._texts, report, self._version, self._simulated))
        self.retry.setText(report.retry)
        self.retry.setVisible(bool(report.retry))
        self.edit.setVisible(report.editable)
        # One button stands out: the best remedy, where there is one.
        set_property(self.close_button, "kind", "" if report.remedies else "primary")
        self._fill(report)
        self.applying = False
        self._set_busy("")
        self.close_button.setFocus()

    def show_busy(self) -> None:
        """While the checks run again, or what is there is stopped."""
        if self.report is not None:
            self._set_busy(self.report.busy)

    def show_failure(self, message: Message) -> None:
        """A remedy did not work: told above what stands there, and everything can be chosen again."""
        if self.report is not None:
            self.show_report(replace(self.report, failure=message))

    def _set_busy(self, words: str) -> None:
        """Nothing can be chosen while something is under way."""
        put(self.progress, words)
        self.progress.setVisible(bool(words))
        for each in (*self.remedies, self.retry):
            each.setEnabled(not words)

    def _fill(self, report: BlockReport) -> None:
        self.folds.clear()
        self.remedies.clear()
        content = QWidget()
        box = QVBoxLayout(content)
        box.setContentsMargins(0, 0, UNIT, 0)
        box.setSpacing(UNIT + 4)
        box.addWidget(self._head(report))
        tone = "bad" if report.look is Look.ALERT else "warn"
        if report.failure is not None:
            box.addWidget(cause_banner(report.failure, "warn"))
        for cause in report.causes:
            box.addWidget(cause_banner(cause, tone))
        if report.remedies:
            box.addWidget(remedies_part(self._texts, report.remedies, self._remedy_button))
        if report.numbers is not None:
            box.addWidget(self._memory(report, report.numbers))
        if report.checks:
            checks = checks_part(self._theme, report.checks, self.devicePixelRatioF())
            box.addWidget(self._foldable("ui.block.all_checks", checks))
        if report.evidence:
            box.addWidget(self._foldable("ui.block.evidence", lines_part(report.evidence), is_open=not report.checks))
        box.addStretch(1)
        self._scroll.setWidget(content)
        self._content = content
        last = stops_of(content)[-1:] or [self.close_button]
        tab_after(last[0], self.copy, self.edit, self.retry, self.close_button)
        self.fit()

    def fit(self, most: int | None = None) -> None:
        """As high as the content needs, up to `most` or what a small screen has."""
        if self._content is None:
            return
        if most is None:
            most = min(HIGHEST, self.screen().availableGeometry().height() - FRAME)
        self._content.adjustSize()
        inner = self._content.layout()
        width = max(WIDTH, self.width()) - 7 * UNIT
        height = inner.totalHeightForWidth(width) if inner is not None and inner.hasHeightForWidth() else 200
        self.resize(max(WIDTH, self.width()), min(most, height + 104))

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

    def _memory(self, report: BlockReport, numbers: Numbers) -> QWidget:
        card = Card()
        card.body.addWidget(numbers_part(self._theme, self._texts, numbers))
        if report.holders:
            card.body.addWidget(holders_part(self._texts, report.holders, self._remedy_button))
        return card

    def _remedy_button(self, entry: RemedyRow, kind: str) -> QPushButton:
        made = ElidedButton(entry.caption, kind)
        made.setAutoDefault(True)
        made.clicked.connect(lambda: self._on_remedy(entry))
        self.remedies.append(made)
        return made

    def _foldable(self, key: str, inner: QWidget, *, is_open: bool = False) -> QWidget:
        """A part that a press opens and closes."""
        holder = QWidget()
        box = QVBoxLayout(holder)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT)
        name = self._texts.text(key)
        fold = button("", "quiet")
        fold.setAutoDefault(True)
        fold.setCheckable(True)

        def turn(opened: bool) -> None:
            fold.setText(f"{'▾' if opened else '▸'} {name}")
            inner.setVisible(opened)
            self.fit()

        fold.toggled.connect(turn)
        self.folds.append(fold)
        box.addLayout(row(fold, 1))
        box.addWidget(inner)
        fold.setChecked(is_open)
        turn(is_open)
        return holder

    def _on_remedy(self, entry: RemedyRow) -> None:
        self.applying = True
        self._set_busy(entry.busy)
        if self.report is not None:
            self.chosen.emit(self.report.profile_id, entry.remedy)

    @Slot()
    def _on_retry(self) -> None:
        self.show_busy()
        if self.report is not None:
            self.again.emit(self.report.profile_id)

    @Slot()
    def _restyle(self) -> None:
        self.setStyleSheet(style_sheet(self._theme.tokens))
        if self.report is not None:
            self._fill(self.report)
