"""The settings of WSL: a window around the pages that edit, review, merge, restore and restart.

Owns what leads from one page to the next, and that nothing staged is lost by accident. The file is the `Editor`'s.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt, Signal, Slot
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QStackedWidget, QVBoxLayout, QWidget

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.service.wslconfig_edit import Clash, Editor
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.dialogs.wslconfig_backups import BackupsPage
from kotaro_bridge.ui.dialogs.wslconfig_clash import ClashPage
from kotaro_bridge.ui.dialogs.wslconfig_edit import EditPage
from kotaro_bridge.ui.dialogs.wslconfig_restart import RestartPage
from kotaro_bridge.ui.dialogs.wslconfig_review import ReviewPage
from kotaro_bridge.ui.icons import app_icon
from kotaro_bridge.ui.theme import UNIT, Theme, style_sheet
from kotaro_bridge.ui.view_models.status import simulated_words
from kotaro_bridge.ui.widgets.basics import Elided, button, chip, label, put, row
from kotaro_bridge.ui.widgets.notice_bar import Answer, NoticeBar

USUAL = QSize(1080, 780)
SMALLEST = QSize(1000, 600)


class WslConfigDialog(QDialog):
    """Non-modal. Emits `changed` when the file was saved or WSL was restarted.

    Raises:
        ProblemError: on construction, if the file cannot be read.
    """

    changed = Signal()

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge) -> None:
        super().__init__()
        self._desk = desk
        self._theme = theme
        self._bridge = bridge
        self._clash: Clash | None = None
        self._editor: Editor = desk.wslconfig.editor()
        text = desk.texts.text
        self.setWindowTitle(text("ui.wslconfig.title"))
        self.setWindowIcon(app_icon())
        self.setWindowFlags(self.windowFlags() | Qt.WindowType.WindowMinMaxButtonsHint)
        self.setModal(False)
        self.setStyleSheet(style_sheet(theme.tokens))
        theme.changed.connect(self._restyle)
        self.bar = NoticeBar()
        self.edit = EditPage(theme, desk.texts, self._editor)
        self.edit.staged.connect(self._show_state)
        self.state = label("", "strong")
        self.backups_button = button(text("ui.wslconfig.backups"))
        self.compare_button = button(text("ui.wslconfig.compare"))
        self.discard_button = button(text("ui.wslconfig.discard"))
        self.save_button = button(text("ui.wslconfig.save_review"), "primary")
        self.close_button = button(text("ui.close"))
        self.pages = QStackedWidget()
        self.pages.addWidget(self._first_page())
        self._made: dict[str, QWidget] = {}
        whole = QVBoxLayout(self)
        whole.setContentsMargins(3 * UNIT, 2 * UNIT, 3 * UNIT, 2 * UNIT)
        whole.setSpacing(UNIT + 4)
        whole.addWidget(self.bar)
        whole.addWidget(self.pages, 1)
        self.backups_button.clicked.connect(self.show_backups)
        self.compare_button.clicked.connect(self.show_proof)
        self.discard_button.clicked.connect(self.discard)
        self.save_button.clicked.connect(self.review)
        self.close_button.clicked.connect(self.close)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Save), self, self._on_save_key)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self, self._on_find_key)
        self.setMinimumSize(SMALLEST)
        room = self.screen().availableSize() - QSize(24, 48)
        self.resize(USUAL.boundedTo(room).expandedTo(SMALLEST))
        bridge.sampled.connect(self._on_sample)
        self._show_state()

    def _first_page(self) -> QWidget:
        page = QWidget()
        head = row(label(self._desk.texts.text("ui.wslconfig.heading"), "title"), 1)
        if self._desk.simulated is not None:
            head.addWidget(chip(simulated_words(self._desk.texts, self._desk.simulated)))
        box = QVBoxLayout(page)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT)
        box.addLayout(head)
        box.addWidget(Elided(self._editor.name, "muted"))
        box.addWidget(self.edit, 1)
        box.addLayout(
            row(
                self.backups_button,
                self.compare_button,
                1,
                self.state,
                self.discard_button,
                self.save_button,
                self.close_button,
            )
        )
        return page

    # Pages that are made when they are first wanted

    @property
    def review_page(self) -> ReviewPage:
        """The change as a diff."""
        page = self._made.get("review")
        if not isinstance(page, ReviewPage):
            page = ReviewPage(self._theme, self._desk.texts)
            page.back.connect(self.show_edit)
            page.convert.connect(self._on_convert)
            page.save.connect(self.save)
            self._add("review", page)
        return page

    @property
    def clash_page(self) -> ClashPage:
        """Both sides of a change."""
        page = self._made.get("clash")
        if not isinstance(page, ClashPage):
            page = ClashPage(self._theme, self._desk.texts)
            page.back.connect(self.show_edit)
            page.decided.connect(self._on_decided)
            self._add("clash", page)
        return page

    @property
    def backups_page(self) -> BackupsPage:
        """What the file was before."""
        page = self._made.get("backups")
        if not isinstance(page, BackupsPage):
            page = BackupsPage(self._theme, self._desk.texts)
            page.back.connect(self.show_edit)
            page.restore.connect(self._on_restore)
            self._add("backups", page)
        return page

    @property
    def restart_page(self) -> RestartPage:
        """The restart of WSL and the proof."""
        page = self._made.get("restart")
        if not isinstance(page, RestartPage):
            page = RestartPage(self._desk, self._theme, self._bridge)
            page.back.connect(self.show_edit)
            page.restarted.connect(self._on_restarted)
            page.idle.connect(self._on_idle)
            self._add("restart", page)
        return page

    def _add(self, name: str, page: QWidget) -> None:
        self._made[name] = page
        self.pages.addWidget(page)

    # From page to page

    @Slot()
    def show_edit(self) -> None:
        """Back to the form and the text."""
        self.pages.setCurrentIndex(0)
        self.edit.refresh()
        self._show_state()

    @Slot()
    def review(self) -> None:
        """Show what a save would change; the first of two steps."""
        if not self.edit.flush() or not self._look_outside():
            return
        if not self._editor.dirty:
            self._say_clean()
            return
        self.bar.drop()
        self.review_page.show_editor(self._editor)
        self.pages.setCurrentWidget(self.review_page)

    @Slot(bool)
    def save(self, anyway: bool = False) -> None:
        """Write the file; the second step."""
        try:
            done = self._editor.save(anyway=anyway)
        except ProblemError as error:
            self.review_page.show_failure(self._desk.texts.message(error.problem))
            return
        if isinstance(done, Clash):
            self._show_clash(done)
            return
        self.edit.form.forget()
        self.changed.emit()
        self.ask_restart(saved=True)

    def ask_restart(self, *, saved: bool = False) -> None:
        """Offer the restart that a saved change waits for."""
        if self.restart_page.busy:
            self.pages.setCurrentWidget(self.restart_page)
            return
        self.bar.drop("pending", "saved")
        self.pages.setCurrentWidget(self.restart_page)
        self.restart_page.ask(saved=saved)

    @Slot()
    def show_proof(self) -> None:
        """Compare the file with what Linux shows."""
        self.pages.setCurrentWidget(self.restart_page)
        self.restart_page.compare()

    @Slot()
    def show_backups(self) -> None:
        """List what the file was before each save."""
        self.backups_page.show_editor(self._editor)
        self.pages.setCurrentWidget(self.backups_page)

    @Slot()
    def discard(self) -> None:
        """Drop everything that is staged."""
        self._editor.discard()
        self.edit.form.forget()
        self.bar.drop("closing", "outside")
        self.show_edit()

    def _show_clash(self, clash: Clash) -> None:
        self._clash = clash
        self.bar.drop()
        self.clash_page.show_clash(self._editor, clash)
        self.pages.setCurrentWidget(self.clash_page)

    @Slot()
    def _on_convert(self) -> None:
        self._editor.convert()
        self.review_page.show_editor(self._editor)

    @Slot(str)
    def _on_restore(self, backup_id: str) -> None:
        try:
            self._editor.restore(backup_id)
        except ProblemError as error:
            self.backups_page.failure.say("failure", self._desk.texts.message(error.problem), "bad")
            return
        self.edit.form.forget()
        self.show_edit()
        self.review()

    @Slot(object, bool)
    def _on_decided(self, mine: list[str], my_text: bool) -> None:
        if self._clash is not None:
            self._editor.resolve(self._clash, mine, my_text=my_text)
            self._clash = None
        self.show_edit()
        self.review()

    @Slot()
    def _on_idle(self) -> None:
        if self.pages.currentWidget() is self.restart_page:
            self.show_edit()
            self._say("saved", "saved", "good")

    @Slot()
    def _on_restarted(self) -> None:
        self.bar.drop("pending", "saved")
        self.changed.emit()

    @Slot()
    def _on_save_key(self) -> None:
        page = self.pages.currentWidget()
        if self.pages.currentIndex() == 0:
            self.review()
        elif page is self.review_page and self.review_page.save_button.isEnabled():
            self.review_page.save_button.click()

    @Slot()
    def _on_find_key(self) -> None:
        if self.pages.currentIndex() == 0:
            self.edit.start_search()

    # What is shown of the state

    @Slot()
    def _show_state(self) -> None:
        count = len(self._editor.changes())
        dirty = self._editor.dirty or bool(self.edit.form.wrong_keys())
        words = self._desk.texts.text("ui.wslconfig.unsaved", count=count) if count else ""
        put(self.state, words or (self._desk.texts.text("ui.wslconfig.unsaved_text") if dirty else ""))
        self.discard_button.setEnabled(dirty)
        self.save_button.setEnabled(dirty)
        self._show_pending()

    @Slot(object)
    def _on_sample(self, _sample: object) -> None:
        """Whether a change waits is found out in the background."""
        if self.isVisible():
            self._show_pending()

    def _show_pending(self) -> None:
        if self._editor.dirty or self.bar.about not in ("", "pending", "saved"):
            return
        if self._desk.wslconfig.pending():
            text = self._desk.texts.text
            if self.bar.about != "pending":
                answer = (text("ui.wslconfig.restart"), "", lambda: self.ask_restart())
                self._say("pending", "pending", "warn", answer)
        else:
            self.bar.drop("pending")

    def _say(self, about: str, sentence: str, tone: str, *answers: Answer) -> None:
        what, do = (self._desk.texts.text(f"ui.wslconfig.{sentence}.{part}") for part in ("what", "do"))
        self.bar.say(about, Message(what, do), tone, *answers)

    def _say_clean(self) -> None:
        self._say("saved", "nothing_to_save", "good")

    # What happens outside

    def look_outside(self) -> None:
        """Take over what was changed in the file meanwhile."""
        if self.pages.currentIndex() == 0:
            self._look_outside()

    def _look_outside(self) -> bool:
        """False where both sides changed the same, or the file cannot be read: that is shown."""
        before = self._editor.saved
        try:
            clash = self._editor.refresh()
        except ProblemError as error:
            self.bar.say("outside", self._desk.texts.message(error.problem), "bad")
            return False
        if clash is not None:
            self._show_clash(clash)
            return False
        if self._editor.saved is not before:
            self.edit.refresh()
            self._say("outside", "taken_over", "warn")
            self._show_state()
        return True

    def changeEvent(self, event: QEvent) -> None:
        """Whoever comes back from another program may have changed the file there."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.ActivationChange and self.isActiveWindow():
            self.look_outside()

    # Closing

    def reject(self) -> None:
        """Esc goes back one step; on the first page it closes."""
        if self.bar.about == "closing":
            self.bar.drop()
        elif self.pages.currentIndex() != 0:
            if not self.restart_page.busy:
                self.show_edit()
        elif self.edit.search.hasFocus() and self.edit.search.text():
            self.edit.search.clear()
        else:
            self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        """What is not saved is asked about."""
        self.edit.form.flush()
        unsaved = self._editor.dirty or self.edit.form.wrong_keys()
        if unsaved:
            event.ignore()
            self.show_edit()
            text = self._desk.texts.text
            self._say(
                "closing",
                "closing",
                "warn",
                (text("ui.wslconfig.save_review"), "primary", self.review),
                (text("ui.wslconfig.discard_close"), "", self._discard_and_close),
                (text("ui.wslconfig.stay"), "", lambda: self.bar.drop()),
            )
            self.bar.answers[0].setFocus()
        else:
            event.accept()  # QDialog's own would ask `reject`, which asks for a close

    @Slot()
    def _discard_and_close(self) -> None:
        self.discard()
        self.close()

    @Slot()
    def _restyle(self) -> None:
        self.setStyleSheet(style_sheet(self._theme.tokens))
