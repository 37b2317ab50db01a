"""The plan beside an edited profile: the model's shape is read once in the background, planning is done at once.

Owns what is known of the model and which question is on its way. Must not block the windows' thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from PySide6.QtCore import QObject, QTimer, Slot

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.gpu import GpuSnapshot, cards_at
from kotaro_bridge.domain.planning.plan import Plan
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.profile_form import Form
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.service.profile_desk import Shape
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.view_models.profile_plan import PlanView, command_text, has_share, plan_view, rooms
from kotaro_bridge.ui.widgets.plan_panel import CommandPanel, PlanPanel

TYPING_MS = 400
"""A pause in typing after which the model that is named is read."""

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a model; `failed`: words where asking went wrong altogether."""

    key: _Key
    shape: Shape | None = None
    failed: str = ""


class Plans(QObject):
    """Keeps both panels in step with the form."""

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge, parent: QObject) -> None:
        super().__init__(parent)
        self._desk = desk
        self._bridge = bridge
        self._form: Form | None = None
        self._known: _Known | None = None
        self._asked: _Key | None = None
        self.view = PlanView("")
        self.panel = PlanPanel(theme, desk.texts)
        self.command = CommandPanel(theme, desk.texts)
        self.panel.wake.connect(lambda: self._ask(wake=True))
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(TYPING_MS)
        self._pause.timeout.connect(self._ask)

    def close(self) -> None:
        """Drop whatever answer is still on its way."""
        self._pause.stop()
        self._form = self._asked = None

    @property
    def found(self) -> Plan | None:
        """The plan that is shown; None where there is none."""
        return self.view.found

    @property
    def reading(self) -> bool:
        """True while a model is being read, or is about to be."""
        return self._asked is not None or self._pause.isActive()

    def show_form(self, form: Form, *, at_once: bool = False) -> None:
        """Plan what the fields say now; `at_once`: nothing is being typed."""
        self._form = form
        key = _key(form.profile)
        known = self._known is not None and self._known.key == key
        if not known and self._asked != key and "model" not in form.problems:
            self._ask() if at_once else self._pause.start()
        self._plan()

    def drag(self, context: int) -> None:
        """The same with another context, while the slider moves."""
        if self._form is not None and self._form.can_be_planned:
            profile = msgspec.structs.replace(self._form.profile, context=context, need=None)
            self._show(profile, quick=True)

    @Slot()
    def refresh(self) -> None:
        """The cards may hold something else now."""
        if self._form is not None:
            self._plan()

    def cards(self) -> tuple[GpuSnapshot, ...]:
        """The cards of this PC as they were seen last."""
        sample = self._desk.telemetry.latest()
        return sample.gpus if sample is not None else ()

    # What is known of the model

    def _ask(self, *, wake: bool = False) -> None:
        self._pause.stop()
        if self._form is None or "model" in self._form.problems:
            return
        profile = self._form.profile
        key = self._asked = _key(profile)

        def show(shape: Shape) -> None:
            self._take(_Known(key, shape))

        def fail(message: Message) -> None:
            self._take(_Known(key, None, message.what))

        self._known = None
        in_background(self._desk, self._bridge, lambda: self._desk.profiles.shape(profile, wake=wake), show, fail)
        self._plan()

    def _take(self, known: _Known) -> None:
        """An answer came; one to an older question, or to a window that is gone, is dropped."""
        if known.key == self._asked:
            self._asked, self._known = None, known
            self._plan()

    # What is shown

    def _plan(self) -> None:
        if self._form is not None:
            self._show(self._form.profile, quick=False)

    def _show(self, profile: Profile, *, quick: bool) -> None:
        self.view = self._view(profile, quick=quick)
        self.panel.show_plan(self.view)
        if not quick:
            self._show_source()
        self._show_command(profile)

    def _view(self, profile: Profile, *, quick: bool) -> PlanView:
        text, form, known = self._desk.texts.text, self._form, self._known
        if form is None or "model" in form.problems:
            return PlanView(text("ui.editor.plan.no_model"))
        if known is None or known.key != _key(profile):
            return PlanView(text("ui.editor.plan.reading"))
        shape = known.shape
        if shape is None or shape.model is None:
            return PlanView(self._unread(known), "warn")
        if not form.can_be_planned:
            return PlanView(text("ui.editor.plan.wrong"))
        places = rooms(cards_at(self.cards(), profile.gpus), self._own(profile))
        return plan_view(self._desk.texts, profile, shape.model, shape.learned, places, quick=quick)

    def _own(self, profile: Profile) -> RunView | None:
        return self._desk.supervisor.view(profile.id) if profile.id else None

    def _unread(self, known: _Known) -> str:
        texts = self._desk.texts
        if known.shape is not None and known.shape.asleep:
            return texts.text("ui.editor.plan.asleep")
        what = known.failed
        if known.shape is not None and known.shape.problem is not None:
            what = texts.message(known.shape.problem).what
        return texts.text("ui.editor.plan.unread", what=what)

    def _show_source(self) -> None:
        """Where the figures are not the file's own, and how to get those."""
        text, known = self._desk.texts.text, self._known
        shape = known.shape if known is not None else None
        if known is None or (shape is not None and not shape.asleep and shape.problem is None):
            self.panel.show_source("", "")
            return
        words = ""
        if shape is not None and shape.model is not None:
            words = f"{text('ui.editor.plan.from_catalogue')} {self._unread(known)}"
        self.panel.show_source(words, text("ui.editor.wake" if shape and shape.asleep else "ui.editor.read_again"))

    def _show_command(self, profile: Profile) -> None:
        text, form = self._desk.texts.text, self._form
        if form is None or not form.is_sound:
            self.command.show_command("", text("ui.editor.command.none"))
            return
        try:
            command = command_text(profile, self.found)
        except ProblemError as error:
            self.command.show_command("", self._desk.texts.message(error.problem).what)
            return
        self.command.show_command(command, text("ui.editor.command.share") if has_share(command) else "")


def _key(profile: Profile) -> _Key:
    """What a model's shape depends on."""
    return (profile.engine, profile.target, profile.model, profile.projector)
