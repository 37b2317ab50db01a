"""The profile editors that are open, and what can be done to profiles without one.

Owns that a profile has one editor at most. Files are read and written in the background.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from kotaro_bridge.service.profile_desk import Opened
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.window_size import take_place

if TYPE_CHECKING:
    from kotaro_bridge.domain.profile import Profile
    from kotaro_bridge.ui.dialogs.profile_editor import ProfileEditor

T = TypeVar("T")


class Editors(QObject):
    """Emits `changed` when the profiles are others than before, `failed` with a `Message`, `shown` with a window."""

    changed = Signal(str)
    failed = Signal(object)
    shown = Signal(object)

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge, parent: QObject) -> None:
        super().__init__(parent)
        self._desk = desk
        self._theme = theme
        self._bridge = bridge
        self.windows: list[ProfileEditor] = []

    # What a person asks for

    @Slot(str, str)
    def ask(self, what: str, profile_id: str) -> None:
        """`new`, `import`, `edit`, `copy`, `export` or `delete`; the first two need no profile."""
        if what == "new":
            self.new()
        elif what == "import":
            self.take_over()
        elif profile_id:
            {"edit": self.edit, "copy": self.copy, "export": self.export, "delete": self.delete}[what](profile_id)

    @Slot(str)
    def edit(self, profile_id: str, then: Callable[[ProfileEditor], None] = lambda _: None) -> None:
        """Show the editor of a profile; `then` is called with it."""
        window = self.of(profile_id)
        if window is not None:
            self._front(window)
            then(window)
        else:
            self._open(lambda: self._desk.profiles.opened(profile_id), then)

    @Slot()
    def new(self) -> None:
        """Show an editor of a profile that is not stored yet."""
        self._open(self._desk.profiles.blank)

    @Slot(object)
    def make(self, profile: Profile) -> None:
        """Show an editor of a profile that was made of a model and is not stored yet."""
        self._open(lambda: Opened(profile, "", Path(), False))

    @Slot(str)
    def copy(self, profile_id: str) -> None:
        """The same with everything as in another profile."""
        source = next(profile for profile in self._desk.supervisor.profiles() if profile.id == profile_id)
        title = self._desk.texts.text("ui.editor.copy_title", title=source.title)
        self._open(lambda: self._desk.profiles.copied(profile_id, title))

    @Slot()
    def take_over(self, parent: QWidget | None = None) -> None:
        """Ask for a file and show what is in it; nothing is stored before that is asked for."""
        text = self._desk.texts.text
        chosen, _ = QFileDialog.getOpenFileName(parent, text("ui.editor.import_title"), "", text("ui.editor.file_kind"))
        if chosen:
            path = Path(chosen)
            self._open(
                lambda: self._desk.profiles.imported(path),
                lambda window: window.bar.tell_imported(window.profile.executable),
            )

    @Slot(str)
    def export(self, profile_id: str, parent: QWidget | None = None) -> None:
        """Write a profile's file where a person wants it."""
        text, profiles = self._desk.texts.text, self._desk.profiles
        name = next((each.title for each in self._desk.supervisor.profiles() if each.id == profile_id), profile_id)
        title = text("ui.editor.export_title", name=name)
        chosen, _ = QFileDialog.getSaveFileName(parent, title, f"{profile_id}.toml", text("ui.editor.file_kind"))
        if chosen:
            path = Path(chosen)
            self._ask(lambda: profiles.export(profile_id, path), lambda _done: None)

    @Slot(str)
    def delete(self, profile_id: str) -> None:
        """Ask whether a profile is to go, in its editor."""
        self.edit(profile_id, lambda window: window.ask_delete())

    # Windows

    def of(self, profile_id: str) -> ProfileEditor | None:
        """The open editor of a profile."""
        return next((window for window in self.windows if window.stored and window.profile.id == profile_id), None)

    def ask_unsaved(self) -> bool:
        """True if there is something to be asked about before the program ends, and no window asks it already."""
        window = next((each for each in self.windows if each.unsaved and not each.asked), None)
        if window is None:
            return False
        self._front(window)
        window.close()
        return True

    def renew(self) -> None:
        """Make the windows again in the language of now, with what is typed in them; not one that would lose more."""
        for old in tuple(self.windows):
            if not (old.saving or old.tries.running or old.bar.says_once):
                new = self._made(old.opened)
                new.fields.fill(old.fields.texts())
                new.fields.more.setChecked(old.fields.more.isChecked())
                new.fields.edited.emit()
                take_place(new, old)
                old.discard_and_close()

    def close(self) -> None:
        """Hide all; whatever is on its way is dropped."""
        for window in self.windows:
            window.plans.close()
            window.hide()

    def _open(self, opened: Callable[[], Opened], then: Callable[[ProfileEditor], None] = lambda _: None) -> None:
        def show(found: Opened) -> None:
            window = (self.of(found.profile.id) if found.text else None) or self._made(found)
            self._front(window)
            then(window)

        self._ask(opened, show)

    def _made(self, found: Opened) -> ProfileEditor:
        from kotaro_bridge.ui.dialogs.profile_editor import ProfileEditor

        window = ProfileEditor(self._desk, self._theme, self._bridge, found)
        self.windows.append(window)
        window.saved.connect(self.changed)
        window.removed.connect(self.changed)
        window.copy_wanted.connect(self.copy)
        window.import_wanted.connect(lambda: self.take_over(window))
        window.export_wanted.connect(lambda profile_id: self.export(profile_id, window))
        window.finished_with.connect(partial(self._gone, window))
        return window

    def _gone(self, window: ProfileEditor) -> None:
        if window in self.windows:
            self.windows.remove(window)
            window.deleteLater()

    def _front(self, window: ProfileEditor) -> None:
        window.showNormal() if window.isMinimized() else window.show()
        window.raise_()
        window.activateWindow()
        self.shown.emit(window)

    def _ask(self, call: Callable[[], T], show: Callable[[T], None]) -> None:
        def fail(message: Message) -> None:
            self.failed.emit(message)

        in_background(self._desk, self._bridge, call, show, fail)
