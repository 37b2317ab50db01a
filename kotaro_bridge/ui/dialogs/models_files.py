"""The page "On this machine": which models there are, how large and how whole, who uses them; deleting and copying.

Owns the two steps of a deletion. What may be deleted is the shelf's.
"""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from kotaro_bridge.domain.model.catalogue_files import profile_of_files
from kotaro_bridge.domain.model.model_files import Condition, Place, StoredModel, is_projector
from kotaro_bridge.domain.units import format_size
from kotaro_bridge.service.model_shelf import OnMachine, PlannedRemoval
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.model_files import (
    condition_words,
    file_facts,
    file_row,
    grouped,
    key_of,
    removal_words,
)
from kotaro_bridge.ui.widgets.basics import Card, button, in_scroll, label, put, row, set_property, value_label
from kotaro_bridge.ui.widgets.entry_list import EntryList, Row
from kotaro_bridge.ui.widgets.notice_bar import NoticeBar

LIST_WIDTH = 420


class FilesPage(QWidget):
    """Emits `found` with all models, `make_profile` with a profile without id, `copy` with a model of Ollama,
    `wanted` where a newcomer asks what fits."""

    found = Signal(object)
    make_profile = Signal(object)
    copy = Signal(str)
    wanted = Signal()

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge) -> None:
        super().__init__()
        self._desk = desk
        self._bridge = bridge
        self._theme = theme
        self._models: dict[str, StoredModel] = {}
        self._content: QWidget | None = None
        self.looking = False
        self._again: bool | None = None
        text = desk.texts.text
        self.bar = NoticeBar()
        self.asleep = NoticeBar()
        self.total = label("", "muted")
        self.refresh = button(text("ui.files.refresh"))
        self.list = EntryList(theme, text("ui.files.list"))
        self.list.setFixedWidth(LIST_WIDTH)
        self.profile = button(text("ui.library.make_profile"))
        self.copy_button = button(text("ui.files.copy"))
        self.remove = button(text("ui.files.remove.button"))
        self.start_here = button(text("ui.files.what_fits"), "primary")
        pane = QWidget()
        self._pane = QVBoxLayout(pane)
        self._pane.setContentsMargins(0, 0, 0, 0)
        self._pane.setSpacing(UNIT + 2)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, UNIT, 0, 0)
        box.setSpacing(UNIT)
        box.addWidget(self.bar)
        box.addWidget(self.asleep)
        box.addLayout(row(self.total, 1, self.refresh))
        split = QHBoxLayout()
        split.setSpacing(2 * UNIT)
        split.addWidget(self.list)
        split.addWidget(in_scroll(pane), 1)
        box.addLayout(split, 1)
        self._pane.addLayout(row(self.start_here, self.profile, self.copy_button, self.remove, 1))
        self._pane.addStretch(1)
        self.refresh.clicked.connect(lambda: self.look())
        self.list.chosen.connect(self._on_chosen)
        self.profile.clicked.connect(self._on_profile)
        self.copy_button.clicked.connect(self._on_copy)
        self.remove.clicked.connect(self._on_remove)
        self.start_here.clicked.connect(self.wanted)
        self._show_pane()

    # --- what is there --------------------------------------------------------------------------------------------

    def look(self, *, start: bool = False) -> None:
        """Look at the disks in the background.

        Args:
            start: also into the default distro if that has to be started.
        """
        if self.looking:
            self._again = start
            return
        self.looking = True
        put(self.total, self._text("ui.files.looking"))
        self.refresh.setEnabled(False)
        in_background(
            self._desk, self._bridge, lambda: self._desk.models.files(start=start), self._on_look, self._on_no_look
        )

    def _on_look(self, found: OnMachine) -> None:
        if self._ended():
            return
        self._models = {key_of(model): model for model in found.models}
        size = format_size(sum(model.bytes for model in found.models))
        total = self._text("ui.files.total", count=len(found.models), size=size)
        put(self.total, total if found.models or not found.not_running else "")
        if found.problems:
            self.bar.say("problem", self._desk.texts.message(found.problems[0]), "warn")
        else:
            self.bar.drop("problem")
        if found.not_running:
            message = Message(self._text("ui.files.asleep", name=", ".join(found.not_running)), "")
            wake = (self._text("ui.files.wake"), "", lambda: self.look(start=True))
            self.asleep.say("asleep", message, "", wake)
        else:
            self.asleep.drop()
        rows: list[Row] = []
        for title, models in grouped(self._desk.texts, found.models):
            rows.append(("", title, "", "", "", ""))
            rows += [self._row(model) for model in models]
        self.list.show_rows(rows, self.list.current())
        self._show_pane()
        self.found.emit(found.models)

    def _row(self, model: StoredModel) -> Row:
        made = file_row(self._desk.texts, model)
        return made.key, made.title, made.sub, "", made.tone, made.words

    def _on_no_look(self, message: Message) -> None:
        if not self._ended():
            put(self.total, "")
            self.bar.say("problem", message, "bad")

    def _ended(self) -> bool:
        """True if another look was wanted meanwhile, which has begun then."""
        self.looking = False
        self.refresh.setEnabled(True)
        again, self._again = self._again, None
        if again is not None:
            self.look(start=again)
        return again is not None

    # --- one of them ----------------------------------------------------------------------------------------------

    @property
    def model(self) -> StoredModel | None:
        """The one that is chosen."""
        return self._models.get(self.list.current())

    @Slot(str)
    def _on_chosen(self, _key: str) -> None:
        self.bar.drop("remove", "kept")
        self._show_pane()

    def _show_pane(self) -> None:
        model = self.model
        old, self._content = self._content, QWidget()
        if old is not None:
            self._pane.removeWidget(old)
            old.hide()
            old.deleteLater()
        box = QVBoxLayout(self._content)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(UNIT)
        if model is None:
            known = self.list.count() > 0 or self.looking or bool(self.asleep.about)
            if not known:
                box.addWidget(label(self._text("ui.files.none.title"), "title", wrap=True))
            if not self._models and not self.looking:
                box.addWidget(label(self._text("ui.files.none.text"), "muted", wrap=True))
        else:
            self._fill(box, model)
        self._pane.insertWidget(0, self._content)
        whole = model is not None and model.condition is Condition.WHOLE
        own = model is not None and model.removable
        self.start_here.setVisible(model is None)
        self.profile.setVisible(own)
        self.profile.setEnabled(whole and model is not None and not is_projector(model.path))
        self.copy_button.setVisible(model is not None and model.place is Place.OLLAMA)
        self.copy_button.setEnabled(whole)
        self.remove.setVisible(own)

    def _fill(self, box: QVBoxLayout, model: StoredModel) -> None:
        texts = self._desk.texts
        box.addWidget(label(file_row(texts, model).title, "title", wrap=True))
        if words := condition_words(texts, model):
            said = label(words, wrap=True, selectable=True)
            set_property(said, "tone", "warn" if model.condition is Condition.PARTIAL else "bad")
            box.addWidget(said)
        if not model.removable:
            box.addWidget(label(self._text(f"ui.files.foreign.{model.place.value}"), "muted", wrap=True))
        card = Card()
        grid = QGridLayout()
        grid.setHorizontalSpacing(2 * UNIT)
        for line, (name, value) in enumerate(file_facts(texts, model)):
            grid.addWidget(label(name, "muted"), line, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(value_label(value), line, 1)
        grid.setColumnStretch(1, 1)
        card.body.addLayout(grid)
        box.addWidget(card)

    @Slot()
    def _on_profile(self) -> None:
        if self.model is not None:
            self.make_profile.emit(profile_of_files(self.model))

    @Slot()
    def _on_copy(self) -> None:
        if self.model is not None:
            self.copy.emit(self.model.id)

    # --- deleting -------------------------------------------------------------------------------------------------

    @Slot()
    def _on_remove(self) -> None:
        """The first step: what would be gone."""
        model = self.model
        if model is None:
            return
        self.remove.setEnabled(False)
        in_background(self._desk, self._bridge, lambda: self._desk.models.plan_removal(model), self._ask, self._on_kept)

    def _ask(self, planned: PlannedRemoval) -> None:
        self.remove.setEnabled(True)
        self.bar.say(
            "remove",
            removal_words(self._desk.texts, planned),
            "warn",
            (self._text("ui.files.remove.yes"), "", partial(self._delete, planned)),
            (self._text("ui.files.remove.no"), "primary", lambda: self.bar.drop()),
        )
        self.bar.answers[-1].setFocus()

    def _delete(self, planned: PlannedRemoval) -> None:
        """The second step: exactly that."""
        self.bar.say("removing", Message(self._text("ui.files.remove.busy", name=planned.model.id), ""), "warn")
        self.remove.setEnabled(False)
        in_background(
            self._desk, self._bridge, lambda: self._desk.models.remove(planned), self._on_removed, self._on_kept
        )

    def _on_removed(self, freed_bytes: int) -> None:
        self.remove.setEnabled(True)
        message = Message(self._text("ui.files.remove.done", size=format_size(freed_bytes)), "")
        self.bar.say("removed", message, "good")
        self.look(start=True)  # the deletion has started the distro if it did not run

    def _on_kept(self, message: Message) -> None:
        self.remove.setEnabled(True)
        self.bar.say("kept", message, "bad")

    def _text(self, key: str, **params: str | int) -> str:
        return self._desk.texts.text(key, **params)
