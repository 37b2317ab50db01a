"""Every window is usable on the smallest screen that counts: 1366 x 768 at 150 %, less task bar and frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import QPoint, QRect, QSize
from PySide6.QtWidgets import QAbstractButton, QApplication, QScrollArea, QWidget
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice
from kotaro_bridge.texts import LANGUAGES
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.window_size import FRAME, fit_on_screen
from tests.ui.conftest import Opener
from tests.ui.fake_desk import F7, Q14, Q32, REMEDIES, FakeWorld, gate

SCREEN = QSize(1366 * 2 // 3, 768 * 2 // 3)
TASK_BAR = 40
WINDOW_FRAME = QSize(16, 39)
"""Of a window on Windows 10 and 11 at 150 %, in pixels of the layout: 31 of the title and 8 below, 8 at each side."""
ROOM = SCREEN - QSize(0, TASK_BAR) - WINDOW_FRAME


def come_back(world: FakeWorld) -> None:
    """Let what was asked in the background be shown."""
    for _ in range(3):
        QApplication.processEvents()
        world.join()
    QApplication.processEvents()


def windows(world: FakeWorld, shell: Shell) -> Iterator[tuple[str, QWidget]]:
    """All windows, filled."""
    world.telemetry.fill(60, Q14.id, 10405)
    shell.open_dashboard()
    world.supervisor.move(Q14.id, Phase.READY)
    world.bus.publish(Notice(problem("stop.leftover_ended", run="qwen-1", pids="")))
    world.supervisor.refuse(F7.id, gate(11600, 4200), *REMEDIES)
    come_back(world)
    assert shell.window is not None
    yield "dashboard", shell.window
    yield "refused", shell.dialogs[F7.id]
    shell.open_app_settings()
    come_back(world)
    assert shell.app_settings is not None
    yield "settings", shell.app_settings
    shell.open_settings()
    assert shell.settings is not None
    yield "wsl", shell.settings
    shell.settings.edit.form.edited.emit("wsl2.memory", "12GB")
    for open_page in (
        shell.settings.review,
        shell.settings.show_backups,
        shell.settings.show_proof,
    ):
        open_page()
        come_back(world)
        yield f"wsl {open_page.__name__}", shell.settings
    shell.open_models()
    come_back(world)
    assert shell.models is not None
    for page in range(3):
        shell.models.tabs.setCurrentIndex(page)
        come_back(world)
        yield f"models {page}", shell.models
    shell.editors.edit(Q32.id)
    come_back(world)
    editor = shell.editors.windows[0]
    yield "editor", editor
    editor.choose()
    come_back(world)
    yield "picker", editor.picker


def out_of_reach(window: QWidget) -> Iterator[str]:
    """Buttons that stick out of the window and cannot be scrolled to."""
    inside = QRect(QPoint(0, 0), window.size())
    for button in window.findChildren(QAbstractButton):
        if not button.isVisibleTo(window) or button.width() == 0:
            continue
        area: QWidget | None = button.parentWidget()
        while area is not None and area is not window and not isinstance(area.parentWidget(), QScrollArea):
            area = area.parentWidget()
        if isinstance(area, QWidget) and area is not window:  # the viewport: what it shows can be scrolled to
            content = area.childAt(QPoint(1, 1)) or area
            place = QRect(button.mapTo(area, QPoint(0, 0)), button.size())
            wide = max(content.width(), area.width())
            if place.right() > wide:
                yield f"beyond what scrolls: {button.text() or button.accessibleName()}"
        elif not inside.contains(QRect(button.mapTo(window, QPoint(0, 0)), button.size())):
            yield f"outside: {button.text() or button.accessibleName()}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_window_fits_the_smallest_screen_and_all_its_buttons_can_be_reached(
    opened: Opener, qtbot: QtBot, language: str
) -> None:
    world, shell = opened(language=language)
    faults, seen = [], 0
    for name, window in windows(world, shell):
        seen += 1
        smallest = window.minimumSize()
        needs = window.minimumSizeHint()
        layout = window.layout()
        if layout is not None and layout.hasHeightForWidth():  # what Qt holds a window to on Windows
            needs = needs.expandedTo(QSize(0, layout.minimumHeightForWidth(ROOM.width())))
        if smallest.width() > ROOM.width() or smallest.height() > ROOM.height():
            faults.append(f"{name}: cannot be smaller than {smallest.toTuple()}, there are {ROOM.toTuple()}")
        if needs.width() > ROOM.width() or needs.height() > ROOM.height():
            faults.append(f"{name}: its parts need {needs.toTuple()}, there are {ROOM.toTuple()}")
        window.resize(ROOM)
        come_back(world)
        faults += [f"{name}: {fault}" for fault in out_of_reach(window)]
    assert faults == []
    assert seen == 12


class Screen:
    """A screen of this size, less a task bar."""

    def __init__(self, size: QSize) -> None:
        self._size = size

    def availableSize(self) -> QSize:
        return self._size - QSize(0, TASK_BAR)


@pytest.mark.parametrize(
    ("screen", "expected"),
    [
        (SCREEN, SCREEN - QSize(0, TASK_BAR) - FRAME),
        (QSize(1920, 1080), QSize(1180, 800)),
        (QSize(1280, 720), QSize(1180, 720 - TASK_BAR - FRAME.height())),
        (QSize(640, 400), QSize(800, 420)),  # smaller than any that counts
    ],
)
def test_a_window_opens_as_large_as_usual_or_as_the_screen_is(qtbot: QtBot, screen: QSize, expected: QSize) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    window.screen = lambda: Screen(screen)  # type: ignore[assignment,method-assign,return-value]
    fit_on_screen(window, QSize(1180, 800), QSize(800, 420))
    assert window.size() == expected


@pytest.mark.parametrize(
    "wrong", [lambda window: window.setMinimumWidth(2000), lambda window: window.close_button.move(5000, 0)]
)
def test_a_window_that_does_not_fit_is_found(opened: Opener, qtbot: QtBot, wrong: Callable[[QWidget], None]) -> None:
    world, shell = opened()
    shell.open_app_settings()
    come_back(world)
    window = shell.app_settings
    assert window is not None
    window.resize(ROOM)
    come_back(world)
    assert not list(out_of_reach(window))
    wrong(window)
    assert window.minimumSize().width() > ROOM.width() or list(out_of_reach(window))
