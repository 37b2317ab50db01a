"""The profile editor: how long a step of the context's slider takes, from the move to the painted window."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.measure import NotMeasured, Result, spread

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication, QSlider

STEPS = 60
LIMIT_MS = 16.0


def measure(_: Path) -> list[Result]:
    """Dragged through all its range with the plan, the bars, the sentence and the command following, on Qt's offscreen
    platform: one card, and two that share the model, whose layers are divided anew at each step.
    """
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import QDeadlineTimer

    from kotaro_bridge.ui.first_icon import make_application
    from kotaro_bridge.ui.shell import Shell
    from kotaro_bridge.ui.theme import Theme
    from tests.ui.fake_desk import A14, CARD, Q14, FakeWorld

    app = make_application()
    theme = Theme(app, "light")
    found: list[Result] = []
    two = (CARD, replace(CARD, index=1, uuid="GPU-2"))
    for what, profile, cards in (
        ("llama.cpp", Q14, two[:1]),
        ("llama.cpp on two cards", Q14, two),
        ("vLLM", A14, two[:1]),
    ):
        world = FakeWorld()
        world.telemetry.fill(2)
        world.telemetry.samples.append(replace(world.telemetry.samples[-1], gpus=cards))
        shell = Shell(world.desk, theme, tray_visible=False)
        shell.editors.edit(profile.id)
        wait = QDeadlineTimer(10_000)
        while not shell.editors.windows or shell.editors.windows[0].plans.found is None:
            app.processEvents()
            if wait.hasExpired():
                raise NotMeasured("the editor did not come to a plan")
        window = shell.editors.windows[0]
        if len(cards) > 1:
            window.fields.cards.boxes[1].click()
        steps = _drag(app, window.fields.context.slider)
        found.append(_result(what, steps))
        shell.close()
        window.deleteLater()
        shell.deleteLater()
        world.profiles.close()
        app.processEvents()
    return found


def _drag(app: QApplication, slider: QSlider) -> list[float]:
    """Milliseconds of each step, with everything painted."""
    slider.setSliderDown(True)
    taken = []
    for step in range(1, STEPS + 1):
        begin = time.perf_counter()
        slider.setSliderPosition(step * slider.maximum() // STEPS)
        app.processEvents()
        taken.append((time.perf_counter() - begin) * 1000)
    slider.setSliderDown(False)
    return taken


def _result(what: str, steps: list[float]) -> Result:
    name = f"profile editor, a step of the context's slider with all that follows: {what}"
    return Result("editor", name, statistics.median(steps), "ms", LIMIT_MS, {"first_ms": steps[0]} | spread(steps))
