"""The coverage that the tests must reach: pyproject.toml's `[tool.kotaro-bridge.coverage]` against the JSON report."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from tools.console import ROOT


def shortfalls(report_path: Path, *, everything: bool) -> tuple[float, list[str]]:
    """Read a report of `coverage json`; the total in percent, and one sentence for each file below its limit.

    Args:
        everything: all tests ran; the limit of the whole counts only then. On Windows there is no Linux side to test.
    """
    report = json.loads(report_path.read_text(encoding="utf-8"))
    with (ROOT / "pyproject.toml").open("rb") as file:
        limits: dict[str, float] = tomllib.load(file)["tool"]["kotaro-bridge"]["coverage"]
    total: float = report["totals"]["percent_covered"]
    found = [] if total >= limits["total"] or not everything else [f"total: {total:.1f} % of {limits['total']} %"]
    files: dict[str, Any] = {name.replace("\\", "/"): data for name, data in report["files"].items()}
    for prefix, limit in limits.items():
        if prefix == "total":
            continue
        mine = {name: data for name, data in files.items() if name.startswith(prefix)}
        if not mine:
            found.append(f"{prefix}: no such file was measured")
        found += [_sentence(name, mine[name], limit) for name in sorted(mine) if _percent(mine[name]) < limit]
    return total, found


def _percent(data: dict[str, Any]) -> float:
    percent: float = data["summary"]["percent_covered"]
    return percent


def _sentence(name: str, data: dict[str, Any], limit: float) -> str:
    lines = ", ".join(str(line) for line in data["missing_lines"])
    branches = ", ".join(f"{start}->{end}" for start, end in data["missing_branches"])
    return f"{name}: {_percent(data):.1f} % of {limit} %; lines not run: {lines or '-'}; branches: {branches or '-'}"
