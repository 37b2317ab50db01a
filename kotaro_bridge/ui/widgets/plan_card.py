"""What a model takes of the card, part by part, with a slider for its context. Numbers follow the slider at once."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QSlider

from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.view_models.models import STEP, PlanWords
from kotaro_bridge.ui.widgets.basics import Card, label, put, row, set_property
from kotaro_bridge.ui.widgets.figure_table import FigureTable
from kotaro_bridge.ui.widgets.scroll import calm
from kotaro_bridge.ui.widgets.vram_gauge import Bar

PAGE = 8
"""Steps of one press of Page Up."""


class PlanCard(Card):
    """Emits `moved` with the tokens of one request whenever the slider moves."""

    moved = Signal(int)

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__()
        self._texts = texts
        self._say: Callable[[int], PlanWords] | None = None
        self.answer = label("", "head", wrap=True, selectable=True)
        self.more = label("", wrap=True, selectable=True)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName(texts.text("ui.library.context"))
        self.slider.setPageStep(PAGE)
        calm(self.slider)
        self.tokens = label("", "strong")
        self.bar = Bar(theme)
        self.table = FigureTable(theme)
        self.notes = label("", "small", wrap=True, selectable=True)
        name = label(texts.text("ui.library.context"))
        name.setBuddy(self.slider)
        self.requests = label("", "small")
        self.body.addWidget(self.answer)
        self.body.addWidget(self.more)
        line = row(name, self.slider, self.tokens, self.requests)
        line.setStretch(1, 1)
        self.body.addLayout(line)
        self.body.addWidget(self.bar)
        self.body.addWidget(self.table)
        self.body.addWidget(self.notes)
        self.slider.valueChanged.connect(self._on_value)

    def show_plan(self, say: Callable[[int], PlanWords], limit: int, context: int, requests: str) -> None:
        """Show another model.

        Args:
            say: the plan in words for so many tokens; limit: the most tokens, context: those to begin with;
                requests: that there are several at once.
        """
        self._say = say
        self.slider.blockSignals(True)
        self.slider.setRange(1, max(1, limit // STEP))
        self.slider.setValue(context // STEP)
        self.slider.blockSignals(False)
        put(self.requests, requests)
        self.requests.setVisible(bool(requests))
        self.refresh()

    @property
    def context(self) -> int:
        """Tokens that are chosen."""
        return self.slider.value() * STEP

    @Slot()
    def refresh(self) -> None:
        """Show the plan again."""
        if self._say is None:
            return
        tokens = self._texts.text("ui.library.tokens", tokens=f"{self.context:,}")
        put(self.tokens, tokens)
        found = self._say(self.context)
        put(self.answer, found.answer)
        set_property(self.answer, "tone", found.tone)
        put(self.more, found.more)
        self.more.setVisible(bool(found.more))
        self.bar.set_parts(found.bar, found.bar_words, found.mark)
        self.table.show_rows(found.parts)
        put(self.notes, "\n".join(found.notes))
        self.notes.setVisible(bool(found.notes))

    @Slot(int)
    def _on_value(self, _value: int) -> None:
        self.refresh()
        self.moved.emit(self.context)
