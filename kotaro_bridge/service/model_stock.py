"""Model files of one product: the list, downloads and copies, made together when one of them is first asked for."""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.model.download import DownloadView
from kotaro_bridge.service.copies import Copies
from kotaro_bridge.service.downloads import Downloads
from kotaro_bridge.service.model_ports import ModelPorts
from kotaro_bridge.service.model_shelf import Shelf


@dataclass(frozen=True, slots=True)
class ModelStock:
    """What works with model files."""

    ports: ModelPorts
    shelf: Shelf
    downloads: Downloads
    copies: Copies

    def transfers(self) -> tuple[DownloadView, ...]:
        """All downloads and copies. Does not block."""
        return (*self.downloads.views(), *self.copies.views())

    def close(self) -> None:
        """Pause and end what is under way, in bounded time."""
        self.downloads.close()
        self.copies.close()
