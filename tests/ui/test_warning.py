"""A model that serves and is not proved: it never looks ready, says why, and can be stopped where that is said."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice, Speed
from kotaro_bridge.texts import LANGUAGES, Texts
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.tray import Tray
from kotaro_bridge.ui.view_models.look import Look
from kotaro_bridge.ui.view_models.proof import proof_table
from kotaro_bridge.ui.widgets.model_list import LOOK
from tests.ui.conftest import Opener
from tests.ui.fake_desk import GOOD, Q14, Q32, SPILLED, FakeWorld, gate
from tests.ui.test_block_dialog import dialog_of, words
from tests.ui.test_dashboard import dashboard_of

EN = Texts("en")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The notifications, as title and words: the offscreen platform shows none."""
    heard: list[tuple[str, str]] = []
    monkeypatch.setattr(Tray, "say", lambda _self, title, words: heard.append((title, words)))
    return heard


def serving(opened: Opener, qtbot: QtBot, language: str = "en") -> tuple[FakeWorld, Shell]:
    world, shell = opened(window=True, language=language)
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(lambda: shell.tray.look() is Look.READY)
    return world, shell


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_warning_is_seen_everywhere_and_nothing_looks_ready(opened: Opener, qtbot: QtBot, language: str) -> None:
    world, shell = serving(opened, qtbot, language)
    board, text = dashboard_of(shell), Texts(language).text
    world.supervisor.warn(Q14.id)
    qtbot.waitUntil(lambda: shell.tray.look() is Look.ATTENTION)
    word, ready = text("ui.warned.word"), text("ui.phase.ready")
    for line in (shell.tray.status.text(), shell.tray.tooltip, shell.tray.starts[Q14.id].text()):
        assert word in line
        assert ready not in line
    assert board.header._state.text() == text("ui.warned.state", time="0:00")
    assert board.header._look is Look.ATTENTION
    message = Texts(language).message(SPILLED)
    assert {message.what, message.do} <= {part.text() for part in board.header.banner.findChildren(QLabel)}
    assert board.proof.headline.text() == text("ui.warned.proof", what=message.what)
    assert shell.window is not None
    item = shell.window.models.currentItem()
    assert item is not None
    assert item.data(LOOK) == Look.ATTENTION.value
    assert board.endpoint.url.field.text() == "http://localhost:8080/v1"


def test_the_banner_stops_the_model_and_explains(opened: Opener, qtbot: QtBot) -> None:
    world, shell = serving(opened, qtbot)
    banner = dashboard_of(shell).header.banner
    world.supervisor.warn(Q14.id)
    qtbot.waitUntil(banner.stop.isVisible)
    banner.more.click()
    dialog = dialog_of(shell, qtbot, Q14.id)
    shown = words(dialog)
    assert "Qwen2.5 14B Q4_K_M serves, but is no longer proved" in shown
    assert EN.message(SPILLED).what in shown
    assert SPILLED.evidence[0] in shown
    dialog.retry.click()
    assert world.supervisor.asked == [("stop", Q14.id)]
    banner.stop.click()
    assert world.supervisor.asked == [("stop", Q14.id)] * 2
    world.supervisor.move(Q14.id, Phase.STOPPED)
    qtbot.waitUntil(lambda: not dialog.isVisible())
    assert not banner.isVisible()


def test_the_button_of_a_stale_banner_starts_nothing(opened: Opener, qtbot: QtBot) -> None:
    world, shell = serving(opened, qtbot)
    world.supervisor.warn(Q14.id)
    banner = dashboard_of(shell).header.banner
    qtbot.waitUntil(banner.stop.isVisible)
    world.supervisor.move(Q14.id, Phase.STOPPED)
    banner.stop.click()  # before the window has heard of the stop
    assert ("start", Q14.id) not in world.supervisor.asked


