"""What a tray with a running model does not carry: whatever only a window or a command wants.

Each of these was loaded at some time and measured: the sources of all modules 7 MiB, the command line of httpx with
rich and pygments 6, typer 5, prometheus_client 2, the list of models and downloads 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.home import PROFILE_ID, environment, write_profile

LIBRARIES = {
    "click",
    "difflib",
    "keyring",
    "numpy",
    "paramiko",
    "prometheus_client",
    "psutil",
    "pygments",
    "pyqtgraph",
    "rich",
    "tomlkit",
    "typer",
    "PySide6.QtNetwork",
    "PySide6.QtSvg",
}
OURS = {
    "app.models",
    "cli",
    "domain.model.catalogue",
    "domain.model.hub",
    "domain.model.model_files",
    "domain.planning.catalogue_rank",
    "host.catalogue_store",
    "host.model_files",
    "host.model_source",
    "host.windows_models",
    "service.copies",
    "service.downloads",
    "service.model_shelf",
    "ui.dialogs",
    "ui.main_window",
    "ui.tour",
}
MOST_SOURCES = 5
"""Files whose lines Python may keep, as after a warning: PySide would have it read all."""


PROGRAM = """
import json, linecache, os, signal, sys, threading, time
from PySide6.QtWidgets import QSystemTrayIcon

QSystemTrayIcon.isSystemTrayAvailable = staticmethod(lambda: True)  # else the dashboard opens


def tell():
    from kotaro_bridge.host.control import ask
    from kotaro_bridge.app.session import session

    deadline = time.monotonic() + 60
    while not (answer := ask(session.paths.state, {"verb": "status"})) or answer["runs"][0]["state"] != "ready":
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)
    print(json.dumps({"modules": sorted(sys.modules), "sources": sorted(linecache.cache)}))
    os.kill(os.getpid(), signal.SIGTERM)


threading.Timer(1.0, tell).start()
from tests.bench.app_with_model import main

sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this machine plays the Linux side")
def test_a_tray_with_a_model_carries_nothing_that_waits_for_a_window(tmp_path: Path) -> None:
    write_profile(tmp_path, PROFILE_ID)
    env = {**environment(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    env = {name: value for name, value in env.items() if not name.startswith("COVERAGE")}
    line = [sys.executable, "-c", PROGRAM, PROFILE_ID]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    modules = set(loaded["modules"])
    assert modules & LIBRARIES == set()
    assert modules & {f"kotaro_bridge.{name}" for name in OURS} == set()
    assert len(loaded["sources"]) < MOST_SOURCES
