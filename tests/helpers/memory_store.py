"""A `.wslconfig` in memory, implementing `WslConfigStore`: somebody else can change it, and it can be in the way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.wsl.wslconfig_store import Backup, Snapshot

_START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


class MemoryStore:
    """One file.

    Args:
        data: its bytes, None for no file.
    """

    name = "F"

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data
        self.kept: dict[str, bytes] = {}
        self.writes = 0
        self.at: float | None = None
        self.before_replace: Callable[[], None] = lambda: None

    def read(self) -> Snapshot:
        return Snapshot(self.data)

    def changed_at(self) -> float | None:
        return self.at

    def replace(self, data: bytes, expected: str) -> Snapshot | None:
        self.before_replace()
        if Snapshot(self.data).fingerprint != expected:
            return None
        if self.data is not None:
            self.kept[str(len(self.kept))] = self.data
        self.data = data
        self.writes += 1
        return Snapshot(data)

    def backups(self) -> tuple[Backup, ...]:
        times = (_START + timedelta(hours=hour) for hour in range(len(self.kept)))
        made = [Backup(key, at, len(data)) for (key, data), at in zip(self.kept.items(), times, strict=True)]
        return tuple(reversed(made))

    def backup(self, backup_id: str) -> bytes:
        if backup_id not in self.kept:
            raise ProblemError(problem("wslconfig.no_backup", path=self.name, id=backup_id))
        return self.kept[backup_id]
