"""The first page of the settings dialog: the form, the text, and what is to be said of both.

Owns that both views and the `Editor` are in step. Must not save.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QLineEdit, QStackedWidget, QTabBar, QVBoxLayout, QWidget

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.service.wslconfig_edit import Editor
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.wslconfig import FindingView, SettingView, finding_view, setting_view, warning_views
from kotaro_bridge.ui.view_models.wslconfig_text import ignored_lines, merged, shown
from kotaro_bridge.ui.widgets.basics import Card, row
from kotaro_bridge.ui.widgets.finding_list import FindingList
from kotaro_bridge.ui.widgets.raw_editor import RawEditor
from kotaro_bridge.ui.widgets.setting_inputs import TYPING_MS
from kotaro_bridge.ui.widgets.settings_form import SettingsForm

SIDE = 264
SIDE_NARROW = 160
SCROLL_BAR = 14
FORM_MOST = 656
"""Of the smallest window the rest is left to the findings."""


class EditPage(QWidget):
    """Emits `staged` when what is staged, or what stands in a field, has changed."""

    staged = Signal()

    def __init__(self, theme: Theme, texts: Texts, editor: Editor) -> None:
        super().__init__()
        self._theme = theme
        self._texts = texts
        self._editor = editor
        self._raw: RawEditor | None = None
        self._raw_shown = ""
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_MS)
        self._typing.timeout.connect(self._on_text)
        self.form = SettingsForm(theme, texts, self._view)
        self.form.edited.connect(self._on_edited)
        self.form.undone.connect(self._on_undone)
        self.form.used.connect(self._on_used)
        text_page = QWidget()
        self._text_box = QVBoxLayout(text_page)
        self._text_box.setContentsMargins(0, 0, 0, 0)
        self.search = QLineEdit()
        self.search.setPlaceholderText(texts.text("ui.wslconfig.search"))
        self.search.setAccessibleName(texts.text("ui.wslconfig.search"))
        self.search.setClearButtonEnabled(True)
        self.search.setFixedWidth(232)
        self.search.textChanged.connect(self._on_search)
        self.search.returnPressed.connect(self._on_next)
        self.tabs = QTabBar()
        self.tabs.setDrawBase(False)
        self.tabs.setUsesScrollButtons(False)
        self.tabs.addTab(texts.text("ui.wslconfig.tab_form"))
        self.tabs.addTab(texts.text("ui.wslconfig.tab_text"))
        self.tabs.currentChanged.connect(self._on_tab)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.form)
        self._stack.addWidget(text_page)
        self.findings = FindingList(theme, texts)
        self.findings.chosen.connect(self._on_finding)
        side = Card()
        side.setMinimumWidth(SIDE_NARROW)
        side.setMaximumWidth(SIDE)
        side.body.addWidget(self.findings)
        left = QVBoxLayout()
        left.setSpacing(UNIT)
        left.addLayout(row(self.tabs, 1, self.search))
        left.addWidget(self._stack, 1)
        line = row(left, side, spacing=2 * UNIT)
        line.setStretch(0, 1)
        line.setStretch(1, 1000)  # as wide as it may be, once the form has what it needs
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addLayout(line)
        self.refresh()

    def _view(self, key: str) -> SettingView:
        written = self._editor.document.entry(key) is not None
        return setting_view(self._texts, self._editor.field(key), written=written)

    @property
    def raw(self) -> RawEditor:
        """The text view; made when it is first wanted."""
        if self._raw is None:
            self._raw = RawEditor(self._theme, self._texts)
            self._raw.textChanged.connect(self._typing.start)
            self._text_box.addWidget(self._raw)
        return self._raw

    @property
    def in_text(self) -> bool:
        """True while the text is shown."""
        return self.tabs.currentIndex() == 1

    @Slot()
    def showEvent(self, event: QShowEvent) -> None:
        """The form gets what it needs in the fonts of this system, before the findings."""
        super().showEvent(event)
        need = self.form.content.minimumSizeHint().width() + SCROLL_BAR
        self.form.setMinimumWidth(min(need, FORM_MOST))

    def refresh(self) -> None:
        """Show what is staged, in both views."""
        self.form.refresh()
        if self.in_text:
            self._show_text()
        lint = self._editor.lint()
        advice = [finding_view(self._texts, each) for each in lint.advice]
        self.findings.show_findings(advice, warning_views(self._texts, self._editor), len(lint.wsl_warnings))

    def settle(self) -> None:
        """Take over what is still being typed."""
        self.form.flush()
        if self._typing.isActive():
            self._on_text()

    def flush(self) -> bool:
        """`settle`; False, with the focus on it, where something is no value."""
        self.settle()
        wrong = self.form.wrong_keys()
        if wrong:
            self.tabs.setCurrentIndex(0)
            self.form.show_key(wrong[0])
        return not wrong

    def start_search(self) -> None:
        """Put the cursor into the search."""
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def _show_text(self) -> None:
        raw, text = self.raw, shown(self._editor.text)
        self._raw_shown = text
        raw.show_text(text)
        self._typing.stop()
        marks: dict[int, list[FindingView]] = {}
        for each in self._editor.lint().advice:
            if each.line is not None:
                marks.setdefault(each.line, []).append(finding_view(self._texts, each))
        raw.show_findings(marks, ignored_lines(self._editor.document))

    def _changed(self) -> None:
        self.refresh()
        self.staged.emit()

    @Slot()
    def _on_text(self) -> None:
        self._typing.stop()
        now = self.raw.shown_text()
        if now != self._raw_shown:
            self._editor.set_text(merged(self._editor.text, self._raw_shown, now))
            self._changed()

    @Slot(str, str)
    def _on_edited(self, key: str, text: str) -> None:
        shown_row = self.form.rows[key]
        try:
            self._editor.set(key, text)
        except ProblemError as error:
            shown_row.show_problem(self._texts.message(error.problem))
            self.staged.emit()
            return
        shown_row.problem = None
        if not text:
            shown_row.input.put(None)
        self._changed()

    @Slot(str)
    def _on_undone(self, key: str) -> None:
        self.form.rows[key].forget()
        self._editor.undo(key)
        self._changed()

    @Slot(str)
    def _on_used(self, key: str) -> None:
        self._editor.set(key, self.form.rows[key].view.use)
        self.form.rows[key].forget()
        self._changed()

    @Slot(int)
    def _on_tab(self, index: int) -> None:
        self._stack.setCurrentIndex(index)
        self.tabs.updateGeometry()  # the chosen one is bold, and so wider
        self.settle()
        self.refresh()

    @Slot(str)
    def _on_search(self, words: str) -> None:
        self.form.search(words)
        if self.in_text and words:
            cursor = self.raw.textCursor()
            cursor.setPosition(cursor.selectionStart())
            self.raw.setTextCursor(cursor)
            self._on_next()

    @Slot()
    def _on_next(self) -> None:
        """The next hit in the text, or into the first setting that was found."""
        words = self.search.text()
        if self.in_text:
            if words and not self.raw.find(words):
                self.raw.moveCursor(self.raw.textCursor().MoveOperation.Start)
                self.raw.find(words)
        elif words and self.form.visible_keys():
            self.form.show_key(self.form.visible_keys()[0])

    @Slot(object)
    def _on_finding(self, finding: FindingView) -> None:
        if finding.key is not None and not self.in_text:
            if finding.key not in self.form.visible_keys():
                self.search.clear()
            self.form.show_key(finding.key)
        else:
            self.tabs.setCurrentIndex(1)
            self.raw.show_line(finding.line or 1)
