"""The file of a .wslconfig and its backups: the protocol that `host/wslconfig_file.py` implements, and its values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A file at one moment. `data`: its bytes, None if there was no such file."""

    data: bytes | None

    @property
    def fingerprint(self) -> str:
        """Differs for files that differ, and is empty for none."""
        return "" if self.data is None else hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Backup:
    """What a file was before a save. `saved_at` is aware of its time zone."""

    id: str
    saved_at: datetime
    size_bytes: int


class WslConfigStore(Protocol):
    """One .wslconfig and its backups."""

    @property
    def name(self) -> str:
        """The file's path as people and WSL's warnings name it."""

    def read(self) -> Snapshot:
        """The file now.

        Raises:
            ProblemError: it is there and cannot be read, or is far too big for settings.
        """

    def changed_at(self) -> float | None:
        """When the file was last written, in seconds since the epoch; None if it is not there or does not tell."""

    def replace(self, data: bytes, expected: str) -> Snapshot | None:
        """Put `data` in the place of the file, whole or not at all, after a backup of what it was.

        Args:
            expected: fingerprint of what the file was when it was read.

        Returns:
            What was written; None if the file is another one by now: nothing was written then.

        Raises:
            ProblemError: it cannot be written; the file is as it was.
        """

    def backups(self) -> tuple[Backup, ...]:
        """The newest first.

        Raises:
            ProblemError: they cannot be read.
        """

    def backup(self, backup_id: str) -> bytes:
        """What a backup holds.

        Raises:
            ProblemError: there is no such backup, or it cannot be read.
        """
