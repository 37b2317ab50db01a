"""The dashboard: state, graphs, endpoint, test, proof and log."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.engine.engine_log import LogLine, Stream
from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.ui.pages.dashboard import Dashboard
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.widgets.log_view import KEPT_LINES
from tests.ui.conftest import Opener
from tests.ui.fake_desk import CPM, Q14, Q32, Piece, gate


def dashboard_of(shell: Shell) -> Dashboard:
    assert shell.window is not None
    assert shell.window.dashboard is not None
    return shell.window.dashboard


def test_at_rest_it_tells_a_new_person_what_to_do(opened: Opener) -> None:
    _, shell = opened(window=True)
    board = dashboard_of(shell)
    assert "Start checks the GPU first" in board.header._state.text()
    assert board.header.button.text() == "&Start"
    assert board.endpoint.url.field.text() == ""
    assert not board.endpoint.url.copy.isEnabled()
    assert not board.test.button.isEnabled()
    assert board.metrics.speed.note.text() == "The model is not running"


def test_the_button_starts_and_stops(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    board = dashboard_of(shell)
    board.header.button.click()
    world.supervisor.move(Q14.id, Phase.LOADING)
    qtbot.waitUntil(lambda: board.header.button.text() == "&Stop")
    board.header.button.click()
    assert world.supervisor.asked == [("start", Q14.id), ("stop", Q14.id)]
    world.supervisor.move(Q14.id, Phase.STOPPING)
    qtbot.waitUntil(lambda: not board.header.button.isEnabled())


def test_a_refusal_stays_on_the_page_with_its_details(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    board = dashboard_of(shell)
    world.supervisor.refuse(Q14.id, gate(10405, free_mib=3000))
    qtbot.waitUntil(board.header.banner.isVisible)
    shell.dialogs[Q14.id].close()
    board.header.banner.more.click()
    assert shell.dialogs[Q14.id].isVisible()
    world.supervisor.move(Q14.id, Phase.LAUNCHING)
    qtbot.waitUntil(lambda: not board.header.banner.isVisible())


def test_graphs_hold_a_gap_where_nothing_answered_and_zero_without_requests(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    world.supervisor.move(Q14.id, Phase.READY)
    world.telemetry.samples.clear()
    world.telemetry.fill(60, Q14.id, 10405, gap=(20, 26))
    world.telemetry.tick()
    board = dashboard_of(shell)
    qtbot.waitUntil(lambda: len(board.metrics.speed_plot.drawn(0)[0]) == 60)
    x, used = board.metrics.memory_plot.drawn(0)
    assert x[-1] == 0
    assert np.isnan(used[20:26]).all()
    assert not np.isnan(np.delete(used, range(20, 26))).any()
    _, generation = board.metrics.speed_plot.drawn(0)
    assert np.isnan(generation[20:26]).all()
    assert (generation[~np.isnan(generation)] == 0).any()
    assert generation[~np.isnan(generation)].max() > 30


def test_numbers_are_spelt_out_and_unknown_is_a_dash(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    board = dashboard_of(shell)
    world.supervisor.move(Q14.id, Phase.READY)
    world.telemetry.fill(2, Q14.id, 10405)
    world.telemetry.tick()
    qtbot.waitUntil(lambda: board.metrics.memory.value.text() == "11.2 of 12.0 GiB")
    assert board.metrics.memory.note.text() == "model 10.2 · others 1.0 · free 0.6"
    assert "11.2 of 12.0 GiB" in board.metrics.bar.accessibleName()
    world.telemetry.fill(1, gap=(0, 1))
    world.telemetry.tick()
    qtbot.waitUntil(lambda: board.metrics.memory.value.text() == "–")
    assert board.metrics.speed.value.text() == "–"


def test_a_hidden_window_draws_nothing(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True, tray=True)
    board = dashboard_of(shell)
    assert shell.window is not None
    shell.window.close()
    before = len(board.metrics.memory_plot.drawn(0)[0])
    world.telemetry.fill(5)
    world.telemetry.tick()
    qtbot.wait(30)
    assert len(board.metrics.memory_plot.drawn(0)[0]) == before
    assert not board._clock.isActive()
    assert not board.log._timer.isActive()


def test_the_address_is_offered_only_when_ready_and_each_value_can_be_copied(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    card = dashboard_of(shell).endpoint
    world.supervisor.move(Q14.id, Phase.PROVING)
    qtbot.wait(10)
    assert card.url.field.text() == ""
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(lambda: card.url.field.text() == "http://localhost:8080/v1")
    for value, text in (
        (card.url, "http://localhost:8080/v1"),
        (card.model, Q14.id),
        (card.key, "kb-4f1d93c07a2e5588"),
    ):
        value.copy.click()
        assert QGuiApplication.clipboard().text() == text
    assert card.key.field.echoMode() is QLineEdit.EchoMode.Password
    card.reveal.click()
    assert card.key.field.echoMode() is QLineEdit.EchoMode.Normal
    world.supervisor.move(Q14.id, Phase.STOPPING)
    qtbot.waitUntil(lambda: card.url.field.text() == "")
    assert not card.key.copy.isEnabled()


def test_the_test_streams_an_answer_with_its_speed(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    test = dashboard_of(shell).test
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(test.button.isEnabled)
    world.connect.hold.clear()
    test.button.click()
    assert test.running
    assert test.button.text() == "&Cancel"
    with qtbot.waitSignal(test.finished) as ended:
        world.connect.hold.set()
    assert ended.args == [True]
    assert test.answer.toPlainText() == "The bridge stands."
    assert test.result.text() == "Answered · 38 tok/s · first token after 0.31 s"
    assert world.connect.images == [False]


def test_a_model_with_eyes_is_tested_with_a_picture_if_wanted(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    assert shell.window is not None
    shell.window.models.select(CPM.id)
    test = dashboard_of(shell).test
    world.supervisor.move(CPM.id, Phase.READY)
    qtbot.waitUntil(test.with_image.isVisible)
    for wanted in (True, False):
        test.with_image.setChecked(wanted)
        with qtbot.waitSignal(test.finished):
            test.button.click()
    assert world.connect.images == [True, False]


@pytest.mark.parametrize(
    ("error", "shown"),
    [(problem("http.timeout", seconds=30), "did not answer within 30 s"), (None, "broke off before its end")],
)
def test_a_test_that_fails_says_why(opened: Opener, qtbot: QtBot, error: object, shown: str) -> None:
    world, shell = opened(window=True)
    test = dashboard_of(shell).test
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(test.button.isEnabled)
    world.connect.pieces = [Piece("Half an ans")]
    world.connect.error = error  # type: ignore[assignment]
    with qtbot.waitSignal(test.finished) as ended:
        test.button.click()
    assert ended.args == [False]
    assert shown in test.result.text()
    assert not test.running


def test_a_cancelled_test_shows_nothing_more(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    test = dashboard_of(shell).test
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(test.button.isEnabled)
    world.connect.hold.clear()
    test.button.click()
    test.button.click()
    world.connect.hold.set()
    world.join()
    qtbot.wait(20)
    assert test.answer.toPlainText() == ""
    assert test.result.text() == "Cancelled"


def test_the_answer_of_one_model_is_not_shown_under_another(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    test = dashboard_of(shell).test
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(test.button.isEnabled)
    with qtbot.waitSignal(test.finished):
        test.button.click()
    assert shell.window is not None
    shell.window.models.select(Q32.id)
    assert test.answer.toPlainText() == ""
    assert test.result.text() == ""


def test_a_stop_ends_a_running_test(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    test = dashboard_of(shell).test
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(test.button.isEnabled)
    world.connect.hold.clear()
    test.button.click()
    world.supervisor.move(Q14.id, Phase.STOPPING)
    qtbot.waitUntil(lambda: not test.running)
    assert not test.button.isEnabled()


def test_the_log_takes_a_flood_without_slowing_the_writer_and_says_what_it_skipped(
    opened: Opener, qtbot: QtBot
) -> None:
    world, shell = opened(window=True)
    board = dashboard_of(shell)
    board.tabs.setCurrentWidget(board.log)
    ring = world.supervisor.log(Q14.id)
    took: list[float] = []

    def flood() -> None:
        began = time.perf_counter()
        for number in range(50_000):
            ring.append(LogLine(Stream.STDERR, number, f"line {number} of a flood"))
        took.append(time.perf_counter() - began)

    writer = threading.Thread(target=flood)
    writer.start()
    qtbot.waitUntil(lambda: bool(took), timeout=20_000)
    writer.join()
    board.log.pull()
    assert board.log.text.toPlainText().endswith("line 49999 of a flood")
    assert board.log.text.blockCount() <= KEPT_LINES
    assert "lines skipped" in board.log.dropped.text()
    # Alone the writer takes well under a second here; a viewer that held the lock would cost many times that.
    assert took[0] < 5


def test_the_log_follows_the_tail_until_a_person_scrolls_up(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    board = dashboard_of(shell)
    board.tabs.setCurrentWidget(board.log)
    world.log(Q14.id, *[f"line {n}" for n in range(200)])
    board.log.pull()
    bar = board.log.text.verticalScrollBar()
    assert bar.value() == bar.maximum() > 0
    bar.setValue(5)
    world.log(Q14.id, "one more")
    board.log.pull()
    assert bar.value() == 5


def test_the_log_can_be_searched_round_and_round(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    log = dashboard_of(shell).log
    world.log(Q14.id, "needle one", "hay", "needle two", "hay")
    log.pull()
    log.search.setText("needle")
    blocks = []
    for _ in range(3):
        log.next.click()
        blocks.append(log.text.textCursor().blockNumber())
    assert sorted(set(blocks)) == [0, 2]
    log.previous.click()
    assert log.text.textCursor().blockNumber() == blocks[-2]
    log.search.setText("absent")
    assert log.found.text() == "Not found"


def test_each_model_has_its_own_log(opened: Opener) -> None:
    world, shell = opened(window=True)
    world.log(Q14.id, "of the first")
    world.log(Q32.id, "of the second")
    assert shell.window is not None
    shell.window.models.select(Q32.id)
    assert dashboard_of(shell).log.text.toPlainText() == "of the second"
    shell.window.models.select(Q14.id)
    assert dashboard_of(shell).log.text.toPlainText() == "of the first"


def test_the_keyboard_chooses_and_starts_a_model(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    assert shell.window is not None
    models = shell.window.models
    models.setFocus()
    QTest.keyClick(models, Qt.Key.Key_Down)
    assert dashboard_of(shell).profile.id == Q32.id
    QTest.keyClick(models, Qt.Key.Key_Return)
    assert world.supervisor.asked == [("start", Q32.id)]


def test_the_model_list_tells_screen_readers_the_state(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    assert shell.window is not None
    item = shell.window.models.currentItem()
    assert item is not None
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(lambda: item.data(Qt.ItemDataRole.AccessibleTextRole) == "Qwen2.5 14B Q4_K_M, Ready")


def test_proof_appears_with_the_judgement(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    panel = dashboard_of(shell).proof
    assert "appears here after a start" in panel.headline.text()
    world.supervisor.move(Q14.id, Phase.READY)
    qtbot.waitUntil(lambda: panel.headline.text() == "Proved: the model is wholly on the graphics card.")
