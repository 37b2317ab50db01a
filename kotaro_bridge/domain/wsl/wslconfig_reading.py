"""What reading a .wslconfig gives: values, warnings, and where things stand. `wslconfig.py` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from kotaro_bridge.domain.wsl.wslconfig_values import Value

Warning_: TypeAlias = tuple[str, ...]
"""Message id of WSL and its values in call order, all as text."""


@dataclass(frozen=True, slots=True)
class WslConfig:
    """One file as WSL understands it.

    Args:
        values: keys that are validly set, under canonical names and enum spelling; sizes in bytes.
        warnings: what wsl.exe prints when it creates the VM with this file.
        fatal: the one message that keeps the VM from starting (a bad MAC address), empty if none; WSL reads no further.
    """

    values: Mapping[str, Value]
    warnings: tuple[Warning_, ...]
    fatal: Warning_ = ()


class Entry(NamedTuple):
    """The line that counts for a known key, or one that WSL gives up. Places are offsets into the text.

    Args:
        line: physical, as WSL counts; start, end: the whole of it with its line end and continued lines.
        taken: False where WSL gives the line up (a bad escape, an open quote) and the key is as if it were not there.
    """

    key: str
    line: int
    start: int
    end: int
    value_start: int
    value_end: int
    taken: bool


class Region(NamedTuple):
    """A header and the lines up to another one. One that repeats the header before it, or a section that WSL knows,
    has none.

    Args:
        name: as written; line: of the header, 0 for what stands before the first one.
        section: what WSL puts in front of the keys, lower case; "" where no key can be known.
        good: False for a header that spoils the keys below it.
        start: of the header; body: behind its line; end: behind the last line that is no comment.
    """

    name: str
    line: int
    section: str
    good: bool
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What WSL understands, and where it stands.

    Args:
        beyond: `values` and what would come behind a fatal line.
        entries, regions: in the order of the file, those behind a fatal line too.
        repeats: key, start and end of the lines that only repeat a key.
        end: where WSL stops reading (Ctrl-Z), or the length of the text.
    """

    config: WslConfig
    beyond: Mapping[str, Value]
    entries: tuple[Entry, ...]
    repeats: tuple[tuple[str, int, int], ...]
    regions: tuple[Region, ...]
    end: int
