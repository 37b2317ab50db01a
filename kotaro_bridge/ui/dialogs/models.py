"""The window of the models: what fits this card, what is on the machine, the token, and everything on its way.

Owns what leads from a model to a download to a profile. Downloads go on when it is closed.
"""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QCloseEvent, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QComboBox, QTabWidget, QVBoxLayout, QWidget

from kotaro_bridge.domain.model.download import RESTING, DownloadRequest, DownloadState, DownloadView
from kotaro_bridge.domain.model.model_files import StoredModel
from kotaro_bridge.domain.units import format_size
from kotaro_bridge.texts import Message
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import Desk
from kotaro_bridge.ui.dialogs.models_files import FilesPage
from kotaro_bridge.ui.dialogs.models_fit import FitPage
from kotaro_bridge.ui.dialogs.models_token import TokenPage
from kotaro_bridge.ui.dialogs.wslconfig_window import SettingsWindow
from kotaro_bridge.ui.theme import UNIT, Theme
from kotaro_bridge.ui.view_models.models import card_line, closable_line
from kotaro_bridge.ui.view_models.status import simulated_words
from kotaro_bridge.ui.view_models.transfers import transfer_name, transfer_row
from kotaro_bridge.ui.widgets.basics import Elided, button, chip, label, put, row
from kotaro_bridge.ui.widgets.notice_bar import NoticeBar
from kotaro_bridge.ui.widgets.transfer_panel import TransferPanel

QUITTING = "quitting"


