"""What becomes of a profile that was edited: saved, not lost, copied, taken over, handed on, deleted, tried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice, RunView
from kotaro_bridge.service.supervisor import TRIAL
from kotaro_bridge.service.trial import TrialEnd, TrialResult
from kotaro_bridge.ui.leaving import SETTLE_MS
from tests.ui.conftest import Opener
from tests.ui.editor_window import Editing
from tests.ui.fake_desk import Q14, gate

ESC = Qt.Key.Key_Escape


@pytest.fixture
def edit(opened: Opener, qtbot: QtBot) -> Callable[..., Editing]:
    return lambda profile_id=Q14.id, prepare=lambda _: None, **world: Editing(
        opened, qtbot, profile_id, prepare, **world
    )


def test_a_save_changes_what_was_changed_and_nothing_else(edit: Callable[..., Editing]) -> None:
    one = edit(window=True)
    path = one.file()
    path.write_text("# mine\n" + path.read_text().replace("context = 8192", "context = 8192 # enough"))
    one.window.look_outside()
    one.world.join()
    one.settled()
    one.type("context", "4096")
    one.save()
    text = path.read_text()
    assert text.startswith("# mine\n")
    assert "context = 4096 # enough" in text
    assert "vram_mib" not in text, "what was measured with another context no longer holds"
    assert one.window.bar.what.text() == "Saved."
    assert not one.window.unsaved
    assert not one.window.save_button.isEnabled()
    assert next(p for p in one.world.supervisor.profiles() if p.id == Q14.id).context == 4096
    assert one.shell.window is not None
    assert "4,096 tokens" in str(one.shell.window.models.currentItem().data(Qt.ItemDataRole.UserRole + 1))


def test_a_new_profile_is_saved_and_stands_in_list_and_menu(edit: Callable[..., Editing]) -> None:
    one = edit(None, window=True)
    one.type("title", "My Qwen & Co")
    one.type("model", "~/models/my.gguf")
    one.settled()
    one.save()
    assert one.window.stored
    text = one.file("my-qwen-co").read_text()
    assert 'served_name = "my-qwen-co"' in text
    assert "builtin" not in text
    assert "my-qwen-co" in one.shell.tray.starts
    assert one.shell.window is not None
    assert "my-qwen-co" in one.shell.window.models._items


def test_an_error_while_saving_loses_nothing(edit: Callable[..., Editing]) -> None:
    one = edit()
    before = one.file().read_bytes()
    one.profiles.save_error = problem("profile.not_saved", file="x.toml", detail="disk full")
    one.type("context", "4096")
    one.save()
    assert "disk full" in one.window.bar.what.text()
    assert one.text("context") == "4096"
    assert one.window.unsaved
    assert one.file().read_bytes() == before
    one.profiles.save_error = None
    one.save()
    assert b"context = 4096" in one.file().read_bytes()


def test_what_is_typed_while_it_is_saved_stays(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.type("context", "4096")
    one.profiles.hold.clear()
    one.click(one.window.save_button)
    assert one.window.state.text() == "Saving…"
    one.type("title", "Another name")
    one.profiles.hold.set()
    one.qtbot.waitUntil(lambda: not one.window.saving)
    assert one.text("title") == "Another name"
    assert one.text("context") == "4096"
    assert one.window.unsaved
    assert b"context = 4096" in one.file().read_bytes()
    assert b"Another" not in one.file().read_bytes()


def test_closing_asks_about_what_is_not_saved(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.type("title", "Other")
    one.click(one.window.close_button)
    assert one.window.isVisible()
    assert one.window.bar.what.text() == "Your changes are not saved."
    assert one.window.focusWidget() is one.window.bar.answers[0]
    QTest.keyClick(one.window, ESC)
    assert one.window.bar.isHidden()
    assert one.text("title") == "Other"
    QTest.keyClick(one.window, ESC)
    one.answer(2)
    assert one.window.isVisible()
    one.window.close()
    one.answer(0)
    one.qtbot.waitUntil(lambda: one.shell.editors.windows == [])
    assert b'title = "Other"' in one.file().read_bytes()


def test_closing_without_saving_writes_nothing(edit: Callable[..., Editing]) -> None:
    one = edit()
    before = one.file().read_bytes()
    one.type("title", "Other")
    one.window.close()
    one.answer(1)
    assert one.shell.editors.windows == []
    assert one.file().read_bytes() == before


def test_save_and_close_with_a_mistake_stays_open(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.type("title", "")
    one.window.close()
    one.answer(0)
    assert one.window.isVisible()
    assert one.wrong("title")
    one.type("title", "Right again")
    one.save()
    assert one.window.isVisible(), "the close that was called off does not come later"


def ends_of(one: Editing) -> list[None]:
    """One for each time that the program says that it ends."""
    ended: list[None] = []
    one.shell.ended.connect(lambda: ended.append(None))
    return ended


def test_the_program_asks_once_before_it_ends(edit: Callable[..., Editing]) -> None:
    one = edit()
    ended = ends_of(one)
    one.type("title", "Other")
    one.shell.tray.quit.trigger()
    assert ended == []
    assert one.window.bar.what.text() == "Your changes are not saved."
    one.shell.tray.quit.trigger()
    assert ended == [None]


@pytest.mark.parametrize("answer", [0, 1])
def test_an_answer_that_closes_the_window_goes_on_with_the_quit(edit: Callable[..., Editing], answer: int) -> None:
    one = edit()
    with one.qtbot.waitSignal(one.shell.ended):
        one.type("title", "Other")
        one.shell.tray.quit.trigger()
        one.answer(answer)
    assert ('title = "Other"' in one.file().read_text()) == (answer == 0)


def test_who_goes_on_editing_has_called_the_quit_off(edit: Callable[..., Editing]) -> None:
    one = edit()
    ended = ends_of(one)
    one.type("title", "Other")
    one.shell.tray.quit.trigger()
    one.answer(2)
    one.qtbot.wait(2 * SETTLE_MS)
    one.window.close()
    one.answer(1)
    one.qtbot.wait(2 * SETTLE_MS)
    assert one.shell.editors.windows == []
    assert ended == []


@pytest.mark.parametrize("back", ["Esc", "answer", "typed"])
def test_who_goes_on_editing_is_asked_again_at_the_next_quit(edit: Callable[..., Editing], back: str) -> None:
    one = edit()
    ended = ends_of(one)
    one.type("title", "Other")
    one.shell.tray.quit.trigger()
    if back == "Esc":
        QTest.keyClick(one.window, Qt.Key.Key_Escape)
    elif back == "answer":
        one.answer(2)
    else:
        one.type("title", "Another")
    assert not one.window.bar.isVisible()
    one.shell.tray.quit.trigger()
    assert ended == []
    assert one.window.bar.what.text() == "Your changes are not saved."


def test_what_would_be_lost_is_not_what_enter_does(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.window.ask_delete()
    QTest.keyClick(one.window.focusWidget(), Qt.Key.Key_Return)
    one.settled()
    assert one.file().exists()
    assert not one.window.bar.isVisible()
    assert one.window.isVisible()
    one.profiles.go_on.clear()
    one.click(one.window.tries.panel.start)
    one.qtbot.waitUntil(lambda: one.window.tries.running)
    one.window.close()
    QTest.keyClick(one.window.focusWidget(), Qt.Key.Key_Return)
    assert one.window.tries.panel.cancel.isEnabled(), "it was not cancelled"


def test_a_change_from_outside_is_taken_over_where_nothing_is_typed(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.type("title", "Mine")
    one.file().write_text(one.file().read_text().replace("context = 8192", "context = 2048"))
    one.window.look_outside()
    one.qtbot.waitUntil(lambda: one.text("context") == "2048")
    assert one.text("title") == "Mine"
    assert "new values are shown" in one.window.bar.what.text()
    one.save()
    text = one.file().read_text()
    assert 'title = "Mine"' in text
    assert "context = 2048" in text


@pytest.mark.parametrize(("answer", "left"), [(0, "4096"), (1, "2048")])
def test_where_both_sides_changed_the_same_a_person_decides(
    edit: Callable[..., Editing], answer: int, left: str
) -> None:
    one = edit()
    one.type("context", "4096")
    one.file().write_text(one.file().read_text().replace("context = 8192", "context = 2048"))
    one.click(one.window.save_button)
    one.qtbot.waitUntil(lambda: one.window.bar.about == "clash")
    assert one.window.bar.what.text() == "The file was changed outside: Context."
    assert "context = 2048" in one.file().read_text(), "nothing was overwritten"
    assert one.text("context") == "4096"
    one.answer(answer)
    assert one.text("context") == left
    assert one.window.unsaved is (answer == 0)


def test_a_file_that_is_gone_can_be_saved_anew(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.type("title", "Rescued")
    one.file().unlink()
    one.window.look_outside()
    one.qtbot.waitUntil(lambda: "removed outside" in one.window.bar.what.text())
    assert one.text("title") == "Rescued"
    one.world.supervisor.forget(Q14.id)
    one.save()
    assert one.file("rescued").exists()


def test_a_file_that_became_none_is_told_and_nothing_is_lost(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.type("title", "Mine")
    one.file().write_text("context = = 1")
    one.window.look_outside()
    one.qtbot.waitUntil(lambda: not one.window.bar.isHidden())
    assert one.window.bar.property("tone") == "bad"
    assert one.text("title") == "Mine"


def test_a_builtin_one_becomes_a_copy_of_ones_own(edit: Callable[..., Editing]) -> None:
    builtin = "qwen2.5-14b-q4_k_m"

    one = edit(builtin, lambda profiles: profiles.fake.reload(builtin))
    assert one.window.profile.builtin
    assert "makes a copy of your own" in one.window.head.note.text()
    assert not one.window.delete_button.isVisibleTo(one.window)
    one.type("context", "4096")
    one.save()
    assert one.file(builtin).exists()
    assert "Your own copy" in one.window.head.note.text()
    one.click(one.window.delete_button)
    one.answer(0)
    one.qtbot.waitUntil(lambda: one.shell.editors.windows == [])
    assert not one.file(builtin).exists()
    assert next(p for p in one.world.supervisor.profiles() if p.id == builtin).builtin


def test_deleting_asks_and_one_that_runs_stays(edit: Callable[..., Editing]) -> None:
    one = edit(window=True)
    one.click(one.window.delete_button)
    assert one.window.bar.what.text() == f"Delete the profile {Q14.title}?"
    one.answer(1)
    assert one.file().exists()
    one.world.supervisor.move(Q14.id, Phase.READY)
    one.click(one.window.delete_button)
    one.answer(0)
    one.qtbot.waitUntil(lambda: one.window.bar.property("tone") == "bad")
    assert one.file().exists()
    one.world.supervisor.move(Q14.id, Phase.STOPPED)
    one.type("title", "typed and not saved")
    one.click(one.window.delete_button)
    one.answer(0)
    one.qtbot.waitUntil(lambda: one.shell.editors.windows == [])
    assert not one.file().exists()
    assert Q14.id not in one.shell.tray.starts


def test_export_and_import_bring_the_same_profile(
    edit: Callable[..., Editing], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = edit()
    path = tmp_path / "for a friend.toml"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    one.click(one.window.export_button)
    one.qtbot.waitUntil(path.exists)
    one.world.join()
    assert path.read_text() == one.file().read_text()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    one.shell.editors.take_over()
    taken = one.shown(1)
    assert not taken.stored
    assert "would run ~/llama.cpp/llama-server" in taken.bar.what.text()
    assert taken.fields.rows["model"].input.text() == Q14.model
    one.window = taken
    one.type("title", "A friend's")
    one.save()
    assert taken.profile.id == "a-friend-s"
    assert msgspec.structs.replace(taken.profile, id=Q14.id, title=Q14.title) == one.profiles.files.read(Q14.id)


def test_a_file_that_is_no_profile_is_refused_with_its_reason(
    opened: Opener, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, shell = opened(window=True)
    path = tmp_path / "x.toml"
    path.write_text("engine = 3")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    shell.editors.take_over()
    assert shell.window is not None
    qtbot.waitUntil(lambda: not shell.window.notice.isHidden())  # type: ignore[union-attr]
    assert shell.editors.windows == []


# --- tries ------------------------------------------------------------------------------------------------------------


def test_a_try_shows_the_measured_beside_the_plan_and_stores_nothing(edit: Callable[..., Editing]) -> None:
    one = edit()
    before = one.file().read_bytes()
    one.type("context", "4096")
    panel = one.window.tries.panel
    one.profiles.go_on.clear()
    one.click(panel.start)
    one.qtbot.waitUntil(lambda: panel.state.text() == "Loading")
    assert not panel.start.isVisibleTo(one.window)
    one.profiles.go_on.set()
    one.qtbot.waitUntil(lambda: "wholly on the GPU" in panel.outcome.text())
    (trial,) = one.profiles.trials
    assert trial.profile.context == 4096
    one.qtbot.waitUntil(lambda: "10,405 MiB" in one.labels())
    shown = one.labels()
    assert one.window.plans.panel.table.cells[4][1].text() in shown
    assert "38 tok/s · 63 % of what this card can do" in shown
    assert {"8,148 MiB", "1,536 MiB", "307 MiB"} <= set(shown), "what the log says of weights, KV cache and buffers"
    assert one.file().read_bytes() == before
    assert one.window.unsaved
    one.type("context", "2048")
    assert panel.old.isVisibleTo(one.window)


@pytest.mark.parametrize("end", [TrialEnd.REFUSED, TrialEnd.FAILED])
def test_a_try_that_does_not_work_says_why_as_the_block_dialog_does(
    edit: Callable[..., Editing], end: TrialEnd
) -> None:
    one = edit()
    report = gate(21500)
    why = problem("proof.layers_on_cpu", "load_tensors: offloaded 20/49 layers to GPU", layers=20, total=49)
    refused = RunView(TRIAL, Phase.REFUSED, 1, 0.0, gate=report, problem=report.blocking[0].message)
    view = refused if end is TrialEnd.REFUSED else RunView(TRIAL, Phase.FAILED, 1, 0.0, problem=why)
    one.profiles.result = TrialResult(end, view)
    one.click(one.window.tries.panel.start)
    wanted = "21,500 MiB are needed" if end is TrialEnd.REFUSED else "Only 20 of 49 layers"
    one.qtbot.waitUntil(lambda: wanted in " ".join(one.labels()))
    assert one.window.tries.panel.outcome.property("tone") == "bad"
    assert one.window.tries.panel.start.isVisibleTo(one.window)


def test_a_try_can_be_cancelled_and_holds_the_window_until_it_ended(edit: Callable[..., Editing]) -> None:
    one = edit()
    one.profiles.go_on.clear()
    panel = one.window.tries.panel
    one.click(panel.start)
    one.click(panel.cancel)
    one.qtbot.waitUntil(lambda: "cancelled" in panel.outcome.text())
    assert one.profiles.trials[0].ended.is_set()
    one.click(panel.start)
    one.window.close()
    assert one.window.bar.what.text() == "A try is under way."
    one.answer(0)
    one.qtbot.waitUntil(lambda: one.shell.editors.windows == [])
    assert one.profiles.trials[1].ended.is_set()


def test_the_tray_and_the_block_dialog_know_nothing_of_a_try(edit: Callable[..., Editing]) -> None:
    one = edit(window=True)
    report = gate(21500)
    view = RunView(TRIAL, Phase.REFUSED, 1, 0.0, gate=report, problem=report.blocking[0].message)
    one.profiles.result = TrialResult(TrialEnd.REFUSED, view)
    one.profiles.tell(Phase.CHECKING, view)
    one.world.bus.publish(Notice(problem("gpu.lost"), TRIAL))
    one.click(one.window.tries.panel.start)
    one.settled()
    assert one.shell.dialogs == {}
    assert one.shell.window is not None
    assert one.shell.window.notice.isHidden()
