"""Settings of the file and of the system, changed together: all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.settings import LoginStart, OpenedSettings, Settings, SettingValue
from kotaro_bridge.service.app_settings import AppSettings


class Store:
    """The file, which may not be written."""

    def __init__(self, failure: Problem | None = None) -> None:
        self.settings = Settings()
        self._failure = failure

    def read(self) -> OpenedSettings:
        return OpenedSettings(self.settings)

    def change(self, changes: Mapping[str, SettingValue]) -> Settings:
        if self._failure is not None:
            raise ProblemError(self._failure)
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        return self.settings


class Login:
    """The system's list, which may be closed to us."""

    def __init__(self, *, enabled: bool = False, failure: Problem | None = None) -> None:
        self.now = enabled
        self._failure = failure

    def status(self) -> LoginStart:
        return LoginStart(self.now)

    def set_enabled(self, enabled: bool) -> None:
        if self._failure is not None:
            raise ProblemError(self._failure)
        self.now = enabled


def code_of(desk: AppSettings, **changes: SettingValue) -> str:
    with pytest.raises(ProblemError) as caught:
        desk.change_all(changes)
    return caught.value.problem.code


def test_both_are_changed() -> None:
    store, login = Store(), Login()
    desk = AppSettings(store, login)
    desk.change_all({"language": "ja", "start_at_login": True})
    assert (store.settings, login.now) == (Settings(language="ja"), True)
    desk.change_all({"start_at_login": False})
    desk.change_all({"theme": "dark"})
    assert (store.settings, login.now) == (Settings(language="ja", theme="dark"), False)


def test_where_the_start_at_login_cannot_be_changed_nothing_is() -> None:
    store = Store()
    desk = AppSettings(store, Login(failure=problem("autostart.not_windows")))
    assert code_of(desk, language="ja", start_at_login=True) == "autostart.not_windows"
    assert store.settings == Settings()


@pytest.mark.parametrize("before", [False, True])
def test_where_the_file_cannot_be_written_the_start_at_login_is_as_before(before: bool) -> None:
    login = Login(enabled=before)
    desk = AppSettings(Store(problem("settings.not_saved")), login)
    assert code_of(desk, language="ja", start_at_login=not before) == "settings.not_saved"
    assert login.now is before
