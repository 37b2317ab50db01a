"""What the use cases of model files work on: adapters in one bundle, handed in by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kotaro_bridge.domain.ports_models import ForeignStores, ModelTarget, TokenStore

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class ModelPorts:
    """Model files of one PC.

    Args:
        target: the way to the files of a target (`wsl:<distro>`, `wsl:`, `local`); raises ProblemError for one that
            this machine does not have.
        stores: of other programs on this side.
        token: for the Hugging Face hub.
        drive_free: bytes free on the Windows drive on which a target's disk grows; None where there is none or it
            does not tell.
        installed, running: names of distros, the default first; raise ProblemError where WSL does not answer. None
            where models are on this machine itself.
    """

    target: Callable[[str], ModelTarget]
    stores: ForeignStores
    token: TokenStore
    drive_free: Callable[[str], int | None]
    installed: Callable[[], tuple[str, ...]] | None
    running: Callable[[], tuple[str, ...]] | None

    def canonical(self, target: str) -> str:
        """A target with the name of the default distro for `wsl:`. Raises ProblemError where WSL does not answer."""
        if target != "wsl:" or self.installed is None:
            return target
        names = self.installed()
        return f"wsl:{names[0]}" if names else target

    @property
    def default_target(self) -> str:
        """Where a model goes if nobody says otherwise."""
        return "wsl:" if self.installed is not None else LOCAL