class ModelsWindow(SettingsWindow):
    """Emits `profile_wanted` with a profile that has no id yet, `quit_wanted` where a person quits all the same."""

    profile_wanted = Signal(object)
    quit_wanted = Signal()

    def __init__(self, desk: Desk, theme: Theme, bridge: Bridge) -> None:
        super().__init__(theme, desk.texts.text("ui.library.title"))
        self.models = desk.models
        self._desk = desk
        self._bridge = bridge
        self._states: dict[str, DownloadState] = {}
        self._asked_about = ""
        text = desk.texts.text
        self.bar = NoticeBar()
        self.card = Elided("", "muted")
        self.closable = Elided("", "small")
        self.cards = QComboBox()
        self.cards.setAccessibleName(text("ui.library.card"))
        self.cards.hide()
        self.close_button = button(text("ui.close"))
        self.fit = FitPage(desk, theme, bridge)
        self.files = FilesPage(desk, theme, bridge)
        self.token = TokenPage(desk, bridge)
        self.tabs = QTabWidget()
        for page, name in ((self.fit, "fit"), (self.files, "files"), (self.token, "token")):
            self.tabs.addTab(page, text(f"ui.library.tabs.{name}"))
        self.panel = TransferPanel(desk.texts)
        box = QVBoxLayout(self)
        box.setContentsMargins(3 * UNIT, 2 * UNIT, 3 * UNIT, 2 * UNIT)
        box.setSpacing(UNIT)
        box.addWidget(self.bar)
        box.addLayout(self._head())
        box.addWidget(self.tabs, 1)
        box.addWidget(self.panel)
        foot = row(self.closable, self.close_button)
        foot.setStretch(0, 1)
        box.addLayout(foot)
        self._connect()

    def _head(self) -> QVBoxLayout:
        line = row(label(self._desk.texts.text("ui.library.heading"), "title"), self.card, self.cards)
        line.setStretch(1, 1)
        if self._desk.simulated is not None:
            line.addWidget(chip(simulated_words(self._desk.texts, self._desk.simulated)))
        head = QVBoxLayout()
        head.addLayout(line)
        return head

    def _connect(self) -> None:
        self.close_button.clicked.connect(self.close)
        self.tabs.currentChanged.connect(self._on_tab)
        self.cards.currentIndexChanged.connect(self.fit.choose_card)
        self.fit.looked.connect(self._show_card)
        self.fit.download.connect(self.download)
        self.fit.make_profile.connect(self.profile_wanted)
        self.fit.wake.connect(lambda: self.files.look(start=True))
        self.files.found.connect(self._on_files)
        self.files.make_profile.connect(self.profile_wanted)
        self.files.copy.connect(self._on_copy)
        self.files.wanted.connect(lambda: self.tabs.setCurrentWidget(self.fit))
        self.panel.paused.connect(self._on_pause)
        self.panel.resumed.connect(self._desk.models.resume)
        self.panel.cancelled.connect(self._on_cancel)
        self.panel.dropped.connect(self._on_drop)
        self._bridge.transferred.connect(self._on_transfer)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self, self._on_find)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Refresh), self, self.look)

    @Slot()
    def look(self) -> None:
        """Read the card and the disks anew, in the background."""
        self.fit.look()
        self.files.look()
        self._show_transfers()

    @Slot()
    def _show_card(self) -> None:
        sight, texts = self.fit.sight, self._desk.texts
        put(self.card, card_line(texts, sight) if sight is not None else "")
        put(self.closable, closable_line(texts, sight) if sight is not None else "")
        if sight is not None and sight.count > 1 and not self.cards.count():
            self.cards.blockSignals(True)
            self.cards.addItems([texts.text("ui.library.nth_card", index=index) for index in range(sight.count)])
            self.cards.blockSignals(False)
            self.cards.show()

    @Slot(object)
    def _on_files(self, models: tuple[StoredModel, ...]) -> None:
        self.fit.show_files(models, self.files.asleep.what.text() if self.files.asleep.about else "")

    @Slot(int)
    def _on_tab(self, _index: int) -> None:
        if self.tabs.currentWidget() is self.token:
            self.token.look()

    @Slot()
    def _on_find(self) -> None:
        self.tabs.setCurrentWidget(self.fit)
        self.fit.search.setFocus()
        self.fit.search.selectAll()

    # --- what is on its way ---------------------------------------------------------------------------------------

    @Slot(object)
    def download(self, request: DownloadRequest) -> None:
        """Ask for a download; it goes on if the window is closed."""
        models = self._desk.models
        in_background(self._desk, self._bridge, lambda: models.download(request), self._on_asked, self._on_failed)

    def _on_asked(self, _name: str) -> None:
        self.bar.drop("failed")
        self._show_transfers()

    def _on_failed(self, message: Message) -> None:
        self.bar.say("failed", message, "bad", self._dismiss())

    @Slot(str)
    def _on_copy(self, name: str) -> None:
        self._desk.models.import_ollama(name)
        self._show_transfers()

    @Slot(object)
    def _on_transfer(self, view: DownloadView) -> None:
        before, self._states[view.id] = self._states.get(view.id), view.state
        self._show_transfers()
        if before is view.state:
            return
        self.fit.transfers_changed()
        if view.state is DownloadState.DONE:
            self.files.look(start=True)  # it runs: something was just written there
        if view.state in RESTING and self._asked_about == view.id:
            self.bar.drop("cancel")
        if self.bar.about == QUITTING and not self._desk.models.busy():
            self.bar.drop(QUITTING)

    def _show_transfers(self) -> None:
        self.panel.show_rows(tuple(transfer_row(self._desk.texts, view) for view in self._desk.models.transfers()))

    @Slot(str)
    def _on_pause(self, name: str) -> None:
        self._desk.submit(lambda: self._desk.models.pause(name))

    @Slot(str)
    def _on_drop(self, name: str) -> None:
        self._desk.models.drop(name)
        self._states.pop(name, None)
        self._show_transfers()
        self.fit.transfers_changed()

    @Slot(str)
    def _on_cancel(self, name: str) -> None:
        """Nothing that took an hour to come is thrown away by one click."""
        view = next((each for each in self._desk.models.transfers() if each.id == name), None)
        if view is None:
            return
        self._asked_about = name
        shown, text = transfer_row(self._desk.texts, view), self._desk.texts.text
        if shown.is_copy:
            self._on_pause(name)
            return
        if not view.bytes and view.state in RESTING:
            self._on_drop(name)
            return
        what = text("ui.transfer.cancel_what", name=transfer_name(view), size=format_size(view.bytes))
        self.bar.say(
            "cancel",
            Message(what, text("ui.transfer.cancel_do")),
            "warn",
            (text("ui.transfer.cancel_delete"), "", partial(self._cancel, name)),
            (text("ui.transfer.cancel_keep"), "", partial(self._keep, name)),
            (text("ui.transfer.cancel_not"), "primary", lambda: self.bar.drop()),
        )
        self.bar.answers[-1].setFocus()

    def _cancel(self, name: str) -> None:
        self.bar.drop()
        models = self._desk.models
        in_background(self._desk, self._bridge, lambda: models.cancel(name), self._on_cancelled, self._on_failed)

    def _on_cancelled(self, freed_bytes: int) -> None:
        text = self._desk.texts.text
        done = text("ui.files.remove.done", size=format_size(freed_bytes))
        self.bar.say("cancelled", Message(done, ""), "good", self._dismiss())
        self._show_transfers()
        self.fit.transfers_changed()
        self.files.look(start=True)

    def _keep(self, name: str) -> None:
        self.bar.drop()
        self._on_pause(name)

    def _dismiss(self) -> tuple[str, str, partial[None]]:
        return self._desk.texts.text("ui.transfer.drop"), "quiet", partial(self.bar.drop)

    def tell(self, message: Message, tone: str = "good") -> None:
        """A sentence over the page."""
        self.bar.say("told", message, tone, self._dismiss())

    # --- opening, quitting, closing -------------------------------------------------------------------------------

    def ask_quit(self) -> None:
        """What is on its way, and that it is paused by a quit."""
        text = self._desk.texts.text
        self.bar.say(
            QUITTING,
            Message(text("ui.transfer.quit_what"), text("ui.transfer.quit_do")),
            "warn",
            (text("ui.transfer.quit_yes"), "", self.quit_wanted.emit),
            (text("ui.transfer.quit_no"), "primary", lambda: self.bar.drop()),
        )
        self.bar.answers[-1].setFocus()

    @property
    def asked(self) -> bool:
        """True while it is asked whether to quit."""
        return self.isVisible() and self.bar.about == QUITTING

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The panel's height follows its lines, which break in another width."""
        super().resizeEvent(event)
        self.panel.fit()

    def reject(self) -> None:
        """Esc answers a question with no, empties a search, else closes."""
        focused: QWidget | None = self.focusWidget()
        if self.bar.about:
            self.bar.drop()
        elif self.files.bar.about == "remove" and self.tabs.currentWidget() is self.files:
            self.files.bar.drop()
        elif focused in (self.fit.search, self.fit.field) and self._field_text(focused):
            (self.fit.search if focused is self.fit.search else self.fit.field).clear()
        else:
            self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Downloads go on. QDialog's own would ask `reject`, which asks for a close."""
        event.accept()

    def _field_text(self, focused: QWidget | None) -> str:
        return self.fit.search.text() if focused is self.fit.search else self.fit.field.text()

    def take_typed(self, old: ModelsWindow) -> None:
        """Show the page of a window in whose place this one is, with what is typed there."""
        pairs = (
            (self.fit.search, old.fit.search),
            (self.fit.field, old.fit.field),
            (self.token.field, old.token.field),
        )
        for mine, theirs in pairs:
            mine.setText(theirs.text())
        self.tabs.setCurrentIndex(old.tabs.currentIndex())

    def present(self) -> None:
        """Show it, in front, with card and disks as they are now."""
        self.showNormal() if self.isMinimized() else self.show()
        self.raise_()
        self.activateWindow()
        self.fit.list.setFocus()
        self.look()
