"""The settings of the application and its start at login, for the windows and the command line alike.

Implements `ui.desk.SettingsPort`. Owns that the one is a file and the other the system's own list.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.ports_app import SettingsFile, StartsAtLogin
from kotaro_bridge.domain.settings import START_AT_LOGIN, LoginStart, OpenedSettings, Settings, SettingValue


class AppSettings:
    """See `ui.desk.SettingsPort`."""

    def __init__(self, file: SettingsFile, login: StartsAtLogin) -> None:
        self._file = file
        self._login = login

    def read(self) -> OpenedSettings:
        """The settings, and what is wrong with their file. Never raises."""
        return self._file.read()

    def change(self, changes: Mapping[str, SettingValue]) -> Settings:
        """Write some keys.

        Raises:
            ProblemError: `settings.broken`, `settings.unreadable`, `settings.not_saved`; the file is as it was then.
        """
        return self._file.change(changes)

    def change_all(self, changes: Mapping[str, SettingValue]) -> None:
        """Change keys of the file and the start at login: all of them or none.

        Raises:
            ProblemError: as `change` and `set_at_login`.
        """
        in_file = {key: value for key, value in changes.items() if key != START_AT_LOGIN}
        with contextlib.ExitStack() as undo:
            if START_AT_LOGIN in changes:
                before = bool(self._login.status().enabled)
                self._login.set_enabled(bool(changes[START_AT_LOGIN]))  # first: a rule of the firm may forbid it
                undo.callback(self._set_again, before)
            if in_file:
                self._file.change(in_file)
            undo.pop_all()

    def _set_again(self, enabled: bool) -> None:
        with contextlib.suppress(ProblemError):  # what keeps the file from being written is what is told
            self._login.set_enabled(enabled)

    def at_login(self) -> LoginStart:
        """What the system says of the start at login. Never raises."""
        return self._login.status()

    def set_at_login(self, enabled: bool) -> None:
        """Start at login, or not.

        Raises:
            ProblemError: `autostart.*`.
        """
        self._login.set_enabled(enabled)
