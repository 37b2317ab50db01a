"""Which starts open windows: those show their icon before the rest of the program is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kotaro_bridge.__main__ import opens_windows


@pytest.mark.parametrize(
    ("line", "windows"),
    [
        ("", True),
        ("demo", True),
        ("--simulate vram-taken", True),
        ("--simulate=vram-taken --lang ja demo", True),
        ("--open", True),
        ("demo --open --lang ja", True),
        ("--open check", False),
        ("demo --simulate", False),
        ("demo --tour build/tour", False),
        ("demo --scale 1.5", False),
        ("--help", False),
        ("--version", False),
        ("check", False),
        ("run demo", False),
        ("verdict vllm demo", False),
    ],
)
def test_only_a_plain_start_opens_windows(line: str, windows: bool) -> None:
    assert opens_windows(line.split()) is windows


def test_the_first_icon_loads_little() -> None:
    """What it imports of ours is what the user waits for."""
    ours = "(m for m in sys.modules if m.startswith('kotaro_bridge'))"
    code = f"import sys, kotaro_bridge.ui.first_icon; print(*sorted({ours}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == [
        "kotaro_bridge",
        "kotaro_bridge.ui",
        "kotaro_bridge.ui.first_icon",
        "kotaro_bridge.ui.icons",
        "kotaro_bridge.ui.theme",
        "kotaro_bridge.ui.view_models",
        "kotaro_bridge.ui.view_models.look",
    ]
