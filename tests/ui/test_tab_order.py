"""Tab follows the eye in every window: down, or over to what stands further right, never back up."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtWidgets import QPushButton, QScrollArea, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.settings import LoginStart
from kotaro_bridge.domain.update import Release, UpdateState, UpdateView
from kotaro_bridge.ui.widgets.basics import tab_after
from tests.ui.conftest import Opener
from tests.ui.test_window_sizes import come_back, windows


def stops(window: QWidget) -> Iterator[QWidget]:
    """What Tab stops at in a window, in its order."""
    part = window.nextInFocusChain()
    while part is not None and part is not window:
        shown = part.isVisibleTo(window) and part.isEnabled() and part.window() is window
        if shown and part.focusPolicy() & Qt.FocusPolicy.TabFocus and part.focusProxy() is None:
            yield part
        part = part.nextInFocusChain()


def place(part: QWidget, window: QWidget) -> QRect:
    """Where a part stands; what has to be scrolled to stands at the edge of its page."""
    found = QRect(part.mapTo(window, QPoint(0, 0)), part.size())
    area = part.parentWidget()
    while area is not None and area is not window and not isinstance(area, QScrollArea):
        area = area.parentWidget()
    if isinstance(area, QScrollArea):
        found.moveTop(min(found.top(), area.mapTo(window, QPoint(0, 0)).y() + area.height() - found.height()))
    return found


def jumps_back(window: QWidget) -> Iterator[str]:
    """Stops that stand above the one before, and not to the right of it."""
    before: tuple[QWidget, QRect] | None = None
    for part in stops(window):
        here = place(part, window)
        if before is not None and here.bottom() < before[1].top() and here.left() < before[1].right():
            yield f"{before[0].objectName() or before[0]} -> {part.objectName() or part}"
        before = part, here


def test_tab_follows_the_eye(opened: Opener) -> None:
    world, shell = opened()
    world.settings.login = LoginStart(True, elsewhere="D:\\old.exe")
    world.updates.show(UpdateView(UpdateState.AVAILABLE, "0.1.0", True, Release("0.2.0", "", "", 60 << 20, "0" * 64)))
    faults, seen = [], 0
    for name, window in windows(world, shell):
        faults += [f"{name}: {fault}" for fault in jumps_back(window)]
        seen += 1
    assert faults == []
    assert seen == 12
    editor = shell.editors.windows[0]
    editor.picker.close()
    editor.ask_delete()
    come_back(world)
    delete, keep = editor.bar.answers
    order = list(stops(editor))
    assert order.index(delete) + 1 == order.index(keep) < order.index(editor.fields.rows["title"].input.stops[0])


def test_a_way_back_up_is_found(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    box = QVBoxLayout(window)
    parts = [QPushButton(name) for name in "abc"]
    for part in parts:
        part.setObjectName(part.text())
        box.addWidget(part)
    window.show()
    assert list(jumps_back(window)) == []
    tab_after(parts[0], parts[2], parts[1])
    assert list(jumps_back(window)) == ["c -> b"]
