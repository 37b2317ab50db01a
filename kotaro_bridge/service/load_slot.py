"""One model at a time between gate and proof."""

from __future__ import annotations

import threading

from kotaro_bridge.domain.profile import Profile


class LoadSlot:
    """Two models that load together would each count on the same free VRAM, and the growth of one would pass for
    that of the other. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: Profile | None = None

    def take(self, profile: Profile) -> str | None:
        """None if the slot is `profile`'s now, else the title of the model that has it."""
        with self._lock:
            if self._holder is not None and self._holder.id != profile.id:
                return self._holder.title
            self._holder = profile
            return None

    def release(self, profile_id: str) -> None:
        """Give it back; does nothing if it is another's."""
        with self._lock:
            if self._holder is not None and self._holder.id == profile_id:
                self._holder = None
