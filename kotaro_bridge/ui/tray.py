"""The tray icon and its menu.

Owns what they say; what a click does is the shell's. The menu is there even on a desktop without a tray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QAction, QGuiApplication, QIcon
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import ENDING, Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.first_icon import take_first_icon
from kotaro_bridge.ui.icons import state_icon
from kotaro_bridge.ui.theme import Theme, style_sheet
from kotaro_bridge.ui.view_models.grouping import by_engine, short_title
from kotaro_bridge.ui.view_models.look import Look
from kotaro_bridge.ui.view_models.status import (
    can_stop,
    leading,
    look_of_run,
    simulated_words,
    state_word,
    status_line,
)
from kotaro_bridge.ui.view_models.transfers import short_words

TOOLTIP_LENGTH = 127
"""Windows cuts a tray tooltip there (NOTIFYICONDATAW.szTip holds 128 characters with the closing zero)."""
TITLE_LENGTH = 63
WORDS_LENGTH = 255
"""The same of a notification: szInfoTitle and szInfo hold 64 and 256."""


class Tray(QObject):
    """Emits `toggled` with a profile id, `opened` for the dashboard, `models_wanted`, `settings_wanted` for those of
    WSL, `app_settings_wanted`, `quit_wanted`, `clicked` for the newest notification and `notice_wanted` for what is
    unread."""

    toggled = Signal(str)
    opened = Signal()
    quit_wanted = Signal()
    models_wanted = Signal()
    settings_wanted = Signal()
    app_settings_wanted = Signal()
    clicked = Signal()
    notice_wanted = Signal()

    def __init__(self, desk: Desk, theme: Theme, *, visible: bool, parent: QObject | None = None) -> None:
        """Args: visible: show an icon; False where the desktop has no tray."""
        super().__init__(parent)
        self._desk = desk
        self._theme = theme
        self._icons: dict[Look, QIcon] = {}
        self._look: Look | None = None
        self._quitting: str | None = None
        self._unread: tuple[str, ...] = ()
        self._styled = False
        self.menu = QMenu()
        self.status = self._note("")
        self.notice = self._action("")
        self.notice.setVisible(False)
        self.notice.triggered.connect(self.notice_wanted)
        self._simulated = self._note("")
        self._simulated.setVisible(desk.simulated is not None)
        self.starts: dict[str, QAction] = {}
        self._profiles: tuple[Profile, ...] = ()
        self._of_profiles: list[QAction] = []
        self._below = self.menu.addSeparator()
        self.open_dashboard = self._action("")
        self.open_dashboard.triggered.connect(self.opened)
        self.copy_address = self._action("")
        self.copy_address.triggered.connect(self._on_copy)
        self.models = self._action("")
        self.models.triggered.connect(self.models_wanted)
        self.wslconfig = self._action("")
        self.wslconfig.triggered.connect(self.settings_wanted)
        self.settings = self._action("")
        self.settings.triggered.connect(self.app_settings_wanted)
        self.menu.addSeparator()
        self.quit = self._action("")
        self.quit.triggered.connect(self.quit_wanted)
        self.menu.aboutToShow.connect(self._on_menu)
        theme.changed.connect(self._on_theme)
        self.icon: QSystemTrayIcon | None = (take_first_icon() or QSystemTrayIcon(self)) if visible else None
        self.tooltip = ""
        self.speak()
        if self.icon is not None:
            self.icon.setContextMenu(self.menu)
            self.icon.activated.connect(self._on_activated)
            self.icon.messageClicked.connect(self.clicked)
            self.icon.show()

    def speak(self) -> None:
        """Show everything in the language of the sentences, which may be another one than before."""
        text = self._desk.texts.text
        for action, key in (
            (self.open_dashboard, "ui.tray.dashboard"),
            (self.copy_address, "ui.tray.copy_address"),
            (self.settings, "ui.tray.settings"),
            (self.quit, "ui.tray.quit"),
        ):
            action.setText(text(key))
        if self._desk.simulated is not None:
            self._simulated.setText(simulated_words(self._desk.texts, self._desk.simulated))
        self._profiles = ()  # headings and entries are made anew
        self.refresh()

    def _note(self, text: str) -> QAction:
        action = self._action(text)
        action.setEnabled(False)
        return action

    def _action(self, text: str) -> QAction:
        return self.menu.addAction(text)

    def _show_profiles(self) -> None:
        """An entry for each profile, as they are now."""
        profiles = self._desk.supervisor.profiles()
        if [(each.id, each.title) for each in profiles] == [(each.id, each.title) for each in self._profiles]:
            return
        self._profiles = profiles
        for old in self._of_profiles:
            self.menu.removeAction(old)
            old.deleteLater()
        self._of_profiles, self.starts = [], {}
        for engine, group in by_engine(profiles).items():
            heading = QAction(self._desk.texts.text(f"ui.engine.{engine}"), self.menu)
            heading.setEnabled(False)
            self._of_profiles += [self.menu.insertSeparator(self._below), heading]
            for profile in group:
                action = self.starts[profile.id] = QAction(profile.title, self.menu)
                action.setCheckable(True)
                action.triggered.connect(self._toggler(profile.id))
                self._of_profiles.append(action)
        for action in self._of_profiles:
            self.menu.insertAction(self._below, action)

    def _toggler(self, profile_id: str) -> Callable[[bool], None]:
        return lambda _checked: self._on_toggle(profile_id)

    def look(self) -> Look:
        """The picture that is shown."""
        return self._look or Look.IDLE

    def show_quitting(self, words: str | None) -> None:
        """Say that the program stops its models and then ends; None takes it back."""
        self._quitting = words
        self.quit.setEnabled(words is None)
        self.refresh()

    def say(self, title: str, words: str) -> None:
        """A notification, where there is a tray."""
        if self.icon is not None:
            self.icon.showMessage(
                shortened(title, TITLE_LENGTH), shortened(words, WORDS_LENGTH), self._picture(self.look())
            )

    def show_notices(self, titles: tuple[str, ...]) -> None:
        """What was told and is unread, oldest first: in the menu and the tooltip."""
        self._unread = titles
        self.refresh()

    @Slot()
    def refresh(self) -> None:
        """Show icon, tooltip and menu as things are now."""
        supervisor = self._desk.supervisor
        self._show_profiles()
        views = {profile.id: supervisor.view(profile.id) for profile in self._profiles}
        lead = leading(views.values())
        self._show_look(look_of_run(lead) if lead else Look.IDLE)
        profile = next((p for p in self._profiles if lead and p.id == lead.profile_id), None)
        line = self._quitting or status_line(self._desk.texts, profile, lead, self._desk.telemetry.latest())
        _put(self.status, line.replace("&", "&&"))
        waits = self._desk.wslconfig.pending()
        _put(self.wslconfig, self._desk.texts.text("ui.tray.wslconfig_waits" if waits else "ui.tray.wslconfig"))
        busy = short_words(self._desk.texts, self._desk.models.transfers())
        marked = self._desk.texts.text("ui.library.tray_busy", what=busy) if busy else ""
        _put(self.models, marked or self._desk.texts.text("ui.library.tray"))
        self._show_unread()
        notes = [*self._unread[-1:]]
        notes += [self._desk.texts.text("ui.tray.wslconfig_tip")] if waits else []
        notes += [self._desk.texts.text("ui.library.busy", what=busy)] if busy else []
        self._show_tooltip("\n".join([*notes, line]))
        for each in self._profiles:
            self._show_item(each, views[each.id])
        self.copy_address.setEnabled(self._address(views.values()) is not None)

    def _show_unread(self) -> None:
        text, count = self._desk.texts.text, len(self._unread)
        self.notice.setVisible(bool(count))
        if count:
            caption = shortened(self._unread[-1], TITLE_LENGTH).replace("&", "&&")
            key = "ui.tray.notice" if count == 1 else "ui.tray.notices"
            _put(self.notice, text(key, title=caption, count=count - 1))

    def _show_item(self, profile: Profile, view: RunView) -> None:
        text = self._desk.texts.text
        action = self.starts[profile.id]
        stops = can_stop(view.phase)
        words = text("ui.tray.stop" if stops else "ui.tray.start", model=short_title(self._desk.texts, profile))
        word = "" if view.phase in (Phase.IDLE, Phase.STOPPED) else f"\t{state_word(self._desk.texts, view)}"
        _put(action, words.replace("&", "&&") + word)
        action.setChecked(stops)
        action.setEnabled(view.phase not in ENDING and self._quitting is None)

    def _show_look(self, look: Look) -> None:
        if look is not self._look:
            self._look = look
            if self.icon is not None:
                self.icon.setIcon(self._picture(look))

    def _picture(self, look: Look) -> QIcon:
        return self._icons.setdefault(look, state_icon(look))

    def _show_tooltip(self, line: str) -> None:
        parts = ["Kotaro Bridge"]
        if self._desk.simulated is not None:
            parts.append(simulated_words(self._desk.texts, self._desk.simulated))
        tooltip = "\n".join([*parts, line])[:TOOLTIP_LENGTH]
        if tooltip != self.tooltip:
            self.tooltip = tooltip
            if self.icon is not None:
                self.icon.setToolTip(tooltip)

    def _address(self, views: Iterable[RunView]) -> str | None:
        return next((view.endpoint.base_url for view in views if view.endpoint is not None), None)

    def _on_toggle(self, profile_id: str) -> None:
        # A click on a checkable item turns its mark by itself; the mark shows what is, not what was clicked.
        self.refresh()
        self.toggled.emit(profile_id)

    @Slot()
    def _on_copy(self) -> None:
        supervisor = self._desk.supervisor
        address = self._address([supervisor.view(profile.id) for profile in supervisor.profiles()])
        if address is not None:
            QGuiApplication.clipboard().setText(address)

    @Slot()
    def _on_menu(self) -> None:
        if not self._styled:
            self._on_theme()
        self.refresh()

    @Slot()
    def _on_theme(self) -> None:
        self._styled = True
        self.menu.setStyleSheet(style_sheet(self._theme.tokens))

    @Slot(QSystemTrayIcon.ActivationReason)
    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in (QSystemTrayIcon.ActivationReason.Trigger, QSystemTrayIcon.ActivationReason.DoubleClick):
            self.opened.emit()


def shortened(text: str, longest: int) -> str:
    """At most so many characters, with an ellipsis where some are missing."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _put(action: QAction, text: str) -> None:
    if action.text() != text:
        action.setText(text)
