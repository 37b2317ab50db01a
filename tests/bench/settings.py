"""The settings dialog of WSL: how long from the click to the painted window, and to the text of a file of 1 MB."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from tests.bench.measure import Result, spread

RUNS = 21
LIMIT_MS = 300.0
TEXT_LIMIT_MS = 600.0
LARGE = b"[wsl2]\r\n" + b"setting17=true # why\r\n" * ((1 << 20) // 22)
FILE = b"[wsl2]\r\nmemory=30GB\r\nswap=8gb\r\n\r\n[experimental]\r\nautoMemoryReclaim=gradual\r\n"


def measure(_: Path) -> list[Result]:
    """A usual file with findings, on Qt's offscreen platform; the first opening, which imports, is told beside."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from kotaro_bridge.ui.first_icon import make_application
    from kotaro_bridge.ui.shell import Shell
    from kotaro_bridge.ui.theme import Theme
    from tests.helpers.memory_store import MemoryStore
    from tests.ui.fake_desk import FakeWorld

    app = make_application()
    theme = Theme(app, "light")
    opened: list[float] = []
    shown: list[float] = []
    for run in range(RUNS):
        world = FakeWorld("ja")
        large = run % 5 == 4
        world.wslconfig.use(MemoryStore(LARGE if large else FILE))
        shell = Shell(world.desk, theme, tray_visible=False)
        begin = time.perf_counter()
        shell.open_settings()
        app.processEvents()
        if shell.settings is None:
            raise RuntimeError("the settings dialog did not open")
        if large:
            begin = time.perf_counter()
            shell.settings.edit.tabs.setCurrentIndex(1)
            app.processEvents()
            shown.append((time.perf_counter() - begin) * 1000)
        else:
            opened.append((time.perf_counter() - begin) * 1000)
        shell.close()
        shell.settings.deleteLater()
        shell.deleteLater()
        app.processEvents()
    what = "the settings dialog of WSL, from the click to the painted window"
    text = f"its text tab with a file of {len(LARGE) / (1 << 20):.1f} MB, from the click to the painted text"
    return [
        Result(
            "settings",
            what,
            statistics.median(opened[1:]),
            "ms",
            LIMIT_MS,
            {"first_ms": opened[0]} | spread(opened[1:]),
        ),
        Result("settings text", text, statistics.median(shown), "ms", TEXT_LIMIT_MS, spread(shown)),
    ]
