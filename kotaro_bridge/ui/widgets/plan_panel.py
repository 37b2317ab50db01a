"""What an edited profile takes of the cards: the answer, a bar for each card, every figure, and the command."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QVBoxLayout

from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme, mono_font
from kotaro_bridge.ui.view_models.profile_plan import BarView, PlanView
from kotaro_bridge.ui.widgets.basics import Card, CopyButton, button, label, put, row, set_property
from kotaro_bridge.ui.widgets.figure_table import FigureTable
from kotaro_bridge.ui.widgets.vram_gauge import Bar

COMMAND_LINES = 7


class PlanPanel(Card):
    """Emits `wake` when a person wants the model read even if that starts WSL, `stretched` with the tokens of the
    longest context when that is wanted."""

    wake = Signal()
    stretched = Signal(int)

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__(spacing=UNIT - 2)
        self._theme = theme
        self._texts = texts
        self._bars: list[tuple[QLabel, Bar]] = []
        self.verdict = label("", "strong", wrap=True, selectable=True)
        self.verdict.setAccessibleName(texts.text("ui.editor.plan.head"))
        self.facts = label("", "small", wrap=True, selectable=True)
        self.origin = label("", "small", wrap=True, selectable=True)
        self.read = button("", "quiet")
        self.read.clicked.connect(self.wake)
        self._longest = 0
        self.longest = button("", "quiet")
        self.longest.clicked.connect(lambda: self.stretched.emit(self._longest))
        self._bar_box = QVBoxLayout()
        self._bar_box.setSpacing(UNIT // 2)
        self.table = FigureTable(theme)
        self.body.addWidget(label(texts.text("ui.editor.plan.head"), "head"))
        self.body.addWidget(self.verdict)
        self.body.addLayout(self._bar_box)
        self.body.addWidget(self.table)
        self.body.addWidget(self.facts)
        self.body.addWidget(self.origin)
        self.body.addLayout(row(self.longest, self.read, 1))
        self.longest.hide()
        self.show_source("", "")

    def show_plan(self, view: PlanView) -> None:
        """Show a plan; cheap, since it is called while a slider moves."""
        put(self.verdict, view.verdict)
        set_property(self.verdict, "tone", view.tone)
        if len(view.bars) != len(self._bars):
            self._make_bars(len(view.bars))
        for (name, bar), each in zip(self._bars, view.bars, strict=True):
            _show_bar(name, bar, each)
        self.table.show_rows(view.rows)
        self._longest = view.longest or 0
        put(self.longest, self._texts.text("ui.editor.longest", tokens=f"{self._longest:,}"))
        self.longest.setVisible(bool(self._longest and view.found and view.found.request.context != self._longest))
        put(self.facts, "\n".join(view.facts))
        self.facts.setVisible(bool(view.facts))

    def show_source(self, words: str, offer: str) -> None:
        """What the figures come from, where that is not the model's own file; `offer`: caption that reads it."""
        put(self.origin, words)
        self.origin.setVisible(bool(words))
        put(self.read, offer)
        self.read.setVisible(bool(offer))

    def _make_bars(self, count: int) -> None:
        while len(self._bars) > count:
            for part in self._bars.pop():
                self._bar_box.removeWidget(part)
                part.hide()
                part.deleteLater()
        while len(self._bars) < count:
            pair = (label("", "small"), Bar(self._theme))
            for part in pair:
                self._bar_box.addWidget(part)
            self._bars.append(pair)


def _show_bar(name: QLabel, bar: Bar, view: BarView) -> None:
    put(name, view.name)
    bar.set_parts(view.parts, view.words, view.mark)


class CommandPanel(Card):
    """The command that would be run, to read and to copy."""

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__(spacing=UNIT - 2)
        self.field = QPlainTextEdit()
        self.field.setReadOnly(True)
        self.field.setTabChangesFocus(True)
        self.field.setFont(mono_font())
        self.field.setFixedHeight(COMMAND_LINES * self.field.fontMetrics().lineSpacing() + 2 * UNIT)
        self.field.setAccessibleName(texts.text("ui.editor.command.head"))
        self.copy = CopyButton(theme, texts, texts.text("ui.editor.command.copy"))
        self.note = label("", "small", wrap=True)
        self.body.addLayout(row(label(texts.text("ui.editor.command.head"), "head"), 1, self.copy))
        self.body.addWidget(self.field)
        self.body.addWidget(self.note)

    def show_command(self, command: str, note: str) -> None:
        """Show a command, or an empty one and why there is none."""
        if self.field.toPlainText() != command:
            self.field.setPlainText(command)
        self.copy.set_value(command)
        self.field.setVisible(bool(command))
        put(self.note, note)
        self.note.setVisible(bool(note))