def test_a_refusal_has_no_stop_on_its_banner(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    banner = dashboard_of(shell).header.banner
    world.supervisor.refuse(Q14.id, gate(10405, free_mib=3000))
    qtbot.waitUntil(banner.isVisible)
    assert not banner.stop.isVisible()


@pytest.mark.parametrize("notice_first", [True, False])
def test_the_notification_names_model_and_cause_and_the_window_says_it_once(
    opened: Opener, qtbot: QtBot, said: list[tuple[str, str]], notice_first: bool
) -> None:
    """The run and its notice come from two threads."""
    world, shell = serving(opened, qtbot)
    if not notice_first:
        world.supervisor.warn(Q14.id)
    world.bus.publish(Notice(SPILLED, Q14.id))
    if notice_first:
        world.supervisor.warn(Q14.id)
    qtbot.waitUntil(lambda: bool(said) and shell.tray.look() is Look.ATTENTION)
    message = EN.message(SPILLED)
    assert said == [("Qwen2.5 14B Q4_K_M", f"{message.what} {message.do}")]
    assert shell.window is not None
    assert not shell.window.notice.isVisible()
    assert message.what in words(dashboard_of(shell).header.banner)


def test_an_early_notice_about_a_run_stays_in_the_window_until_that_run_changes(
    opened: Opener, qtbot: QtBot, said: list[tuple[str, str]]
) -> None:
    world, shell = serving(opened, qtbot)
    assert shell.window is not None
    world.bus.publish(Notice(problem("watch.driver_lost"), Q14.id))
    qtbot.waitUntil(shell.window.notice.isVisible)
    assert said[0][0] == "Qwen2.5 14B Q4_K_M"
    assert shell.tray.look() is Look.READY
    world.supervisor.warn(Q32.id)
    qtbot.waitUntil(lambda: shell.tray.look() is Look.ATTENTION)
    assert shell.window.notice.isVisible()
    world.supervisor.move(Q14.id, Phase.STOPPED)
    qtbot.waitUntil(lambda: shell.window is not None and not shell.window.notice.isVisible())


def test_a_warning_that_is_over_looks_ready_again(opened: Opener, qtbot: QtBot) -> None:
    world, shell = serving(opened, qtbot)
    world.supervisor.warn(Q14.id)
    qtbot.waitUntil(lambda: shell.tray.look() is Look.ATTENTION)
    world.supervisor.move(Q14.id, Phase.PROVING)
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(lambda: shell.tray.look() is Look.READY)


@pytest.mark.parametrize("before", [Phase.READY, Phase.UNRESPONSIVE, Phase.PROVING])
def test_a_stop_by_the_watch_is_told_with_its_cause(
    opened: Opener, qtbot: QtBot, said: list[tuple[str, str]], before: Phase
) -> None:
    world, _ = serving(opened, qtbot)
    world.supervisor.move(Q14.id, before)
    world.supervisor.move(Q14.id, Phase.STOPPING, problem=SPILLED)
    qtbot.waitUntil(lambda: bool(said))
    assert said[0][0] == "Qwen2.5 14B Q4_K_M is being stopped"
    assert EN.message(SPILLED).what in said[0][1]


def test_a_stop_that_was_asked_for_is_not_told(opened: Opener, qtbot: QtBot, said: list[tuple[str, str]]) -> None:
    world, shell = serving(opened, qtbot)
    world.supervisor.move(Q14.id, Phase.STOPPING)
    qtbot.waitUntil(lambda: shell.tray.look() is Look.STOPPING)
    assert said == []


def test_slow_is_a_mark_with_words_in_panel_header_and_tray(opened: Opener, qtbot: QtBot) -> None:
    world, shell = serving(opened, qtbot)
    board = dashboard_of(shell)
    board.tabs.setCurrentWidget(board.proof)
    world.supervisor.move(Q14.id, Phase.READY, speed=Speed(11.4, 0.19, slow=True))
    qtbot.waitUntil(lambda: shell.tray.look() is Look.ATTENTION)

    def chips() -> list[str]:
        labels = board.proof.findChildren(QLabel)
        return [label.text() for label in labels if label.objectName() == "Chip" and label.isVisible()]

    qtbot.waitUntil(lambda: chips() == ["slow, not proved"])  # rows made anew are shown with the next layout
    assert board.proof.headline.property("tone") == "warn"
    assert board.header._state.text().endswith("· slow, not proved")
    assert "Slow, not proved" in shell.tray.tooltip
    assert "11.4 tokens per second, 19 % of what this card can do" in words(board.header.banner)
    assert not board.header.banner.stop.isVisible()
    assert not board.header.banner.more.isVisible()
    world.supervisor.move(Q14.id, Phase.READY, speed=Speed(11.4, 0.19, 11.0))
    qtbot.waitUntil(lambda: shell.tray.look() is Look.READY)
    assert "slow" not in board.header._state.text()
    assert not board.header.banner.isVisible()


@pytest.mark.parametrize(
    ("speed", "shown"),
    [
        (Speed(38.2, None), "38 tok/s"),
        (Speed(38.2, 0.63), "38 tok/s · 63 % of what this card can do"),
        (Speed(38.2, 0.63, 40.4), "38 tok/s (usually 40) · 63 % of what this card can do"),
        (Speed(38.2, None, 40.4), "38 tok/s (usually 40)"),
    ],
)
def test_the_speed_row_shows_share_and_usual_speed_as_far_as_known(speed: Speed, shown: str) -> None:
    world = FakeWorld()
    world.supervisor.move(Q14.id, Phase.READY, judgement=GOOD, speed=speed)
    rows = {row.name: row for row in proof_table(EN, world.supervisor.view(Q14.id)).rows}
    assert rows["Speed of the first answer"].value == shown
    assert rows["Speed of the first answer"].mark == ""


def test_while_it_is_proved_again_the_address_is_withdrawn_and_that_is_said(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    board = dashboard_of(shell)
    world.supervisor.move(Q14.id, Phase.PROVING)
    qtbot.waitUntil(lambda: board.header._look is Look.WORKING)
    assert "is offered once it is proved" in words(board.endpoint)
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(lambda: board.endpoint.url.field.text() != "")
    world.supervisor.move(Q14.id, Phase.PROVING)
    qtbot.waitUntil(lambda: board.endpoint.url.field.text() == "")
    assert "is withdrawn until it is proved again" in words(board.endpoint)
    assert board.endpoint.url.field.placeholderText() == "withdrawn"
    assert "Proving again" in board.header._state.text()
    assert not shell.tray.copy_address.isEnabled()
