"""Which program this is, and what helps when something goes wrong: diagnostics and the folder of the logs."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QStandardPaths, QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog

from kotaro_bridge.texts import Message, Texts
from kotaro_bridge.ui.background import in_background
from kotaro_bridge.ui.bridge import Bridge
from kotaro_bridge.ui.desk import About, Desk
from kotaro_bridge.ui.widgets.basics import Card, button, label, put, row, set_property

ZIP_NAME = "kotaro-bridge-diagnostics.zip"


def build_words(texts: Texts, about: About) -> str:
    """Which build this is; a build for tests says so."""
    if not about.commit:
        return texts.text("ui.app.from_source")
    key = "ui.app.official" if about.official else "ui.app.test_build"
    return texts.text(key, commit=about.commit, made_with=about.made_with)


class HelpCard(Card):
    """Saves diagnostics where a person wants them, in the background."""

    def __init__(self, desk: Desk, bridge: Bridge) -> None:
        super().__init__()
        self._desk = desk
        self._bridge = bridge
        self._saved = Path()
        text = desk.texts.text
        self.save = button(text("ui.app.save_diagnostics"))
        self.logs = button(text("ui.app.logs"), "quiet")
        self.state = label("", wrap=True, selectable=True)
        self.show_saved = button(text("ui.app.show_folder"), "quiet")
        self.body.addWidget(label(text("ui.app.help"), "head"))
        self.body.addWidget(label(text("ui.app.help_about"), "muted", wrap=True))
        self.body.addLayout(row(self.save, self.logs, 1))
        line = row(self.state, self.show_saved)
        line.setStretch(0, 1)
        self.body.addLayout(line)
        self.state.hide()
        self.show_saved.hide()
        self.save.clicked.connect(self.ask)
        self.logs.clicked.connect(lambda: open_folder(desk.about.logs))
        self.show_saved.clicked.connect(lambda: open_folder(self._saved.parent))

    @Slot()
    def ask(self) -> None:
        """Ask where the diagnostics go, and write them."""
        text = self._desk.texts.text
        folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DesktopLocation)
        title = text("ui.app.save_diagnostics").replace("&", "")
        chosen, _ = QFileDialog.getSaveFileName(self, title, str(Path(folder) / ZIP_NAME), text("ui.app.zip_kind"))
        if chosen:
            self.write(Path(chosen))

    def write(self, path: Path) -> None:
        """Write the diagnostics."""
        self.save.setEnabled(False)
        self._show(self._desk.texts.text("ui.app.saving_diagnostics"), "")
        diagnostics = self._desk.diagnostics
        in_background(self._desk, self._bridge, lambda: diagnostics.write(path), self._on_saved, self._on_failed)

    def _on_saved(self, path: Path) -> None:
        self._saved = path
        self._show(self._desk.texts.text("ui.app.saved_diagnostics", path=str(path)), "good")
        self.show_saved.show()
        self.save.setEnabled(True)

    def _on_failed(self, message: Message) -> None:
        self._show(f"{message.what} {message.do}".strip(), "bad")
        self.save.setEnabled(True)

    def _show(self, words: str, tone: str) -> None:
        put(self.state, words)
        set_property(self.state, "tone", tone)
        self.state.show()
        self.show_saved.hide()


class AboutCard(Card):
    """Version, build and licences."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(spacing=4)
        text = desk.texts.text
        self.build = label(build_words(desk.texts, desk.about), "muted", wrap=True)
        self.licences = button(text("ui.app.licences"), "quiet")
        self.licences.clicked.connect(lambda: open_folder(desk.about.licences))
        self.body.addWidget(label(text("ui.app.about"), "head"))
        self.body.addWidget(label(f"Kotaro Bridge {desk.version}", "strong", selectable=True))
        self.body.addWidget(self.build)
        self.body.addWidget(label(text("ui.app.promise"), wrap=True))
        self.body.addWidget(label(text("ui.app.licence"), "muted", wrap=True))
        self.body.addLayout(row(self.licences, 1))


def open_folder(path: Path) -> None:
    """Show a folder, or a file, with what the system has for it."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
