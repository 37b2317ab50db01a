"""One setting of the form: its name, its input, what it does, its default, what we would choose, and what is wrong."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.icons import glyph_pixmap
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.wslconfig import FindingView, SettingView, problem_view
from kotaro_bridge.ui.widgets.basics import Elided, button, label, put, row
from kotaro_bridge.ui.widgets.setting_inputs import SettingInput, make_input


class SettingRow(QFrame):
    """Emits `edited` with key and text, `undone` and `used` with the key; a reset is an edit with an empty text."""

    edited = Signal(str, str)
    undone = Signal(str)
    used = Signal(str)

    def __init__(self, theme: Theme, texts: Texts, view: SettingView) -> None:
        super().__init__()
        self._theme = theme
        self._texts = texts
        self._shown: tuple[FindingView, ...] | None = None
        self._lines: list[QWidget] = []
        self.view = view
        self.problem: Message | None = None
        self.setObjectName("Setting")
        self.input: SettingInput = make_input(texts, view.key, view.by_default)
        target = self.input.focusProxy() or self.input
        target.setAccessibleName(view.name)
        target.setAccessibleDescription(f"{view.what} {view.default}")
        self.default = label("", "muted", wrap=True)
        self.state = label("", "small")
        self.state.setProperty("tone", "accent")
        self.undo = self._small("ui.wslconfig.undo", view.name)
        self.reset = self._small("ui.wslconfig.reset", view.name)
        self.recommended = label("", "strong")
        self.reason = label(view.reason, "muted", wrap=True)
        self.use = self._small("ui.wslconfig.use", view.name)
        self._choice = QWidget()
        self._findings = QVBoxLayout()
        self._findings.setSpacing(2)
        self._lay_out(view)
        self.input.edited.connect(lambda text: self.edited.emit(view.key, text))
        self.undo.clicked.connect(lambda: self.undone.emit(view.key))
        self.reset.clicked.connect(lambda: self.edited.emit(view.key, ""))
        self.use.clicked.connect(lambda: self.used.emit(view.key))
        self.show_view(view)

    def _small(self, key: str, about: str) -> QPushButton:
        made = button(self._texts.text(key), "quiet")
        made.setAccessibleName(f"{self._texts.text(key)}: {about}")
        return made

    def _lay_out(self, view: SettingView) -> None:
        head = row(label(view.name, "strong"), Elided(view.label, "small"), self.state)
        head.setStretch(1, 1)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addLayout(head)
        words.addWidget(label(view.what, wrap=True))
        words.addWidget(self.default)
        side = QVBoxLayout()
        side.setSpacing(2)
        side.addWidget(self.input)
        side.addLayout(row(1, self.undo, self.reset, spacing=0))
        side.addStretch(1)
        top = QHBoxLayout()
        top.setSpacing(3 * UNIT)
        top.addLayout(words, 1)
        top.addLayout(side)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, UNIT + 4, 0, UNIT + 4)
        box.setSpacing(4)
        box.addLayout(top)
        line = row(self.recommended, self.reason, self.use)
        line.setStretch(1, 1)
        self._choice.setLayout(line)
        box.addWidget(self._choice)
        box.addLayout(self._findings)

    def show_view(self, view: SettingView) -> None:
        """Show the setting as it is now; what is being typed stays."""
        self.view = view
        put(self.default, f"{view.default} {view.hint}")
        self.input.show_default(view.by_default)
        if self.problem is None:
            self.input.show_value(view.value)
        put(self.state, view.state)
        put(self.recommended, self._texts.text("ui.wslconfig.recommended", value=view.recommended))
        put(self.reason, view.reason)
        self._choice.setVisible(bool(view.recommended))
        for widget, wanted in ((self.undo, view.can_undo), (self.reset, view.can_reset)):
            widget.setVisible(wanted or (self.problem is not None and widget is self.undo))
        self._show_findings(view.findings)

    def show_problem(self, problem: Message | None) -> None:
        """What was typed is no value; None: it is one."""
        self.problem = problem
        self.show_view(self.view)

    def forget(self) -> None:
        """Let go of what was typed and is no value, and show what is staged."""
        self.problem = None
        self.input.put(self.view.value)
        self.show_view(self.view)

    def recolour(self) -> None:
        """Draw the shapes again in the colours of the theme."""
        self._shown = None
        self.show_view(self.view)

    def _show_findings(self, findings: tuple[FindingView, ...]) -> None:
        if self.problem is not None:
            findings = (problem_view(self._texts, self.problem), *findings)
        if findings == self._shown:
            return
        self._shown = findings
        for old in self._lines:
            self._findings.removeWidget(old)
            old.hide()
            old.deleteLater()
        self._lines = [finding_line(self._theme, each, self.devicePixelRatioF()) for each in findings]
        for line in self._lines:
            self._findings.addWidget(line)

    @property
    def stops(self) -> list[QWidget]:
        """What Tab stops at, in order."""
        return [*self.input.stops, self.undo, self.reset, self.use]

    @property
    def findings(self) -> tuple[FindingView, ...]:
        """What is said beside the field now."""
        return self._shown or ()


def tone_colour(theme: Theme, tone: str) -> str:
    """The colour of a tone as the style sheet has it."""
    t = theme.tokens
    return {"bad": t.bad, "warn": t.warn, "good": t.good}.get(tone, t.muted)


def finding_line(theme: Theme, finding: FindingView, ratio: float) -> QWidget:
    """Shape and sentence."""
    holder = QWidget()
    mark = QLabel()
    mark.setPixmap(glyph_pixmap(finding.glyph, tone_colour(theme, finding.tone), 16, ratio))
    mark.setAccessibleName(finding.word)
    mark.setToolTip(finding.word)
    words = label(f"{finding.what} {finding.do}".strip(), wrap=True, selectable=True)
    line = row(mark, words)
    line.setAlignment(mark, Qt.AlignmentFlag.AlignTop)
    line.setStretch(1, 1)
    holder.setLayout(line)
    return holder
