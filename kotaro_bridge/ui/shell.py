"""What the windows do: open, explain a refusal, start and stop, and tell what happened.

Owns tray, main window and dialogs. Window and dialogs are imported when they first open: the tray has
to be there at once, and pyqtgraph is large.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.download import DownloadState, DownloadView
from kotaro_bridge.domain.run.run_state import ENDING, SERVING, SPAWNED, Phase
from kotaro_bridge.domain.run.run_view import Notice, PhaseChanged, RunView
from kotaro_bridge.service.supervisor import TRIAL
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.editors import Editors
from kotaro_bridge.ui.leaving import WayOut
from kotaro_bridge.ui.notices import Notices, Told
from kotaro_bridge.ui.program_notices import told_of_program
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.tray import Tray
from kotaro_bridge.ui.view_models.status import can_stop, is_blocked, is_warned
from kotaro_bridge.ui.view_models.transfers import transfer_name

if TYPE_CHECKING:
    from kotaro_bridge.domain.errors import Problem
    from kotaro_bridge.domain.profile import Profile
    from kotaro_bridge.domain.run.remedy import Remedy
    from kotaro_bridge.service.wslconfig_edit import Editor
    from kotaro_bridge.ui.dialogs.block import BlockDialog
    from kotaro_bridge.ui.dialogs.models import ModelsWindow
    from kotaro_bridge.ui.dialogs.settings import AppSettings
    from kotaro_bridge.ui.dialogs.wslconfig import WslConfigDialog
    from kotaro_bridge.ui.main_window import MainWindow
    from kotaro_bridge.ui.view_models.block import BlockReport

_TOLD = (DownloadState.DONE, DownloadState.FAILED)
_STOPPED = "ended:"
"""Before a profile's id: its run was stopped, which is told until it is started again."""


