"""The ZIP file of diagnostics: written whole or not at all. Implements `service.diagnostics.Archive`."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.host.disk import put_whole


class ZipArchive:
    """See `Archive`."""

    def write(self, path: Path, files: Sequence[tuple[str, str]], *, replace: bool) -> int:
        """See `Archive.write`."""
        if path.is_dir():
            raise ProblemError(problem("diagnostics.is_folder", path=str(path)))
        if not replace and path.exists():
            raise ProblemError(problem("diagnostics.exists", path=str(path)))
        try:
            return _written(path, files, replace=replace)
        except FileExistsError:
            raise ProblemError(problem("diagnostics.exists", path=str(path))) from None
        except OSError as error:
            detail = error.strerror or str(error)
            raise ProblemError(problem("diagnostics.not_written", path=str(path), detail=detail)) from error


def _written(path: Path, files: Sequence[tuple[str, str]], *, replace: bool) -> int:
    """Bytes of the file. Raises OSError."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for inside, text in files:
                entry = zipfile.ZipInfo(inside, time.localtime()[:6])
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o600 << 16
                archive.writestr(entry, text.encode("utf-8", "replace"))

    def put(made: Path) -> None:
        # Another process may have made the file meanwhile: only a name that is new fails where there is one.
        os.replace(made, path) if replace else _as_new(made, path)

    put_whole(path, write, put)
    return path.stat().st_size


def _as_new(temporary: Path, path: Path) -> None:
    """Raises FileExistsError. Windows' `rename` replaces nothing, POSIX' does: a second name replaces nothing there."""
    if os.name == "nt":
        os.rename(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system that knows one name for a file
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(temporary, path)
