"""Sizes: bytes are plain `int`; this module parses and prints them. Binary units only (MiB, GiB), as nvidia-smi
counts.
"""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_FACTORS = {
    "": 1,
    "B": 1,
    "KIB": KIB,
    "MIB": MIB,
    "GIB": GIB,
    "K": KIB,
    "M": MIB,
    "G": GIB,
    "KB": 1000,
    "MB": 10**6,
    "GB": 10**9,
}
_LONGEST_NUMBER = 6
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*\Z")


def parse_size(text: str) -> int:
    """Bytes of a size such as `10GiB`, `10 GiB`, `10240MiB` or `10g` (a single letter is binary).

    Raises:
        ValueError: the text is not a number with a known unit.
    """
    match = _SIZE.match(text)
    factor = _FACTORS.get(match.group(2).upper()) if match else None
    if match is None or factor is None:
        raise ValueError(text)
    return round(float(match.group(1)) * factor)


def format_mib(size_bytes: int) -> str:
    """`10,405 MiB`; rounded to the nearest MiB."""
    return f"{round(size_bytes / MIB):,} MiB"


def format_size(size_bytes: int) -> str:
    """`10.2 GiB`, and `192 MiB` below one."""
    return format_gib(size_bytes) if size_bytes >= GIB else format_mib(size_bytes)


def wsl_size(size_bytes: int) -> tuple[str, str]:
    """Number and unit as `.wslconfig` counts them, where a GB is 2^30 bytes: exact where that is short, else to a tenth
    of a GB or, below one, to a MB.
    """
    units = {"GB": GIB, "MB": MIB, "KB": KIB, "B": 1}
    unit = next(unit for unit, factor in units.items() if size_bytes % factor == 0)
    number = str(size_bytes // units[unit])
    if len(number) <= _LONGEST_NUMBER:
        return number, unit
    return (f"{size_bytes / GIB:.1f}", "GB") if size_bytes >= GIB else (f"{size_bytes / MIB:.0f}", "MB")


def format_gib(size_bytes: int) -> str:
    """`10.2 GiB`; one decimal."""
    return f"{size_bytes / GIB:.1f} GiB"
