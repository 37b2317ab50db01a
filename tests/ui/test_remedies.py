"""Remedies in the block dialog: a click, the keyboard, what is said before and after, and who holds the memory."""

from __future__ import annotations

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QPushButton
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.run.remedy import Remedy, RemedyKind
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.texts import LANGUAGES, Texts
from kotaro_bridge.ui.dialogs.block import WIDTH, BlockDialog
from kotaro_bridge.ui.view_models.remedies import HOLDERS_SHOWN, holder_rows, remedy_row
from kotaro_bridge.ui.widgets.basics import plain
from kotaro_bridge.ui.widgets.model_list import SUB
from tests.ui.conftest import Opener
from tests.ui.fake_desk import A7, Q14, Q32, REMEDIES, FakeWorld, gate
from tests.ui.screen_faults import cut_off
from tests.ui.test_block_dialog import dialog_of, words

EN = Texts("en")
KINDS = [Remedy(kind, "4", "4") for kind in RemedyKind]


def refused(
    opened: Opener, qtbot: QtBot, *remedies: Remedy, language: str = "en", window: bool = False
) -> tuple[FakeWorld, BlockDialog]:
    """A dialog over a card that is short of memory."""
    world, shell = opened(language=language, window=window)
    world.supervisor.refuse(Q14.id, gate(10405, free_mib=3000), *remedies)
    dialog = dialog_of(shell, qtbot, Q14.id)
    qtbot.waitExposed(dialog)
    return world, dialog


def captions(buttons: list[QPushButton]) -> list[str]:
    return [plain(button.text()) for button in buttons]


@pytest.mark.parametrize("number", range(len(REMEDIES)))
def test_a_click_applies_the_remedy_and_nothing_can_be_clicked_twice(opened: Opener, qtbot: QtBot, number: int) -> None:
    world, dialog = refused(opened, qtbot, *REMEDIES)
    dialog.remedies[number].click()
    assert world.supervisor.asked == [(REMEDIES[number].word, Q14.id)]
    for button in dialog.remedies:
        assert not button.isEnabled()
        button.click()
    assert not dialog.retry.isEnabled()
    assert len(world.supervisor.asked) == 1


def test_it_says_what_it_does_before_the_click_and_what_is_done_after_it(opened: Opener, qtbot: QtBot) -> None:
    _, dialog = refused(opened, qtbot, *REMEDIES)
    shown = words(dialog)
    for sentence in (
        "Ollama loads it again when it is asked.",
        "Requests to that model break off.",
        "Changes the profile; the model then holds 6,144 tokens per request.",
        "Changes the profile; the cache takes less memory",
    ):
        assert sentence in shown
    assert captions(dialog.remedies)[:4] == [
        "Unload qwen3:8b from Ollama and start",
        "Stop Qwen2.5 7B AWQ and start",
        "Use 6,144 tokens and start",
        "KV cache as q8_0 and start",
    ]
    assert not dialog.progress.isVisible()
    dialog.remedies[1].click()
    assert dialog.progress.isVisible()
    assert dialog.progress.text() == "Stopping Qwen2.5 7B AWQ, then checking again…"


def test_only_the_best_stands_out_and_none_has_the_focus(opened: Opener, qtbot: QtBot) -> None:
    world, dialog = refused(opened, qtbot, *REMEDIES)
    buttons = [*dialog.remedies, dialog.copy, dialog.retry, dialog.close_button]
    assert [button for button in buttons if button.property("kind") == "primary"] == [dialog.remedies[0]]
    assert QApplication.focusWidget() is dialog.close_button
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    assert not dialog.isVisible()
    assert world.supervisor.asked == []


def test_without_a_remedy_close_stands_out(opened: Opener, qtbot: QtBot) -> None:
    _, dialog = refused(opened, qtbot)
    assert dialog.close_button.property("kind") == "primary"
    assert EN.text("ui.remedy.title") not in words(dialog)


