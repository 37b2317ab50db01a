"""Another language while things are typed: the windows speak it, and nothing typed is lost."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_view import Notice
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.dialogs.profile_editor import ProfileEditor
from tests.ui.conftest import Opener
from tests.ui.fake_desk import Q14
from tests.ui.test_app_settings import Opened
from tests.ui.test_block_dialog import words


@pytest.fixture
def one(opened: Opener, qtbot: QtBot) -> Opened:
    world, shell = opened()
    world.telemetry.fill(5)
    return Opened(world, shell, qtbot)


def typed(one: Opened, **texts: str) -> ProfileEditor:
    """An editor with these texts in it, and its further fields open."""
    one.shell.editors.edit(Q14.id)
    one.settle()
    window = one.shell.editors.windows[-1]
    window.fields.more.setChecked(True)
    window.fields.fill(window.fields.texts() | texts)
    window.fields.edited.emit()
    return window


def test_a_profile_editor_speaks_it_with_everything_that_was_typed(one: Opened) -> None:
    old = typed(one, context="4096", port="80x0")
    old.resize(1000, 600)
    one.choose("language", "ja")
    (new,) = one.shell.editors.windows
    assert new is not old
    assert new.isVisible()
    assert new.size().toTuple() == (1000, 600)
    assert (new.close_button.text(), new.state.text()) == ("閉じる(&C)", "要修正 1 件")
    assert new.unsaved
    assert (new.fields.texts()["context"], new.fields.texts()["port"]) == ("4096", "80x0")
    assert new.fields.rows["port"].wrong.isVisibleTo(new)
    new.close()
    assert new.isVisible(), "it is asked about as before"
    assert new.bar.what.text() == "変更が保存されていません。"


def test_a_new_profile_that_is_stored_nowhere_speaks_it_too(one: Opened) -> None:
    one.shell.editors.new()
    one.settle()
    (old,) = one.shell.editors.windows
    old.fields.fill(old.fields.texts() | {"title": "Mine"})
    old.fields.edited.emit()
    one.choose("language", "ja")
    (new,) = one.shell.editors.windows
    assert new.fields.texts()["title"] == "Mine"
    assert not new.stored
    assert new.state.text().startswith("要修正") or new.state.text() == "まだ保存されていません"


def test_an_editor_that_says_what_was_changed_outside_goes_on_saying_it(one: Opened) -> None:
    window = typed(one, context="4096")
    window.bar.tell_imported("~/evil.sh")
    one.choose("language", "ja")
    assert one.shell.editors.windows == [window]
    assert "~/evil.sh" in window.bar.what.text()


def test_the_settings_of_wsl_speak_it_with_the_changes_that_are_not_saved(one: Opened) -> None:
    one.shell.open_settings()
    old = one.shell.settings
    assert old is not None
    old.edit.form.edited.emit("wsl2.memory", "12GB")
    one.choose("language", "ja")
    new = one.shell.settings
    assert new is not None
    assert new is not old
    assert (new.isVisible(), old.isVisible()) == (True, False)
    assert new.unsaved
    assert new.state.text() == "未保存: 1 件"
    assert new.edit.form.rows["wsl2.memory"].input.text() == "12GB"


def test_the_text_of_the_file_stays_in_front(one: Opened) -> None:
    one.shell.open_settings()
    old = one.shell.settings
    assert old is not None
    old.edit.tabs.setCurrentIndex(1)
    QTest.keyClicks(old.edit.raw, "# mine")
    one.choose("language", "ja")
    new = one.shell.settings
    assert new is not None
    assert new is not old
    assert new.edit.tabs.currentIndex() == 1
    assert new.edit.raw.shown_text().startswith("# mine")
    assert new.unsaved


def test_what_is_typed_into_the_window_of_the_models_stays(one: Opened) -> None:
    one.shell.open_models()
    old = one.shell.models
    assert old is not None
    old.tabs.setCurrentWidget(old.token)
    for field, text in ((old.fit.search, "coder"), (old.fit.field, "Qwen/Qwen3-8B"), (old.token.field, "hf_x")):
        field.setText(text)
    one.choose("language", "ja")
    new = one.shell.models
    assert new is not None
    assert new is not old
    assert new.tabs.currentWidget() is new.token
    assert (new.fit.search.text(), new.fit.field.text(), new.token.field.text()) == ("coder", "Qwen/Qwen3-8B", "hf_x")


def test_a_value_that_is_none_yet_keeps_its_window(one: Opened) -> None:
    one.shell.open_settings()
    window = one.shell.settings
    assert window is not None
    row = window.edit.form.rows["wsl2.memory"]
    row.input.stops[0].setFocus()
    QTest.keyClicks(row.input.stops[0], "x")
    one.choose("language", "ja")
    assert one.shell.settings is window
    assert "x" in row.input.text()


def test_what_the_main_window_says_goes_on_being_said(one: Opened) -> None:
    crashed = problem("app.crashed_before", path="crash-1.txt", at="11:30")
    one.shell.open_dashboard()
    one.world.bus.publish(Notice(crashed))
    one.settle()
    one.choose("language", "ja")
    assert one.shell.window is not None
    notice = one.shell.window.notice
    assert notice.isVisible()
    assert notice.what.text() == Texts("ja").message(crashed).what
    assert [answer.text() for answer in notice.answers] == ["レポートを開く", "診断情報を保存…", "閉じる"]
    notice.answers[-1].click()
    one.window = one.shell.app_settings or one.window
    one.choose("language", "en")
    assert one.shell.window.notice.isHidden(), "it was dismissed"


def test_what_is_unread_is_told_in_it(one: Opened) -> None:
    one.world.bus.publish(Notice(problem("app.crashed_before", path="crash-1.txt", at="11:30")))
    one.world.bus.publish(Notice(problem("stop.leftover_ended", run="qwen-1", pids=""), Q14.id))
    one.settle()
    one.choose("language", "ja")
    unread = one.shell.notices.unread()
    assert [told.about for told in unread] == ["app.crashed_before", Q14.id]
    assert "エラー" in unread[0].words
    assert "qwen-1" in unread[1].words, "only its words are known: they stay"


def test_the_arrow_keys_go_on_through_the_languages(one: Opened) -> None:
    """Each one opens the window anew."""
    window = one.window
    for title in ("Settings", "設定"):
        one.qtbot.waitUntil(window.boxes["language"].hasFocus)
        QTest.keyClick(window.boxes["language"], Qt.Key.Key_Down)
        one.settle()
        assert one.shell.app_settings is not None
        window = one.shell.app_settings
        assert title in words(window)
    one.settle()
    assert window.boxes["language"].currentData() == "ja"
    assert window.boxes["language"].hasFocus()
    assert window.testAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange), "and it is seen"
