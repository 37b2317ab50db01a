"""What is known of a newer version, and the one button that leads a step further. Nothing happens without a click."""

from __future__ import annotations

import time

from PySide6.QtCore import QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QProgressBar

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.units import format_size
from kotaro_bridge.domain.update import Package, UpdateState, UpdateView
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.widgets.basics import Card, button, label, put, row, set_property

_BUSY = (UpdateState.CHECKING, UpdateState.INSTALLING)
_STEPS = {
    UpdateState.AVAILABLE: "download",
    UpdateState.DOWNLOADING: "cancel",
    UpdateState.READY: "install",
}
"""What the button does; it checks in every other state."""
_PERMILLE = 1000


class UpdateCard(Card):
    """Follows the search on the bus."""

    def __init__(self, desk: Desk, bridge: Bridge) -> None:
        super().__init__()
        self._desk = desk
        self._step = "check"
        text = desk.texts.text
        self.state = label("", wrap=True, selectable=True)
        self.progress = QProgressBar()
        self.progress.setRange(0, _PERMILLE)
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        self.button = button(text("ui.app.update.check"))
        self.notes = button(text("ui.app.update.notes"), "quiet")
        self.body.addWidget(label(text("ui.app.updates"), "head"))
        self.body.addWidget(self.state)
        self.body.addWidget(self.progress)
        self.body.addLayout(row(self.button, self.notes, 1))
        self.button.clicked.connect(self._on_button)
        self.notes.clicked.connect(self._on_notes)
        bridge.updated.connect(self.show_update)
        self.show_update(desk.updates.state())

    @Slot(object)
    def show_update(self, view: UpdateView) -> None:
        """Show where the search is."""
        put(self.state, self._words(view))
        set_property(self.state, "tone", "bad" if view.state is UpdateState.FAILED else "")
        self.progress.setVisible(view.state is UpdateState.DOWNLOADING)
        if view.release is not None and view.release.size:
            self.progress.setValue(_PERMILLE * view.bytes // view.release.size)
        self._step = _step(view)
        put(self.button, self._desk.texts.text(f"ui.app.update.{self._step}"))
        set_property(self.button, "kind", "primary" if self._step in ("download", "install", "unpack") else "")
        self.button.setEnabled(view.has_feed and view.state not in _BUSY)
        self.notes.setVisible(view.release is not None)

    def _words(self, view: UpdateView) -> str:
        text, release = self._desk.texts.text, view.release
        why = view.problem if view.state is UpdateState.FAILED else None
        if not view.has_feed:
            why = problem("update.no_feed")
        if why is not None:
            message = self._desk.texts.message(why)
            return f"{message.what} {message.do}".strip()
        values = {"version": view.current, "current": view.current, "when": _when(view.checked_at)}
        if release is not None:
            values |= {"version": release.version, "size": format_size(release.size), "done": format_size(view.bytes)}
        return text(f"ui.app.update.{'unpack_now' if _step(view) == 'unpack' else view.state.value}", **values)

    @Slot()
    def _on_button(self) -> None:
        updates = self._desk.updates
        {
            "check": updates.check,
            "download": updates.download,
            "cancel": updates.cancel,
            "install": updates.install,
            "unpack": updates.install,
        }[self._step]()

    @Slot()
    def _on_notes(self) -> None:
        release = self._desk.updates.state().release
        if release is not None:
            QDesktopServices.openUrl(QUrl(release.page))


def _step(view: UpdateView) -> str:
    """What the button does now."""
    if view.state is UpdateState.READY and view.release is not None and view.release.package is Package.PORTABLE:
        return "unpack"
    return _STEPS.get(view.state, "check")


def _when(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at is not None else "?"
