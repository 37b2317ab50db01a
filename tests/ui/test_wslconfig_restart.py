"""The settings dialog: the restart that a saved change waits for, and the proof after it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.wsl.wslconfig_effect import Affected, Effect, EffectReport
from kotaro_bridge.ui.widgets.basics import plain
from tests.ui.settings_dialog import Make, Settings

REPORT = EffectReport(
    (
        Effect("wsl2.memory", "24 GB", "23.5 GB", True, None),
        Effect("wsl2.networkingMode", "Mirrored", "Nat", False, problem("wslconfig.advice.mode_bridged")),
        Effect("wsl2.localhostForwarding", "On", "?", None, problem("wslconfig.advice.localhost_off")),
    )
)


def saved(settings: Settings) -> None:
    settings.type("wsl2.memory", "24")
    settings.save()
    settings.qtbot.waitUntil(lambda: settings.dialog.restart_page.progress.isHidden())


def test_after_a_save_a_restart_is_offered_with_what_it_stops(make: Make) -> None:
    settings = make()
    settings.world.wslconfig.met = Affected(("Ubuntu-24.04", "docker-desktop"), ("Qwen2.5 14B",), True)
    saved(settings)
    written = "\n".join(settings.labels())
    assert "Qwen2.5 14B: stopped in order first" in written
    assert "Linux distribution Ubuntu-24.04" in written
    assert "Docker Desktop, with its containers" in written
    assert settings.world.wslconfig.restarts == 0


def test_nothing_is_restarted_before_it_is_said_what_that_stops(make: Make) -> None:
    settings = make()
    settings.dialog.ask_restart()
    page = settings.dialog.restart_page
    assert not page.now.isEnabled()
    assert QApplication.focusWidget() is page.later
    settings.qtbot.waitUntil(page.now.isEnabled)


def test_where_it_cannot_be_said_no_restart_is_offered(make: Make) -> None:
    settings = make()
    page = settings.dialog.restart_page
    settings.world.wslconfig.error = problem("wsl.missing")
    settings.dialog.ask_restart()
    settings.qtbot.waitUntil(page.bar.isVisible)
    assert not page.now.isEnabled()
    assert page.title.text() == "Restart WSL"


def test_enter_presses_the_button_that_has_the_focus_but_not_when_held_down(make: Make) -> None:
    settings = make()
    saved(settings)
    page = settings.dialog.restart_page
    page.now.setFocus()
    held = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier, "", True)
    QApplication.sendEvent(page.now, held)
    assert not page.busy
    settings.press(page.now, Qt.Key.Key_Return)
    assert page.busy
    settings.qtbot.waitUntil(lambda: not page.busy)


def test_later_keeps_saying_that_a_change_waits(make: Make) -> None:
    settings = make(window=True)
    window = settings.shell.window
    assert window is not None
    assert window.pending.isHidden()
    saved(settings)
    settings.click(settings.dialog.restart_page.later)
    assert settings.dialog.bar.what.text() == "A saved change waits for a restart of WSL."
    assert window.pending.isVisibleTo(window)
    assert "WSL restart waits" in settings.shell.tray.tooltip
    assert plain(settings.shell.tray.wslconfig.text()) == "WSL settings… (restart waits)"
    QTest.mouseClick(window.pending.answers[0], Qt.MouseButton.LeftButton)
    assert settings.dialog.pages.currentWidget() is settings.dialog.restart_page


def test_a_restart_shows_its_steps_and_then_the_proof(make: Make) -> None:
    settings = make(window=True)
    settings.world.wslconfig.report = REPORT
    saved(settings)
    page = settings.dialog.restart_page
    settings.click(page.now)
    settings.world.join()
    settings.qtbot.waitUntil(lambda: not page.busy)
    assert page.step.text() == "Starting our models again…"
    written = settings.labels()
    assert {"24 GB", "23.5 GB", "as in the file", "Mirrored", "Nat", "differs", "cannot be told"} <= set(written)
    assert "Something differs from the file; the reason stands below it." in written
    assert any("Bridged mode is no longer supported" in each for each in written)
    window = settings.shell.window
    assert window is not None
    assert window.pending.isHidden()
    assert "restart waits" not in settings.shell.tray.tooltip
    settings.click(page.later)
    assert settings.on_edit
    assert settings.dialog.bar.isHidden()


def test_a_restart_that_fails_says_why_and_can_be_tried_again(make: Make) -> None:
    settings = make()
    saved(settings)
    world, page = settings.world.wslconfig, settings.dialog.restart_page
    world.error = problem("wslconfig.changed_outside", path="F")
    settings.click(page.now)
    settings.world.join()
    settings.qtbot.waitUntil(lambda: not page.busy)
    assert "F was changed by someone else" in page.bar.what.text()
    assert page.title.text() == "Restart WSL"
    world.error = None
    world.report = EffectReport(REPORT.effects[:1])
    settings.click(page.now)
    settings.world.join()
    settings.qtbot.waitUntil(lambda: not page.busy)
    assert "Linux shows what the file says." in settings.labels()


def test_while_wsl_restarts_esc_leads_nowhere(make: Make) -> None:
    settings = make()
    saved(settings)
    page = settings.dialog.restart_page
    settings.click(page.now)
    assert page.busy
    settings.press(settings.dialog, Qt.Key.Key_Escape)
    assert settings.dialog.pages.currentWidget() is page
    assert not page.now.isEnabled()
    settings.world.join()
    settings.qtbot.waitUntil(lambda: not page.busy)


def test_linux_can_be_compared_without_a_restart(make: Make) -> None:
    settings = make()
    settings.world.wslconfig.report = EffectReport(REPORT.effects[:1])
    settings.click(settings.dialog.compare_button)
    settings.world.join()
    page = settings.dialog.restart_page
    settings.qtbot.waitUntil(lambda: page.progress.isHidden())
    assert "Linux shows what the file says." in settings.labels()
    assert page.now.isHidden()
    settings.click(page.later)
    assert settings.on_edit


def test_an_answer_that_comes_too_late_is_not_shown(make: Make) -> None:
    settings = make()
    settings.click(settings.dialog.compare_button)
    settings.click(settings.dialog.restart_page.later)
    settings.dialog.ask_restart()
    settings.world.join()
    page = settings.dialog.restart_page
    settings.qtbot.waitUntil(lambda: page.progress.isHidden())
    QApplication.processEvents()
    assert page.title.text() == "Restart WSL"
