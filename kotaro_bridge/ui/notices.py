"""What is told without a window: as a notification, and kept where it can be read later.

Owns what is unread. Nothing relies on a notification: Windows may show none (focus assist, switched off), so each is
also in the tray's menu and tooltip, and in the main window when it opens. Qt says of a click only that there was one:
it counts for the newest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal, Slot

from kotaro_bridge.texts import Message

KEPT = 12
"""Unread ones that are kept; the oldest goes."""


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that was told.

    Args:
        about: what it is about; a newer one about the same takes its place.
        opens: what a click leads to.
        answers: what can be done about it, as buttons in the main window: caption and what it does.
        own_place: a window shows it anyway (a run its reason): it is not repeated in the main window.
        again: makes the same in the language of now; None where only its words are known.
    """

    about: str
    title: str
    message: Message
    opens: Callable[[], None]
    answers: tuple[tuple[str, Callable[[], None]], ...] = ()
    own_place: bool = False
    again: Callable[[], Told] | None = None

    @property
    def words(self) -> str:
        """Both sentences."""
        return f"{self.message.what} {self.message.do}".strip()

    def renewed(self) -> Told:
        """The same in the language of now, where it can be had."""
        return self.again() if self.again is not None else self


class Notices(QObject):
    """Emits `changed` when there is more or less to be read."""

    changed = Signal()

    def __init__(self, show: Callable[[str, str], None], parent: QObject) -> None:
        """Args: show: a notification with title and words, where there is a tray."""
        super().__init__(parent)
        self._show = show
        self._unread: list[Told] = []
        self._click: Callable[[], None] | None = None

    def unread(self) -> tuple[Told, ...]:
        """What nobody has read yet, oldest first."""
        return tuple(self._unread)

    def tell(self, told: Told) -> None:
        """Tell something. The same words about the same thing are told once while they are unread."""
        known = next((each for each in self._unread if each.about == told.about), None)
        if known is not None:
            if (known.title, known.message) == (told.title, told.message):
                return
            self._unread.remove(known)
        self._unread = [*self._unread, told][-KEPT:]
        self.say(told.title, told.words, told.opens)
        self.changed.emit()

    def say(self, title: str, words: str, opens: Callable[[], None]) -> None:
        """A notification of what is old in a moment: not kept."""
        self._click = opens
        self._show(title, words)

    def drop(self, *about: str) -> None:
        """Things have changed since: what was told about these is old."""
        left = [told for told in self._unread if told.about not in about]
        if len(left) != len(self._unread):
            self._unread = left
            self.changed.emit()

    def speak(self) -> None:
        """What is unread, in the language of now."""
        self._unread = [each.renewed() for each in self._unread]
        self.changed.emit()

    def read(self) -> tuple[Told, ...]:
        """Everything unread; it counts as read from here on."""
        told, self._unread = tuple(self._unread), []
        if told:
            self.changed.emit()
        return told

    @Slot()
    def open_clicked(self) -> None:
        """The notification was clicked."""
        if self._click is not None:
            click, self._click = self._click, None
            click()

    @Slot()
    def open_newest(self) -> None:
        """The tray's menu entry was chosen."""
        if self._unread:
            told = self._unread[-1]
            self.drop(told.about)
            told.opens()
