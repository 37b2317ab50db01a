"""The page "What fits": the catalogue ranked for the card, any other model by its name, and one of them in detail.

Owns what is chosen and filtered. What fits is the domain's; files and downloads are the window's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QTimer, Signal, Slot
from PySide6.QtWidgets import QButtonGroup, QComboBox, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.model.catalogue_files import profile_of, request_for_download
from kotaro_bridge.domain.model.download import RESTING, DownloadView
from kotaro_bridge.domain.model.model_files import Condition, StoredModel
from kotaro_bridge.domain.planning.advice import NAMES
from kotaro_bridge.domain.planning.catalogue_rank import Fit, Use
from kotaro_bridge.domain.units import format_gib
from kotaro_bridge.service.card_sight import CardSight
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models import models as words
from kotaro_bridge.ui.widgets.basics import button, label, put, row
from kotaro_bridge.ui.widgets.entry_details import Details, open_page
from kotaro_bridge.ui.widgets.entry_list import EntryList, Row
from kotaro_bridge.ui.widgets.notice_bar import NoticeBar
from kotaro_bridge.ui.widgets.plan_card import PlanCard

ADVICE = "?"
"""Id of the row that shows the advice."""
LIST_WIDTH = 372
TYPING_MS = 200
LOOK_AGAIN = 256 << 20
"""Bytes by which free memory has to change for the card to be looked at again."""


class FitPage(QWidget):
    """Emits `download` with a request, `make_profile` with a profile without id, `looked` when the card was read,
    `wake` where a distro is to be started for a look."""

    download = Signal(object)
    make_profile = Signal(object)
    looked = Signal()
    wake = Signal()

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge) -> None:
        super().__init__()
        self._desk = desk
        self._bridge = bridge
        self._entries: tuple[CatalogueEntry, ...] = ()
        self._named: tuple[CatalogueEntry, ...] = ()  # found by the field, the newest first
        self._stored: tuple[StoredModel, ...] = ()
        self._places: dict[str, words.Place] = {}
        self._asked = 0  # questions for any model; the last one counts
        self._looking = False
        self._gpu = 0
        self._shown: object = None
        self.sight: CardSight | None = None
        text = desk.texts.text
        self.uses: dict[Use, QPushButton] = {}
        self.engine = QComboBox()
        self.search = QLineEdit()
        self.field = QLineEdit()
        self.look_up = button(text("ui.library.find"))
        self.said = label("", "small", wrap=True, selectable=True)
        self.list = EntryList(theme, text("ui.library.list"))
        self.details = Details(theme, desk.texts)
        self.asleep = NoticeBar()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(TYPING_MS)
        self._timer.timeout.connect(self.show_list)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, UNIT, 0, 0)
        box.setSpacing(UNIT)
        box.addLayout(self._filters())
        box.addLayout(self._any_model())
        box.addWidget(self.said)
        self.said.hide()
        split = QHBoxLayout()
        split.setSpacing(2 * UNIT)
        self.list.setFixedWidth(LIST_WIDTH)
        split.addWidget(self.list)
        split.addWidget(self.details, 1)
        self.details.after = self.list
        box.addLayout(split, 1)
        box.addWidget(self.asleep)
        self.list.chosen.connect(self._on_chosen)
        self.details.wanted.connect(self.show_entry)
        bridge.sampled.connect(self._on_sample)

    def _filters(self) -> QHBoxLayout:
        text = self._desk.texts.text
        group = QButtonGroup(self)
        line = row(label(text("ui.library.use")), spacing=UNIT // 2)
        for use in Use:
            made = button(text(f"ui.library.uses.{use.value}"), "segment")
            made.setCheckable(True)
            made.setChecked(use is Use.ONE)
            made.setToolTip(text(f"ui.library.uses_tip.{use.value}"))
            made.clicked.connect(self._on_use)
            group.addButton(made)
            self.uses[use] = made
            line.addWidget(made)
        self.engine.addItem(text("ui.library.all_engines"), None)
        for engine in Engine:
            self.engine.addItem(NAMES[engine], engine)
        self.engine.setAccessibleName(text("catalogue.column.engine"))
        self.engine.currentIndexChanged.connect(self.show_list)
        self.search.setPlaceholderText(text("ui.library.search"))
        self.search.setAccessibleName(text("ui.library.search"))
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(lambda: self._timer.start())
        self.search.setFixedWidth(160)
        line.addStretch(1)
        line.addWidget(self.engine)
        line.addWidget(self.search)
        return line

    def _any_model(self) -> QHBoxLayout:
        text = self._desk.texts.text
        self.field.setPlaceholderText(text("ui.library.any_hint"))
        self.field.setAccessibleName(text("ui.library.any"))
        self.field.returnPressed.connect(self.resolve)
        self.look_up.clicked.connect(self.resolve)
        name = label(text("ui.library.any"))
        name.setBuddy(self.field)
        line = row(name, self.field, self.look_up)
        line.setStretch(1, 1)
        return line

    @property
    def use(self) -> Use:
        """What the model is for."""
        return next(use for use, each in self.uses.items() if each.isChecked())

    # --- what is known --------------------------------------------------------------------------------------------

    @Slot()
    def look(self) -> None:
        """Read catalogue and card in the background; what is shown stays until then."""
        if self._looking:
            return
        self._looking = True
        if self.sight is None:
            self.details.show_message(self._text("ui.library.looking"), "")
        models, gpu = self._desk.models, self._gpu
        in_background(
            self._desk, self._bridge, lambda: (models.entries(), models.card(gpu)), self._on_look, self._on_no_look
        )

    def choose_card(self, index: int) -> None:
        """Rank for another card."""
        self._gpu = index
        self.look()

    def _on_look(self, found: tuple[tuple[CatalogueEntry, ...], CardSight]) -> None:
        self._looking = False
        self._entries, self.sight = found
        self._shown = None
        self.show_list()
        self.looked.emit()

    def _on_no_look(self, message: Message) -> None:
        self._looking = False
        self.sight = None
        self._shown = None
        self.list.show_rows(())
        self.details.show_message(message.what, message.do, ("again", self._text("ui.library.again"), self.look))
        self.looked.emit()

    @Slot(object)
    def _on_sample(self, _sample: object) -> None:
        """A card that was filled or freed is looked at again."""
        sample = self._desk.telemetry.latest()
        sight = self.sight
        if not self.isVisible() or sample is None or sight is None:
            return
        card = next((each for each in sample.gpus if each.index == sight.index), None)
        if card is not None and card.free is not None and abs(card.free - sight.now.card.free) >= LOOK_AGAIN:
            self.look()

    def show_files(self, stored: tuple[StoredModel, ...], asleep: str = "") -> None:
        """What is on the machine now; `asleep`: that some of it was not looked into, "" if all was."""
        self._stored = stored
        if asleep:
            self.asleep.say("asleep", Message(asleep, ""), "", (self._text("ui.files.wake"), "", self.wake.emit))
        else:
            self.asleep.drop()
        self.show_list()

    @Slot()
    def resolve(self) -> None:
        """Look up what the field says, in the background."""
        name = self.field.text().strip()
        if not name:
            return
        self._asked += 1
        asked = self._asked
        self.look_up.setEnabled(False)
        self._say(self._text("ui.library.resolving", name=name), "")
        in_background(
            self._desk,
            self._bridge,
            lambda: self._desk.models.resolve(name),
            partial(self._on_resolved, asked),
            partial(self._on_unresolved, asked),
        )

    def _on_resolved(self, asked: int, entry: CatalogueEntry) -> None:
        if asked != self._asked:
            return
        self.look_up.setEnabled(True)
        self.said.hide()
        self._named = (entry, *(each for each in self._named if each.id != entry.id))
        self.show_list()
        self.show_entry(entry.id)

    def _on_unresolved(self, asked: int, message: Message) -> None:
        if asked == self._asked:
            self.look_up.setEnabled(True)
            self._say(f"{message.what} {message.do}".strip(), "bad")

    def _say(self, sentence: str, tone: str) -> None:
        put(self.said, sentence)
        self.said.setProperty("tone", tone)
        self.said.style().polish(self.said)
        self.said.show()

    # --- the list -------------------------------------------------------------------------------------------------

    @Slot()
    def show_list(self) -> None:
        """Rank again and show what the filters let through."""
        if self.sight is None:
            return
        sight, use, texts = self.sight, self.use, self._desk.texts
        ranked = words.places(self._entries, sight, use, self._stored)
        named = tuple(words.place_of(entry, sight, use, self._stored) for entry in self._named)
        found = words.matching(ranked, self.engine.currentData(), self.search.text())
        self._places = {place.entry.id: place for place in (*named, *ranked)}
        title, sub = texts.text("ui.library.advice"), texts.text("ui.library.advice_sub")
        rows: list[Row] = [(ADVICE, title, sub, "", "hint", f"{title}, {sub}")]
        if named:
            rows += [_heading(texts.text("ui.library.named")), *(self._row(place) for place in named)]
        for fit in Fit:
            group = [place for place in found if place.ranked.fit is fit]
            if group:
                rows += [_heading(texts.text(f"ui.library.groups.{fit.value}", count=len(group)))]
                rows += [self._row(place) for place in group]
        if not found:
            rows += [_heading(texts.text("ui.library.no_match"))]
        self.list.show_rows(rows, self.list.current() or ADVICE)
        self._show_details()

    def _row(self, place: words.Place) -> Row:
        made = words.entry_row(self._desk.texts, place)
        return made.id, made.title, made.sub, made.here, words.TONES[made.fit], made.words

    @Slot()
    def _on_use(self) -> None:
        self.show_list()

    @Slot(str)
    def _on_chosen(self, _entry_id: str) -> None:
        self._show_details()

    @Slot(str)
    def show_entry(self, entry_id: str) -> None:
        """Choose a model; filters that hide it are taken off."""
        if not self.list.select(entry_id):
            self.search.clear()
            self.engine.setCurrentIndex(0)
            self._timer.stop()
            self.show_list()
            self.list.select(entry_id)

    # --- the pane -------------------------------------------------------------------------------------------------

    def transfers_changed(self) -> None:
        """A download began, ended or stopped: what a button offers may be another thing now."""
        self._show_details()

    def _show_details(self) -> None:
        sight = self.sight
        if sight is None:
            return
        current = self.list.current()
        place = self._places.get(current)
        transfer = self._transfer(place.entry) if place is not None else None
        state = transfer.state if transfer is not None and transfer.state in RESTING else transfer is not None
        key = (current, self.use, sight, place and place.stored and (place.stored.path, place.stored.condition), state)
        if key == self._shown:
            return
        before, self._shown = self._shown, key
        if place is None:
            self.details.show_advice(words.advice_words(self._desk.texts, self._entries, sight, self.use))
            return
        kept = self.details.plan.context if self.details.plan is not None and _same_model(before, key) else None
        self._show_model(place, sight, transfer, kept)

    def _show_model(
        self, place: words.Place, sight: CardSight, transfer: DownloadView | None, context: int | None
    ) -> None:
        texts, entry, use = self._desk.texts, place.entry, self.use
        about = texts.text(f"catalogue.about.{entry.about.value}") if entry.about else ""

        def fill(card: PlanCard) -> None:
            card.show_plan(
                lambda tokens: words.plan_words(texts, entry, sight, use, tokens),
                words.context_limit(entry),
                context or words.first_context(place),
                words.parallel_words(texts, use),
            )

        self.details.show_model(
            entry.name,
            about,
            tuple(words.fact_rows(texts, place)),
            words.engine_reason(texts, entry),
            words.against_words(texts, self._entries, place, sight, use),
            tuple(self._actions(place, transfer)),
            "" if entry.shape_measured or not entry.source else texts.text("catalogue.unmeasured"),
            fill,
        )

    def _actions(
        self, place: words.Place, transfer: DownloadView | None
    ) -> list[tuple[str, str, str, Callable[[], None] | None]]:
        entry, stored = place.entry, place.stored
        found: list[tuple[str, str, str, Callable[[], None] | None]] = []
        kind = "" if place.ranked.fit is Fit.NO else "primary"
        if stored is not None and stored.condition is Condition.WHOLE:
            make = partial(self._make_profile, place, stored)
            found.append(("profile", self._text("ui.library.make_profile"), kind, make))
        elif transfer is not None and transfer.state not in RESTING:
            found.append(("download", self._text("ui.library.downloading"), "", None))
        elif entry.repository:
            partly = stored.condition is Condition.PARTIAL if stored is not None else transfer is not None
            caption = "ui.library.go_on" if partly else "ui.library.download"
            size = format_gib(entry.download_bytes)
            found.append(("download", self._text(caption, size=size), kind, partial(self._download, entry)))
        if entry.repository:
            found.append(("page", self._text("ui.library.page"), "quiet", partial(open_page, entry.repository)))
        return found

    def _download(self, entry: CatalogueEntry) -> None:
        request = request_for_download(entry, self._desk.models.default_target)
        if request is not None:
            self.download.emit(request)

    def _make_profile(self, place: words.Place, stored: StoredModel) -> None:
        context = self.details.plan.context if self.details.plan is not None else words.first_context(place)
        self.make_profile.emit(profile_of(place.entry, stored, words.request_of(place.entry, self.use, context)))

    def _transfer(self, entry: CatalogueEntry) -> DownloadView | None:
        wanted = request_for_download(entry, "")
        if wanted is None:
            return None
        views = self._desk.models.transfers()
        return next((v for v in views if (v.request.repo, v.request.files) == (wanted.repo, wanted.files)), None)

    def _text(self, key: str, **params: str | int) -> str:
        return self._desk.texts.text(key, **params)


def _heading(text: str) -> Row:
    return ("", text, "", "", "", "")


def _same_model(before: object, after: tuple[object, ...]) -> bool:
    return isinstance(before, tuple) and before[0] == after[0]
