"""The settings dialog of WSL: how long from the click to the painted window, built anew each time."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from tests.bench.measure import Result, spread

RUNS = 21
LIMIT_MS = 300.0
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
    found: list[float] = []
    for _run in range(RUNS):
        world = FakeWorld("ja")
        world.wslconfig.use(MemoryStore(FILE))
        shell = Shell(world.desk, theme, tray_visible=False)
        begin = time.perf_counter()
        shell.open_settings()
        app.processEvents()
        found.append((time.perf_counter() - begin) * 1000)
        shell.close()
        if shell.settings is not None:
            shell.settings.deleteLater()
        shell.deleteLater()
        app.processEvents()
    what = "the settings dialog of WSL, from the click to the painted window"
    value = statistics.median(found[1:])
    return [Result("settings", what, value, "ms", LIMIT_MS, {"first_ms": found[0]} | spread(found[1:]))]
