"""The main window: models on the left, the dashboard of the chosen one on the right.

Importing this module brings in pyqtgraph; the shell does so when the window is first opened.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPoint, QSize, Qt, Signal, Slot
from PySide6.QtGui import QCloseEvent, QHideEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMainWindow, QMenu, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_view import PhaseChanged
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.icons import app_icon
from kotaro_bridge.ui.pages.dashboard import Dashboard
from kotaro_bridge.ui.theme import UNIT, Theme, style_sheet
from kotaro_bridge.ui.view_models.status import leading, simulated_words
from kotaro_bridge.ui.view_models.transfers import percent, under_way
from kotaro_bridge.ui.widgets.basics import ElidedButton, button, chip, label, row, scrolled
from kotaro_bridge.ui.widgets.model_list import ModelList
from kotaro_bridge.ui.widgets.notice_bar import NoticeBar
from kotaro_bridge.ui.window_size import fit_on_screen

SIDE_WIDTH = 264
RIGHT_NARROW = 640
USUAL = QSize(1180, 800)
SMALLEST = QSize(892, 420)
"""Fits 1366 x 768 at 150 %, less the task bar and the frame of the window."""


class MainWindow(QMainWindow):
    """Emits `closing` when a person closes it, `details` for a reason, `problems` for broken profiles, `settings`
    for those of WSL, `app_settings`, `library` for models and downloads, `restart` where a change of them waits for
    one, and `profile_asked` with what is wanted of a profile (`ui.editors`) and its id."""

    closing = Signal()
    details = Signal(str)
    problems = Signal()
    settings = Signal()
    app_settings = Signal()
    library = Signal()
    restart = Signal()
    profile_asked = Signal(str, str)

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge) -> None:
        super().__init__()
        self._desk = desk
        self._theme = theme
        self._bridge = bridge
        self._profiles = desk.supervisor.profiles()
        self.setWindowTitle("Kotaro Bridge")
        self.setWindowIcon(app_icon())
        self.models = ModelList(theme, desk.texts, self._profiles)
        self.profile_buttons = {what: self._profile_button(what) for what in ("new", "edit", "copy")}
        self.empty: QWidget | None = None
        self.notice = NoticeBar()
        self.pending = NoticeBar()
        self._notice_holder = QWidget()
        self.dashboard: Dashboard | None = None
        page = QWidget()
        page.setObjectName("Page")
        self._right = QVBoxLayout()
        self._right.setContentsMargins(0, 0, 0, 0)
        self._right.setSpacing(0)
        whole = QHBoxLayout(page)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self._side(), 1000)  # as wide as it may be, once the right side has what it needs
        whole.addLayout(self._right, 1)
        self.setCentralWidget(page)
        self._fill_right()
        self._restyle()
        fit_on_screen(self, USUAL, SMALLEST)
        self.models.chosen.connect(self.choose)
        self.models.toggled.connect(self._on_toggled)
        self.models.menu_wanted.connect(self._on_menu)
        theme.changed.connect(self._restyle)
        bridge.phase_changed.connect(self._on_phase)
        bridge.sampled.connect(self._on_sample)
        bridge.transferred.connect(self.show_transfers)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Close), self, self.close)
        self._choose_first()
        self.show_transfers()

    def _side(self) -> QWidget:
        texts = self._desk.texts
        side = QWidget()
        side.setObjectName("Side")
        side.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        side.setMaximumWidth(SIDE_WIDTH)
        picture = QLabel()
        picture.setPixmap(app_icon().pixmap(QSize(24, 24)))
        box = QVBoxLayout(side)
        box.setContentsMargins(UNIT, 2 * UNIT, UNIT, UNIT + 4)
        box.setSpacing(UNIT)
        head = row(picture, label("Kotaro Bridge", "app"), 1)
        head.setContentsMargins(UNIT, 0, UNIT, 0)
        box.addLayout(head)
        if self._desk.simulated is not None:
            badge = row(chip(simulated_words(texts, self._desk.simulated)), 1)
            badge.setContentsMargins(UNIT, 0, UNIT, 0)
            box.addLayout(badge)
        box.addWidget(self.models, 1)
        box.addLayout(row(*self.profile_buttons.values(), 1, spacing=0))
        broken = len(self._desk.supervisor.profile_problems())
        if broken:
            self.broken = button(texts.text("ui.broken_profiles", count=broken), "quiet")
            self.broken.clicked.connect(self.problems)
            box.addWidget(self.broken)
        self.library_button = ElidedButton(texts.text("ui.library.open"), "quiet")
        self.library_button.setProperty("align", "left")
        self.library_button.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.library_button.clicked.connect(self.library)
        box.addWidget(self.library_button)
        self.settings_button = button(texts.text("ui.wslconfig.open"), "quiet")
        self.settings_button.setProperty("align", "left")
        self.settings_button.clicked.connect(self.settings)
        box.addWidget(self.settings_button)
        version = label(texts.text("ui.version", version=self._desk.version), "small")
        version.setContentsMargins(UNIT, 0, 0, 0)
        self.app_settings_button = button(texts.text("ui.tray.settings"), "quiet")
        self.app_settings_button.clicked.connect(self.app_settings)
        box.addLayout(row(version, 1, self.app_settings_button))
        return side

    def _profile_button(self, what: str) -> QPushButton:
        made = button(self._desk.texts.text(f"ui.editor.{what}"), "quiet")
        made.clicked.connect(lambda: self.profile_asked.emit(what, self.models.current()))
        return made

    def _fill_right(self) -> None:
        frame = QVBoxLayout(self._notice_holder)
        frame.setContentsMargins(2 * UNIT, 2 * UNIT, 2 * UNIT, 0)
        frame.setSpacing(UNIT)
        frame.addWidget(self.notice)
        frame.addWidget(self.pending)
        self._right.addWidget(self._notice_holder)
        self.show_pending()
        if self._profiles:
            self._make_dashboard(self._profiles[0])
        else:
            self.empty = _nothing_to_start(self._desk, self.library.emit)
            self._right.addWidget(self.empty, 1)

    def _make_dashboard(self, profile: Profile) -> None:
        self.dashboard = Dashboard(self._desk, self._theme, self._bridge, profile)
        self.dashboard.details.connect(self.details)
        # Scrolls where the window is low: graphs and tables keep a height at which they can be read.
        scroll = scrolled(last=self.dashboard)
        scroll.setMinimumWidth(RIGHT_NARROW)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self._right.addWidget(scroll, 1)

    def show_profiles(self) -> None:
        """The profiles as they are now: some may be new, others gone."""
        profiles = self._desk.supervisor.profiles()
        if profiles == self._profiles:
            return
        self._profiles = profiles
        current = self.models.current()
        self.models.show_profiles(profiles)
        for profile in profiles:
            self.models.show_run(self._desk.supervisor.view(profile.id))
        if self.empty is not None and profiles:
            self.empty.hide()
            self._make_dashboard(profiles[0])
            self.empty = None
        if self._profile(current) is not None:
            self.choose(current)
        else:
            self._choose_first()

    def _choose_first(self) -> None:
        """Open with the model that the tray speaks of, else the first."""
        supervisor = self._desk.supervisor
        views = [supervisor.view(profile.id) for profile in supervisor.profiles()]
        for view in views:
            self.models.show_run(view)
        lead = leading(views)
        if lead is not None:
            self.models.select(lead.profile_id)
        elif views:
            self.models.select(views[0].profile_id)

    @Slot(str)
    def choose(self, profile_id: str) -> None:
        """Show a profile."""
        profile = self._profile(profile_id)
        if profile is not None and self.dashboard is not None:
            self.dashboard.show_profile(profile)

    def _profile(self, profile_id: str) -> Profile | None:
        """As it is now: a remedy may have changed it."""
        return next((profile for profile in self._desk.supervisor.profiles() if profile.id == profile_id), None)

    def show_notice(self, what: str, do: str = "", about: str = "", *answers: tuple[str, Callable[[], None]]) -> None:
        """A sentence over the page, such as that the program is about to quit.

        Args:
            about: id of a profile, or another name of what it is about.
            answers: captions of buttons, and what they do.
        """
        dismiss = (self._desk.texts.text("ui.notice.dismiss"), "quiet", lambda: self.drop_notice(self.notice.about))
        made = ((caption, "", act) for caption, act in answers)
        self.notice.say(about or "general", Message(what, do), "warn", *made, dismiss)
        self._fit_notices()

    def drop_notice(self, about: str) -> None:
        """What was said about a profile's run is old once the run has changed."""
        self.notice.drop(about)
        self._fit_notices()

    def show_pending(self) -> None:
        """Whether a change of .wslconfig waits for a restart of WSL, as things are now."""
        if not self._desk.wslconfig.pending():
            self.pending.drop()
        elif not self.pending.about:
            text = self._desk.texts.text
            message = Message(text("ui.wslconfig.pending.what"), "")
            self.pending.say("pending", message, "warn", (text("ui.wslconfig.restart"), "", self.restart.emit))
        self._fit_notices()

    @Slot()
    def show_transfers(self) -> None:
        """What is on its way, on the button that leads there."""
        text, view = self._desk.texts.text, under_way(self._desk.models.transfers())
        self.library_button.put(
            text("ui.library.open_busy", percent=percent(view)) if view else text("ui.library.open")
        )

    def _fit_notices(self) -> None:
        """The frame goes where nothing is left to be said. Neither part need be visible yet: the window may not be."""
        self._notice_holder.setHidden(self.notice.isHidden() and self.pending.isHidden())

    @Slot(str, QPoint)
    def _on_menu(self, profile_id: str, place: QPoint) -> None:
        """What can be done to a profile."""
        profile = self._profile(profile_id)
        if profile is None:
            return
        menu = self.menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for what in ("edit", "copy", "export", *(() if profile.builtin else ("delete",)), "import"):
            action = menu.addAction(self._desk.texts.text(f"ui.editor.{what}"))
            action.setObjectName(what)
            action.triggered.connect(lambda _on, what=what: self.profile_asked.emit(what, profile_id))
        menu.popup(place)

    @Slot(str)
    def _on_toggled(self, profile_id: str) -> None:
        if self.dashboard is not None and self.dashboard.profile.id == profile_id:
            self.dashboard.toggle()

    @Slot(object)
    def _on_phase(self, change: PhaseChanged) -> None:
        self.models.show_run(change.view)
        profile = self._profile(change.view.profile_id)
        if profile is not None:
            self.models.show_profile(profile)
        if self.dashboard is None or not self.isVisible():
            return
        if profile is not None and profile.id == self.dashboard.profile.id:
            self.dashboard.show_profile(profile)
        else:
            self.dashboard.refresh()

    @Slot(object)
    def _on_sample(self, _sample: object) -> None:
        self.show_pending()
        self.show_profiles()
        if self.dashboard is not None and self.isVisible() and not self.isMinimized():
            self.dashboard.refresh_numbers()

    @Slot()
    def _restyle(self) -> None:
        self.setStyleSheet(style_sheet(self._theme.tokens))

    def showEvent(self, event: QShowEvent) -> None:
        """Live numbers are wanted faster while they are seen."""
        super().showEvent(event)
        self._desk.telemetry.set_watched(True)

    def hideEvent(self, event: QHideEvent) -> None:
        """Back to the slow pace."""
        self._desk.telemetry.set_watched(False)
        super().hideEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        """The shell decides what closing means: into the tray, or the end."""
        event.ignore()
        self.closing.emit()


def _nothing_to_start(desk: Desk, choose: Callable[[], None]) -> QWidget:
    page = QWidget()
    box = QVBoxLayout(page)
    box.addStretch(1)
    for text, role in ((desk.texts.text("ui.empty.title"), "title"), (desk.texts.text("ui.empty.text"), "muted")):
        words = label(text, role, wrap=True)
        words.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        box.addWidget(words)
    find = button(desk.texts.text("ui.files.what_fits"), "primary")
    find.clicked.connect(choose)
    box.addLayout(row(1, find, 1))
    box.addStretch(2)
    return page
