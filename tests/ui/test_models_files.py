"""Files on the machine, what is on its way, the token, and quitting over a download."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.model.download import DownloadRequest, DownloadState
from kotaro_bridge.domain.planning.catalogue_rank import Use
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.service.model_shelf import OnMachine
from kotaro_bridge.ui.view_models.model_files import key_of
from tests.ui.conftest import Opener
from tests.ui.fake_models import OTHERS, Q14_FILE
from tests.ui.models_window import Library

REQUEST = DownloadRequest("Qwen/Qwen2.5-7B-Instruct-AWQ", "wsl:Ubuntu")
EVERYTHING = OnMachine(OTHERS, (), ())
Open = Callable[..., Library]


@pytest.fixture
def files(opened: Opener, qtbot: QtBot) -> Open:
    """Opens the window at "On this machine"."""

    def make(found: OnMachine = EVERYTHING, **world: object) -> Library:
        made, shell = opened(**world)
        made.models.on_machine = found
        one = Library(made, shell, qtbot).looked()
        one.tab(1)
        return one

    return make


def test_everything_is_listed_with_size_condition_and_users(files: Open) -> None:
    one = files()
    page = one.window.files
    assert "6 models, 26.0 GiB" in page.total.text()
    words = [page.list.item(n).text() for n in range(page.list.count())]
    assert "Ubuntu: Folders (12.0 GiB)" in words
    assert "Ollama (read only) (5.0 GiB)" in words
    said = one.said(page)
    assert "qwen2.5-14b-q4" in said
    for model, word in ((OTHERS[1], "has not ended"), (OTHERS[2], "damaged")):
        one.row(key_of(model), page.list)
        assert word in one.said(page)
        assert not page.profile.isEnabled()


def test_deleting_takes_two_steps_and_says_what_breaks(files: Open) -> None:
    one = files()
    page = one.window.files
    one.row(key_of(Q14_FILE), page.list)
    one.click(page.remove)
    one.wait(lambda: page.bar.about == "remove")
    assert "This frees 9.0 GiB" in page.bar.what.text()
    assert "qwen2.5-14b-q4" in page.bar.do.text()
    assert page.bar.answers[1].hasFocus(), "Enter keeps it"
    one.press(Qt.Key.Key_Escape, one.window)
    assert page.bar.about == ""
    one.click(page.remove)
    one.wait(lambda: page.bar.about == "remove")
    one.click(page.bar.answers[0])
    one.wait(lambda: page.bar.about == "removed" and not page.looking)
    assert ("remove", Q14_FILE.id) in one.models.asked
    assert "5 models" in page.total.text()


def test_a_model_that_runs_is_not_deleted(files: Open) -> None:
    one = files()
    page = one.window.files
    one.row(key_of(Q14_FILE), page.list)
    one.models.error = problem("models.in_use", name=Q14_FILE.id, profiles="qwen2.5-14b-q4")
    one.click(page.remove)
    one.wait(lambda: page.bar.about == "kept")
    assert "is running" in page.bar.what.text()
    assert page.remove.isEnabled()


def test_other_programs_files_stay_and_ollamas_are_copied(files: Open) -> None:
    one = files()
    page = one.window.files
    one.row(key_of(OTHERS[4]), page.list)
    assert page.remove.isHidden()
    assert page.profile.isHidden()
    assert "belongs to LM Studio" in one.said(page)
    one.row(key_of(OTHERS[5]), page.list)
    one.click(page.copy_button)
    assert one.models.asked[-1] == ("import", "qwen3:8b")
    line = one.window.panel.lines["copy-1"]
    one.models.move("copy-1", DownloadState.RUNNING, bytes=GIB, total=5 * GIB, speed=2e8, eta=21.0)
    one.wait(lambda: "copying · 20 %" in line.words.text())
    assert "0:21 left" in line.words.text()
    assert line.pause.isHidden()
    one.click(line.cancel)
    one.wait(lambda: ("pause", "copy-1") in one.models.asked)
    one.wait(lambda: "ended" in line.words.text())


def test_a_distro_that_sleeps_is_woken_only_on_demand(files: Open) -> None:
    one = files(OnMachine((), (), ("Ubuntu",)))
    page = one.window.files
    assert "Ubuntu" in page.asleep.what.text()
    assert ("files", True) not in one.models.asked
    one.click(page.asleep.answers[0])
    one.wait(lambda: "6 models" in page.total.text())
    assert page.asleep.isHidden()


def test_without_wsl_it_says_so_and_a_newcomer_is_shown_the_way(files: Open) -> None:
    one = files(OnMachine((), (problem("wsl.missing"),), ()))
    page = one.window.files
    assert page.bar.about == "problem"
    assert page.bar.what.text()
    assert "No model files here yet" in one.said(page)
    one.click(page.start_here)
    assert one.window.tabs.currentWidget() is one.window.fit


def test_a_model_of_a_folder_becomes_a_profile(files: Open) -> None:
    one = files()
    page = one.window.files
    one.row(key_of(OTHERS[3]), page.list)
    one.click(page.profile)
    one.wait(lambda: bool(one.shell.editors.windows))
    made = one.shell.editors.windows[0].profile
    assert (made.model, made.engine.value, made.port) == ("org/some-model", "vllm", 8000)


def test_a_download_is_shown_paused_and_resumed_with_the_keyboard(files: Open) -> None:
    one = files()
    one.models.move("d", DownloadState.LOOKING, request=REQUEST)
    one.wait(lambda: "d" in one.window.panel.lines)
    line = one.window.panel.lines["d"]
    one.models.move("d", DownloadState.RUNNING, bytes=GIB, total=4 * GIB, speed=5.2e7, eta=62.0, file="a.safetensors")
    one.wait(lambda: "25 %" in line.words.text())
    for words in ("1.0 GiB / 4.0 GiB", "52.0 MB/s", "1:02 left"):
        assert words in line.words.text()
    assert line.bar.value() == 250
    assert "25 %" in one.shell.tray.models.text()
    assert "25 %" in one.shell.tray.tooltip
    line.pause.setFocus()
    one.press(Qt.Key.Key_Space)
    one.wait(lambda: line.resume.isVisible())
    assert line.resume.hasFocus(), "the keyboard stays on the line"
    one.press(Qt.Key.Key_Space)
    one.wait(lambda: line.pause.isVisible())
    assert [what for what, _ in one.models.asked[-2:]] == ["pause", "resume"]
    one.models.move("d", DownloadState.DONE, bytes=4 * GIB)
    one.wait(lambda: line.drop.isVisible())
    one.click(line.drop)
    assert one.window.panel.isHidden()


def test_a_cancel_asks_before_it_deletes(files: Open) -> None:
    one = files()
    one.models.move("d", DownloadState.RUNNING, request=REQUEST, bytes=GIB, total=4 * GIB)
    one.wait(lambda: "d" in one.window.panel.lines)
    line = one.window.panel.lines["d"]
    one.click(line.cancel)
    assert "1.0 GiB are there already" in one.window.bar.what.text()
    one.click(one.window.bar.answers[2])
    assert "d" in one.models.views
    one.click(line.cancel)
    one.click(one.window.bar.answers[1])
    one.wait(lambda: one.models.views["d"].state is DownloadState.PAUSED)
    one.wait(lambda: line.resume.isVisible())
    one.click(line.cancel)
    one.click(one.window.bar.answers[0])
    one.wait(lambda: one.window.panel.isHidden())
    assert ("cancel", "d") in one.models.asked
    assert "1.0 GiB are free again" in one.window.bar.what.text()


def test_a_failure_says_what_to_do(files: Open) -> None:
    one = files()
    page = "https://huggingface.co/org/gated"
    one.models.move("d", DownloadState.FAILED, request=REQUEST, problem=problem("download.gated", id="x", page=page))
    one.wait(lambda: "d" in one.window.panel.lines)
    line = one.window.panel.lines["d"]
    assert "accept the licence" in line.told.text()
    assert line.resume.isVisible()


def test_a_download_survives_its_window_and_is_told_by_the_tray(files: Open) -> None:
    one = files()
    one.models.move("d", DownloadState.RUNNING, request=REQUEST, bytes=GIB, total=4 * GIB)
    one.window.close()
    said: list[tuple[str, str]] = []
    one.shell.tray.say = lambda title, words: said.append((title, words))  # type: ignore[method-assign]
    one.models.move("d", DownloadState.DONE, bytes=4 * GIB)
    one.wait(lambda: bool(said))
    assert said == [("Qwen2.5-7B-Instruct-AWQ is here", "Make a profile of it in the window Models.")]
    one.shell.open_models()
    assert "done" in one.window.panel.lines["d"].words.text()


def test_a_quit_asks_once_over_a_download(files: Open) -> None:
    one = files()
    ended: list[bool] = []
    one.shell.ended.connect(lambda: ended.append(True))
    one.models.move("d", DownloadState.RUNNING, request=REQUEST, bytes=GIB, total=4 * GIB)
    one.window.close()
    one.shell.tray.quit.trigger()
    assert one.window.isVisible()
    assert "under way" in one.window.bar.what.text()
    one.click(one.window.bar.answers[1])
    assert not ended
    one.shell.tray.quit.trigger()
    one.click(one.window.bar.answers[0])
    one.wait(lambda: bool(ended))


def test_the_token_is_kept_and_forgotten_and_never_shown(files: Open) -> None:
    one = files()
    one.tab(2)
    page = one.window.token
    one.wait(lambda: page.state.text() == "No token is kept.")
    assert page.field.echoMode() is QLineEdit.EchoMode.Password
    QTest.keyClicks(page.field, "abc")
    one.press(Qt.Key.Key_Return, page.field)
    one.wait(lambda: page.bar.about == "token")
    assert "no Hugging Face token" in page.bar.what.text()
    QTest.keyClicks(page.field, "hf_secret")
    one.click(page.keep)
    one.wait(lambda: page.forget.isEnabled())
    assert one.models.kept == "hf_secret"
    assert page.field.text() == ""
    assert "hf_secret" not in one.said()
    one.click(page.forget)
    one.wait(lambda: not page.forget.isEnabled())
    assert one.models.kept is None


def test_a_keyring_that_is_locked_is_told(files: Open) -> None:
    one = files()
    one.models.error = problem("token.keyring", detail="locked")
    one.tab(2)
    one.wait(lambda: one.window.token.bar.about == "token")
    assert "locked" in one.window.token.bar.what.text()


def test_japanese(files: Open) -> None:
    one = files(language="ja")
    assert "6 件" in one.window.files.total.text()
    one.tab(0)
    assert one.window.fit.uses[Use.GAMES].text() == "ゲームと併用"
    assert "収まります" in _plan_of(one, "qwen2.5-14b-instruct-q4_k_m")


def _plan_of(one: Library, entry_id: str) -> str:
    one.row(entry_id)
    assert one.window.fit.details.plan is not None
    return one.window.fit.details.plan.answer.text()
