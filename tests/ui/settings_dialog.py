"""A settings dialog on a real file, for the tests of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from kotaro_bridge.host.wslconfig_file import WslConfigFile
from kotaro_bridge.ui.dialogs.wslconfig import WslConfigDialog
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.widgets.setting_inputs import ChoiceInput, SizeInput, SwitchInput, TextInput
from kotaro_bridge.ui.widgets.setting_row import SettingRow
from tests.ui.fake_desk import FakeWorld

USUAL = b"# mine\r\n[wsl2]\r\nmemory=8GB # enough\r\nswap=8gb\r\n\r\n[experimental]\r\nautoMemoryReclaim=gradual\r\n"
LEFT = Qt.MouseButton.LeftButton
Make = Callable[..., "Settings"]
"""Opens a dialog on a file of these bytes, `USUAL` without any."""


class Settings:
    """The dialog, its file, and what a person does with both."""

    def __init__(
        self,
        opened: Callable[..., tuple[FakeWorld, Shell]],
        qtbot: QtBot,
        folder: Path,
        data: bytes | None = USUAL,
        **world: object,
    ) -> None:
        self.qtbot = qtbot
        self.path = folder / "home" / ".wslconfig"
        self.path.parent.mkdir(exist_ok=True)
        if data is not None:
            self.path.write_bytes(data)
        self.world: FakeWorld
        self.shell: Shell
        self.world, self.shell = opened(**world)
        self.world.wslconfig.use(WslConfigFile(self.path, folder / "backups"))
        self.shell.tray.wslconfig.trigger()
        assert self.shell.settings is not None
        self.dialog: WslConfigDialog = self.shell.settings
        qtbot.waitUntil(self.dialog.isActiveWindow)

    @property
    def data(self) -> bytes:
        """The file now."""
        return self.path.read_bytes()

    def row(self, key: str) -> SettingRow:
        """A field of the form; made if it is not there yet."""
        self.dialog.edit.form.show_key(key)
        return self.dialog.edit.form.rows[key]

    def type(self, key: str, text: str) -> SettingRow:
        """Type into a field, in place of what stands there, and leave it with Enter."""
        row = self.row(key)
        assert isinstance(row.input, SizeInput | TextInput)
        row.input.field.selectAll()
        QTest.keyClicks(row.input.field, text) if text else self.press(row.input.field, Qt.Key.Key_Delete)
        self.press(row.input.field, Qt.Key.Key_Return)
        return row

    def switch(self, key: str, word: str) -> None:
        """Press one of the buttons of a switch."""
        part = self.row(key).input
        assert isinstance(part, SwitchInput)
        self.click(part.buttons[word])

    def choose(self, key: str, word: str) -> None:
        """Choose a word of a list with the arrow keys; "" for the default, which is the first."""
        part = self.row(key).input
        assert isinstance(part, ChoiceInput)
        self.press(part.field, Qt.Key.Key_Home)
        while part.text() != word:
            self.press(part.field, Qt.Key.Key_Down)

    def write(self, line: int, text: str) -> None:
        """Put the text view's cursor at the beginning of a line and type there."""
        self.dialog.edit.tabs.setCurrentIndex(1)
        raw = self.dialog.edit.raw
        raw.show_line(line)
        QTest.keyClicks(raw, text)

    def text_settles(self) -> None:
        """Wait for the pause after which typed text counts."""
        edit = self.dialog.edit
        self.qtbot.waitUntil(lambda: edit.raw.shown_text() == edit._raw_shown)

    def click(self, widget: QWidget) -> None:
        """Press a button with the mouse."""
        assert widget.isVisibleTo(self.dialog)
        assert widget.isEnabled()
        QTest.mouseClick(widget, LEFT)

    def press(self, widget: QWidget, key: Qt.Key, control: bool = False) -> None:
        """Press a key."""
        modifier = Qt.KeyboardModifier.ControlModifier if control else Qt.KeyboardModifier.NoModifier
        QTest.keyClick(widget, key, modifier)

    def save(self) -> None:
        """Both steps of a save."""
        self.click(self.dialog.save_button)
        self.confirm()

    def confirm(self) -> None:
        """The second step of a save, to its end."""
        self.click(self.dialog.review_page.save_button)
        self.qtbot.waitUntil(lambda: not self.dialog.saving)

    @property
    def on_edit(self) -> bool:
        """True on the first page."""
        return self.dialog.pages.currentIndex() == 0

    def labels(self) -> list[str]:
        """Everything that is written on the page."""
        QApplication.processEvents()  # what was put into a layout just now is shown in the next round
        found = self.dialog.findChildren(QLabel)
        return [each.text() for each in found if each.isVisibleTo(self.dialog) and each.text()]
