"""The pictures of states by name. Imports nothing of ours: the first icon on the tray needs them before all else."""

from __future__ import annotations

from enum import StrEnum


class Look(StrEnum):
    """Pictures of states; each has its own shape, so that none is told by colour alone."""

    IDLE = "idle"
    WORKING = "working"
    READY = "ready"
    ALERT = "alert"
    ATTENTION = "attention"
    STOPPING = "stopping"
