"""Pages that scroll: the focus is always seen, and the wheel changes nothing on its way."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from kotaro_bridge.ui.widgets.basics import in_scroll
from tests.ui.conftest import Opener
from tests.ui.fake_desk import Q14
from tests.ui.models_window import Library
from tests.ui.test_app_settings import Opened


class Page:
    """A window with buttons that scroll and one that does not."""

    def __init__(self, qtbot: QtBot) -> None:
        content = QWidget()
        box = QVBoxLayout(content)
        self.parts = [QPushButton(f"{number}") for number in range(30)]
        for part in self.parts:
            box.addWidget(part)
        self.name = QLabel("&Last")
        self.name.setBuddy(self.parts[-1])
        box.addWidget(self.name)
        self.window = QWidget()
        self.area = in_scroll(content)
        self.outside = QPushButton("outside")
        whole = QVBoxLayout(self.window)
        whole.addWidget(self.area)
        whole.addWidget(self.outside)
        self.window.resize(300, 200)
        self.window.show()
        qtbot.addWidget(self.window)
        self.window.activateWindow()
        qtbot.waitUntil(self.window.isActiveWindow)

    def sees(self, part: QWidget) -> bool:
        return not part.visibleRegion().isEmpty()

    def to_the_end(self) -> None:
        bar = self.area.verticalScrollBar()
        bar.setValue(bar.maximum())


@pytest.fixture
def page(qtbot: QtBot) -> Page:
    return Page(qtbot)


def test_what_tab_reaches_from_outside_is_seen(page: Page) -> None:
    page.to_the_end()
    page.outside.setFocus()
    QTest.keyClick(page.outside, Qt.Key.Key_Tab)
    assert page.parts[0].hasFocus()
    assert page.sees(page.parts[0])
    QTest.keyClick(page.parts[0], Qt.Key.Key_Tab, Qt.KeyboardModifier.ShiftModifier)
    assert page.outside.hasFocus()
    page.area.verticalScrollBar().setValue(0)
    QTest.keyClick(page.outside, Qt.Key.Key_Tab, Qt.KeyboardModifier.ShiftModifier)
    assert page.parts[-1].hasFocus()
    assert page.sees(page.parts[-1])


def test_what_a_letter_with_alt_leads_to_is_seen(page: Page) -> None:
    page.parts[0].setFocus()
    QTest.keyClick(page.window, Qt.Key.Key_L, Qt.KeyboardModifier.AltModifier)
    assert page.parts[-1].hasFocus()
    assert page.sees(page.parts[-1])


def test_a_page_stays_where_it_was_for_somebody_who_comes_back(page: Page, qtbot: QtBot) -> None:
    page.parts[0].setFocus()
    page.to_the_end()
    other = QWidget()
    qtbot.addWidget(other)
    other.show()
    other.activateWindow()
    qtbot.waitUntil(other.isActiveWindow)
    page.window.activateWindow()
    qtbot.waitUntil(page.parts[0].hasFocus)
    assert not page.sees(page.parts[0])


def test_a_click_on_what_is_seen_in_part_does_not_move_it_away(page: Page) -> None:
    page.parts[0].setFocus()
    bar = page.area.verticalScrollBar()
    bar.setValue(page.parts[2].y() + page.parts[2].height() // 2)
    before, clicked = bar.value(), []
    page.parts[2].clicked.connect(lambda: clicked.append(True))
    QTest.mouseClick(page.parts[2], Qt.MouseButton.LeftButton, pos=QPoint(9, page.parts[2].height() - 2))
    assert (bar.value(), clicked) == (before, [True])


def wheel(part: QWidget) -> None:
    """One notch down over a part."""
    at = QPointF(part.rect().center())
    up_to = QPointF(part.mapToGlobal(part.rect().center()))
    nothing, no_key = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    turned = QWheelEvent(at, up_to, QPoint(), QPoint(0, -120), nothing, no_key, Qt.ScrollPhase.NoScrollPhase, False)
    QApplication.sendEvent(part, turned)


def test_the_wheel_turns_no_value_while_a_page_is_scrolled(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.telemetry.fill(5)
    one = Opened(world, shell, qtbot)
    library = Library(world, shell, qtbot).looked()
    library.row("qwen2.5-14b-instruct-q4_k_m")
    plan = library.window.fit.details.plan
    assert plan is not None
    shell.editors.edit(Q14.id)
    one.settle()
    (editor,) = shell.editors.windows
    sliders = (editor.fields.context.slider, plan.slider)
    before = [slider.value() for slider in sliders]
    for part in (*one.window.boxes.values(), *sliders):
        part.setFocus()
        wheel(part)
    one.settle()
    assert [box.currentIndex() for box in one.window.boxes.values()] == [0, 0]
    assert world.settings.opened.settings.theme == ""
    assert [slider.value() for slider in sliders] == before
