"""The way out: quitting when a person asks, and when the session ends.

Owns that nothing unsaved is lost without a question, and that every model is stopped before the program goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.run.run_state import ENDING, RESTING, Phase
from kotaro_bridge.service.supervisor import TRIAL
from kotaro_bridge.ui.program_notices import told_of_program

if TYPE_CHECKING:
    from kotaro_bridge.ui.dialogs.profile_editor import ProfileEditor
    from kotaro_bridge.ui.dialogs.wslconfig import WslConfigDialog
    from kotaro_bridge.ui.shell import Shell

SETTLE_MS = 250
"""How often it is asked whether all is at rest while the program ends; state changes ask at once."""


class WayOut(QObject):
    """Emits `ended` when everything has come to rest after a quit. Is the `Leaving` of `ui/session_end.py`."""

    ended = Signal()

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._shell = shell
        self._desk = shell.desk
        self.quitting = False
        self.gone = False
        self._told_of_orphans = False
        self._answering: list[ProfileEditor | WslConfigDialog] = []
        self._settle = QTimer(self)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self.look)

    # --- asked for by a person ------------------------------------------------------------------------------------

    @Slot()
    def ask(self) -> None:
        """Quit, but not over what would be lost (settings of WSL, a profile, a download): that is asked about once.

        Where the answer closes the window, the quit goes on; who goes on editing has called it off.
        """
        models = self._shell.models
        if self.ask_unsaved():
            self._answering = [window for window in self._editing() if window.asked]
            self._settle.start()
            return
        if self._desk.models.busy() and not (models is not None and models.asked):
            self._shell.open_models()
            if self._shell.models is not None:
                self._shell.models.ask_quit()
        else:
            self.quit()

    @Slot()
    def quit(self) -> None:
        """Stop every model, then end. The loop goes on meanwhile."""
        live = self._desk.supervisor.live()
        if not live or (self._told_of_orphans and all(view.phase is Phase.ORPHANED for view in live)):
            self._end()
            return
        if self.quitting:
            return
        self.quitting = True
        self._shell.show_quitting(self.stopping_words())
        self._desk.supervisor.stop_all()
        self._settle.start()

    @Slot()
    def look(self) -> None:
        """End if everything has come to rest; show what could not be ended."""
        if not self.quitting:
            self._heed_answers()
            return
        supervisor = self._desk.supervisor
        live = supervisor.live()
        if not live:
            self._end()
        elif all(view.phase is Phase.ORPHANED for view in live):
            # What could not be ended is shown before the program goes; a second quit leaves it to the next start.
            self.quitting = False
            self._told_of_orphans = True
            self._settle.stop()
            self._shell.show_quitting("")
            for view in live:
                if view.profile_id != TRIAL:
                    self._shell.explain(view.profile_id)
                elif view.problem is not None:
                    self._tell_of_try(view.problem)
        elif any(view.phase not in ENDING and view.phase is not Phase.ORPHANED for view in live):
            supervisor.stop_all()  # a start that was on its way when the others were told to stop

    def _heed_answers(self) -> None:
        """Go on with a quit once what was asked has been answered."""
        there = [window for window in self._answering if window in self._editing()]
        if any(window.asked or window.saving for window in there):
            return
        self._settle.stop()
        answered, self._answering = bool(self._answering) and not there, []
        if answered:
            self.ask()

    def _editing(self) -> list[ProfileEditor | WslConfigDialog]:
        """Windows that are open and may hold what is not saved."""
        settings = self._shell.settings
        shown = [settings] if settings is not None and settings.isVisible() else []
        return [*self._shell.editors.windows, *shown]

    def _tell_of_try(self, left: Problem) -> None:
        """It has no dialog of its own, and the editor that tried it may be behind other windows, or gone."""
        why = problem("stop.try_left", *left.evidence, **{**left.params, "error": left.code})
        self._shell.notices.tell(told_of_program(self._shell, why))
        self._shell.open_dashboard()

    def close(self) -> None:
        """Ask no more."""
        self._settle.stop()

    def _end(self) -> None:
        self._settle.stop()
        self.gone = True
        self.ended.emit()

    # --- when the session ends ------------------------------------------------------------------------------------

    def unsaved_words(self) -> str:
        """What would be lost, for Windows to show."""
        text = self._desk.texts.text
        names = [window.windowTitle() for window in self._editing() if window.unsaved or window.saving]
        return text("ui.leaving.unsaved", what=", ".join(names)) if names else ""

    def ask_unsaved(self) -> bool:
        """Ask what is to become of it, once for each window; False if there is nothing to ask."""
        settings = self._shell.settings
        if self._shell.editors.ask_unsaved():
            return True
        if settings is not None and settings.unsaved and not settings.asked:
            self._shell.open_settings()
            settings.ask_unsaved()
            return True
        return False

    def stopping_words(self) -> str:
        """Which models are being stopped."""
        supervisor = self._desk.supervisor
        live = [each.title for each in supervisor.profiles() if supervisor.view(each.id).phase not in RESTING]
        if live:
            return self._desk.texts.text("ui.quitting", models=", ".join(live))
        return "" if supervisor.all_resting() else self._desk.texts.text("ui.leaving.stopping_try")

    def stop_models(self) -> None:
        """Ask every run to stop."""
        self.quitting = True
        self._desk.supervisor.stop_all()

    def models_rest(self) -> bool:
        """True if nothing runs any more."""
        return self._desk.supervisor.all_resting()

    def leave(self) -> None:
        """End whatever still runs."""
        self._end()
