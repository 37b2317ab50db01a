"""Downloads that are not done, as they are remembered over an end of the application. Implements
`domain.ports_models.DownloadMemory`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from kotaro_bridge.domain.model.download import DownloadRequest, DownloadState, DownloadView
from kotaro_bridge.host.memory_file import recall, remember

_WHAT = "downloads"


class _Kept(msgspec.Struct, frozen=True):
    """What of a download outlives the program; its files lie where they are."""

    id: str
    request: DownloadRequest
    bytes: int = 0
    total: int | None = None
    folder: str = ""


class DownloadMemoryFile:
    """See `DownloadMemory`.

    Args:
        file: may not exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def load(self) -> tuple[DownloadView, ...]:
        """See `DownloadMemory.load`. A file that is none counts as not there."""
        kept = recall(self._file, list[_Kept], _WHAT, logging.WARNING) or []
        paused = DownloadState.PAUSED
        return tuple(
            DownloadView(each.id, each.request, paused, each.bytes, each.total, folder=each.folder) for each in kept
        )

    def save(self, views: Sequence[DownloadView]) -> None:
        """See `DownloadMemory.save`."""
        kept = [_Kept(view.id, view.request, view.bytes, view.total, view.folder) for view in views]
        remember(self._file, kept, _WHAT)
