"""The pane beside the list of models: one model with its plan, or the advice for this card."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFrame, QGridLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from kotaro_bridge.domain.model.hub import PAGE
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.models import AdviceWords, Against, Offer
from kotaro_bridge.ui.widgets.basics import Card, ElidedButton, button, label, row, stops_of, tab_after
from kotaro_bridge.ui.widgets.plan_card import PlanCard
from kotaro_bridge.ui.widgets.scroll import Scroll


class Details(Scroll):
    """Emits `wanted` with the id of another model that a sentence offers."""

    wanted = Signal(str)

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__()
        self._theme = theme
        self._texts = texts
        self.plan: PlanCard | None = None
        self.choices: dict[str, QPushButton] = {}
        self.offers: list[QPushButton] = []
        self._content = QWidget()
        self.after: QWidget | None = None
        """Where Tab comes from."""

    def _fresh(self) -> QVBoxLayout:
        self.plan = None
        self.choices = {}
        self.offers = []
        self._content = QWidget()
        box = QVBoxLayout(self._content)
        box.setContentsMargins(0, 0, UNIT, 0)
        box.setSpacing(UNIT + 2)
        return box

    def _show(self, box: QVBoxLayout) -> None:
        """In the place of what was there. Last: what is put into a widget that is seen already shows a round later."""
        box.addStretch(1)
        self.setWidget(self._content)
        if self.after is not None:
            tab_after(self.after, *stops_of(self._content))

    def show_message(self, title: str, words: str, *actions: tuple[str, str, Callable[[], None]]) -> None:
        """A sentence in the place of a model; `actions`: name, caption and what a click does."""
        box = self._fresh()
        box.addWidget(label(title, "title", wrap=True))
        box.addWidget(label(words, "muted", wrap=True))
        line = row()
        for name, caption, act in actions:
            line.addWidget(self._action(name, caption, "primary", act))
        line.addStretch(1)
        box.addLayout(line)
        self._show(box)

    def show_model(
        self,
        title: str,
        about: str,
        rows: tuple[tuple[str, str], ...],
        reason: str,
        against: Against | None,
        actions: tuple[tuple[str, str, str, Callable[[], None] | None], ...],
        unmeasured: str,
        fill: Callable[[PlanCard], None],
    ) -> None:
        """A model with its plan.

        Args:
            rows: facts, name and value; actions: name, caption, kind, and what a click does, None for not now;
                fill: puts the plan into its card.
        """
        box = self._fresh()
        box.addWidget(label(title, "title", wrap=True))
        if about:
            box.addWidget(label(about, "muted", wrap=True))
        line = row()
        for name, caption, kind, act in actions:
            line.addWidget(self._action(name, caption, kind, act))
        line.addStretch(1)
        box.addLayout(line)
        if against is not None:
            box.addWidget(self._against(against))
        self.plan = PlanCard(self._theme, self._texts)
        fill(self.plan)
        box.addWidget(self.plan)
        box.addWidget(self._facts(rows, reason, unmeasured))
        self._show(box)

    def show_advice(self, advice: AdviceWords) -> None:
        """Which engine, and what to think of common recommendations."""
        box = self._fresh()
        box.addWidget(label(advice.title, "title", wrap=True))
        for reason in advice.reasons:
            box.addWidget(label(reason, wrap=True, selectable=True))
        for against in advice.against:
            box.addWidget(self._against(against))
        card = Card(spacing=0)
        card.body.addWidget(label(advice.offers_title, "head", wrap=True))
        for offer in advice.offers:
            card.body.addWidget(self._offer(offer))
            known = label(offer.sub, "small", wrap=True)
            known.setContentsMargins(UNIT + 1, 0, 0, UNIT // 2)
            card.body.addWidget(known)
        box.addWidget(card)
        self._show(box)

    def _action(self, name: str, caption: str, kind: str, act: Callable[[], None] | None) -> QPushButton:
        made = button(caption, kind)
        made.setEnabled(act is not None)
        if act is not None:
            made.clicked.connect(lambda: act())
        self.choices[name] = made
        return made

    def _facts(self, rows: tuple[tuple[str, str], ...], reason: str, unmeasured: str) -> Card:
        card = Card()
        grid = QGridLayout()
        grid.setHorizontalSpacing(2 * UNIT)
        grid.setVerticalSpacing(4)
        top = Qt.AlignmentFlag.AlignTop
        for line, (name, value) in enumerate(rows):
            grid.addWidget(label(name, "muted"), line, 0, top)
            grid.addWidget(label(_breakable(value), wrap=True, selectable=True), line, 1)
        grid.setColumnStretch(1, 1)
        card.body.addLayout(grid)
        for words in (reason, unmeasured):
            if words:
                card.body.addWidget(label(words, "small", wrap=True, selectable=True))
        return card

    def _against(self, against: Against) -> QFrame:
        frame = QFrame()
        frame.setObjectName("Banner")
        frame.setProperty("tone", "warn")
        box = QVBoxLayout(frame)
        box.setContentsMargins(2 * UNIT, UNIT + 2, 2 * UNIT, UNIT + 2)
        box.setSpacing(4)
        if against.what:
            box.addWidget(label(against.what, "strong", wrap=True, selectable=True))
        box.addWidget(label(against.why, wrap=True, selectable=True))
        for offer in against.offers:
            box.addWidget(label(offer.words, wrap=True, selectable=True))
            if offer.id:
                box.addLayout(row(self._offer(Offer(self._texts.text("ui.library.show_it"), offer.id)), 1))
        return frame

    def _offer(self, offer: Offer) -> QPushButton:
        made = ElidedButton(offer.words, "quiet")
        made.setProperty("align", "left")
        made.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        made.setAutoDefault(False)
        made.clicked.connect(lambda: self.wanted.emit(offer.id))
        self.offers.append(made)
        return made


def _breakable(text: str) -> str:
    """A long path or id that may break behind its marks."""
    return text if len(text) <= 40 else text.replace("/", "/\u200b").replace("-", "-\u200b").replace("_", "_\u200b")


def open_page(repository: str) -> None:
    """Show a model's page in the browser."""
    QDesktopServices.openUrl(QUrl(PAGE + repository))
