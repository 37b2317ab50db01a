"""What the frozen build leaves out is missed by nothing of ours: the program loads and plots without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tools.build_bundle import NOT_SHIPPED_MODULES
from tools.console import ROOT

WITHOUT = """
import importlib, json, pkgutil, sys

absent = json.loads(sys.argv[1])

class Absent:
    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(f"{each}.") for each in absent):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import kotaro_bridge
for module in pkgutil.walk_packages(kotaro_bridge.__path__, "kotaro_bridge."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

import pyqtgraph
from PySide6.QtWidgets import QApplication

app = QApplication([])
plot = pyqtgraph.PlotWidget()
plot.plot([1, 2, 3])
plot.grab()
print("plotted")
"""


def test_the_program_loads_and_plots_without_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps(NOT_SHIPPED_MODULES)],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "plotted\n"), done.stderr
