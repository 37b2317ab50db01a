"""The window of the models, and what a person does with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QListWidget, QWidget
from pytestqt.qtbot import QtBot

from kotaro_bridge.ui.dialogs.models import ModelsWindow
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.widgets.entry_list import ID
from tests.ui.fake_desk import FakeWorld
from tests.ui.fake_models import FakeModels

LEFT = Qt.MouseButton.LeftButton


class Library:
    """An open window of the models, its world, and what a person does with both."""

    def __init__(self, world: FakeWorld, shell: Shell, qtbot: QtBot) -> None:
        self.world = world
        self.shell = shell
        self.qtbot = qtbot
        self.models: FakeModels = world.models
        shell.tray.models.trigger()
        assert shell.models is not None
        self.window: ModelsWindow = shell.models
        qtbot.waitUntil(self.window.isActiveWindow)

    def wait(self, holds: Callable[[], bool]) -> None:
        """Until something holds."""
        self.qtbot.waitUntil(holds, timeout=30_000)

    def looked(self) -> Self:
        """Wait until card and disks were read."""
        self.wait(lambda: self.window.fit.sight is not None and not self.window.files.looking)
        return self

    def click(self, widget: QWidget) -> None:
        """Press with the mouse what can be seen and pressed."""
        assert widget.isVisibleTo(self.window)
        assert widget.isEnabled()
        QTest.mouseClick(widget, LEFT)

    def press(self, key: Qt.Key, widget: QWidget | None = None) -> None:
        """Press a key in the widget that has the focus."""
        target = widget or self.window.focusWidget()
        assert target is not None
        QTest.keyClick(target, key)

    def row(self, row_id: str, rows: QListWidget | None = None) -> None:
        """Click a row of a list."""
        rows = rows or self.window.fit.list
        item = next(rows.item(n) for n in range(rows.count()) if rows.item(n).data(ID) == row_id)
        rows.scrollToItem(item)
        QTest.mouseClick(rows.viewport(), LEFT, pos=rows.visualItemRect(item).center() - QPoint(60, 0))

    def ids(self) -> list[str]:
        """Ids of the list, headings left out."""
        rows = self.window.fit.list
        return [rows.item(n).data(ID) for n in range(rows.count()) if rows.item(n).data(ID)]

    def tab(self, number: int) -> None:
        """Click a tab."""
        bar = self.window.tabs.tabBar()
        QTest.mouseClick(bar, LEFT, pos=bar.tabRect(number).center())

    def said(self, within: QWidget | None = None) -> str:
        """Everything that is written."""
        QApplication.processEvents()  # what was put into a layout shows a round later
        place = within or self.window
        labels = [part.text() for part in place.findChildren(QLabel) if part.isVisibleTo(place)]
        buttons = [part.text() for part in place.findChildren(QAbstractButton) if part.isVisibleTo(place)]
        return "\n".join((*labels, *buttons)).replace("\u200b", "")

    def choice(self, name: str) -> QAbstractButton:
        """A button of the pane."""
        return self.window.fit.details.choices[name]
