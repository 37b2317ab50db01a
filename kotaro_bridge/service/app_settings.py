"""The settings of the application and its start at login, for the windows and the command line alike.

Implements `ui.desk.SettingsPort`. Owns that the one is a file and the other the system's own list.
"""

from __future__ import annotations

from collections.abc import Mapping

from kotaro_bridge.domain.ports_app import SettingsFile, StartsAtLogin
from kotaro_bridge.domain.settings import LoginStart, OpenedSettings, Settings, SettingValue


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

    def at_login(self) -> LoginStart:
        """What the system says of the start at login. Never raises."""
        return self._login.status()

    def set_at_login(self, enabled: bool) -> None:
        """Start at login, or not.

        Raises:
            ProblemError: `autostart.*`.
        """
        self._login.set_enabled(enabled)
