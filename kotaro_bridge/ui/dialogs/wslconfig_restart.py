"""WSL is restarted so that a changed file counts: who is met by it, how it goes on, and the proof afterwards.

What blocks runs on a worker thread and comes back over the bridge.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from kotaro_bridge.domain.wsl.wslconfig_effect import Affected, EffectReport
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.icons import glyph_pixmap
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.wslconfig import effect_mark, label_of, name_of
from kotaro_bridge.ui.widgets.basics import Card, button, endless, label, put, row, scrolled, value_label
from kotaro_bridge.ui.widgets.notice_bar import NoticeBar
from kotaro_bridge.ui.widgets.setting_row import tone_colour

T = TypeVar("T")
U = TypeVar("U")


class RestartPage(QWidget):
    """Emits `back`, `restarted` when WSL runs with the file as it is, and `idle` with what led here
    where after a save no WSL runs.

    `busy` while WSL is being restarted.
    """

    back = Signal()
    idle = Signal(str)
    restarted = Signal()

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge) -> None:
        super().__init__()
        self._desk = desk
        self._theme = theme
        self._bridge = bridge
        self._report: EffectReport | None = None
        self._asked = 0
        self._said = False  # what a restart stops
        self.busy = False
        text = desk.texts.text
        self.title = label("", "title", wrap=True)
        self.words = label("", wrap=True)
        self.bar = NoticeBar()
        self.progress = endless()
        self.step = label("", "strong", wrap=True)
        self.card = Card()
        self.later = button(text("ui.wslconfig.later"))
        self.now = button(text("ui.wslconfig.restart_now"), "primary")
        self.later.clicked.connect(self.back)
        self.now.clicked.connect(self.restart)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT + 4)
        box.addWidget(self.title)
        box.addWidget(self.words)
        box.addWidget(self.bar)
        box.addWidget(scrolled(self.card, self.step, self.progress), 1)
        box.addLayout(row(1, self.later, self.now))
        theme.changed.connect(self._recolour)

    # Asking who is met

    def ask(self, why: str) -> None:
        """Offer the restart.

        Args:
            why: `saved` or `saved_new` right after a save, else `waits`.
        """
        text = self._desk.texts.text
        put(self.title, text("ui.wslconfig.restart_title"))
        put(self.words, text(f"ui.wslconfig.restart_{why}"))
        self._clear()
        self._said = False
        self._wait(text("ui.wslconfig.looking"))
        self._buttons(now=True, later="ui.wslconfig.later")
        self.now.setEnabled(False)  # not before it is said what that stops
        self.later.setFocus()
        self._submit(lambda: self._desk.wslconfig.affected(), lambda met: self._show_affected(met, why))

    def _show_affected(self, affected: Affected, why: str) -> None:
        """What a restart stops."""
        texts = self._desk.texts
        self._rest()
        self._said = True
        self.now.setEnabled(True)
        if why != "waits" and not affected.distros:
            self.idle.emit(why)
            return
        lines = [texts.text("ui.wslconfig.stops_run", title=title) for title in affected.runs]
        lines += [texts.text("ui.wslconfig.stops_distro", name=name) for name in affected.distros]
        if affected.docker:
            lines.append(texts.text("ui.wslconfig.stops_docker"))
        box = QVBoxLayout(self.card.fresh())
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(4)
        head = texts.text("ui.wslconfig.stops" if lines else "ui.wslconfig.stops_nothing")
        box.addWidget(label(head, "head", wrap=True))
        for line in lines:
            box.addWidget(label(f"•  {line}", wrap=True))
        self.card.show()

    # Restarting

    @Slot()
    def restart(self) -> None:
        """Restart WSL; what comes of it is shown here."""
        self.busy = True
        texts, port, post = self._desk.texts, self._desk.wslconfig, self._bridge.post
        put(self.title, texts.text("ui.wslconfig.restarting"))
        put(self.words, texts.text("ui.wslconfig.restarting_words"))
        self.bar.drop()
        self._wait("")
        self.now.setEnabled(False)
        self.later.setEnabled(False)
        self._submit(lambda: port.restart(lambda step: post(lambda: self._on_step(step))), self._on_restarted)

    def _on_step(self, step: str) -> None:
        put(self.step, self._desk.texts.text(f"wslconfig.step.{step}"))

    def _on_restarted(self, report: EffectReport) -> None:
        self.busy = False
        self.show_report(report)
        self.restarted.emit()

    # The proof

    def compare(self) -> None:
        """Ask what Linux shows now, without a restart."""
        put(self.title, self._desk.texts.text("ui.wslconfig.proof_title"))
        put(self.words, "")
        self._clear()
        self._wait(self._desk.texts.text("ui.wslconfig.asking_linux"))
        self._buttons(now=False, later="ui.wslconfig.back")
        self._submit(lambda: self._desk.wslconfig.effects(), self.show_report)

    def show_report(self, report: EffectReport) -> None:
        """What the file says beside what Linux shows."""
        text = self._desk.texts.text
        self._rest()
        self._report = report
        put(self.title, text("ui.wslconfig.proof_title"))
        unknown = any(effect.ok is None for effect in report.effects)
        waits = self._desk.wslconfig.pending()
        key = "differs" if not report.ok else "unknown" if unknown else "holds"
        put(self.words, text(f"ui.wslconfig.proof_{'waits' if waits and not report.ok else key}"))
        self._buttons(now=waits, later="ui.wslconfig.back")
        self._table(report)
        self.later.setFocus()

    def _table(self, report: EffectReport) -> None:
        texts = self._desk.texts
        grid = QGridLayout(self.card.fresh())
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2 * UNIT)
        grid.setVerticalSpacing(6)
        for column, key in enumerate(("setting", "file_says", "linux_shows"), 1):
            grid.addWidget(label(texts.text(f"ui.wslconfig.proof_{key}"), "small"), 0, column)
        line = 1
        for effect in report.effects:
            picture, tone, word = effect_mark(texts, effect)
            mark = QLabel()
            mark.setPixmap(glyph_pixmap(picture, tone_colour(self._theme, tone), 16, self.devicePixelRatioF()))
            mark.setAccessibleName(word)
            name = row(label(name_of(texts, effect.key), "strong"), label(label_of(effect.key), "small"), 1)
            grid.addWidget(mark, line, 0)
            grid.addLayout(name, line, 1)
            wanted, found = effect.wanted or texts.text("ui.wslconfig.not_set"), effect.found or "–"
            grid.addWidget(value_label(wanted), line, 2)
            grid.addWidget(value_label(found), line, 3)
            grid.addWidget(label(word, "muted"), line, 4)
            if effect.why is not None:
                line += 1
                message = texts.message(effect.why)
                why = label(f"{message.what} {message.do}".strip(), "muted", wrap=True, selectable=True)
                grid.addWidget(why, line, 1, 1, 4, Qt.AlignmentFlag.AlignTop)
            line += 1
        for column in (2, 3):
            grid.setColumnStretch(column, 1)
        self.card.show()

    # How it waits

    def _submit(self, call: Callable[[], T], show: Callable[[T], None]) -> None:
        """Ask in the background; an answer to a question that is no longer the last one is not shown."""
        self._asked += 1
        asked = self._asked

        def last(deliver: Callable[[U], None], answer: U) -> None:
            if asked == self._asked:
                deliver(answer)

        in_background(self._desk, self._bridge, call, partial(last, show), partial(last, self._failed))

    def _failed(self, message: Message) -> None:
        if self.busy:
            put(self.title, self._desk.texts.text("ui.wslconfig.restart_title"))
            put(self.words, "")
        self.busy = False
        self._rest()
        self.bar.say("failure", message, "bad")
        self.now.setEnabled(self._said)
        self.later.setEnabled(True)
        self.later.setFocus()

    def _wait(self, words: str) -> None:
        put(self.step, words)
        self.step.show()
        self.progress.show()

    def _rest(self) -> None:
        self.step.hide()
        self.progress.hide()

    def _clear(self) -> None:
        self.bar.drop()
        self.card.hide()
        self._report = None

    def _buttons(self, *, now: bool, later: str) -> None:
        self.now.setVisible(now)
        self.now.setEnabled(True)
        self.later.setEnabled(True)
        put(self.later, self._desk.texts.text(later))

    @Slot()
    def _recolour(self) -> None:
        if self._report is not None:
            self._table(self._report)
