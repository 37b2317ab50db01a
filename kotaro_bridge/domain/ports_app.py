"""The protocols of the application itself: its settings, its start at login, and newer versions of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from kotaro_bridge.domain.settings import LoginStart, OpenedSettings, Settings, SettingValue
from kotaro_bridge.domain.update import Package, Release


class SettingsFile(Protocol):
    """The file of the settings."""

    def read(self) -> OpenedSettings:
        """The settings, and what is wrong with their file. Never raises: what cannot be read counts as not written."""

    def change(self, changes: Mapping[str, SettingValue]) -> Settings:
        """Set some keys; everything else in the file stays as it is.

        Raises:
            ProblemError: `settings.broken`, `settings.unreadable`, `settings.not_saved`; the file is as it was then.
        """


class StartsAtLogin(Protocol):
    """The system's list of what starts when this user logs in."""

    def status(self) -> LoginStart:
        """What it says of this program. Never raises."""

    def set_enabled(self, enabled: bool) -> None:
        """Have this program started at login, or not; puts right an entry that starts another copy.

        Raises:
            ProblemError: `autostart.not_windows`, `autostart.too_long`, `autostart.not_changed`.
        """


class ReleaseSource(Protocol):
    """The release feed and what is downloaded from it. All blocks, in bounded time without a transfer."""

    @property
    def package(self) -> Package:
        """What this copy of the program is renewed with."""

    def latest(self, current: str) -> Release | None:
        """The newest release that may be installed; None if the newest is not newer than `current`.

        Raises:
            ProblemError: `update.*`.
        """

    def fetch(self, release: Release, progress: Callable[[int], None], stopped: threading.Event) -> Path | None:
        """Download the package, going on from what is there, and compare its checksum.

        Args:
            progress: bytes on disk.

        Returns:
            The package; None if it was stopped.

        Raises:
            ProblemError: `update.*`.
        """

    def verified(self, release: Release) -> AbstractContextManager[BufferedReader]:
        """The package on disk, its checksum compared now through this very opening (`name` is its path): on Windows
        nobody can write, rename or delete it before that is closed.

        Raises:
            ProblemError: `update.gone`, `update.checksum`.
        """

    def tidy(self, keep: Release | None) -> None:
        """Delete what was downloaded of other releases. Never raises."""


class UpdateMemory(Protocol):
    """What is remembered of the search, from one start to the next."""

    def load(self) -> tuple[float | None, Release | None]:
        """When the feed last answered (seconds since the epoch), and what it offered. Never raises."""

    def save(self, checked_at: float, release: Release | None) -> None:
        """Keep it. Never raises: the worst of forgetting is a second question."""
