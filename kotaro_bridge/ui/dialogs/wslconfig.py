"""The settings of WSL: a window around the pages that edit, review, merge, restore and restart.

Owns what leads from one page to the next, and that nothing staged is lost by accident. The file is the `Editor`'s.
"""

from __future__ import annotations

from functools import cached_property

from PySide6.QtCore import QEvent, Signal, Slot
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QVBoxLayout, QWidget

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.service.wslconfig_edit import Clash, Editor, Saved
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.dialogs.wslconfig_backups import BackupsPage
from kotaro_bridge.ui.dialogs.wslconfig_clash import ClashPage
from kotaro_bridge.ui.dialogs.wslconfig_edit import EditPage
from kotaro_bridge.ui.dialogs.wslconfig_notices import OUTSIDE, PENDING, SAVED, UNSAVED, SettingsNotices
from kotaro_bridge.ui.dialogs.wslconfig_restart import RestartPage
from kotaro_bridge.ui.dialogs.wslconfig_review import ReviewPage
from kotaro_bridge.ui.dialogs.wslconfig_window import SettingsWindow
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.status import simulated_words
from kotaro_bridge.ui.widgets.basics import Elided, Pages, button, chip, label, put, row


class WslConfigDialog(SettingsWindow):
    """Emits `changed` when the file was saved or WSL was restarted.

    While it is `saving` the editor is the worker's: nothing here looks at it.

    Raises:
        ProblemError: on construction, if the file cannot be read.
    """

    changed = Signal()

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge, editor: Editor | None = None) -> None:
        super().__init__(theme, desk.texts.text("ui.wslconfig.title"))
        self._desk = desk
        self._bridge = bridge
        self._clash: Clash | None = None
        self._closes = False
        self.saving = False
        self.editor = editor or desk.wslconfig.editor()
        text = desk.texts.text
        self.bar = SettingsNotices(desk.texts)
        self.edit = EditPage(theme, desk.texts, self.editor)
        self.edit.staged.connect(self._show_state)
        self.state = label("", "strong")
        self.backups_button = button(text("ui.wslconfig.backups"))
        self.compare_button = button(text("ui.wslconfig.compare"))
        self.discard_button = button(text("ui.wslconfig.discard"))
        self.save_button = button(text("ui.wslconfig.save_review"), "primary")
        self.close_button = button(text("ui.close"))
        self.pages = Pages()
        self.pages.addWidget(self._first_page())
        whole = QVBoxLayout(self)
        whole.setContentsMargins(3 * UNIT, 2 * UNIT, 3 * UNIT, 2 * UNIT)
        whole.setSpacing(UNIT + 4)
        whole.addWidget(self.pages, 1)
        self.backups_button.clicked.connect(self.show_backups)
        self.compare_button.clicked.connect(self.show_proof)
        self.discard_button.clicked.connect(self.discard)
        self.save_button.clicked.connect(self.review)
        self.close_button.clicked.connect(self.close)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Save), self, self._on_save_key)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self, self._on_find_key)
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
        box.addWidget(self.bar)
        box.addLayout(head)
        box.addWidget(Elided(self.editor.name, "muted"))
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

    @cached_property
    def review_page(self) -> ReviewPage:
        """The change as a diff."""
        page = ReviewPage(self._theme, self._desk.texts)
        page.back.connect(self.show_edit)
        page.convert.connect(self._on_convert)
        page.save.connect(self.save)
        self.pages.addWidget(page)
        return page

    @cached_property
    def clash_page(self) -> ClashPage:
        """Both sides of a change."""
        page = ClashPage(self._theme, self._desk.texts)
        page.back.connect(self.show_edit)
        page.decided.connect(self._on_decided)
        self.pages.addWidget(page)
        return page

    @cached_property
    def backups_page(self) -> BackupsPage:
        """What the file was before."""
        page = BackupsPage(self._theme, self._desk.texts)
        page.back.connect(self.show_edit)
        page.restore.connect(self._on_restore)
        self.pages.addWidget(page)
        return page

    @cached_property
    def restart_page(self) -> RestartPage:
        """The restart of WSL and the proof."""
        page = RestartPage(self._desk, self._theme, self._bridge)
        page.back.connect(self.show_edit)
        page.restarted.connect(self._on_restarted)
        page.idle.connect(self._on_idle)
        self.pages.addWidget(page)
        return page

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
        if not self.editor.dirty:
            self.bar.tell_saved("nothing_to_save")
            return
        self.bar.drop()
        self.review_page.show_editor(self.editor)
        self.pages.setCurrentWidget(self.review_page)

    @Slot(bool)
    def save(self, anyway: bool = False) -> None:
        """Write the file, the second step; in the background, since another instance may be at it for seconds."""
        if self.saving:
            return
        self.saving = True
        self.review_page.set_busy(True)
        editor, why = self.editor, "saved" if self.editor.exists else "saved_new"
        in_background(
            self._desk,
            self._bridge,
            lambda: editor.save(anyway=anyway),
            lambda done: self._on_saved(done, why),
            self._on_not_saved,
        )

    def _on_saved(self, done: Saved | Clash, why: str) -> None:
        closes = self._end_saving()
        if isinstance(done, Clash):
            self._show_clash(done)
            return
        self.edit.form.forget()
        self.changed.emit()
        if closes:
            self._discard_and_close()
        else:
            self.ask_restart(why)

    def _on_not_saved(self, message: Message) -> None:
        self._end_saving()
        self.review_page.show_failure(message)

    def _end_saving(self) -> bool:
        """True if it was to close meanwhile."""
        closes, self._closes = self._closes, False
        self.saving = False
        self.review_page.set_busy(False)
        return closes

    def ask_restart(self, why: str = "waits") -> None:
        """Offer the restart that a saved change waits for; `why` as `RestartPage.ask` takes it."""
        if self.saving:
            return
        self.bar.drop(PENDING, SAVED)
        self.pages.setCurrentWidget(self.restart_page)
        if not self.restart_page.busy:
            self.restart_page.ask(why)

    @Slot()
    def show_proof(self) -> None:
        """Compare the file with what Linux shows."""
        self.pages.setCurrentWidget(self.restart_page)
        self.restart_page.compare()

    @Slot()
    def show_backups(self) -> None:
        """List what the file was before each save."""
        self.backups_page.show_editor(self.editor)
        self.pages.setCurrentWidget(self.backups_page)

    @Slot()
    def discard(self) -> None:
        """Drop everything that is staged."""
        self.editor.discard()
        self.edit.form.forget()
        self.bar.drop(UNSAVED, OUTSIDE)
        self.show_edit()

    def _show_clash(self, clash: Clash) -> None:
        self._clash = clash
        self.bar.drop()
        self.clash_page.show_clash(self.editor, clash)
        self.pages.setCurrentWidget(self.clash_page)

    @Slot()
    def _on_convert(self) -> None:
        converted = self.editor.convert()
        self.review_page.show_editor(self.editor)
        if not converted:
            self._on_not_saved(self._desk.texts.message(problem("wslconfig.not_converted", path=self.editor.name)))

    @Slot(str)
    def _on_restore(self, backup_id: str) -> None:
        try:
            self.editor.restore(backup_id)
        except ProblemError as error:
            self.backups_page.failure.say("failure", self._desk.texts.message(error.problem), "bad")
            return
        self.edit.form.forget()
        self.show_edit()
        self.review()

    @Slot(object, bool)
    def _on_decided(self, mine: list[str], my_text: bool) -> None:
        if self._clash is not None:
            self.editor.resolve(self._clash, mine, my_text=my_text)
            self._clash = None
        self.show_edit()
        self.review()

    @Slot(str)
    def _on_idle(self, why: str) -> None:
        if self.pages.currentWidget() is self.restart_page:
            self.show_edit()
            self.bar.tell_saved(why)

    @Slot()
    def _on_restarted(self) -> None:
        self.bar.drop(PENDING, SAVED)
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
        count = len(self.editor.changes())
        dirty = self.editor.dirty or bool(self.edit.form.wrong_keys())
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
        if self.saving or self.editor.dirty or self.bar.about not in ("", PENDING, SAVED):
            return
        if self._desk.wslconfig.pending():
            self.bar.tell_pending(lambda: self.ask_restart())
        else:
            self.bar.drop(PENDING)

    # What happens outside

    def look_outside(self) -> None:
        """Take over what was changed in the file meanwhile."""
        if self.pages.currentIndex() == 0:
            self._look_outside()

    def _look_outside(self) -> bool:
        """False where both sides changed the same, or the file cannot be read: that is shown."""
        self.edit.settle()
        before = self.editor.saved
        try:
            clash = self.editor.refresh()
        except ProblemError as error:
            self.bar.say(OUTSIDE, self._desk.texts.message(error.problem), "bad")
            return False
        if clash is not None:
            self._show_clash(clash)
            return False
        if self.editor.saved is not before:
            self.edit.refresh()
            self.bar.tell_taken_over(edits=self.editor.dirty)
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
        if self.asked:
            self.bar.drop()
        elif self.pages.currentIndex() != 0:
            if not self.saving and not self.restart_page.busy:
                self.show_edit()
        elif self.edit.search.hasFocus() and self.edit.search.text():
            self.edit.search.clear()
        else:
            self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        """What is not saved is asked about; what is being saved is waited for."""
        if self.saving:
            self._closes = True
            event.ignore()
        elif self.unsaved:
            event.ignore()
            self.ask_unsaved()
        else:
            event.accept()  # QDialog's own would ask `reject`, which asks for a close

    @property
    def unsaved(self) -> bool:
        """True if something would be lost by an end now, also what is still being typed."""
        if self.saving:
            return True
        self.edit.settle()
        return self.editor.dirty or bool(self.edit.form.wrong_keys())

    def can_be_renewed(self) -> bool:
        """True if nothing is under way here and all that is typed is in the editor's hands."""
        if self.saving or self.restart_page.busy:
            return False
        self.edit.settle()
        return not self.edit.form.wrong_keys()

    @property
    def asked(self) -> bool:
        """True while it is asked about what is not saved."""
        return self.bar.about == UNSAVED

    def ask_unsaved(self) -> None:
        """Ask what is to become of what is not saved."""
        if self.saving:
            return
        self.show_edit()
        self.bar.ask_unsaved(self.review, self._discard_and_close)

    @Slot()
    def _discard_and_close(self) -> None:
        self.discard()
        self.close()