def test_tab_leads_to_the_best_remedy_first_and_return_presses_it(opened: Opener, qtbot: QtBot) -> None:
    world, dialog = refused(opened, qtbot, *REMEDIES)
    reached = []
    for _ in range(len(dialog.remedies)):
        QTest.keyClick(QApplication.focusWidget() or dialog, Qt.Key.Key_Tab)
        while not isinstance(QApplication.focusWidget(), QAbstractButton):
            QTest.keyClick(QApplication.focusWidget() or dialog, Qt.Key.Key_Tab)
        reached.append(QApplication.focusWidget())
    assert reached == dialog.remedies
    dialog.remedies[2].setFocus()
    QTest.keyClick(dialog.remedies[2], Qt.Key.Key_Return)
    assert world.supervisor.asked == [("context=6144", Q14.id)]


def test_escape_closes_also_while_a_remedy_is_under_way(opened: Opener, qtbot: QtBot) -> None:
    _, dialog = refused(opened, qtbot, *REMEDIES)
    dialog.remedies[0].click()
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_button_of_the_dialog_has_a_letter_of_its_own(opened: Opener, qtbot: QtBot, language: str) -> None:
    _, dialog = refused(opened, qtbot, *KINDS, language=language)
    all_of_them = [*dialog.remedies[: len(KINDS)], dialog.copy, dialog.retry, dialog.close_button]
    letters = [button.shortcut().toString() for button in all_of_them]
    assert all(letters)
    assert len(set(letters)) == len(letters), letters


