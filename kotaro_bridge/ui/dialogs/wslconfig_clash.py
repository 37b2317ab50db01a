"""The file was changed outside while it was edited here, and both cannot be had: which side counts, key by key."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QRadioButton, QVBoxLayout, QWidget

from kotaro_bridge.service.wslconfig_edit import Clash, Editor, unified_diff
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.wslconfig import name_of, value_words
from kotaro_bridge.ui.widgets.basics import Card, button, label, row, scrolled, shortened
from kotaro_bridge.ui.widgets.diff_view import DiffView


class ClashPage(QWidget):
    """Emits `decided` with the keys whose own value is kept, and whether the whole own text is; `back` for neither."""

    decided = Signal(object, bool)
    back = Signal()

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__()
        self._texts = texts
        self._clash: Clash | None = None
        self.mine: dict[str, QRadioButton] = {}
        self.theirs: dict[str, QRadioButton] = {}
        self._card = Card()
        self.explanation = label("", wrap=True)
        self.diff = DiffView(theme, texts.text("ui.wslconfig.clash_diff"))
        self.back_button = button(texts.text("ui.wslconfig.back"))
        self.go_on = button(texts.text("ui.wslconfig.go_on"), "primary")
        self.back_button.clicked.connect(self.back)
        self.go_on.clicked.connect(self._decide)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT + 4)
        box.addWidget(label(texts.text("ui.wslconfig.clash"), "title", wrap=True))
        box.addWidget(self.explanation)
        head = label(texts.text("ui.wslconfig.clash_diff"), "muted")
        box.addWidget(scrolled(self._card, head, last=self.diff), 1)
        box.addLayout(row(1, self.back_button, self.go_on))

    def show_clash(self, editor: Editor, clash: Clash) -> None:
        """Both sides; nothing is chosen for the person but what the file says now."""
        self._clash = clash
        self.mine, self.theirs = {}, {}
        text = self._texts.text
        self.explanation.setText(text("ui.wslconfig.clash_keys" if clash.keys else "ui.wslconfig.clash_text"))
        grid = QGridLayout(self._card.fresh())
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(3 * UNIT)
        for each_line, each in enumerate(clash.keys):
            grid.addWidget(label(name_of(self._texts, each.key), "strong"), each_line, 0)
            before = value_words(self._texts, each.key, each.before)
            grid.addWidget(label(text("ui.wslconfig.clash_before", value=shortened(before)), "muted"), each_line, 1)
            theirs, mine = (value_words(self._texts, each.key, value) for value in (each.theirs, each.mine))
            self._choice(grid, each_line, each.key, theirs, mine)
        if not clash.keys:
            whole = text("ui.wslconfig.whole_text")
            self._choice(grid, 0, "", whole, whole)
        grid.setColumnStretch(4, 1)
        self.diff.show_diff(unified_diff(clash.theirs, editor.document))
        next(iter(self.theirs.values())).setFocus()

    def _choice(self, grid: QGridLayout, line: int, key: str, theirs: str, mine: str) -> None:
        group = QButtonGroup(grid)
        for column, side, caption, value in (
            (2, self.theirs, "ui.wslconfig.theirs", theirs),
            (3, self.mine, "ui.wslconfig.mine", mine),
        ):
            made = side[key] = QRadioButton(self._texts.text(caption, value=shortened(value)).replace("&", "&&"))
            made.setToolTip(value)
            group.addButton(made)
            grid.addWidget(made, line, column)
        self.theirs[key].setChecked(True)

    def _decide(self) -> None:
        kept = [key for key, box in self.mine.items() if key and box.isChecked()]
        self.decided.emit(kept, "" in self.mine and self.mine[""].isChecked())
