"""The try of an edited profile, as its window leads it: begun, followed, cancelled, and told.

Owns that at most one is under way here and that none outlives its window unseen.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.planning.plan import Plan
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_view import PhaseChanged
from kotaro_bridge.service.supervisor import TRIAL
from kotaro_bridge.service.trial import TrialResult
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk, TrialPort
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.widgets.trial_panel import TrialPanel


class Tries(QObject):
    """Emits `ended` when nothing of a try runs any more, or is reported as left over."""

    ended = Signal()

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge, parent: QObject) -> None:
        super().__init__(parent)
        self._desk = desk
        self._bridge = bridge
        self._trial: TrialPort | None = None
        self.panel = TrialPanel(theme, desk.texts)
        self.panel.cancelled.connect(self.cancel)
        bridge.phase_changed.connect(self._on_phase)

    @property
    def running(self) -> bool:
        """True while something of a try runs."""
        return self._trial is not None

    def begin(self, profile: Profile, found: Plan | None) -> None:
        """Try a profile; `found`: the plan that it is tried against."""
        if self._trial is not None:
            return
        try:
            trial = self._trial = self._desk.profiles.trial(profile)
        except ProblemError as error:
            self.panel.show_failure(self._desk.texts.message(error.problem))
            return
        self.panel.show_running(self._desk.texts.text("ui.phase.checking"))

        def show(result: TrialResult) -> None:
            self._trial = None
            self.panel.show_result(profile, found, result)
            self.ended.emit()

        def fail(message: Message) -> None:
            self._trial = None
            self.panel.show_failure(message)
            self.ended.emit()

        in_background(self._desk, self._bridge, trial.run, show, fail)

    @Slot()
    def cancel(self) -> None:
        """Stop it wherever it is."""
        if self._trial is not None:
            self._trial.cancel()

    @Slot(object)
    def _on_phase(self, change: PhaseChanged) -> None:
        if self._trial is not None and change.view.profile_id == TRIAL and self.panel.cancel.isEnabled():
            self.panel.show_running(self._desk.texts.text(f"ui.phase.{change.view.phase}"))
