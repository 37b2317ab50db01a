"""The head of the dashboard: which model, its state with time, its start or stop button, why it did not run."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import ENDING, Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.icons import state_pixmap
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.look import Look
from kotaro_bridge.ui.view_models.status import can_stop, is_blocked, is_warned, look_of_run, reason_of, state_line
from kotaro_bridge.ui.widgets.basics import Card, Elided, GlyphButton, button, label, put, row, set_property

PICTURE = 40


class RunHeader(QWidget):
    """Emits `toggle` for the button and `details` for the reason's."""

    toggle = Signal()
    details = Signal()

    def __init__(self, theme: Theme, texts: Texts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._texts = texts
        self._look: Look | None = None
        self._picture = QLabel()
        self._picture.setFixedSize(PICTURE, PICTURE)
        self._title = Elided(role="title")
        self._state = Elided(role="muted")
        self.button = GlyphButton(theme, "play", texts.text("ui.start"), "primary")
        self.button.setMinimumWidth(128)
        self.button.clicked.connect(self.toggle)
        self.banner = Banner(texts)
        self.banner.details.connect(self.details)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self._title)
        words.addWidget(self._state)
        card = Card()
        line = row(self._picture, words, self.button, spacing=2 * UNIT)
        line.setStretch(1, 1)
        card.body.addLayout(line)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(UNIT)
        whole.addWidget(card)
        whole.addWidget(self.banner)

    def show_run(self, profile: Profile, view: RunView, now: float) -> None:
        """Show a run; `now` in seconds since the epoch."""
        texts = self._texts
        look = look_of_run(view)
        if look is not self._look:
            self._look = look
            self._picture.setPixmap(state_pixmap(look, PICTURE, self.devicePixelRatioF()))
        put(self._title, profile.title)
        put(self._state, state_line(texts, view, now))
        self._show_button(view.phase)
        self._show_reason(view)

    def _show_button(self, phase: Phase) -> None:
        stops = can_stop(phase)
        if phase in ENDING:
            key = "ui.stopping"
        elif phase is Phase.ORPHANED:
            key = "ui.stop_again"
        else:
            key = "ui.stop" if stops else "ui.start"
        put(self.button, self._texts.text(key))
        self.button.set_glyph("stop" if stops else "play")
        self.button.setEnabled(phase not in ENDING)
        kind = "" if stops else "primary"
        if self.button.property("kind") != kind:
            set_property(self.button, "kind", kind)
            self.button.recolour()

    def _show_reason(self, view: RunView) -> None:
        reason = reason_of(view)
        if reason is None or view.phase is Phase.STOPPED:
            self.banner.hide()
            return
        message = self._texts.message(reason)
        tone = "bad" if look_of_run(view) is Look.ALERT else "warn"
        warned = is_warned(view)
        details = warned or is_blocked(view.phase)
        self.banner.show_words(message.what, message.do, tone, details=details, can_stop=warned)


class Banner(QFrame):
    """A sentence on what happened, what to do, a way to the details, and one to stop what it is about."""

    details = Signal()
    stop_wanted = Signal()

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self.setObjectName("Banner")
        self._what = label(wrap=True, selectable=True)
        self._what.setProperty("role", "strong")
        self._do = label(wrap=True, selectable=True)
        self.more = button(texts.text("ui.details"))
        self.more.clicked.connect(self.details)
        self.stop = button(texts.text("ui.warned.stop"))
        self.stop.clicked.connect(self.stop_wanted)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self._what)
        words.addWidget(self._do)
        line = row(words, self.stop, self.more)
        line.setStretch(0, 1)
        line.insertSpacing(1, UNIT)
        line.setContentsMargins(2 * UNIT, UNIT, UNIT + 4, UNIT)
        self.setLayout(line)
        self.hide()

    def show_words(self, what: str, do: str, tone: str, *, details: bool = True, can_stop: bool = False) -> None:
        """Show sentences; `tone` is `bad`, `warn`, `good` or empty."""
        put(self._what, what)
        put(self._do, do)
        self._do.setVisible(bool(do))
        self.more.setVisible(details)
        self.stop.setVisible(can_stop)
        set_property(self, "tone", tone)
        self.show()
