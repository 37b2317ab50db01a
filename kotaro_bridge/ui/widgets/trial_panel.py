"""A try of an edited profile: its button, how far it is, and what came of it beside the plan."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from kotaro_bridge.domain.planning.plan import Plan
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.service.trial import TrialEnd, TrialResult
from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.dialogs.block_parts import cause_banner, lines_part, numbers_part
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.block import block_report
from kotaro_bridge.ui.view_models.profile_plan import measured_rows
from kotaro_bridge.ui.widgets.basics import Card, button, endless, label, put, row, set_property

_TONES = {TrialEnd.PROVED: "good", TrialEnd.CANCELLED: "", TrialEnd.LEFT: "warn"}


class TrialPanel(Card):
    """Emits `wanted` and `cancelled`."""

    wanted = Signal()
    cancelled = Signal()

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__(spacing=UNIT)
        self._theme = theme
        self._texts = texts
        self.start = button(texts.text("ui.editor.try.start"))
        self.cancel = button(texts.text("ui.editor.try.cancel"))
        self.state = label(texts.text("ui.editor.try.what"), "muted", wrap=True)
        self.progress = endless()
        self.outcome = label("", "strong", wrap=True, selectable=True)
        self.old = label(texts.text("ui.editor.try.old"), "small", wrap=True)
        self.start.clicked.connect(self.wanted)
        self.cancel.clicked.connect(self._on_cancel)
        self.body.addLayout(row(label(texts.text("ui.editor.try.head"), "head"), 1, self.start, self.cancel))
        for part in (self.state, self.progress, self.outcome, self.old):
            self.body.addWidget(part)
        self._result: QWidget = self.fresh()
        self._hide(self.cancel, self.progress, self.outcome, self.old, self._result)

    def show_running(self, phase: str) -> None:
        """A try is under way; `phase` in words."""
        put(self.state, phase)
        self._switch(running=True)
        self._hide(self.outcome, self.old, self._result)

    def show_result(self, profile: Profile, found: Plan | None, result: TrialResult) -> None:
        """What came of it; `found`: the plan that it was started with."""
        self._switch(running=False)
        put(self.state, self._texts.text("ui.editor.try.what"))
        put(self.outcome, self._texts.text(f"ui.editor.try.{result.end}"))
        set_property(self.outcome, "tone", _TONES.get(result.end, "bad"))
        self.outcome.show()
        self.old.hide()
        holder = self._result = self.fresh()
        if result.end is TrialEnd.PROVED:
            self._show_figures(holder, found, result)
        elif result.end is not TrialEnd.CANCELLED:
            self._show_reasons(holder, profile, result)
        else:
            holder.hide()

    def show_failure(self, message: Message) -> None:
        """It could not even begin."""
        self._switch(running=False)
        put(self.state, self._texts.text("ui.editor.try.what"))
        put(self.outcome, f"{message.what} {message.do}".strip())
        set_property(self.outcome, "tone", "bad")
        self.outcome.show()

    def show_changed(self) -> None:
        """The settings are no longer those of the try."""
        self.old.setVisible(not self.outcome.isHidden())

    @staticmethod
    def _hide(*parts: QWidget) -> None:
        for part in parts:
            part.hide()

    def _switch(self, *, running: bool) -> None:
        self.start.setVisible(not running)
        self.cancel.setVisible(running)
        self.cancel.setEnabled(True)
        self.progress.setVisible(running)

    @Slot()
    def _on_cancel(self) -> None:
        self.cancel.setEnabled(False)
        put(self.state, self._texts.text("ui.editor.try.cancelling"))
        self.cancelled.emit()

    def _show_figures(self, holder: QWidget, found: Plan | None, result: TrialResult) -> None:
        grid = QGridLayout(holder)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2 * UNIT)
        grid.setVerticalSpacing(2)
        for line, cells in enumerate(measured_rows(self._texts, found, result.view)):
            for column, words in enumerate(cells):
                cell = label(words, "small" if line == 0 or column == 0 else "", wrap=column == 2, selectable=line > 0)
                grid.addWidget(cell, line, column)
        grid.setColumnStretch(2, 1)

    def _show_reasons(self, holder: QWidget, profile: Profile, result: TrialResult) -> None:
        """As the block dialog shows them."""
        report = block_report(self._texts, profile, result.view)
        box = QVBoxLayout(holder)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT)
        for cause in report.causes:
            box.addWidget(cause_banner(cause, "bad"))
        if report.numbers is not None:
            box.addWidget(numbers_part(self._theme, self._texts, report.numbers))
        if report.evidence:
            box.addWidget(label(self._texts.text("ui.editor.try.evidence"), "small"))
            box.addWidget(lines_part(report.evidence))
