"""The settings of the application itself: language, colours, start at login, updates, diagnostics, and what it is.

Each takes effect when it is chosen; there is nothing to save. Those of WSL have a window of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QFormLayout, QVBoxLayout

from kotaro_bridge.domain.settings import CHOICES, LoginStart, OpenedSettings, Settings, SettingValue
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.dialogs.wslconfig_window import SettingsWindow
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.status import simulated_words
from kotaro_bridge.ui.widgets.about_card import AboutCard, HelpCard
from kotaro_bridge.ui.widgets.basics import Card, button, chip, label, put, row, scrolled, tab_after
from kotaro_bridge.ui.widgets.notice_bar import NoticeBar
from kotaro_bridge.ui.widgets.scroll import calm
from kotaro_bridge.ui.widgets.update_card import UpdateCard

USUAL = QSize(660, 780)
SMALLEST = QSize(560, 380)
BROKEN, FAILED = "broken", "failed"


class AppSettings(SettingsWindow):
    """Emits `language_chosen` and `theme_chosen` with the value that counts from now on, "" for the system's."""

    language_chosen = Signal(str)
    theme_chosen = Signal(str)

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge) -> None:
        super().__init__(theme, desk.texts.text("ui.app.title"), USUAL, SMALLEST)
        self._desk = desk
        self._bridge = bridge
        text = desk.texts.text
        self._login = LoginStart(None)
        self.bar = NoticeBar()
        self.boxes = {key: self._choice(key) for key in CHOICES}
        self.at_login = QCheckBox(text("ui.app.at_login"))
        self.login_note = label(text("ui.app.at_login_reading"), "muted", wrap=True)
        self.login_take = button(text("ui.app.at_login_take"))
        self.updates = UpdateCard(desk, bridge)
        self.daily = QCheckBox(text("ui.app.update.daily"))
        self.help = HelpCard(desk, bridge)
        self.about = AboutCard(desk)
        self.close_button = button(text("ui.close"))
        self._lay_out()
        for key, box in self.boxes.items():
            box.activated.connect(lambda _index, key=key: self._on_choice(key))
        self.at_login.clicked.connect(self._on_login)
        self.login_take.clicked.connect(lambda: self._on_login(True))
        self.daily.clicked.connect(self._on_daily)
        self.close_button.clicked.connect(self.close)
        self._enable(False)

    def _choice(self, key: str) -> QComboBox:
        box = QComboBox()
        calm(box)
        for value in CHOICES[key]:
            box.addItem(self._desk.texts.text(f"ui.app.{key}_{value or 'system'}"), value)
        return box

    def _lay_out(self) -> None:
        text = self._desk.texts.text
        general = Card()
        general.body.addWidget(label(text("ui.app.general"), "head"))
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.FieldsStayAtSizeHint)
        for key, box in self.boxes.items():
            name = label(text(f"ui.app.{key}"))
            name.setBuddy(box)
            form.addRow(name, box)
        general.body.addLayout(form)
        general.body.addWidget(self.at_login)
        line = row(self.login_note, self.login_take)
        line.setStretch(0, 1)
        general.body.addLayout(line)
        self.updates.body.insertWidget(1, self.daily)
        self.updates.body.insertWidget(2, label(text("ui.app.update.off"), "muted", wrap=True))
        head = row(label(text("ui.app.heading"), "title"), 1)
        if self._desk.simulated is not None:
            head.addWidget(chip(simulated_words(self._desk.texts, self._desk.simulated)))
        whole = QVBoxLayout(self)
        whole.setContentsMargins(3 * UNIT, 2 * UNIT, 3 * UNIT, 2 * UNIT)
        whole.setSpacing(UNIT)
        whole.addLayout(head)
        whole.addWidget(self.bar)
        whole.addWidget(scrolled(general, self.updates, self.help, self.about), 1)
        whole.addLayout(row(1, self.close_button))
        tab_after(self.login_take, self.daily, self.updates.button)

    # --- what is there --------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read the settings and the start at login anew, in the background."""
        settings = self._desk.settings
        in_background(
            self._desk, self._bridge, lambda: (settings.read(), settings.at_login()), self._show, self._tell_failure
        )

    def _show(self, found: tuple[OpenedSettings, LoginStart]) -> None:
        opened, login = found
        first = not self.boxes["language"].isEnabled()
        self._show_settings(opened.settings)
        self._show_login(login)
        self._enable(True)
        if first:  # Qt gave it to what could take it; after a change of language it goes on where that was chosen
            self.boxes["language"].setFocus()
            self.setAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange)  # seen without a Tab before
        if opened.problems:
            message = self._desk.texts.message(opened.problems[0])
            self.bar.say(BROKEN, message, "warn")
        else:
            self.bar.drop(BROKEN)

    def _show_settings(self, settings: Settings) -> None:
        self.boxes["language"].setCurrentIndex(CHOICES["language"].index(settings.language))
        self.boxes["theme"].setCurrentIndex(CHOICES["theme"].index(settings.theme))
        self.daily.setChecked(settings.check_updates)

    def _show_login(self, login: LoginStart) -> None:
        text = self._desk.texts.text
        self._login = login
        words = ""
        if login.enabled is None:
            words = text("ui.app.at_login_none")
        elif login.elsewhere:
            words = text("ui.app.at_login_elsewhere", command=login.elsewhere)
        elif login.switched_off:
            words = text("ui.app.at_login_off_there")
        self.at_login.setChecked(bool(login.enabled) and not login.elsewhere)
        put(self.login_note, words)
        self.login_note.setVisible(bool(words))
        self.login_take.setVisible(bool(login.elsewhere))

    def _enable(self, known: bool) -> None:
        """Nothing is chosen before it is known what is there."""
        feed = self._desk.updates.state().has_feed
        for each in (*self.boxes.values(), self.login_take):
            each.setEnabled(known)
        self.daily.setEnabled(known and feed)
        self.at_login.setEnabled(known and self._login.enabled is not None)

    # --- what a person chooses ------------------------------------------------------------------------------------

    def _on_choice(self, key: str) -> None:
        value = CHOICES[key][self.boxes[key].currentIndex()]
        chosen = self.language_chosen if key == "language" else self.theme_chosen
        self._change({key: value}, lambda: chosen.emit(value))

    @Slot()
    def _on_daily(self) -> None:
        self._change({"check_updates": self.daily.isChecked()}, lambda: None)

    def _change(self, changes: dict[str, SettingValue], then: Callable[[], object]) -> None:
        settings = self._desk.settings

        def done(_now: Settings) -> None:
            self.bar.drop(FAILED)
            then()
            self.look()  # what was wrong with the file may be put right

        in_background(self._desk, self._bridge, lambda: settings.change(changes), done, self._on_failed)

    @Slot(bool)
    def _on_login(self, wanted: bool) -> None:
        settings = self._desk.settings

        def work() -> LoginStart:
            settings.set_at_login(wanted)
            return settings.at_login()

        def done(login: LoginStart) -> None:
            self.bar.drop(FAILED)
            self._show_login(login)

        in_background(self._desk, self._bridge, work, done, self._on_failed)

    def _on_failed(self, message: Message) -> None:
        """What was chosen does not count: the window shows again what does."""
        self._tell_failure(message)
        self.look()

    def _tell_failure(self, message: Message) -> None:
        self.bar.say(FAILED, message, "bad")

    # --- opening, closing -----------------------------------------------------------------------------------------

    def present(self) -> None:
        """Show it, in front, as things are now."""
        self.showNormal() if self.isMinimized() else self.show()
        self.raise_()
        self.activateWindow()
        self.look()

    def reject(self) -> None:
        """Esc closes."""
        self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        """QDialog's own would ask `reject`, which asks for a close."""
        event.accept()
