"""The list of models to choose from: what is on the machine, and the catalogue."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import QDialog, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.service.profile_desk import Choices
from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.theme import UNIT, Theme, style_sheet
from kotaro_bridge.ui.view_models.profile_choices import ChoiceRow, choice_rows, found_rows
from kotaro_bridge.ui.widgets.basics import button, endless, label, put, row

SIZE = QSize(640, 520)
SMALLEST = QSize(440, 320)


class ModelPicker(QDialog):
    """Window-modal. Emits `chosen` with a `ChoiceRow`."""

    chosen = Signal(object)

    def __init__(self, theme: Theme, texts: Texts, parent: QWidget) -> None:
        super().__init__(parent)
        self._texts = texts
        self._rows: tuple[ChoiceRow, ...] = ()
        self.setWindowTitle(texts.text("ui.editor.picker.title"))
        self.setWindowModality(Qt.WindowModality.WindowModal)
        self.setStyleSheet(style_sheet(theme.tokens))
        self.search = QLineEdit()
        self.search.setPlaceholderText(texts.text("ui.editor.picker.search"))
        self.search.setAccessibleName(texts.text("ui.editor.picker.search"))
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._fill)
        self.list = QListWidget()
        self.list.setObjectName("Rows")
        self.list.setAccessibleName(texts.text("ui.editor.picker.title"))
        self.list.itemActivated.connect(self.take)
        self.list.itemSelectionChanged.connect(self._on_current)
        self.state = label(texts.text("ui.editor.picker.looking"), "muted")
        self.progress = endless()
        self.use = button(texts.text("ui.editor.picker.use"), "primary")
        self.use.clicked.connect(self.take)
        self.close_button = button(texts.text("ui.close"))
        self.close_button.clicked.connect(self.reject)
        box = QVBoxLayout(self)
        box.setContentsMargins(2 * UNIT, 2 * UNIT, 2 * UNIT, 2 * UNIT)
        box.setSpacing(UNIT)
        for part in (self.search, self.state, self.progress):
            box.addWidget(part)
        box.addWidget(self.list, 1)
        box.addLayout(row(1, self.use, self.close_button))
        self.setMinimumSize(SMALLEST)
        self.resize(SIZE)
        self.use.setEnabled(False)
        self.search.setFocus()

    def ask(self, desk: Desk, bridge: Bridge, card: GpuSnapshot | None) -> None:
        """Open, and find out in the background what there is; a list that is closed again hears nothing of it."""
        in_background(desk, bridge, lambda: desk.profiles.choices(card), self.show_choices, self.show_failure)
        self.open()

    def show_choices(self, choices: Choices) -> None:
        """Show what there is."""
        if not self.isVisible():
            return
        self._rows = choice_rows(self._texts, choices)
        self.progress.hide()
        self._fill()

    def show_failure(self, message: Message) -> None:
        """It could not be found out."""
        if not self.isVisible():
            return
        self.progress.hide()
        put(self.state, f"{message.what} {message.do}".strip())

    @Slot()
    def _fill(self) -> None:
        if not self.progress.isHidden():
            return
        found = found_rows(self._rows, self.search.text())
        put(self.state, self._texts.text("ui.editor.picker.nothing"))
        self.state.setVisible(not found)
        self.list.clear()
        group = ""
        for each in found:
            if each.group != group:
                group = each.group
                heading = QListWidgetItem(group, self.list)
                heading.setFlags(Qt.ItemFlag.NoItemFlags)
            item = QListWidgetItem(f"{each.name}\n{each.detail}", self.list)
            item.setData(Qt.ItemDataRole.UserRole, each)
            item.setToolTip(str(each.keys.get("model", "")))
        if found:
            self.list.setCurrentRow(1)

    @Slot()
    def _on_current(self) -> None:
        self.use.setEnabled(self._current() is not None)

    def _current(self) -> ChoiceRow | None:
        chosen = [item.data(Qt.ItemDataRole.UserRole) for item in self.list.selectedItems()]
        return next((each for each in chosen if isinstance(each, ChoiceRow)), None)

    @Slot()
    def take(self) -> None:
        """Hand out what is chosen, and go."""
        found = self._current()
        if found is not None:
            self.chosen.emit(found)
            self.accept()
