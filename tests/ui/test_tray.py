"""The tray: icon, tooltip and menu for each state."""

from __future__ import annotations

import msgspec
import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QSystemTrayIcon
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.texts import LANGUAGES, Texts
from kotaro_bridge.ui import first_icon
from kotaro_bridge.ui.first_icon import show_first_icon, take_first_icon
from kotaro_bridge.ui.tray import TOOLTIP_LENGTH
from kotaro_bridge.ui.view_models.look import Look
from kotaro_bridge.ui.view_models.status import look_of
from tests.ui.conftest import Opener
from tests.ui.fake_desk import A14, A32, Q14, Q32


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("phase", Phase)
def test_icon_and_item_say_the_state(opened: Opener, qtbot: QtBot, phase: Phase, language: str) -> None:
    world, shell = opened(language=language)
    world.supervisor.move(Q14.id, phase)
    qtbot.waitUntil(lambda: shell.tray.look() is look_of(phase))
    text = shell.tray.starts[Q14.id].text()
    if phase not in (Phase.IDLE, Phase.STOPPED):
        assert Texts(language).text(f"ui.phase.{phase}") in text
    resting = phase in (Phase.IDLE, Phase.REFUSED, Phase.STOPPED, Phase.FAILED)
    assert shell.tray.starts[Q14.id].isChecked() is not resting
    verb = Texts(language).text("ui.tray.start" if resting else "ui.tray.stop", model=Q14.title)
    assert text.startswith(verb)
    assert shell.tray.starts[Q32.id].text() == Texts(language).text("ui.tray.start", model=Q32.title)


def test_profiles_are_grouped_by_engine(opened: Opener) -> None:
    _, shell = opened()
    texts = [action.text() for action in shell.tray.menu.actions() if action.text()]
    assert texts[1] == "Simulated PC: rtx4070-12gb"
    assert texts.index("llama.cpp") < texts.index(f"Start {Q14.title}") < texts.index("vLLM")
    assert texts.index("vLLM") < texts.index(f"Start {A14.title}") < texts.index("&Dashboard")


def test_an_engine_stands_once_however_the_profiles_are_ordered(opened: Opener) -> None:
    engine_behind = msgspec.structs.replace(A14, title="Qwen2.5 14B, AWQ (vLLM)")
    _, shell = opened(profiles=(engine_behind, Q14, A32))
    texts = [action.text() for action in shell.tray.menu.actions() if action.text()]
    assert texts[2:7] == ["vLLM", "Start Qwen2.5 14B, AWQ", f"Start {A32.title}", "llama.cpp", f"Start {Q14.title}"]


def test_status_line_and_tooltip_follow_the_numbers(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.move(Q14.id, Phase.READY)
    world.telemetry.fill(4, Q14.id, 10405)
    world.telemetry.tick()
    qtbot.waitUntil(lambda: "11.2 of 12.0 GiB" in shell.tray.status.text())
    assert shell.tray.status.text().startswith("Qwen2.5 14B Q4_K_M · Ready · ")
    assert not shell.tray.status.isEnabled()
    assert "Simulated PC: rtx4070-12gb" in shell.tray.tooltip
    assert "Ready" in shell.tray.tooltip
    assert len(shell.tray.tooltip) <= TOOLTIP_LENGTH


def test_a_name_with_an_ampersand_is_read_as_it_is(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(profiles=(msgspec.structs.replace(Q14, title="R&D"),))
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(lambda: shell.tray.status.text().startswith("R&&D · Ready"))
    assert shell.tray.starts[Q14.id].text().startswith("Stop R&&D")


def test_on_a_real_pc_nothing_says_simulated(opened: Opener) -> None:
    _, shell = opened(simulated=None)
    assert "Simulated" not in shell.tray.tooltip + "".join(action.text() for action in shell.tray.menu.actions())


def test_an_item_starts_what_rests_and_stops_what_runs(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    shell.tray.starts[Q14.id].trigger()
    assert not shell.tray.starts[Q14.id].isChecked()
    world.supervisor.move(Q14.id, Phase.LOADING)
    qtbot.waitUntil(lambda: shell.tray.starts[Q14.id].isChecked())
    shell.tray.starts[Q14.id].trigger()
    assert world.supervisor.asked == [("start", Q14.id), ("stop", Q14.id)]


def test_while_it_ends_the_item_cannot_be_clicked(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.move(Q14.id, Phase.STOPPING)
    qtbot.waitUntil(lambda: not shell.tray.starts[Q14.id].isEnabled())
    assert shell.tray.starts[Q32.id].isEnabled()


def test_the_address_can_be_copied_only_while_there_is_one(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    assert not shell.tray.copy_address.isEnabled()
    world.supervisor.move(Q14.id, Phase.PROVING)
    qtbot.waitUntil(lambda: shell.tray.look() is Look.WORKING)
    assert not shell.tray.copy_address.isEnabled()
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(shell.tray.copy_address.isEnabled)
    shell.tray.copy_address.trigger()
    assert QGuiApplication.clipboard().text() == "http://localhost:8080/v1"


def test_a_left_click_opens_the_dashboard_and_a_right_click_does_not(opened: Opener) -> None:
    _, shell = opened(tray=True)
    assert shell.tray.icon is not None
    shell.tray.icon.activated.emit(QSystemTrayIcon.ActivationReason.Context)
    assert shell.window is None
    shell.tray.icon.activated.emit(QSystemTrayIcon.ActivationReason.Trigger)
    assert shell.window is not None
    assert shell.window.isVisible()


def test_the_first_icon_becomes_the_tray(opened: Opener, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", lambda: True)
    show_first_icon("here")
    (first,) = first_icon._shown
    assert first.isVisible()
    _, shell = opened(tray=True)
    assert shell.tray.icon is first
    assert first.contextMenu() is shell.tray.menu
    assert take_first_icon() is None


def test_without_a_tray_there_is_no_first_icon(qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", lambda: False)
    show_first_icon("here")
    assert take_first_icon() is None
