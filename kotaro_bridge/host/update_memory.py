"""What is remembered of the search for a newer version. Implements `domain.ports_app.UpdateMemory`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kotaro_bridge.domain.update import Release
from kotaro_bridge.host.memory_file import recall, remember

_WHAT = "updates"


class _Kept(msgspec.Struct, frozen=True):
    checked_at: float
    release: Release | None = None


class UpdateMemoryFile:
    """See `UpdateMemory`.

    Args:
        file: may not exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def load(self) -> tuple[float | None, Release | None]:
        """See `UpdateMemory.load`. A file that is none counts as not there."""
        kept = recall(self._file, _Kept, _WHAT)
        return (kept.checked_at, kept.release) if kept is not None else (None, None)

    def save(self, checked_at: float, release: Release | None) -> None:
        """See `UpdateMemory.save`."""
        remember(self._file, _Kept(checked_at, release), _WHAT)