def test_the_dialog_follows_the_run_and_the_window_shows_how_it_goes_on(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    assert shell.window is not None
    assert shell.window.dashboard is not None
    world.supervisor.refuse(Q32.id, gate(21500, free_mib=3000), *REMEDIES)
    dialog = dialog_of(shell, qtbot, Q32.id)
    shell.window.hide()
    dialog.remedies[2].click()
    world.supervisor.move(Q32.id, Phase.CHECKING)
    qtbot.waitUntil(lambda: dialog.progress.text() == "Checking…")
    world.supervisor.move(Q32.id, Phase.LAUNCHING)
    qtbot.waitUntil(lambda: not dialog.isVisible())
    assert shell.window.isVisible()
    assert shell.window.dashboard.profile.id == Q32.id


def test_a_start_that_nobody_asked_for_in_a_dialog_opens_no_window(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.supervisor.refuse(Q14.id, gate(10405, free_mib=3000), *REMEDIES)
    dialog = dialog_of(shell, qtbot, Q14.id)
    world.supervisor.move(Q14.id, Phase.LAUNCHING)
    qtbot.waitUntil(lambda: not dialog.isVisible())
    assert shell.window is None


def test_a_remedy_that_fails_is_told_in_the_same_dialog(opened: Opener, qtbot: QtBot) -> None:
    world, dialog = refused(opened, qtbot, *REMEDIES, window=True)
    dialog.remedies[0].click()
    why = problem("ollama.stays", model="qwen3:8b", seconds=10)
    world.bus.publish(Notice(why, Q14.id))
    qtbot.waitUntil(lambda: EN.message(why).what in words(dialog))
    assert EN.message(why).do in words(dialog)
    assert "Too little free video memory" in words(dialog)
    assert all(button.isEnabled() for button in (*dialog.remedies, dialog.retry))
    assert not dialog.progress.isVisible()
    dialog.copy.click()
    assert EN.message(why).what in QApplication.clipboard().text()
    world.supervisor.refuse(Q14.id, gate(10405, free_mib=3000), *REMEDIES)
    qtbot.waitUntil(lambda: EN.message(why).what not in words(dialog))


def test_a_remedy_that_fails_behind_a_closed_dialog_is_told_by_tray_and_window(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    world.supervisor.refuse(Q14.id, gate(10405, free_mib=3000), *REMEDIES)
    dialog = dialog_of(shell, qtbot, Q14.id)
    dialog.remedies[0].click()
    dialog.close()
    why = problem("ollama.stays", model="qwen3:8b", seconds=10)
    world.bus.publish(Notice(why, Q14.id))
    assert shell.window is not None
    window = shell.window
    qtbot.waitUntil(lambda: EN.message(why).what in words(window.notice))


def test_what_a_remedy_changed_in_the_profile_is_seen_in_the_list(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened(window=True)
    assert shell.window is not None
    assert shell.window.dashboard is not None
    item = shell.window.models.currentItem()
    assert item is not None
    assert item.data(SUB).endswith("8,192 tokens")
    world.supervisor.change(msgspec.structs.replace(Q14, context=6144))
    world.supervisor.move(Q14.id, Phase.CHECKING)
    qtbot.waitUntil(lambda: item.data(SUB).endswith("6,144 tokens"))
    assert shell.window.dashboard.profile.context == 6144


def test_a_failed_start_can_have_remedies_too(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    why = problem("proof.kv_cache_too_small", max_len=6144)
    world.supervisor.move(Q14.id, Phase.FAILED, problem=why, remedies=REMEDIES[2:3])
    dialog = dialog_of(shell, qtbot, Q14.id)
    assert captions(dialog.remedies) == ["Use 6,144 tokens and start"]


def test_what_can_be_freed_has_its_button_beside_it(opened: Opener, qtbot: QtBot) -> None:
    world, dialog = refused(opened, qtbot)
    assert captions(dialog.remedies) == ["Unload it and start", "Stop it and start"]
    assert [button.accessibleName() for button in dialog.remedies] == [
        "qwen3:8b: Unload it and start",
        "Qwen2.5 7B AWQ: Stop it and start",
    ]
    dialog.remedies[1].click()
    assert world.supervisor.asked == [(f"stop={A7.id}", Q14.id)]


def test_holders_keep_their_order_and_small_programs_are_summed_up() -> None:
    many = [Holder(HolderKind.PROCESS, f"p{n}.exe", (900 - n) * MIB) for n in range(HOLDERS_SHOWN + 2)]
    rows = holder_rows(EN, [*many, Holder(HolderKind.OLLAMA, "tiny", 5 * MIB, "tiny")])
    assert [row.name for row in rows] == [*(f"p{n}.exe" for n in range(HOLDERS_SHOWN)), "tiny", "and 2 more"]
    assert rows[-1].size == "1,789 MiB"
    assert [row.free is not None for row in rows] == [False] * HOLDERS_SHOWN + [True, False]


def test_a_name_is_shown_as_it_is_and_numbers_are_grouped() -> None:
    row = remedy_row(EN, Remedy(RemedyKind.STOP_RUN, "a-b", "Q&A model"))
    assert plain(row.caption) == "Stop Q&A model and start"
    assert plain(remedy_row(EN, Remedy(RemedyKind.CONTEXT, "10240")).caption) == "Use 10,240 tokens and start"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("remedy", KINDS, ids=lambda remedy: str(remedy.kind))
def test_no_remedy_speaks_of_the_cpu(language: str, remedy: Remedy) -> None:
    row = remedy_row(Texts(language), remedy)
    assert "cpu" not in f"{row.caption} {row.says} {row.busy}".lower()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_very_long_name_is_shortened_and_told_whole_and_widens_nothing(
    opened: Opener, qtbot: QtBot, language: str
) -> None:
    name = "hf.co/unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:UD-Q4_K_XL"
    world, shell = opened(language=language)
    long_one = Remedy(RemedyKind.UNLOAD, name, name)
    report = gate(10405, free_mib=3000, holders=(Holder(HolderKind.OLLAMA, name, 7000 * MIB, name),))
    world.supervisor.refuse(Q14.id, report, long_one)
    dialog = dialog_of(shell, qtbot, Q14.id)
    qtbot.waitExposed(dialog)
    button = dialog.remedies[0]
    assert "…" in button.text()
    assert name in button.toolTip()
    assert name in button.accessibleName()
    assert dialog.minimumSizeHint().width() <= WIDTH
    faults = [fault for fault in cut_off(dialog) if name not in fault and "…" not in fault]
    assert faults == []
    assert any(label.text() == name for label in dialog.findChildren(QLabel))
