"""A profile editor in a real shell, and what a person does with it, for the tests of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from kotaro_bridge.ui.dialogs.profile_editor import ProfileEditor
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.widgets.profile_inputs import LineInput
from tests.ui.fake_desk import Q14, FakeWorld
from tests.ui.fake_profiles import FakeProfiles

LEFT = Qt.MouseButton.LeftButton


class Editing:
    """The window, its files, and the hands of a person."""

    def __init__(
        self,
        opened: Callable[..., tuple[FakeWorld, Shell]],
        qtbot: QtBot,
        profile_id: str | None = Q14.id,
        prepare: Callable[[FakeProfiles], None] = lambda _: None,
        **world: object,
    ) -> None:
        self.qtbot = qtbot
        self.world, self.shell = opened(**world)
        self.world.telemetry.fill(5)
        self.profiles: FakeProfiles = self.world.profiles
        prepare(self.profiles)
        self.shell.editors.new() if profile_id is None else self.shell.editors.edit(profile_id)
        self.window = self.shown()

    def shown(self, number: int = 0) -> ProfileEditor:
        """An editor, once it is open and its model was read."""
        windows = self.shell.editors.windows
        self.qtbot.waitUntil(lambda: len(windows) > number)
        self.qtbot.waitUntil(windows[number].isActiveWindow)
        self.qtbot.waitUntil(lambda: not windows[number].plans.reading or not self.profiles.hold.is_set())
        return windows[number]

    def file(self, profile_id: str = Q14.id) -> Path:
        """The profile's file."""
        return self.profiles.files.file(profile_id)

    def type(self, key: str, text: str) -> None:
        """Type into a field, in place of what stands there."""
        row = self.window.fields.rows[key].input
        field = row.field if isinstance(row, LineInput) else row.stops[-1]
        field.setFocus()
        QTest.keyClick(field, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
        QTest.keyClicks(field, text) if text else QTest.keyClick(field, Qt.Key.Key_Delete)

    def text(self, key: str) -> str:
        """What stands in a field."""
        return self.window.fields.rows[key].input.text()

    def wrong(self, key: str) -> str:
        """What is said to be wrong beside a field."""
        row = self.window.fields.rows[key]
        return row.wrong.text() if row.wrong.isVisibleTo(self.window) else ""

    def click(self, widget: QWidget) -> None:
        """Press a button with the mouse."""
        assert widget.isVisibleTo(self.window)
        assert widget.isEnabled()
        QTest.mouseClick(widget, LEFT)

    def answer(self, place: int) -> None:
        """Press one of the answers over the fields."""
        self.click(self.window.bar.answers[place])

    def save(self) -> None:
        """Press Save and wait for its end."""
        self.click(self.window.save_button)
        self.qtbot.waitUntil(lambda: not self.window.saving)

    def settled(self) -> None:
        """Wait until nothing is read and nothing is on its way to the window."""
        self.qtbot.waitUntil(lambda: not self.window.plans.reading)
        self.world.join()
        QApplication.processEvents()

    def labels(self) -> list[str]:
        """Everything that is written in the window."""
        found = self.window.findChildren(QLabel)
        return [each.text() for each in found if each.isVisibleTo(self.window) and each.text()]
