"""The settings dialog: what a save asks, writes and offers, on a real file; clashes and backups."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.wsl.wslconfig_effect import Affected
from kotaro_bridge.host.wslconfig_file import WslConfigFile, _try_lock
from kotaro_bridge.ui.dialogs.wslconfig_clash import ClashPage
from kotaro_bridge.ui.widgets.basics import plain
from tests.ui.conftest import Opener
from tests.ui.settings_dialog import USUAL, Make, Settings

needs_linux = pytest.mark.skipif(sys.platform == "win32", reason="mounts a disk")


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


@pytest.mark.skipif(sys.platform == "win32", reason="a folder of Linux that nobody writes into")
def test_a_read_only_folder_gives_a_sentence(make: Make, tmp_path: Path) -> None:
    settings = make(None)
    settings.type("wsl2.memory", "24")
    settings.dialog.editor._store = WslConfigFile(Path("/sys/.wslconfig"), tmp_path / "backups")
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


# What takes long, and what is in the way


def other_instance(settings: Settings, patience_s: float = 5.0) -> IO[bytes]:
    """Another instance that is at a save: it holds the lock until the file that is returned is closed."""
    store = WslConfigFile(settings.path, settings.path.parents[1] / "backups", patience_s=patience_s)
    settings.dialog.editor._store = store
    store._folder.mkdir(parents=True, exist_ok=True)
    lock = (store._folder / "lock").open("a+b")
    assert _try_lock(lock.fileno())
    return lock


def begin_save(settings: Settings) -> None:
    settings.type("wsl2.memory", "24")
    settings.click(settings.dialog.save_button)
    settings.click(settings.dialog.review_page.save_button)


def test_while_another_instance_saves_the_window_lives_and_says_that_it_saves(make: Make) -> None:
    settings = make()
    with other_instance(settings):
        begin_save(settings)
        page = settings.dialog.review_page
        assert settings.dialog.saving
        assert page.saving.isVisibleTo(settings.dialog)
        settings.press(settings.dialog, Qt.Key.Key_Escape)
        settings.press(settings.dialog, Qt.Key.Key_S, control=True)
        settings.dialog.ask_restart()
        assert settings.dialog.pages.currentWidget() is page
        assert not page.back_button.isEnabled()
        assert not page.save_button.isEnabled()
        assert settings.data == USUAL
    settings.qtbot.waitUntil(lambda: not settings.dialog.saving)
    assert settings.data == USUAL.replace(b"8GB", b"24GB", 1)
    assert settings.dialog.pages.currentWidget() is settings.dialog.restart_page


def test_a_close_while_it_saves_comes_after_the_save(make: Make) -> None:
    settings = make()
    with other_instance(settings):
        begin_save(settings)
        settings.dialog.close()
        assert settings.dialog.isVisible()
        settings.shell.out.ask()
        assert settings.dialog.saving
    settings.qtbot.waitUntil(lambda: not settings.dialog.isVisible())
    assert settings.data == USUAL.replace(b"8GB", b"24GB", 1)
    settings.shell.open_settings()
    assert settings.on_edit


def test_another_instance_that_does_not_end_is_told_and_the_edit_is_kept(make: Make) -> None:
    settings = make()
    with other_instance(settings, patience_s=0.05):
        begin_save(settings)
        settings.dialog.close()
        settings.qtbot.waitUntil(lambda: not settings.dialog.saving)
        assert "is being changed by someone else" in settings.dialog.review_page.failure.what.text()
        assert settings.dialog.isVisible()
        assert settings.data == USUAL
    settings.confirm()
    assert settings.data == USUAL.replace(b"8GB", b"24GB", 1)


@pytest.mark.allow_log("work for a window failed", reason="it is made to fail")
def test_an_error_of_our_own_does_not_leave_the_window_waiting(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make()

    def fails(**_: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr(settings.dialog.editor, "save", fails)
    begin_save(settings)
    settings.qtbot.waitUntil(lambda: not settings.dialog.saving)
    assert "RuntimeError('oops')" in settings.dialog.review_page.failure.what.text()
    assert settings.dialog.review_page.save_button.isEnabled()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "home"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a disk can be mounted by root alone: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@needs_linux
@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_disk_that_takes_nothing_is_told_and_the_edit_is_kept(disk: Path, make: Make, state: str) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    if state == "full":
        with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(4096)):
                pass
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    settings.save()
    failure = settings.dialog.review_page.failure.what.text()
    assert ("no room on the disk" if state == "full" else "must not be written") in failure
    assert settings.data == USUAL
    assert [each.name for each in disk.iterdir() if each.name != "filler"] == [".wslconfig"]
    settings.press(settings.dialog, Qt.Key.Key_Escape)
    assert settings.row("wsl2.memory").input.text() == "24GB"
    (disk / "filler").unlink() if state == "full" else subprocess.run(["mount", "-o", "remount,rw", str(disk)])
    settings.save()
    assert settings.data == USUAL.replace(b"8GB", b"24GB", 1)


def test_of_a_new_file_no_backup_is_promised(make: Make) -> None:
    settings = make(None)
    settings.type("wsl2.memory", "24")
    settings.save()
    assert "The file is saved. WSL reads it only" in settings.dialog.restart_page.words.text()
    settings.world.wslconfig.met = Affected((), (), False)
    settings.dialog.ask_restart("saved_new")
    settings.qtbot.waitUntil(lambda: settings.on_edit)
    assert settings.dialog.bar.what.text() == "Saved."


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


def test_a_change_from_outside_does_not_take_what_is_being_typed(make: Make) -> None:
    settings = make()
    settings.write(5, "processors=4")
    settings.path.write_bytes(USUAL.replace(b"gradual", b"disabled"))
    settings.dialog.look_outside()
    assert "processors=4" in settings.dialog.edit._editor.text
    assert settings.dialog.pages.currentWidget() is settings.dialog.clash_page


def test_without_edits_of_ones_own_none_are_promised_to_be_kept(make: Make) -> None:
    settings = make()
    settings.path.write_bytes(USUAL.replace(b"8GB", b"12GB", 1))
    settings.dialog.look_outside()
    assert "was changed by another program" in settings.dialog.bar.what.text()
    assert settings.dialog.bar.do.isHidden()


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


def test_what_was_typed_at_the_last_moment_is_asked_about_too(make: Make) -> None:
    settings = make()
    settings.write(5, "processors=4")
    settings.dialog.close()
    assert settings.dialog.isVisible()
    assert settings.dialog.asked


def test_to_quit_asks_once_about_what_is_not_saved(make: Make) -> None:
    settings = make()
    ended: list[bool] = []
    settings.shell.ended.connect(lambda: ended.append(True))
    settings.type("wsl2.memory", "24")
    settings.dialog.showMinimized()
    settings.shell.tray.quit.trigger()
    assert not ended
    assert settings.dialog.asked
    assert not settings.dialog.isMinimized()
    settings.shell.tray.quit.trigger()
    assert ended


def test_what_is_discarded_at_a_quit_goes_on_with_it(make: Make, qtbot: QtBot) -> None:
    settings = make()
    settings.type("wsl2.memory", "24")
    with qtbot.waitSignal(settings.shell.ended):
        settings.shell.tray.quit.trigger()
        settings.dialog.bar.answers[1].click()
    assert settings.path.read_bytes() == USUAL


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
    assert str(tmp_path / "home") in shell.window.notice.findChildren(QLabel)[0].text()
