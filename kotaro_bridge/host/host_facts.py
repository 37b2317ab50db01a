"""What Windows has, for the advice about .wslconfig. Anywhere else the machine is not the one the file is about."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile

from kotaro_bridge.domain.wsl.wslconfig_recommend import NOTHING_KNOWN, HostFacts


def host_facts() -> HostFacts:
    """Memory, processors and the room for a swap file, which WSL puts into the folder for temporary files."""
    if sys.platform != "win32":
        return NOTHING_KNOWN
    import psutil  # asked for by advice alone: a tray stays small

    free = None
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(tempfile.gettempdir()).free
    return HostFacts(psutil.virtual_memory().total, psutil.cpu_count(), free)
