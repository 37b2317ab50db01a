"""The dashboard: one model's state, the live numbers, where to connect, what was proved, and the log."""

from __future__ import annotations

import time

from PySide6.QtCore import QTimer, Signal, Slot
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QTabWidget, QVBoxLayout, QWidget

from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.proof import proof_table
from kotaro_bridge.ui.view_models.status import can_stop, is_blocked, is_proved_again, is_warned
from kotaro_bridge.ui.widgets.basics import Card
from kotaro_bridge.ui.widgets.chat_test import ChatTest
from kotaro_bridge.ui.widgets.endpoint_card import EndpointCard
from kotaro_bridge.ui.widgets.log_view import LogView
from kotaro_bridge.ui.widgets.metrics import Metrics
from kotaro_bridge.ui.widgets.proof_panel import ProofPanel
from kotaro_bridge.ui.widgets.run_header import RunHeader

CLOCK_MS = 1000


class Dashboard(QWidget):
    """Shows one profile at a time. Emits `details` with its id when the reason of a refusal is wanted."""

    details = Signal(str)

    def __init__(
        self, desk: Desk, theme: Theme, bridge: Bridge, profile: Profile, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        texts = desk.texts
        self._desk = desk
        self._profile = profile
        self.header = RunHeader(theme, texts)
        self.header.toggle.connect(self.toggle)
        self.header.details.connect(self._on_details)
        self.header.banner.stop_wanted.connect(self._on_stop)
        self.metrics = Metrics(theme, texts)
        self.endpoint = EndpointCard(theme, texts)
        self.test = ChatTest(theme, texts, bridge, desk.connect, desk.submit)
        self.proof = ProofPanel(texts)
        self.log = LogView(theme, texts)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(self._connect_page(), texts.text("ui.tab.connect"))
        self.tabs.addTab(self.proof, texts.text("ui.tab.proof"))
        self.tabs.addTab(self.log, texts.text("ui.tab.log"))
        below = Card()
        below.body.setContentsMargins(2 * UNIT, UNIT // 2, 2 * UNIT, UNIT + 4)
        below.body.addWidget(self.tabs)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(2 * UNIT, 2 * UNIT, 2 * UNIT, 2 * UNIT)
        whole.setSpacing(UNIT)
        whole.addWidget(self.header)
        whole.addWidget(self.metrics, 5)
        whole.addWidget(below, 4)
        self._clock = QTimer(self)
        self._clock.setInterval(CLOCK_MS)
        self._clock.timeout.connect(self._show_state)
        self.show_profile(profile)

    def _connect_page(self) -> QWidget:
        page = QWidget()
        line = QHBoxLayout(page)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(3 * UNIT)
        line.addWidget(self.endpoint, 1)
        line.addWidget(self.test, 1)
        return page

    @property
    def profile(self) -> Profile:
        """The profile that is shown."""
        return self._profile

    def show_profile(self, profile: Profile) -> None:
        """Show another profile."""
        if profile.id != self._profile.id:
            self.test.clear()
        self._profile = profile
        self.log.set_ring(self._desk.supervisor.log(profile.id))
        self.refresh()

    def refresh(self) -> None:
        """Show everything as it is now; called when a state changed."""
        view = self._desk.supervisor.view(self._profile.id)
        self._show_state()
        self.endpoint.show_endpoint(view.endpoint, withdrawn=is_proved_again(view))
        self.test.set_endpoint(view.endpoint)
        self.proof.show_table(proof_table(self._desk.texts, view))
        self.log.set_ring(self._desk.supervisor.log(self._profile.id))
        self.refresh_numbers()

    def refresh_numbers(self) -> None:
        """Show the newest telemetry; called on each sample while the window is visible."""
        supervisor = self._desk.supervisor
        profiles = supervisor.profiles()
        same_card = [supervisor.view(other.id) for other in profiles if other.shares_card(self._profile)]
        view = supervisor.view(self._profile.id)
        self.metrics.show_sample(self._profile, same_card, view, self._desk.telemetry.history())

    @Slot()
    def toggle(self) -> None:
        """Start the model, or stop it."""
        if can_stop(self._desk.supervisor.view(self._profile.id).phase):
            self._desk.supervisor.stop(self._profile.id)
        else:
            self._desk.supervisor.start(self._profile.id)

    @Slot()
    def _show_state(self) -> None:
        self.header.show_run(self._profile, self._desk.supervisor.view(self._profile.id), time.time())

    @Slot()
    def _on_stop(self) -> None:
        self._desk.supervisor.stop(self._profile.id)

    @Slot()
    def _on_details(self) -> None:
        view = self._desk.supervisor.view(self._profile.id)
        if is_blocked(view.phase) or is_warned(view):
            self.details.emit(self._profile.id)

    def showEvent(self, event: QShowEvent) -> None:
        """The clock runs only while someone can see it."""
        super().showEvent(event)
        self._clock.start()
        self.refresh()

    def hideEvent(self, event: QHideEvent) -> None:
        """Nothing to do while hidden."""
        self._clock.stop()
        super().hideEvent(event)
