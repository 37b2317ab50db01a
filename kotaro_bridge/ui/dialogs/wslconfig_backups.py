"""What the file was before each save: the list, the difference to now, and the way back."""

from __future__ import annotations

from PySide6.QtCore import QDateTime, QLocale, Qt, Signal, Slot
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.service.wslconfig_edit import Editor, unified_diff
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.widgets.basics import Card, button, label, row
from kotaro_bridge.ui.widgets.diff_view import DiffView
from kotaro_bridge.ui.widgets.notice_bar import NoticeBar

LIST_WIDTH = 264


class BackupsPage(QWidget):
    """Emits `restore` with the id of a backup, and `back`."""

    restore = Signal(str)
    back = Signal()

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__()
        self._texts = texts
        self._editor: Editor | None = None
        self.failure = NoticeBar()
        self.list = QListWidget()
        self.list.setObjectName("Rows")
        self.list.setFixedWidth(LIST_WIDTH)
        self.list.setAccessibleName(texts.text("ui.wslconfig.backups_title"))
        self.list.itemSelectionChanged.connect(self._on_item)
        self.none = label(texts.text("ui.wslconfig.no_backups"), "muted", wrap=True)
        self.same = label(texts.text("ui.wslconfig.backup_same"), "muted", wrap=True)
        self.diff = DiffView(theme, texts.text("ui.wslconfig.backup_diff"))
        self.back_button = button(texts.text("ui.wslconfig.back"))
        self.restore_button = button(texts.text("ui.wslconfig.restore"), "primary")
        self.back_button.clicked.connect(self.back)
        self.restore_button.clicked.connect(self._on_restore)
        card = Card()
        card.body.addWidget(self.none)
        card.body.addWidget(self.list)
        right = QVBoxLayout()
        right.setSpacing(UNIT)
        right.addWidget(label(texts.text("ui.wslconfig.backup_diff"), "muted", wrap=True))
        right.addWidget(self.same)
        right.addWidget(self.diff, 1)
        line = row(card, right, spacing=2 * UNIT)
        line.setStretch(1, 1)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT + 4)
        box.addWidget(label(texts.text("ui.wslconfig.backups_title"), "title"))
        box.addWidget(self.failure)
        box.addLayout(line, 1)
        box.addLayout(row(1, self.back_button, self.restore_button))

    def show_editor(self, editor: Editor) -> None:
        """The backups there are now."""
        self._editor = editor
        self.failure.drop()
        self.list.clear()
        try:
            backups = editor.backups()
        except ProblemError as error:
            self.failure.say("failure", self._texts.message(error.problem), "bad")
            backups = ()
        for each in backups:
            item = QListWidgetItem(moment(self._texts, each.saved_at.timestamp()))
            item.setData(Qt.ItemDataRole.UserRole, each.id)
            self.list.addItem(item)
        self.none.setVisible(not backups)
        self.list.setVisible(bool(backups))
        self._on_item()
        if backups:
            self.list.setCurrentRow(0)
            self.list.setFocus()
        else:
            self.back_button.setFocus()

    def _chosen(self) -> str | None:
        found = self.list.selectedItems()
        return str(found[0].data(Qt.ItemDataRole.UserRole)) if found else None

    @Slot()
    def _on_item(self) -> None:
        chosen = self._chosen()
        lines: tuple[str, ...] = ()
        usable = False
        if chosen is not None and self._editor is not None:
            try:
                stored = self._editor.stored(chosen)
            except ProblemError as error:
                self.failure.say("failure", self._texts.message(error.problem), "bad")
            else:
                self.failure.drop()
                usable = stored.data != self._editor.saved.data
                lines = unified_diff(self._editor.saved, stored)
        self.diff.show_diff(lines)
        self.same.setVisible(chosen is not None and not lines)
        self.restore_button.setEnabled(usable)

    @Slot()
    def _on_restore(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.restore.emit(chosen)


def moment(texts: Texts, seconds: float) -> str:
    """Date and time in the language of the windows; `seconds` since the epoch."""
    locale = QLocale("ja_JP" if texts.language == "ja" else "en_GB")
    at = QDateTime.fromSecsSinceEpoch(int(seconds))
    return f"{locale.toString(at.date(), QLocale.FormatType.ShortFormat)}  {at.toString('HH:mm:ss')}"
