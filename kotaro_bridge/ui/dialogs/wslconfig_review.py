"""What a save would change, and what has to be said before: the page between the edits and the file."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QCheckBox, QFrame, QGridLayout, QPushButton, QVBoxLayout, QWidget

from kotaro_bridge.domain.wsl.wslconfig_document import Caveat
from kotaro_bridge.service.wslconfig_edit import Change, Editor
from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.wslconfig import change_words
from kotaro_bridge.ui.widgets.basics import LONG, Card, button, endless, label, put, row, scrolled, value_label
from kotaro_bridge.ui.widgets.diff_view import DiffView
from kotaro_bridge.ui.widgets.notice_bar import NoticeBar

CONVERTED = (Caveat.UTF16, Caveat.UTF16_UNREAD, Caveat.NOT_UTF8)
"""Caveats that another encoding settles."""
ROWS = 8
"""Changes named one by one; the diff has all of them."""


class ReviewPage(QWidget):
    """Emits `back`, `convert`, and `save` with True where the owner gave the word for what is strange."""

    back = Signal()
    convert = Signal()
    save = Signal(bool)

    def __init__(self, theme: Theme, texts: Texts) -> None:
        super().__init__()
        self._texts = texts
        self._questions: list[QFrame] = []
        self._must_convert = False
        self.boxes: list[QCheckBox] = []
        self.convert_button: QPushButton | None = None
        self.failure = NoticeBar()
        self.title = label("", "title", wrap=True)
        self.path = label("", "muted", selectable=True)
        self._asked = QVBoxLayout()
        self._asked.setSpacing(UNIT)
        self._card = Card()
        self.diff = DiffView(theme, texts.text("ui.wslconfig.diff"))
        self.only_encoding = label(texts.text("ui.wslconfig.only_encoding"), "muted", wrap=True)
        self.back_button = button(texts.text("ui.wslconfig.back"))
        self.save_button = button(texts.text("ui.wslconfig.save"), "primary")
        self.back_button.clicked.connect(self.back)
        self.save_button.clicked.connect(lambda: self.save.emit(bool(self.boxes)))
        self.saving = label(texts.text("ui.wslconfig.saving"), "strong")
        self.progress = endless()
        self._busy = False
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT + 4)
        box.addWidget(self.title)
        box.addWidget(self.path)
        box.addWidget(self.failure)
        box.addWidget(scrolled(self._asked, self._card, self.only_encoding, last=self.diff), 1)
        box.addWidget(self.progress)
        box.addLayout(row(1, self.saving, self.back_button, self.save_button))
        self.set_busy(False)

    def show_editor(self, editor: Editor) -> None:
        """What a save would do now."""
        self.failure.drop()
        put(self.title, self._texts.text("ui.wslconfig.review"))
        put(self.path, editor.name)
        lines = editor.diff()
        self.diff.show_diff(lines)
        self.diff.setVisible(bool(lines))
        self.only_encoding.setVisible(not lines)
        self._show_changes(editor.changes())
        self._ask(editor.caveats)
        self._settle()
        (self.save_button if self.save_button.isEnabled() else self.back_button).setFocus()

    def show_failure(self, message: Message) -> None:
        """The file was not written."""
        self.failure.say("failure", message, "bad")
        self.save_button.setFocus()

    def set_busy(self, busy: bool) -> None:
        """While the file is being written nothing can be decided here."""
        self._busy = busy
        self.saving.setVisible(busy)
        self.progress.setVisible(busy)
        self.back_button.setEnabled(not busy)
        for each in self._questions:
            each.setEnabled(not busy)
        self._settle()

    def _show_changes(self, changes: tuple[Change, ...]) -> None:
        grid = QGridLayout(self._card.fresh())
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2 * UNIT)
        words = change_words(self._texts, changes[:ROWS])
        for line, (name, before, after) in enumerate(words):
            grid.addWidget(label(name), line, 0)
            grid.addWidget(value_label(before, "muted"), line, 1)
            grid.addWidget(label("→", "muted"), line, 2)
            grid.addWidget(value_label(after, "strong"), line, 3)
        if len(changes) > ROWS:
            more = self._texts.text("ui.wslconfig.more", count=len(changes) - ROWS)
            grid.addWidget(label(more, "muted"), ROWS, 0, 1, 4)
        grid.setColumnStretch(1, int(any(len(before) > LONG for _, before, _ in words)))
        grid.setColumnStretch(3, 3)
        self._card.setVisible(bool(changes))

    def _ask(self, caveats: tuple[Caveat, ...]) -> None:
        for old in self._questions:
            self._asked.removeWidget(old)
            old.hide()
            old.deleteLater()
        self.boxes, self.convert_button = [], None
        self._must_convert = Caveat.UTF16_UNREAD in caveats
        self._questions = [self._question(caveat) for caveat in caveats]
        for each in self._questions:
            self._asked.addWidget(each)

    def _question(self, caveat: Caveat) -> QFrame:
        frame = QFrame()
        frame.setObjectName("Banner")
        frame.setProperty("tone", "warn")
        box = QVBoxLayout(frame)
        box.setContentsMargins(2 * UNIT, UNIT, 2 * UNIT, UNIT)
        box.addWidget(label(self._texts.text(f"wslconfig.advice.{caveat}.what"), "strong", wrap=True))
        answers: list[QWidget | int] = []
        if caveat is not Caveat.UTF16_UNREAD:
            known = QCheckBox(self._texts.text("ui.wslconfig.keep_as_is"))
            known.toggled.connect(self._settle)
            self.boxes.append(known)
            answers.append(known)
        answers.append(1)
        if caveat in CONVERTED:
            self.convert_button = button(self._texts.text("ui.wslconfig.convert"))
            self.convert_button.clicked.connect(self.convert)
            answers.append(self.convert_button)
        box.addLayout(row(*answers))
        return frame

    @Slot()
    def _settle(self) -> None:
        known = not self._must_convert and all(box.isChecked() for box in self.boxes)
        self.save_button.setEnabled(known and not self._busy)
