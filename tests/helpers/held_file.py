"""A file that another program holds open on Windows, with what that program lets others do meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import win32con
import win32file

FORBIDS_TO_REPLACE = win32con.FILE_SHARE_READ | win32con.FILE_SHARE_WRITE
"""As Python's own `open`, and many a viewer."""
FORBIDS_ANYTHING = 0


@contextmanager
def held(path: Path, share: int) -> Iterator[Callable[[], None]]:
    """Another program has the file open; the value lets go of it early."""
    handle = win32file.CreateFile(str(path), win32con.GENERIC_READ, share, None, win32con.OPEN_EXISTING, 0, None)
    try:
        yield handle.Close
    finally:
        handle.Close()
