"""Replaying the log of a real engine: parts of a file in `resources/simulator/logs`, with values filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kotaro_bridge.resources import resource


def read_parts(name: str) -> dict[str, list[str]]:
    """The lines of each `== part` of a log file; lines before the first part are comments."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in resource(f"simulator/logs/{name}").read_text(encoding="utf-8").split("\n"):
        if line.startswith("== "):
            lines = parts.setdefault(line[3:], [])
        elif line:
            lines.append(line)
    return parts


def fill(text: str, values: Mapping[str, Any]) -> str:
    """`{name}` and `{name:format}` replaced by values."""
    return text.format_map(values)
