"""An exclusive lock on an open file, which goes with the process that holds it, however it ends."""

from __future__ import annotations

import sys
from typing import IO, Any


def lock_now(file: IO[Any]) -> None:
    """Take the lock without waiting. Raises OSError if another process, or another opening of the file, has it."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
