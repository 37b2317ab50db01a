"""What the program remembers for itself in a JSON file: without the file it works as well, so nothing fails for it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

import msgspec

from kotaro_bridge.host.text_file import replace_file

log = logging.getLogger(__name__)

T = TypeVar("T")


def recall(file: Path, kind: type[T], what: str, level: int = logging.INFO) -> T | None:
    """What the file holds; None where there is none, or it is no such file.

    Args:
        what: what it is a memory of, for the log; level: how much the loss of it matters there.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.log(level, "no memory of %s: %r", what, error)
        return None


def remember(file: Path, content: object, what: str) -> None:
    """Keep it in the file, whole or not at all."""
    try:
        replace_file(file, msgspec.json.encode(content))
    except OSError as error:
        log.warning("no memory of %s: %r", what, error)
