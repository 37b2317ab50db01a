"""The window of the application's own settings, and another language while everything is open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication, QFileDialog
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.settings import LoginStart, OpenedSettings, Settings
from kotaro_bridge.domain.update import Package, Release, UpdateState, UpdateView
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.desk import About
from kotaro_bridge.ui.dialogs.settings import AppSettings
from kotaro_bridge.ui.shell import Shell
from kotaro_bridge.ui.theme import DARK, LIGHT
from kotaro_bridge.ui.widgets.about_card import build_words
from tests.ui.conftest import Opener
from tests.ui.fake_desk import A7, Q14, Q32, FakeWorld, gate
from tests.ui.test_block_dialog import words

RELEASE = Release("0.2.0", "https://example.org/notes", "https://example.org/setup.exe", 60 << 20, "0" * 64)
ZIPPED = msgspec.structs.replace(RELEASE, package=Package.PORTABLE)


class Opened:
    """The window with what was read."""

    def __init__(self, world: FakeWorld, shell: Shell, qtbot: QtBot) -> None:
        self.world, self.shell, self.qtbot = world, shell, qtbot
        shell.tray.settings.trigger()
        assert shell.app_settings is not None
        self.window = shell.app_settings
        self.settle()

    def settle(self) -> None:
        """Let what was asked in the background come back."""
        self.world.join()
        QApplication.processEvents()
        self.world.join()
        QApplication.processEvents()

    def choose(self, key: str, value: str) -> None:
        box = self.window.boxes[key]
        box.setCurrentIndex(box.findData(value))
        box.activated.emit(box.currentIndex())
        self.settle()


@pytest.fixture
def one(opened: Opener, qtbot: QtBot) -> Opened:
    world, shell = opened()
    return Opened(world, shell, qtbot)


def view(state: UpdateState, **more: object) -> UpdateView:
    return replace(UpdateView(state, "0.1.0", has_feed=True), **more)  # type: ignore[arg-type]


def test_what_is_set_is_shown_and_nothing_can_be_chosen_before_it_is_known(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.settings.opened = OpenedSettings(Settings("ja", "dark", check_updates=True))
    world.settings.login = LoginStart(True)
    shell.open_app_settings()
    window = shell.app_settings
    assert window is not None
    inputs = (*window.boxes.values(), window.daily, window.at_login)
    assert not any(each.isEnabled() for each in inputs)
    world.join()
    qtbot.waitUntil(window.daily.isEnabled)
    assert all(each.isEnabled() for each in inputs)
    assert [box.currentData() for box in window.boxes.values()] == ["ja", "dark"]
    assert window.daily.isChecked()
    assert window.at_login.isChecked()
    assert not window.login_note.isVisible()


def test_a_theme_takes_effect_at_once_and_is_kept(one: Opened) -> None:
    one.choose("theme", "dark")
    assert one.world.settings.opened.settings.theme == "dark"
    assert one.shell._theme.tokens is DARK
    one.choose("theme", "light")
    assert one.shell._theme.tokens is LIGHT


def test_what_could_not_be_written_is_told_and_does_not_count(one: Opened) -> None:
    one.world.settings.error = problem("settings.not_saved", path="settings.toml", detail="full")
    one.choose("theme", "dark")
    assert one.window.bar.isVisible()
    assert one.window.boxes["theme"].currentData() == ""
    assert one.shell._theme.tokens is LIGHT
    one.window.daily.click()
    one.settle()
    assert not one.window.daily.isChecked()
    one.world.settings.error = None
    one.choose("theme", "light")
    assert not one.window.bar.isVisible()


@pytest.mark.allow_log("work for a window failed", reason="a defect is put in on purpose")
def test_an_error_of_our_own_is_told_and_not_asked_for_again_and_again(
    one: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []

    def broken() -> LoginStart:
        asked.append(None)
        raise RuntimeError("a defect")

    monkeypatch.setattr(one.world.settings, "at_login", broken)
    one.window.look()
    one.settle()
    assert "a defect" in words(one.window.bar)
    assert len(asked) == 1


def test_a_broken_file_is_told(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.settings.opened = OpenedSettings(
        Settings(), (problem("settings.bad_value", file="settings.toml", key="theme", value="red", allowed="light"),)
    )
    one = Opened(world, shell, qtbot)
    assert "settings.toml" in words(one.window.bar)
    world.settings.opened = OpenedSettings(Settings())
    one.choose("theme", "dark")
    assert not one.window.bar.isVisible(), "the bad value was written over"


@pytest.mark.parametrize(
    ("login", "checked", "enabled", "said"),
    [
        (LoginStart(None), False, False, "Only on Windows."),
        (LoginStart(False), False, True, ""),
        (LoginStart(True), True, True, ""),
        (LoginStart(False, switched_off=True), False, True, "Task Manager"),
        (LoginStart(True, elsewhere='"D:\\old\\KotaroBridge.exe"'), False, True, "D:\\old\\KotaroBridge.exe"),
    ],
)
def test_what_the_system_says_of_the_start_at_login(
    opened: Opener, qtbot: QtBot, login: LoginStart, checked: bool, enabled: bool, said: str
) -> None:
    world, shell = opened()
    world.settings.login = login
    window = Opened(world, shell, qtbot).window
    assert (window.at_login.isChecked(), window.at_login.isEnabled()) == (checked, enabled)
    assert said in window.login_note.text()
    assert window.login_note.isVisible() == bool(said)
    assert window.login_take.isVisible() == bool(login.elsewhere)


def test_another_copy_that_starts_is_replaced_with_a_click(opened: Opener, qtbot: QtBot) -> None:
    world, shell = opened()
    world.settings.login = LoginStart(True, elsewhere="D:\\old.exe")
    one = Opened(world, shell, qtbot)
    one.window.login_take.click()
    one.settle()
    assert world.settings.login == LoginStart(True)
    assert one.window.at_login.isChecked()
    one.window.at_login.click()
    one.settle()
    assert world.settings.login == LoginStart(False)


def test_a_start_at_login_that_was_refused_is_not_shown_as_on(one: Opened) -> None:
    one.world.settings.error = problem("autostart.not_changed", detail="access denied")
    one.window.at_login.click()
    one.settle()
    assert not one.window.at_login.isChecked()
    assert "access denied" in words(one.window.bar)


# --- updates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "button", "enabled", "said"),
    [
        (view(UpdateState.IDLE), "Check &now", True, "Not looked for yet."),
        (view(UpdateState.CHECKING), "Check &now", False, "Looking…"),
        (view(UpdateState.CURRENT, checked_at=0.0), "Check &now", True, "0.1.0 is the newest."),
        (view(UpdateState.AVAILABLE, release=RELEASE), "Do&wnload", True, "Version 0.2.0 is there (60 MiB)"),
        (
            view(UpdateState.DOWNLOADING, release=RELEASE, bytes=15 << 20),
            "Ca&ncel",
            True,
            "Downloading 0.2.0: 15 MiB of 60 MiB",
        ),
        (view(UpdateState.READY, release=RELEASE), "Install and &restart", True, "its checksum is right"),
        (view(UpdateState.READY, release=ZIPPED), "Show the &zip", True, "unpack the new zip in place of its folder"),
        (view(UpdateState.INSTALLING, release=RELEASE), "Check &now", False, "Starting the installer of 0.2.0"),
        (view(UpdateState.FAILED, problem=problem("update.no_feed")), "Check &now", True, ""),
        (view(UpdateState.IDLE, has_feed=False), "Check &now", False, "runs from source"),
    ],
)
def test_the_search_for_a_newer_version(one: Opened, shown: UpdateView, button: str, enabled: bool, said: str) -> None:
    one.world.updates.show(shown)
    QApplication.processEvents()
    card = one.window.updates
    assert (card.button.text(), card.button.isEnabled()) == (button, enabled)
    assert said in card.state.text()
    assert card.progress.isVisible() == (shown.state is UpdateState.DOWNLOADING)
    assert card.notes.isVisible() == (shown.release is not None)


def test_each_step_of_an_update_is_a_click(one: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    urls: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: urls.append(url.toString()))
    one.window.updates.button.click()
    for state in (UpdateState.AVAILABLE, UpdateState.DOWNLOADING, UpdateState.READY):
        one.world.updates.show(view(state, release=RELEASE))
        QApplication.processEvents()
        one.window.updates.button.click()
    assert one.world.updates.asked == ["check", "download", "cancel", "install"]
    one.world.updates.show(view(UpdateState.READY, release=ZIPPED))
    QApplication.processEvents()
    one.window.updates.button.click()
    assert one.world.updates.asked[-1] == "install", "which shows the zip"
    one.window.updates.notes.click()
    assert urls == [RELEASE.page]


# --- diagnostics, about -----------------------------------------------------------------------------------------------


def test_diagnostics_are_saved_where_a_person_wants_them(
    one: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = tmp_path / "診断.zip"
    urls: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: urls.append(Path(url.toLocalFile()).name))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(chosen), ""))
    one.window.help.save.click()
    assert not one.window.help.save.isEnabled()
    one.settle()
    assert chosen.exists()
    assert str(chosen) in one.window.help.state.text()
    one.window.help.show_saved.click()
    one.window.help.logs.click()
    one.window.about.licences.click()
    assert urls == [tmp_path.name, "logs", "licences"]


def test_diagnostics_that_failed_say_why_and_can_be_tried_again(one: Opened, tmp_path: Path) -> None:
    one.world.diagnostics.error = problem("storage.unusable", path="x.zip", detail="full")
    one.window.help.write(tmp_path / "x.zip")
    one.settle()
    assert "x.zip" in one.window.help.state.text()
    assert not one.window.help.show_saved.isVisible()
    assert one.window.help.save.isEnabled()


def test_it_says_which_version_it_is(one: Opened) -> None:
    about = words(one.window.about)
    assert "Kotaro Bridge 0.1.0" in about
    assert "Runs from source" in about


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (About(Path(), Path(), "a1b2c3d", True, "Python 3.12"), "Official build a1b2c3d"),
        (About(Path(), Path(), "a1b2c3d", False, "Wine"), "Test build a1b2c3d, not for use: made with Wine"),
    ],
)
def test_a_build_says_what_it_is(about: About, said: str) -> None:
    assert build_words(Texts("en"), about) == said


# --- another language -------------------------------------------------------------------------------------------------


def test_another_language_is_spoken_at_once_by_all_that_is_open(one: Opened) -> None:
    world, shell = one.world, one.shell
    shell.open_dashboard()
    shell.open_models()
    shell.open_settings()
    shell.editors.edit(Q14.id)
    world.supervisor.refuse(Q32.id, gate(21500))
    one.settle()
    assert shell.window is not None
    shell.window.models.select(A7.id)
    shell.window.resize(1000, 700)
    one.choose("language", "ja")
    one.settle()
    assert world.settings.opened.settings.language == "ja"
    assert shell.tray.quit.text() == "終了(&Q)"
    assert shell.tray.starts[Q14.id].text().startswith("Qwen2.5 14B Q4_K_M を開始")
    assert shell.window.isVisible()
    assert (shell.window.size().toTuple(), shell.window.models.current()) == ((1000, 700), A7.id)
    assert "設定" in shell.window.app_settings_button.text()
    assert shell.models is not None
    assert shell.models.windowTitle().startswith("モデル")
    assert shell.settings is not None
    assert "設定" in shell.settings.windowTitle()
    assert "起動" in words(shell.dialogs[Q32.id]) or "開始" in words(shell.dialogs[Q32.id])
    assert [editor.save_button.text() for editor in shell.editors.windows] == ["保存(&S)"]
    assert shell.app_settings is not None
    assert shell.app_settings is not one.window
    assert shell.app_settings.boxes["language"].currentData() in ("ja", "")
    visible = [each for each in QApplication.topLevelWidgets() if isinstance(each, AppSettings) and each.isVisible()]
    assert visible == [shell.app_settings]


def test_a_language_that_is_the_systems_follows_it(one: Opened) -> None:
    one.choose("language", "ja")
    assert one.shell.app_settings is not None
    one.window = one.shell.app_settings
    one.choose("language", "")
    assert one.shell.tray.quit.text() == "&Quit"


def test_a_run_goes_on_through_a_change_of_language(one: Opened) -> None:
    one.world.supervisor.move(Q14.id, Phase.READY)
    one.shell.open_dashboard()
    one.choose("language", "ja")
    one.world.supervisor.move(Q14.id, Phase.UNRESPONSIVE)
    one.qtbot.waitUntil(lambda: "応答" in one.shell.tray.starts[Q14.id].text())
    assert one.world.supervisor.asked == []
