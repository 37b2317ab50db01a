"""The settings' file. Implements `domain.ports_app.SettingsFile`.

Owns that a file which cannot be read as settings is told and left alone. Must not judge values (`domain/settings.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.settings import OpenedSettings, Settings, SettingValue, decode_settings
from kotaro_bridge.host.text_file import changed_toml, plain, read_whole, replace_file


class SettingsStore:
    """See `SettingsFile`.

    Args:
        file: may not exist; it is made by the first change.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> OpenedSettings:
        """See `SettingsFile.read`."""
        try:
            return self._decode(self._text())
        except ProblemError as error:
            return OpenedSettings(Settings(), (error.problem,))

    def change(self, changes: Mapping[str, SettingValue]) -> Settings:
        """See `SettingsFile.change`."""
        was = self._text()
        self._decode(was)
        now = changed_toml(was, changes)
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._file, now.encode())
        except OSError as error:
            raise ProblemError(problem("settings.not_saved", file=str(self._file), detail=str(error))) from error
        return self._decode(now).settings

    def _decode(self, text: str) -> OpenedSettings:
        return decode_settings(plain(text), file=str(self._file))

    def _text(self) -> str:
        """The whole file, "" if there is none. Raises ProblemError `settings.unreadable`."""
        try:
            return read_whole(self._file)
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise ProblemError(problem("settings.unreadable", file=str(self._file), detail=str(error))) from error
