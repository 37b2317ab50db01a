"""The window that edits a profile: fields on the left, what they take of the card, the command and a try on the right.

Owns what is typed and not saved, and that none of it is lost by accident. Nothing here blocks, and nothing is started
but a try.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from PySide6.QtCore import QEvent, Signal, Slot
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.profile_form import Form, form_changes, keys_of, new_id, read_form, texts_of
from kotaro_bridge.domain.run.run_state import RESTING
from kotaro_bridge.service.profile_desk import Opened
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.dialogs.model_picker import ModelPicker
from kotaro_bridge.ui.dialogs.profile_notices import ASKED, CLASH, FAILED, LEAVING, OUTSIDE, SAVED, ProfileNotices
from kotaro_bridge.ui.dialogs.profile_plans import Plans
from kotaro_bridge.ui.dialogs.profile_tries import Tries
from kotaro_bridge.ui.dialogs.wslconfig_window import SettingsWindow
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.profile_choices import ChoiceRow, with_choice
from kotaro_bridge.ui.widgets.basics import button, label, put, row, scrolled
from kotaro_bridge.ui.widgets.profile_fields import ProfileFields
from kotaro_bridge.ui.widgets.profile_head import ProfileHead
from kotaro_bridge.ui.widgets.profile_inputs import LineInput

SIDE_WIDTH = 428
SIDE_NARROW = 372
FIELDS_NARROW = 448


class ProfileEditor(SettingsWindow):
    """Non-modal. Emits `saved` and `removed` with the profile's id once that is done, `copy_wanted` and `export_wanted`
    with it, `import_wanted`, and `finished_with` when the window is closed."""

    saved = Signal(str)
    removed = Signal(str)
    copy_wanted = Signal(str)
    export_wanted = Signal(str)
    import_wanted = Signal()
    finished_with = Signal()

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge, opened: Opened) -> None:
        super().__init__(theme, "")
        self._desk = desk
        self._bridge = bridge
        self.opened = opened
        self._touched: set[str] = set()
        self._all_shown = False
        self.saving = False
        self._sent: dict[str, str] = {}
        self._then_close = False
        self._closed = False
        text = desk.texts.text
        self.bar = ProfileNotices(desk.texts)
        self.fields = ProfileFields(theme, desk.texts)
        self.plans = Plans(desk, theme, bridge, self)
        self.tries = Tries(desk, theme, bridge, self)
        self.head = ProfileHead(desk.texts, desk.simulated)
        self.state = label("", "strong")
        self.delete_button = button(text("ui.editor.delete"), "quiet")
        self.import_button = button(text("ui.editor.import"), "quiet")
        self.export_button = button(text("ui.editor.export"), "quiet")
        self.copy_button = button(text("ui.editor.copy"), "quiet")
        self.save_button = button(text("ui.editor.save"), "primary")
        self.close_button = button(text("ui.close"))
        self._lay_out()
        self._connect()
        self._base = texts_of(opened.profile)
        self._form: Form = read_form(self._base, opened.profile)
        self.fields.offer_cards(self.plans.cards())
        self._fill(self._base)
        in_background(desk, bridge, desk.profiles.targets, self._on_targets, lambda _message: None)

    def _lay_out(self) -> None:
        self.side = scrolled(self.plans.panel, self.tries.panel, self.plans.command)
        self.side.setMinimumWidth(SIDE_NARROW)
        self.side.setMaximumWidth(SIDE_WIDTH)
        self.fields.setMinimumWidth(FIELDS_NARROW)
        middle = QHBoxLayout()
        middle.setSpacing(UNIT + 4)
        middle.addWidget(self.fields, 1)
        middle.addWidget(self.side, 1000)  # as wide as it may be, once the fields have what they need
        whole = QVBoxLayout(self)
        whole.setContentsMargins(3 * UNIT, 2 * UNIT, 3 * UNIT, 2 * UNIT)
        whole.setSpacing(UNIT)
        whole.addWidget(self.bar)
        whole.addWidget(self.head)
        whole.addLayout(middle, 1)
        left = (self.delete_button, self.import_button, self.export_button, self.copy_button)
        whole.addLayout(row(*left, 1, self.state, self.save_button, self.close_button))
        self.fields.chain(self.plans.panel.longest)

    def _connect(self) -> None:
        self.fields.edited.connect(self._on_edited)
        self.fields.dragged.connect(self._on_dragged)
        self.fields.choosing.connect(self.choose)
        self.plans.panel.stretched.connect(self._on_stretched)
        self.tries.panel.wanted.connect(self.try_out)
        self.tries.ended.connect(self._go_on_closing)
        self.save_button.clicked.connect(self.save)
        self.close_button.clicked.connect(self.close)
        self.import_button.clicked.connect(self.import_wanted)
        self.delete_button.clicked.connect(self.ask_delete)
        self.export_button.clicked.connect(lambda: self.export_wanted.emit(self.profile.id))
        self.copy_button.clicked.connect(lambda: self.copy_wanted.emit(self.profile.id))
        self._bridge.sampled.connect(self._on_sample)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Save), self, self.save)

    # What is there

    @property
    def profile(self) -> Profile:
        """The profile as it is stored, or as the window was opened with."""
        return self.opened.profile

    @property
    def stored(self) -> bool:
        """False for a new one that was never saved."""
        return bool(self.opened.text)

    @property
    def unsaved(self) -> bool:
        """True if something is typed that is in no file."""
        return bool(self._changed())

    @property
    def asked(self) -> bool:
        """True while it is asked what is to become of what is not saved, or of a try."""
        return self.bar.about == LEAVING

    def _texts(self) -> dict[str, str]:
        """What stands in the fields; a name for clients that nobody typed comes from the title."""
        texts = self.fields.texts()
        if not self.stored and not texts["served_name"].strip() and texts["title"].strip():
            texts["served_name"] = new_id(texts["title"], ())
        return texts

    def _changed(self) -> list[str]:
        """Fields in which something else stands than in the file."""
        texts = self.fields.texts()
        return [key for key in keys_of(self._form.profile.engine) if texts[key].strip() != self._base[key]]

    def _fill(self, texts: dict[str, str]) -> None:
        self.fields.fill(texts)
        self._read(at_once=True)

    def _read(self, *, at_once: bool = False) -> None:
        """Read the fields and show what follows from them."""
        self._form = read_form(self._texts(), self.profile)
        self.plans.show_form(self._form, at_once=at_once)
        self.fields.context.set_limit(self.plans.view.limit)
        served = self.fields.rows["served_name"].input
        if isinstance(served, LineInput):
            served.field.setPlaceholderText("" if self.stored else self._texts()["served_name"])
        self._show_state()

    def _show_state(self) -> None:
        text = self._desk.texts.text
        self.setWindowTitle(self.head.show_profile(self.opened))
        shown = {k: v for k, v in self._form.problems.items() if self.stored or self._all_shown or k in self._touched}
        self.fields.show_problems(shown)
        for each in (self.export_button, self.copy_button):
            each.setVisible(self.stored)
        self.delete_button.setVisible(self.opened.own)
        self.import_button.setVisible(not self.stored)
        wrong = len(self._form.problems)
        words = text("ui.editor.wrong", count=wrong) if wrong and shown else ""
        if self.saving:
            words = text("ui.editor.saving")
        elif not words and self.stored and self.unsaved:
            words = text("ui.editor.unsaved")
        elif not words and not self.stored:
            words = text("ui.editor.not_stored")
        put(self.state, words)
        self.save_button.setEnabled(not self.saving and not shown and (self.unsaved or not self.stored))
        self.tries.panel.start.setEnabled(not self._form.problems)

    # What a person does

    @Slot()
    def _on_edited(self) -> None:
        self._touched.update(self._changed())
        self.bar.drop(SAVED, FAILED, LEAVING, ASKED)
        self.tries.panel.show_changed()
        self._read()

    @Slot()
    def _on_dragged(self) -> None:
        text = self.fields.context.text()
        if text.isdecimal():
            self.plans.drag(int(text))

    @Slot(int)
    def _on_stretched(self, tokens: int) -> None:
        self.fields.context.put(str(tokens))
        self._on_edited()

    @Slot()
    def choose(self) -> None:
        """Offer models."""
        picker = self.picker = ModelPicker(self._theme, self._desk.texts, self)
        picker.chosen.connect(self._on_chosen)
        picker.ask(self._desk, self._bridge, next(iter(self.plans.cards()), None))

    @Slot(object)
    def _on_chosen(self, choice: ChoiceRow) -> None:
        self.fields.fill(with_choice(self.fields.texts(), choice, new=not self.stored))
        self._touched.update(self._changed())
        self.tries.panel.show_changed()
        self._read(at_once=True)

    @Slot()
    def try_out(self) -> None:
        """Start, prove, measure and stop what the fields say."""
        if self._refuse_wrong():
            self.tries.begin(self._form.profile, self.plans.found)

    @Slot()
    def _go_on_closing(self) -> None:
        if self._then_close:
            self._then_close = False
            self.close()

    def _refuse_wrong(self) -> bool:
        """False where something is to be corrected: it is shown where."""
        if self._form.is_sound:
            return True
        self._all_shown = True
        self._show_state()
        self.bar.tell_wrong()
        self.fields.show_first(self._form.problems)
        return False

    # Saving

    @Slot()
    def save(self) -> None:
        """Write the file, unless something is wrong."""
        self._all_shown = True
        if self.saving or not self._refuse_wrong() or (self.stored and not self.unsaved):
            return
        opened, profile = self.opened, self._form.profile
        profiles, changes = self._desk.profiles, form_changes(opened.profile, profile)
        self.saving = True
        self._sent = self.fields.texts()
        self._show_state()

        def work() -> Opened | None:
            return profiles.save(opened, changes) if opened.text else profiles.create(profile)

        in_background(self._desk, self._bridge, work, self._on_saved, self._on_not_saved)

    def _on_saved(self, opened: Opened | None) -> None:
        self.saving = False
        if opened is None:
            self._show_state()
            self.look_outside()
            return
        self._take(opened)
        running = self._desk.supervisor.view(opened.profile.id).phase not in RESTING
        self.bar.tell_saved(running=running)
        self.saved.emit(opened.profile.id)
        self._go_on_closing()

    def _on_not_saved(self, message: Message) -> None:
        self.saving = self._then_close = False
        self._show_state()
        self.bar.tell_failure(message)

    def _take(self, opened: Opened) -> None:
        """The file is this now; what was typed since stays."""
        typed = {key: text for key, text in self.fields.texts().items() if text != self._sent[key]}
        self.opened, self._base = opened, texts_of(opened.profile)
        self.fields.fill(self._base | typed)
        self._read(at_once=True)

    @Slot()
    def ask_delete(self) -> None:
        """Ask whether the profile is to go."""
        self.bar.ask_delete(self.profile.title, str(self.opened.file), self._delete)

    def _delete(self) -> None:
        profile_id, profiles = self.profile.id, self._desk.profiles
        self.bar.drop()

        def gone(_done: None) -> None:
            self._base = self.fields.texts()  # nothing is left to be saved
            self.removed.emit(profile_id)
            self.close()

        in_background(self._desk, self._bridge, lambda: profiles.remove(profile_id), gone, self.bar.tell_failure)

    # What happens outside

    @Slot(object)
    def _on_sample(self, _sample: object) -> None:
        if self.isVisible() and not self._closed:
            self.fields.offer_cards(self.plans.cards())
            self.plans.refresh()

    def _on_targets(self, targets: tuple[str, ...]) -> None:
        if not self._closed:
            self.fields.offer_targets(targets)

    def look_outside(self) -> None:
        """Take over what was changed in the file meanwhile."""
        if not self.stored or self.saving or self._closed:
            return
        opened, profiles = self.opened, self._desk.profiles

        def look() -> Opened | None:
            profile_id = opened.profile.id
            return profiles.opened(profile_id) if profiles.is_there(profile_id) else None

        in_background(self._desk, self._bridge, look, lambda now: self._on_seen(opened, now), self._on_unreadable)

    def _on_seen(self, before: Opened, now: Opened | None) -> None:
        if self._closed or self.saving or self.opened is not before or (now and now.text == before.text):
            return
        if now is None:
            self.opened = Opened(msgspec.structs.replace(before.profile, id=""), "", Path(), own=False)
            self.bar.tell_gone()
            self._show_state()
            return
        mine, theirs = self.fields.texts(), texts_of(now.profile)
        both = [k for k in self._changed() if theirs[k] not in (self._base[k], mine[k].strip())]
        kept = {key: mine[key] for key in self._changed()}
        self.opened, self._base = now, theirs
        self._fill(theirs | kept)
        if both:
            names = [self._desk.texts.text(f"ui.editor.field.{key.replace('.', '_')}") for key in both]
            self.bar.ask_clash(", ".join(names), lambda: self.bar.drop(), lambda: self._take_theirs(both))
        else:
            self.bar.tell_taken_over()

    def _on_unreadable(self, message: Message) -> None:
        if not self._closed:
            self.bar.say(OUTSIDE, message, "bad")

    def _take_theirs(self, keys: list[str]) -> None:
        self.bar.drop(CLASH)
        self._fill(self.fields.texts() | {key: self._base[key] for key in keys})

    def changeEvent(self, event: QEvent) -> None:
        """Whoever comes back from another program may have changed the file there."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.ActivationChange and self.isActiveWindow():
            self.look_outside()

    # Closing

    def reject(self) -> None:
        """Esc takes back a question, else it closes."""
        if self.bar.about in (LEAVING, ASKED):
            self.bar.drop()
        else:
            self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        """A try is ended first, and what is not saved is asked about."""
        if self.tries.running:
            event.ignore()
            self.bar.ask_trying(self._cancel_and_close)
        elif self.unsaved or self.saving:
            event.ignore()
            self.bar.ask_unsaved(self._save_and_close, self.discard_and_close)
        else:
            event.accept()
            self._closed = True
            self.plans.close()
            self.finished_with.emit()

    def _cancel_and_close(self) -> None:
        self.bar.drop()
        self._then_close = True
        self.tries.cancel()

    def _save_and_close(self) -> None:
        self.bar.drop()
        self._then_close = True
        self.save()
        self._then_close = self.saving

    @Slot()
    def discard_and_close(self) -> None:
        """What is typed goes with the window."""
        self._base = {key: value.strip() for key, value in self.fields.texts().items()}
        self.close()
