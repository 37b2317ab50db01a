"""The simulated PC's start at login. Implements `domain.ports_app.StartsAtLogin`; nothing is started by it."""

from __future__ import annotations

from pathlib import Path

from kotaro_bridge.domain.settings import LoginStart


class SimulatedLogin:
    """See `StartsAtLogin`.

    Args:
        mark: a file that is there while it is on.
    """

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def status(self) -> LoginStart:
        """See `StartsAtLogin.status`."""
        return LoginStart(self._mark.exists())

    def set_enabled(self, enabled: bool) -> None:
        """See `StartsAtLogin.set_enabled`."""
        if enabled:
            self._mark.touch()
        else:
            self._mark.unlink(missing_ok=True)
