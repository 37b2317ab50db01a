"""The settings dialog: what a save asks, writes and offers, on a real file; clashes and backups."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.wslconfig_effect import Affected
from kotaro_bridge.host.wslconfig_file import WslConfigFile
from kotaro_bridge.ui.dialogs.wslconfig_clash import ClashPage
from kotaro_bridge.ui.widgets.basics import plain
from tests.ui.conftest import Opener
from tests.ui.settings_dialog import USUAL, Make, Settings


def test_a_save_shows_the_change_first_and_then_writes_it(make: Make) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    settings.click(settings.dialog.save_button)
    page = settings.dialog.review_page
    assert page.diff.toPlainText().splitlines()[1:6] == [
        " # mine",
        " [wsl2]",
        "-memory=8GB # enough",
        "+memory=24GB # enough",
        " swap=8gb",
    ]
    assert {"Memory", "8 GB", "24 GB"} <= set(settings.labels())
    assert settings.data == USUAL
    settings.confirm()
    assert settings.data == USUAL.replace(b"8GB", b"24GB", 1)


def test_back_and_esc_lead_back_without_writing(make: Make) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    settings.click(settings.dialog.save_button)
    settings.click(settings.dialog.review_page.back_button)
    assert settings.on_edit
    settings.click(settings.dialog.save_button)
    settings.press(settings.dialog, Qt.Key.Key_Escape)
    assert settings.on_edit
    assert settings.dialog.isVisible()
    assert settings.data == USUAL


def test_the_keyboard_alone_saves(make: Make) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    settings.press(settings.dialog, Qt.Key.Key_S, control=True)
    settings.press(settings.dialog, Qt.Key.Key_S, control=True)
    settings.qtbot.waitUntil(lambda: not settings.dialog.saving)
    assert b"memory=24GB" in settings.data


def test_nothing_to_save_is_said(make: Make) -> None:
    settings = make()
    settings.press(settings.dialog, Qt.Key.Key_S, control=True)
    assert settings.dialog.bar.what.text() == "The file says this already."
    assert settings.on_edit


def test_a_new_file_is_made(make: Make) -> None:
    settings = make(None)
    settings.type("wsl2.memory", "24")
    settings.save()
    assert settings.data == b"[wsl2]\r\nmemory=24GB\r\n"


def test_where_wsl_does_not_run_a_save_is_all(make: Make) -> None:
    settings = make()
    settings.world.wslconfig.met = Affected((), (), False)
    settings.world.wslconfig.waits_after_save = False
    settings.type("wsl2.memory", "24")
    settings.save()
    settings.qtbot.waitUntil(lambda: settings.on_edit)
    assert settings.dialog.bar.what.text() == "Saved. The old file is kept as a backup."


def test_a_read_only_file_gives_a_sentence_and_keeps_the_edit(make: Make) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    settings.path.chmod(0o400)
    settings.save()
    assert "must not be written" in settings.dialog.review_page.failure.what.text()
    assert settings.data == USUAL
    settings.path.chmod(0o600)
    settings.confirm()
    assert b"memory=24GB" in settings.data


def test_a_read_only_folder_gives_a_sentence(make: Make, tmp_path: Path) -> None:
    settings = make(None)
    settings.type("wsl2.memory", "24")
    settings.dialog._editor._store = WslConfigFile(Path("/sys/.wslconfig"), tmp_path / "backups")
    settings.save()
    assert "/sys/.wslconfig must not be written" in settings.dialog.review_page.failure.what.text()


def test_a_file_that_cannot_be_replaced_gives_a_sentence_and_keeps_the_edit(make: Make) -> None:
    settings = make(None)
    settings.type("wsl2.memory", "24")
    settings.click(settings.dialog.save_button)
    settings.path.mkdir()
    settings.confirm()
    assert str(settings.path) in settings.dialog.review_page.failure.what.text()
    settings.path.rmdir()
    settings.confirm()
    assert b"memory=24GB" in settings.data


# Caveats


def test_utf16_is_asked_about_and_converted_in_one_click(make: Make) -> None:
    settings = make(USUAL.decode().encode("utf-16"))
    settings.type("wsl2.memory", "24")
    settings.click(settings.dialog.save_button)
    page = settings.dialog.review_page
    assert "The file is UTF-16. WSL reads it, but many other programs do not." in settings.labels()
    assert not page.save_button.isEnabled()
    assert page.convert_button is not None
    settings.click(page.convert_button)
    assert page.boxes == []
    settings.confirm()
    assert settings.data == USUAL.replace(b"8GB", b"24GB", 1)


def test_an_old_encoding_is_kept_with_the_owners_word(make: Make) -> None:
    data = "# 設定\r\n[wsl2]\r\nmemory=8GB\r\n".encode("cp932")
    settings = make(data)
    settings.type("wsl2.memory", "24")
    settings.click(settings.dialog.save_button)
    page = settings.dialog.review_page
    assert not page.save_button.isEnabled()
    settings.click(page.boxes[0])
    settings.confirm()
    assert settings.data == data.replace(b"8GB", b"24GB")


def test_what_wsl_cannot_read_at_all_can_only_be_converted(make: Make) -> None:
    settings = make(USUAL.decode().encode("utf-16-be"))
    settings.type("wsl2.memory", "24")
    settings.click(settings.dialog.save_button)
    page = settings.dialog.review_page
    assert page.boxes == []
    assert not page.save_button.isEnabled()
    assert page.convert_button is not None
    settings.click(page.convert_button)
    assert page.save_button.isEnabled()


def test_zero_bytes_are_asked_about_and_kept(make: Make) -> None:
    settings = make(USUAL + b"\0\0")
    settings.write(5, "processors=4")
    settings.text_settles()
    settings.click(settings.dialog.save_button)
    page = settings.dialog.review_page
    assert not page.save_button.isEnabled()
    settings.click(page.boxes[0])
    settings.confirm()
    assert settings.data == USUAL.replace(b"8gb\r\n", b"8gb\r\nprocessors=4", 1) + b"\0\0"


# Changes from outside


def test_a_change_of_another_key_is_merged_and_shown(make: Make) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    settings.path.write_bytes(USUAL.replace(b"gradual", b"disabled"))
    settings.dialog.look_outside()
    assert "was changed by another program" in settings.dialog.bar.what.text()
    assert settings.row("experimental.autoMemoryReclaim").input.text() == "Disabled"
    settings.save()
    assert settings.data == USUAL.replace(b"8GB", b"24GB", 1).replace(b"gradual", b"disabled")


def clash(settings: Settings) -> ClashPage:
    settings.type("wsl2.memory", "24")
    settings.type("wsl2.processors", "4")
    settings.path.write_bytes(USUAL.replace(b"8GB", b"12GB", 1))
    settings.click(settings.dialog.save_button)
    page = settings.dialog.clash_page
    assert settings.dialog.pages.currentWidget() is page
    return page


def test_a_change_of_the_same_key_is_asked_about_and_theirs_can_win(make: Make) -> None:
    settings = make()
    page = clash(settings)
    assert page.theirs["wsl2.memory"].text() == "In the file now: 12 GB"
    assert page.mine["wsl2.memory"].text() == "Yours: 24 GB"
    assert settings.data == USUAL.replace(b"8GB", b"12GB", 1)
    settings.click(page.go_on)
    settings.confirm()
    assert b"memory=12GB" in settings.data
    assert b"processors=4" in settings.data


def test_ones_own_value_can_win_too(make: Make) -> None:
    settings = make()
    page = clash(settings)
    settings.click(page.mine["wsl2.memory"])
    settings.click(page.go_on)
    settings.confirm()
    assert b"memory=24GB" in settings.data


def test_a_change_between_the_two_steps_of_a_save_is_not_overwritten(make: Make) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    settings.click(settings.dialog.save_button)
    theirs = USUAL.replace(b"8GB", b"12GB", 1)
    settings.path.write_bytes(theirs)
    settings.confirm()
    assert settings.data == theirs
    assert settings.dialog.pages.currentWidget() is settings.dialog.clash_page


@pytest.mark.parametrize("mine", [False, True])
def test_an_edited_text_is_kept_or_dropped_as_a_whole(make: Make, mine: bool) -> None:
    settings = make()
    settings.write(1, "# new ")
    settings.text_settles()
    theirs = USUAL.replace(b"8GB", b"12GB", 1)
    settings.path.write_bytes(theirs)
    settings.click(settings.dialog.save_button)
    page = settings.dialog.clash_page
    settings.click((page.mine if mine else page.theirs)[""])
    settings.click(page.go_on)
    if mine:
        settings.confirm()
    assert settings.data == (b"# new " + USUAL if mine else theirs)


# Backups


def test_a_backup_is_shown_against_now_and_restored_byte_for_byte(make: Make) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    settings.save()
    settings.click(settings.dialog.restart_page.later)
    settings.click(settings.dialog.backups_button)
    page = settings.dialog.backups_page
    assert page.list.count() == 1
    assert {"-memory=24GB # enough", "+memory=8GB # enough"} <= set(page.diff.toPlainText().splitlines())
    settings.click(page.restore_button)
    settings.confirm()
    assert settings.data == USUAL
    settings.click(settings.dialog.restart_page.later)
    settings.click(settings.dialog.backups_button)
    assert page.list.count() == 2
    page.list.setCurrentRow(1)
    assert not page.restore_button.isEnabled()
    assert page.same.isVisibleTo(settings.dialog)


def test_without_a_backup_it_says_when_one_is_made(make: Make) -> None:
    settings = make()
    settings.click(settings.dialog.backups_button)
    page = settings.dialog.backups_page
    assert page.none.isVisibleTo(settings.dialog)
    assert not page.restore_button.isEnabled()


# Closing


def test_closing_with_unsaved_edits_asks(make: Make) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    settings.dialog.close()
    assert settings.dialog.isVisible()
    bar = settings.dialog.bar
    assert [plain(each.text()) for each in bar.answers] == ["Save…", "Close without saving", "Keep editing"]
    settings.click(bar.answers[2])
    assert settings.dialog.isVisible()
    assert bar.isHidden()
    settings.press(settings.dialog, Qt.Key.Key_Escape)
    settings.click(bar.answers[1])
    assert not settings.dialog.isVisible()
    assert settings.data == USUAL


def test_without_edits_esc_closes_and_a_new_opening_shows_the_file_as_it_is(make: Make) -> None:
    settings = make()
    settings.press(settings.dialog, Qt.Key.Key_Escape)
    assert not settings.dialog.isVisible()
    settings.path.write_bytes(USUAL.replace(b"8GB", b"12GB", 1))
    settings.shell.open_settings()
    assert settings.row("wsl2.memory").input.text() == "12GB"


def test_a_file_that_cannot_be_read_is_told_and_opens_nothing(opened: Opener, qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    world, shell = opened()
    world.wslconfig.store = WslConfigFile(tmp_path / "home", tmp_path / "backups")
    world.wslconfig.waits_after_save = False
    shell.open_settings()
    assert shell.settings is None
    assert shell.window is not None
    assert "home cannot be read" in shell.window.notice.findChildren(QLabel)[0].text()
