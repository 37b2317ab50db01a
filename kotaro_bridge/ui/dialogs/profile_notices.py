"""What the profile editor says over its fields: what is not saved, what came from outside, what went wrong."""

from __future__ import annotations

from collections.abc import Callable

from kotaro_bridge.domain.errors import Param
from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.widgets.basics import plain
from kotaro_bridge.ui.widgets.notice_bar import Answer, NoticeBar

LEAVING = "leaving"
CLASH = "clash"
OUTSIDE = "outside"
SAVED = "saved"
FAILED = "failed"
ASKED = "asked"

Act = Callable[[], None]


class ProfileNotices(NoticeBar):
    """A notice bar that knows the editor's sentences."""

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self._texts = texts

    @property
    def says_once(self) -> bool:
        """True while it says what came from outside, or asks about it: nothing says that again."""
        return self.about in (OUTSIDE, CLASH)

    def tell_saved(self, *, running: bool) -> None:
        """The file is as it was asked for."""
        self._tell(SAVED, "saved_running" if running else "saved", "good")

    def tell_taken_over(self) -> None:
        """Its new values are shown."""
        self._tell(OUTSIDE, "taken_over", "warn")

    def tell_gone(self) -> None:
        """The file was removed."""
        self._tell(OUTSIDE, "gone", "warn")

    def tell_imported(self, executable: str) -> None:
        """Somebody else's profile has not been looked at yet."""
        self._tell(OUTSIDE, "imported", "warn", executable=executable)

    def tell_failure(self, message: Message) -> None:
        """Something could not be done; everything typed is still there."""
        self.say(FAILED, message, "bad")

    def tell_wrong(self) -> None:
        """It cannot be saved or tried like this."""
        self._tell(FAILED, "to_correct", "bad")

    def ask_clash(self, fields: str, mine: Act, theirs: Act) -> None:
        """Both sides changed the same fields."""
        text = self._texts.text
        answers = ((text("ui.editor.mine"), "", mine), (text("ui.editor.theirs"), "", theirs))
        self._tell(CLASH, "clash", "warn", *answers, fields=fields)

    def ask_unsaved(self, save: Act, discard: Act) -> None:
        """What is to become of what is not saved."""
        text = self._texts.text
        self._tell(
            LEAVING,
            "closing",
            "warn",
            (plain(text("ui.editor.save")), "primary", save),  # Alt+S is the button's below
            (text("ui.editor.discard_close"), "", discard),
            (text("ui.editor.stay"), "", lambda: self.drop()),
        )
        self.answers[0].setFocus()

    def ask_trying(self, cancel: Act) -> None:
        """A try has to end before the window goes."""
        text = self._texts.text
        stay = (text("ui.editor.stay"), "", lambda: self.drop())
        self._tell(LEAVING, "trying", "warn", (text("ui.editor.close_trial"), "", cancel), stay)
        self.answers[-1].setFocus()

    def ask_delete(self, title: str, file: str, delete: Act) -> None:
        """Whether the profile is to go."""
        text = self._texts.text
        keep = (text("ui.editor.keep_it"), "", lambda: self.drop())
        self._tell(ASKED, "deleting", "warn", (text("ui.editor.delete_now"), "", delete), keep, title=title, file=file)
        self.answers[-1].setFocus()

    def _tell(self, about: str, sentence: str, tone: str, *answers: Answer, **params: Param) -> None:
        what, do = (self._texts.text(f"ui.editor.{sentence}.{part}", **params) for part in ("what", "do"))
        self.say(about, Message(what, do), tone, *answers)
        for answer in self.answers:
            answer.show()  # in a bar that is there already they would come with the next round, without focus
