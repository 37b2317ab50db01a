"""What Windows tells by messages: sleep, the end of the session, another colour scheme.

They are sent by hand to all windows of the program, as Windows does.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.windows.lab import Windows


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("power", {"told": ["sleeps", "wakes"]}),
        ("end", {"may": 1, "before": "ready", "after": "stopped"}),
        ("unsaved", {"edited": True, "may": 0, "asked": True, "forced": 1}),
        ("scheme", {"followed": [True, True]}),
    ],
)
def test_what_windows_tells_is_heard_without_a_window_on_the_screen(
    windows: Windows, what: str, expected: dict[str, Any]
) -> None:
    """The program is in the tray; it ends with exit code 0, at the end of a session by itself."""
    ended = windows.run("py", "-m", "tests.windows.messages", what, env={"WINEQT_QPA_PLATFORM": "windows"})
    assert ended.code == 0, ended.err.decode("utf-8", "replace")
    assert json.loads(ended.text.splitlines()[-1]) == {**expected, "code": 0}
