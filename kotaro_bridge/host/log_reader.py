"""Reads log files that somebody kept: row by row in bounded memory, whatever program wrote them.

Owns encodings and row ends. Must not know what a row means.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from kotaro_bridge.domain.errors import ProblemError, problem

_CHUNK = 1 << 20
_MAX_ROW = 1 << 18  # characters; vLLM's longest line has about 10,000
_HEAD = 4096
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_rows(path: Path) -> Iterator[str]:
    """The rows of a text file without their `\\n`, decoded; of a longer row only the first 262,144 characters.

    UTF-8, or UTF-16 as Windows PowerShell's `>` writes it, with or without a mark. What is neither becomes replacement
    characters.

    Raises:
        ProblemError: `cli.is_folder`, `cli.file_unreadable` (`path`, `detail`).
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            decoder = codecs.getincrementaldecoder(_encoding(head))("replace")
            tail, chunk = "", head
            while chunk:
                first, *rows = decoder.decode(chunk).split("\n")
                tail = (tail + first)[:_MAX_ROW]
                for row in rows:
                    yield tail
                    tail = row[:_MAX_ROW]
                chunk = file.read(_CHUNK)
            yield tail + decoder.decode(b"", final=True)
    except OSError as error:
        if path.is_dir():  # on Windows the error is that of a file one may not read
            raise ProblemError(problem("cli.is_folder", path=str(path))) from None
        raise ProblemError(problem("cli.file_unreadable", path=str(path), detail=str(error.strerror))) from None


def _encoding(head: bytes) -> str:
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    # Logs are mostly ASCII: in UTF-16 every second byte of it is zero.
    even, odd = head[::2], head[1::2]
    if odd and odd.count(0) > len(odd) * 0.7 and even.count(0) < len(even) * 0.1:
        return "utf-16-le"
    if odd and even.count(0) > len(even) * 0.7 and odd.count(0) < len(odd) * 0.1:
        return "utf-16-be"
    return "utf-8"
