"""What is remembered of the search for a newer version. Implements `domain.ports_app.UpdateMemory`."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from kotaro_bridge.domain.update import Release
from kotaro_bridge.host.text_file import replace_file

log = logging.getLogger(__name__)


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
        try:
            kept = msgspec.json.decode(self._file.read_bytes(), type=_Kept)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.info("no memory of updates: %r", error)
            return None, None
        return kept.checked_at, kept.release

    def save(self, checked_at: float, release: Release | None) -> None:
        """See `UpdateMemory.save`."""
        try:
            replace_file(self._file, msgspec.json.encode(_Kept(checked_at, release)))
        except OSError as error:
            log.warning("no memory of updates: %r", error)
