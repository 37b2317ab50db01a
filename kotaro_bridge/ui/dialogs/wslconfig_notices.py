"""What the settings dialog says over its first page: what is not saved, what waits, and what came from outside."""

from __future__ import annotations

from collections.abc import Callable

from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.widgets.basics import plain
from kotaro_bridge.ui.widgets.notice_bar import Answer, NoticeBar

UNSAVED = "closing"
OUTSIDE = "outside"
PENDING = "pending"
SAVED = "saved"


class SettingsNotices(NoticeBar):
    """A notice bar that knows the dialog's sentences."""

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self._texts = texts

    def tell_saved(self, sentence: str) -> None:
        """The file is as it was asked for; `sentence`: `saved`, `saved_new` or `nothing_to_save`."""
        self._tell(SAVED, sentence, "good")

    def tell_pending(self, restart: Callable[[], None]) -> None:
        """A saved change waits for a restart."""
        if self.about != PENDING:
            self._tell(PENDING, "pending", "warn", (self._texts.text("ui.wslconfig.restart"), "", restart))

    def tell_taken_over(self, *, edits: bool) -> None:
        """The file was changed outside; `edits`: something staged is kept on top of it."""
        message = self._message("taken_over")
        self.say(OUTSIDE, message if edits else Message(message.what, ""), "warn")

    def ask_unsaved(self, review: Callable[[], None], discard: Callable[[], None]) -> None:
        """What is to become of what is not saved."""
        text = self._texts.text
        self._tell(
            UNSAVED,
            "closing",
            "warn",
            (plain(text("ui.wslconfig.save_review")), "primary", review),  # Alt+S is the button's below
            (text("ui.wslconfig.discard_close"), "", discard),
            (text("ui.wslconfig.stay"), "", lambda: self.drop()),
        )
        self.answers[0].setFocus()

    def _tell(self, about: str, sentence: str, tone: str, *answers: Answer) -> None:
        self.say(about, self._message(sentence), tone, *answers)

    def _message(self, name: str) -> Message:
        what, do = (self._texts.text(f"ui.wslconfig.{name}.{part}") for part in ("what", "do"))
        return Message(what, do)
