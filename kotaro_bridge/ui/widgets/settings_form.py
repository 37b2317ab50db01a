"""All settings as a form: the main ones first, the others in groups that are built when they are first wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from kotaro_bridge.domain.wsl.wslconfig_catalogue import MAIN_KEYS
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.wslconfig import SettingView, groups, search, search_texts
from kotaro_bridge.ui.widgets.basics import Card, button, label, row, set_property
from kotaro_bridge.ui.widgets.scroll import Scroll
from kotaro_bridge.ui.widgets.setting_row import SettingRow

MAIN = "main"


class SettingsForm(Scroll):
    """Emits what its rows emit.

    Args:
        view: gives a setting as it is staged, by canonical name.
    """

    edited = Signal(str, str)
    undone = Signal(str)
    used = Signal(str)

    def __init__(self, theme: Theme, texts: Texts, view: Callable[[str], SettingView]) -> None:
        super().__init__()
        self._theme = theme
        self._texts = texts
        self._view = view
        self._keys = {MAIN: list(MAIN_KEYS), **groups()}
        self._cards: dict[str, Card] = {}
        self._index: dict[str, str] = {}
        self._found: tuple[str, ...] | None = None
        self.rows: dict[str, SettingRow] = {}
        self.content = QWidget()
        self._box = QVBoxLayout(self.content)
        self._box.setContentsMargins(0, 0, UNIT, 0)
        self._box.setSpacing(UNIT + 4)
        self.nothing = label(texts.text("ui.wslconfig.nothing_found"), "muted")
        self.nothing.hide()
        self.fold = button("", "quiet")
        self.fold.setCheckable(True)
        self.fold.toggled.connect(self._arrange)
        self._box.addWidget(self.nothing)
        for group in self._keys:
            card = self._cards[group] = Card(spacing=0)
            self._box.addWidget(card)
            if group == MAIN:
                self._box.addLayout(row(self.fold, 1))
            else:
                card.body.addWidget(label(f"[{group}]", "head"))
        self._box.addStretch(1)
        self.setWidget(self.content)
        self._arrange()
        theme.changed.connect(self._recolour)

    # What is shown

    @Slot()
    def refresh(self) -> None:
        """Show every setting that is built as it is staged now."""
        for key, each in self.rows.items():
            each.show_view(self._view(key))

    def search(self, words: str) -> None:
        """Show only what holds all words; nothing typed shows everything again."""
        if words.strip():
            self._index = self._index or search_texts()
            self._found = search(self._index, words)
        else:
            self._found = None
        self._arrange()

    def visible_keys(self) -> list[str]:
        """The settings that are shown, in their order."""
        return [key for keys in self._keys.values() for key in keys if self._wanted(key)]

    def show_key(self, key: str) -> None:
        """Bring a setting into view and give it the focus."""
        if not self._wanted(key):
            self._found = None
            self.fold.setChecked(key not in MAIN_KEYS or self.fold.isChecked())
            self._arrange()
        shown = self.rows[key]
        # What was just made or shown gets its place in the next round of the event loop.
        QTimer.singleShot(0, self, lambda: self.ensureWidgetVisible(shown, 0, 3 * UNIT))
        shown.input.setFocus(Qt.FocusReason.OtherFocusReason)

    def flush(self) -> None:
        """Hand out what is still being typed."""
        for each in self.rows.values():
            each.input.flush()

    def wrong_keys(self) -> list[str]:
        """Settings in which something stands that is no value."""
        return [key for key, each in self.rows.items() if each.problem is not None]

    def forget(self) -> None:
        """Let go of everything that is no value."""
        for key in self.wrong_keys():
            self.rows[key].forget()

    # How it is built

    def _wanted(self, key: str) -> bool:
        if self._found is not None:
            return key in self._found
        return key in MAIN_KEYS or self.fold.isChecked()

    @Slot()
    def _arrange(self) -> None:
        wanted = set(self.visible_keys())
        self.setUpdatesEnabled(False)
        self._build(wanted)
        for group, keys in self._keys.items():
            self._cards[group].setVisible(any(key in wanted for key in keys))
            first = next((key for key in keys if key in wanted), None)
            for key in keys:
                if key in self.rows:
                    self.rows[key].setVisible(key in wanted)
                    set_property(self.rows[key], "first", "true" if key == first else "false")
        self._chain()
        mark = "▾" if self.fold.isChecked() else "▸"
        count = sum(len(keys) for group, keys in self._keys.items() if group != MAIN)
        self.fold.setText(f"{mark} {self._texts.text('ui.wslconfig.all', count=count)}")
        self.fold.setVisible(self._found is None)
        self.nothing.setVisible(self._found == ())
        self.setUpdatesEnabled(True)

    def _chain(self) -> None:
        """Tab goes from setting to setting as they stand there, whenever they were made."""
        before: QWidget | None = None
        for group, keys in self._keys.items():
            stops = [stop for key in keys if key in self.rows for stop in self.rows[key].stops]
            for stop in [*stops, self.fold] if group == MAIN else stops:
                if before is not None:
                    QWidget.setTabOrder(before, stop)
                before = stop

    def showEvent(self, event: QShowEvent) -> None:
        """Only in its window an order of Tab stays."""
        super().showEvent(event)
        self._chain()

    def _build(self, wanted: Iterable[str]) -> None:
        """Make the rows that are wanted and not there yet, each at its place."""
        missing = set(wanted) - self.rows.keys()
        for group, keys in self._keys.items():
            if not missing.intersection(keys):
                continue
            body = self._cards[group].body
            head = body.count() - sum(key in self.rows for key in keys)
            for place, key in enumerate(key for key in keys if key in missing or key in self.rows):
                if key in missing:
                    body.insertWidget(head + place, self._row(key))

    def _row(self, key: str) -> SettingRow:
        made = SettingRow(self._theme, self._texts, self._view(key))
        made.edited.connect(self.edited)
        made.undone.connect(self.undone)
        made.used.connect(self.used)
        self.rows[key] = made
        return made

    @Slot()
    def _recolour(self) -> None:
        for each in self.rows.values():
            each.recolour()