class Shell(QObject):
    """`out.ended` is emitted when everything has come to rest after a quit."""

    def __init__(self, desk: Desk, theme: Theme, *, tray_visible: bool, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.desk = self._desk = desk
        self._theme = theme
        self._tray_visible = tray_visible
        self._followed: set[str] = set()  # starts that were asked for in a dialog: the window shows them
        self.bridge = Bridge(desk.bus, self)
        self.tray = Tray(desk, theme, visible=tray_visible, parent=self)
        self.notices = Notices(lambda title, words: self.tray.say(title, words), self)
        self.out = WayOut(self)
        self.ended = self.out.ended
        self.quit = self.out.quit
        self.window: MainWindow | None = None
        self.dialogs: dict[str, BlockDialog] = {}
        self.settings: WslConfigDialog | None = None
        self.models: ModelsWindow | None = None
        self.app_settings: AppSettings | None = None
        self.told: list[Told] = []
        """What the main window said last."""
        self._transfers: dict[str, DownloadState] = {}
        self.editors = Editors(desk, theme, self.bridge, self)
        self.editors.changed.connect(self._on_profiles)
        self.editors.failed.connect(self._on_no_editor)
        self.tray.toggled.connect(self.toggle)
        self.tray.opened.connect(self.open_dashboard)
        self.tray.settings_wanted.connect(self.open_settings)
        self.tray.app_settings_wanted.connect(self.open_app_settings)
        self.tray.models_wanted.connect(self.open_models)
        self.tray.quit_wanted.connect(self.out.ask)
        self.tray.clicked.connect(self.notices.open_clicked)
        self.tray.notice_wanted.connect(self.notices.open_newest)
        self.notices.changed.connect(self._on_unread)
        self.bridge.phase_changed.connect(self._on_phase)
        self.bridge.sampled.connect(self._on_sample)
        self.bridge.noticed.connect(self._on_notice)
        self.bridge.transferred.connect(self._on_transfer)

    @Slot()
    def open_dashboard(self) -> None:
        """Show the main window, in front."""
        if self.window is None:
            from kotaro_bridge.ui.main_window import MainWindow

            self.window = MainWindow(self._desk, self._theme, self.bridge)
            self.window.closing.connect(self._on_closing)
            self.window.details.connect(self.explain)
            self.window.problems.connect(self.show_problems)
            self.window.settings.connect(self.open_settings)
            self.window.app_settings.connect(self.open_app_settings)
            self.window.library.connect(self.open_models)
            self.window.restart.connect(self.offer_restart)
            self.window.profile_asked.connect(self.editors.ask)
        self.window.showNormal() if self.window.isMinimized() else self.window.show()
        self.window.raise_()
        self.window.activateWindow()
        self._show_unread()

    def show_from_outside(self) -> bool:
        """Ask for the dashboard, from any thread; False if the program is about to end."""
        if self.out.quitting or self.out.gone:
            return False
        self.bridge.post(self.open_dashboard)
        return True

    @Slot()
    def open_settings(self, staged: Editor | None = None) -> None:
        """Show the settings of WSL, in front; `staged`: with these changes, which are in no file yet."""
        if self.settings is None:
            from kotaro_bridge.ui.dialogs.wslconfig import WslConfigDialog

            try:
                self.settings = WslConfigDialog(self._desk, self._theme, self.bridge, staged)
            except ProblemError as error:
                self._pass_on("wslconfig", "Kotaro Bridge", error.problem, self.open_dashboard)
                self.open_dashboard()
                return
            self.settings.changed.connect(self._on_settings)
        elif not self.settings.isVisible():
            self.settings.look_outside()
        self.settings.showNormal() if self.settings.isMinimized() else self.settings.show()
        self.settings.raise_()
        self.settings.activateWindow()

    @Slot()
    def open_app_settings(self) -> None:
        """Show the settings of the application, in front."""
        if self.app_settings is None:
            from kotaro_bridge.ui.dialogs.settings import AppSettings

            self.app_settings = AppSettings(self._desk, self._theme, self.bridge)
            self.app_settings.theme_chosen.connect(lambda scheme: self._theme.force(scheme or None))
            self.app_settings.language_chosen.connect(self.speak)
        self.app_settings.present()

    @Slot(str)
    def speak(self, language: str) -> None:
        """Another language, at once; "" for the system's."""
        from kotaro_bridge.ui.language import speak

        speak(self, language)

    @Slot()
    def offer_restart(self) -> None:
        """Ask for the restart of WSL that a change of its settings waits for."""
        self.open_settings()
        if self.settings is not None:
            self.settings.ask_restart()

    @Slot()
    def _on_settings(self) -> None:
        self.tray.refresh()
        if self.window is not None:
            self.window.show_pending()

    @Slot(str)
    def toggle(self, profile_id: str) -> None:
        """Start a model, or stop it."""
        supervisor = self._desk.supervisor
        if can_stop(supervisor.view(profile_id).phase):
            supervisor.stop(profile_id)
        else:
            supervisor.start(profile_id)

    @Slot(str)
    def explain(self, profile_id: str) -> None:
        """Open the dialog that says why a model does not run; where there is nothing to explain yet, its dashboard."""
        view = self._desk.supervisor.view(profile_id)
        if not (is_blocked(view.phase) or is_warned(view)):
            self._show_profile(profile_id)
            return
        from kotaro_bridge.ui.view_models.block import block_report

        self._open(block_report(self._desk.texts, self._profile(profile_id), view))

    @Slot()
    def open_models(self) -> None:
        """Show models and downloads, in front."""
        if self.models is None:
            from kotaro_bridge.ui.dialogs.models import ModelsWindow

            self.models = ModelsWindow(self._desk, self._theme, self.bridge)
            self.models.profile_wanted.connect(self.editors.make)
            self.models.quit_wanted.connect(self.out.quit)
        self.models.present()

    def show_quitting(self, words: str) -> None:
        """Say that the program stops its models and then ends; "" takes it back."""
        self.tray.show_quitting(words or None)
        if words:
            self.notices.say("Kotaro Bridge", words, self.open_dashboard)
            if self.window is not None:
                self.window.show_notice(words)

    def close(self) -> None:
        """Take everything down; nothing is delivered any more."""
        self.out.close()
        self.bridge.close()
        self.editors.close()
        for dialog in self.dialogs.values():
            dialog.hide()
        for window in (self.settings, self.window, self.models, self.app_settings):
            if window is not None:
                window.hide()
        if self.tray.icon is not None:
            self.tray.icon.hide()

    @Slot(object)
    def _on_phase(self, change: PhaseChanged) -> None:
        if change.view.profile_id == TRIAL:  # told by the editor that tries it
            self.out.look()
            return
        self.tray.refresh()
        view = change.view
        self.notices.drop(view.profile_id, *([_STOPPED + view.profile_id] if view.phase is Phase.CHECKING else ()))
        self._tell(change)
        dialog = self.dialogs.get(view.profile_id)
        is_open = dialog is not None and dialog.isVisible()
        if is_blocked(view.phase) or (is_warned(view) and is_open):
            # The end of what was left over is good news: it is told where a dialog is open, and does not open one.
            if change.old is not Phase.ORPHANED or is_open:
                self.explain(view.profile_id)
        elif dialog is not None:
            if view.phase in SPAWNED or view.phase is Phase.STOPPED:
                dialog.close()
            else:
                dialog.show_busy()
        if self.window is not None:
            self.window.drop_notice(view.profile_id)
        self._follow(view)
        self.out.look()

    def _tell(self, change: PhaseChanged) -> None:
        """Say without a window that a model which served is being stopped, and why."""
        view = change.view
        if change.old in (*SERVING, Phase.PROVING) and view.phase in ENDING and view.problem is not None:
            title = self._desk.texts.text("ui.notify.ended", model=self._profile(view.profile_id).title)
            opens = partial(self.explain, view.profile_id)
            self._pass_on(_STOPPED + view.profile_id, title, view.problem, opens, own_place=True)

    def _pass_on(
        self, about: str, title: str, problem: Problem, opens: Callable[[], None], *, own_place: bool = False
    ) -> None:
        self.notices.tell(Told(about, title, self._desk.texts.message(problem), opens, own_place=own_place))

    def _follow(self, view: RunView) -> None:
        """Once a start that was asked for in a dialog is under way, the window shows how it goes on."""
        if view.profile_id in self._followed and view.phase is not Phase.CHECKING:
            self._followed.remove(view.profile_id)
            if view.phase in SPAWNED:
                self.open_dashboard()
                if self.window is not None:
                    self.window.models.select(view.profile_id)

    def _profile(self, profile_id: str) -> Profile:
        return next(profile for profile in self._desk.supervisor.profiles() if profile.id == profile_id)

    @Slot(object)
    def _on_transfer(self, view: DownloadView) -> None:
        """What is on its way shows in the menu; its end is told, but where a person is looking at it."""
        self.tray.refresh()
        before, self._transfers[view.id] = self._transfers.get(view.id), view.state
        looked_at = self.models is not None and self.models.isVisible() and self.models.isActiveWindow()
        if before is view.state or looked_at or view.state not in _TOLD:
            return
        text = self._desk.texts.text
        title = text(f"ui.transfer.{view.state.value}", name=transfer_name(view))
        said = self._desk.texts.message(view.problem) if view.problem else Message(text("ui.transfer.done_text"), "")
        self.notices.tell(Told(f"transfer:{view.id}", title, said, self.open_models, own_place=True))

    @Slot()
    def _on_profiles(self) -> None:
        """There are others than before, or one was changed."""
        self.tray.refresh()
        if self.window is not None:
            self.window.show_profiles()
        if self.models is not None and self.models.isVisible():
            self.models.files.look()

    @Slot(object)
    def _on_no_editor(self, message: Message) -> None:
        self.notices.tell(Told("editor", "Kotaro Bridge", message, self.open_dashboard))
        self.open_dashboard()

    @Slot(object)
    def _on_sample(self, _sample: object) -> None:
        self.tray.refresh()

    @Slot(object)
    def _on_notice(self, notice: Notice) -> None:
        """What belongs to no run under way: said by the tray, and kept in the window if it is open.

        A remedy that failed is told by the dialog that it was chosen in.
        """
        if notice.profile_id == TRIAL:
            return
        dialog = self.dialogs.get(notice.profile_id)
        if dialog is not None and dialog.isVisible() and dialog.applying:
            self._followed.discard(notice.profile_id)
            dialog.show_failure(self._desk.texts.message(notice.problem))
            return
        about = self._profile(notice.profile_id) if notice.profile_id else None
        if about is not None:
            shown_by_run = self._desk.supervisor.view(about.id).warning == notice.problem
            opens = partial(self._show_profile, about.id)
            self._pass_on(about.id, about.title, notice.problem, opens, own_place=shown_by_run)
        else:
            self.notices.tell(told_of_program(self, notice.problem))

    def _show_profile(self, profile_id: str) -> None:
        self.open_dashboard()
        if self.window is not None:
            self.window.models.select(profile_id)

    @Slot()
    def _on_unread(self) -> None:
        unread = self.notices.unread()
        self.tray.show_notices(tuple(told.title for told in unread))
        if unread and self.window is not None and self.window.isVisible():
            self._show_unread()

    def _show_unread(self) -> None:
        """What the window shows, or shows anyway, is read."""
        told = [each for each in self.notices.read() if not each.own_place]
        if told:
            self.told = told
            self.show_told()

    def show_told(self) -> None:
        """What was told last, in the main window."""
        if self.window is not None:
            what, last = "\n".join(each.message.what for each in self.told), self.told[-1]
            self.window.show_notice(what, last.message.do, last.about, *last.answers)

    def _open(self, report: BlockReport) -> None:
        dialog = self.dialogs.get(report.profile_id)
        if dialog is None:
            from kotaro_bridge.ui.dialogs.block import BlockDialog

            dialog = BlockDialog(self._theme, self._desk.texts, self._desk.version, self._desk.simulated)
            dialog.again.connect(self._on_again)
            dialog.chosen.connect(self._on_remedy)
            dialog.editing.connect(self.editors.edit)
            self.dialogs[report.profile_id] = dialog
        dialog.show_report(report)
        dialog.show()
        dialog.raise_()
        dialog.activateWindow()

    @Slot(str)
    def _on_again(self, profile_id: str) -> None:
        if not can_stop(self._desk.supervisor.view(profile_id).phase):
            self._followed.add(profile_id)
        self.toggle(profile_id)

    @Slot(str, object)
    def _on_remedy(self, profile_id: str, remedy: Remedy) -> None:
        self._followed.add(profile_id)
        self._desk.supervisor.apply(profile_id, remedy)

    @Slot()
    def show_problems(self) -> None:
        """Open the dialog that says what is wrong with profile files."""
        from kotaro_bridge.ui.view_models.block import problem_report

        self._open(problem_report(self._desk.texts, self._desk.supervisor.profile_problems()))

    @Slot()
    def _on_closing(self) -> None:
        if self._tray_visible:
            if self.window is not None:
                self.window.hide()
        else:
            self.out.ask()
