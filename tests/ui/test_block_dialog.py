"""The dialog that says why: its words, its numbers, its ways on."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QLabel, QPlainTextEdit, QWidget
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.texts import LANGUAGES, Texts
from kotaro_bridge.ui.dialogs.block import BlockDialog
from kotaro_bridge.ui.shell import Shell
from tests.ui.conftest import Opener
from tests.ui.fake_desk import A14, Q14, Q32, gate


def words(widget: QWidget) -> str:
    """All text that a person can read or hear in a widget."""
    texts = [label.text() or label.accessibleName() for label in widget.findChildren(QLabel)]
    texts += [button.text() for button in widget.findChildren(QAbstractButton)]
    texts += [text.toPlainText() for text in widget.findChildren(QPlainTextEdit)]
    return "\n".join(texts)


def dialog_of(shell: Shell, qtbot: QtBot, profile_id: str) -> BlockDialog:
    qtbot.waitUntil(lambda: profile_id in shell.dialogs and shell.dialogs[profile_id].isVisible())
    return shell.dialogs[profile_id]


def test_a_refusal_says_what_failed_with_numbers_holders_and_all_checks(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.telemetry.fill(2)
    world.supervisor.refuse(Q14.id, gate(10405, free_mib=5100, port_free=False))
    dialog = dialog_of(shell, qtbot, Q14.id)
    shown = words(dialog)
    assert dialog.windowTitle() == "Qwen2.5 14B Q4_K_M was not started"
    assert "Port 8080 is taken on Windows." in shown
    assert "Too little free video memory: 10,405 MiB are needed, 5,100 MiB of 12,282 MiB are free" in shown
    assert "qwen3:8b (5,200 MiB), Qwen2.5 7B AWQ (3,100 MiB), blender.exe (640 MiB)" in shown
    for number in ("10,405 MiB", "5,100 MiB", "12,282 MiB", "5,305 MiB"):
        assert number in shown
    for part in ("In use by", "Program", "blender.exe", "640 MiB", "WSL (docker-desktop)", "size not known"):
        assert part in shown
    assert "Simulated PC: rtx4070-12gb" in shown
    assert dialog.report is not None
    assert [row.word for row in dialog.report.checks if row.word not in ("passed", "skipped")] == ["failed"] * 2
    assert not dialog.isModal()


def test_an_unknown_answer_blocks_like_a_failure_and_is_called_unknown(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    report = gate(10405, port_free=None)
    checks = tuple(c for c in report.checks if c.id != "vram")
    unknown = type(report.checks[-1])(
        report.checks[-1].id, report.checks[0].status.UNKNOWN, problem("gate.vram.unknown", need_bytes=1)
    )
    world.supervisor.refuse(Q14.id, type(report)((*checks, unknown), report.gpus, report.need))
    dialog = dialog_of(shell, qtbot, Q14.id)
    assert dialog.report is not None
    assert [row.word for row in dialog.report.checks][-1] == "unknown"
    assert "skipped" in [row.word for row in dialog.report.checks]
    assert dialog.report.numbers is None


def test_the_details_can_be_copied_as_plain_text(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.telemetry.fill(2)
    world.supervisor.refuse(Q32.id, gate(21500))
    dialog = dialog_of(shell, qtbot, Q32.id)
    dialog.copy.click()
    text = QGuiApplication.clipboard().text()
    lines = text.splitlines()
    assert lines[0] == "Kotaro Bridge 0.1.0"
    assert lines[1] == "Simulated PC: rtx4070-12gb"
    assert lines[2] == "Qwen2.5 32B Q4_K_M was not started"
    assert "Needed: 21,500 MiB" in lines
    assert "Missing: 10,500 MiB" in lines
    assert "In use by: qwen3:8b, 5,200 MiB" in lines
    assert "[passed] NVIDIA driver: NVIDIA GeForce RTX 4070, driver 581.57." in lines
    assert any(line.startswith("[failed] Video memory: This model does not fit") for line in lines)


def test_a_failed_proof_shows_what_went_where_and_the_lines_that_prove_it(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.fail(A14.id)
    dialog = dialog_of(shell, qtbot, A14.id)
    shown = words(dialog)
    assert dialog.windowTitle() == "Qwen2.5 14B AWQ was stopped"
    assert "Only 20 of 49 layers are on the graphics card" in shown
    assert shown.count("offloaded 20/49 layers to GPU") == 1
    assert "CPU KV buffer size =   896.00 MiB" in shown


def test_what_is_left_over_is_shown_and_again_means_stop(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.orphan(Q14.id)
    dialog = dialog_of(shell, qtbot, Q14.id)
    assert "812, 815" in words(dialog)
    dialog.retry.click()
    assert world.supervisor.asked == [("stop", Q14.id)]
    world.supervisor.move(Q14.id, Phase.FAILED, problem=problem("stop.orphan_gone"))
    qtbot.waitUntil(lambda: "is gone now" in words(dialog))


def test_check_again_starts_again_and_the_dialog_follows(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.refuse(Q14.id, gate(10405, free_mib=5000))
    dialog = dialog_of(shell, qtbot, Q14.id)
    dialog.retry.click()
    assert world.supervisor.asked == [("start", Q14.id)]
    assert not dialog.retry.isEnabled()
    world.supervisor.refuse(Q14.id, gate(10405, free_mib=9000))
    qtbot.waitUntil(lambda: "9,000 MiB" in words(dialog))
    assert dialog.retry.isEnabled()
    dialog.retry.click()
    world.supervisor.move(Q14.id, Phase.CHECKING)
    world.supervisor.move(Q14.id, Phase.LAUNCHING)
    qtbot.waitUntil(lambda: not dialog.isVisible())


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_is_no_way_around_the_refusal(opened: Opener, qtbot: QtBot, language: str) -> None:
    world, shell = opened(language=language)
    world.supervisor.refuse(Q32.id, gate(21500, holders=()))
    dialog = dialog_of(shell, qtbot, Q32.id)
    text = Texts(language).text
    buttons = [b.text() for b in dialog.findChildren(QAbstractButton) if b.text()]
    allowed = [text(f"ui.{key}") for key in ("block.copy", "block.edit", "block.check_again", "close")]
    assert sorted(buttons) == sorted([*allowed, f"▸ {text('ui.block.all_checks')}"])


def test_escape_closes_and_the_keyboard_reaches_every_button(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.refuse(Q32.id, gate(21500))
    dialog = dialog_of(shell, qtbot, Q32.id)
    seen: set[QWidget] = set()
    widget: QWidget | None = dialog.close_button
    while widget is not None and widget not in seen:
        seen.add(widget)
        widget = widget.nextInFocusChain()
    reached = {w for w in seen if w.focusPolicy() & Qt.FocusPolicy.TabFocus and w.isVisible()}
    assert {dialog.copy, dialog.retry, dialog.close_button, dialog.folds[0]} <= reached
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_all_checks_unfold_and_fold(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.refuse(Q32.id, gate(21500))
    dialog = dialog_of(shell, qtbot, Q32.id)
    row = next(label for label in dialog.findChildren(QLabel) if label.text() == "NVIDIA driver")
    assert not row.isVisible()
    dialog.folds[0].click()
    assert row.isVisible()
    dialog.folds[0].click()
    assert not row.isVisible()
