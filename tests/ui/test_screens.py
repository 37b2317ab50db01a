"""No text is cut off and no letter leads to two places: every window in both languages at 100, 150 and 200 percent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from tests.ui.screen_faults import shared_keys
from tests.ui.screens_models import PICTURES

ROOT = Path(__file__).resolve().parents[2]


def test_a_letter_that_leads_to_two_places_is_found(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    box = QVBoxLayout(window)
    name, field = QLabel("&Name"), QLineEdit()
    name.setBuddy(field)
    unseen, nameless = QPushButton("&No"), QPushButton()
    for part in (name, field, QPushButton("&Next"), QPushButton("Fish && &Chips"), unseen, nameless):
        box.addWidget(part)
    unseen.hide()
    nameless.setObjectName("picture")
    assert list(shared_keys(window)) == ["no name: picture", "Alt+N: ['&Name', '&Next']"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("scale", "schemes"), [("1", ("light", "dark")), ("1.5", ("dark",)), ("2", ("light",))])
def test_no_text_is_cut_off(tmp_path: Path, scale: str, schemes: tuple[str, ...]) -> None:
    """Room does not depend on colours: both schemes are drawn once."""
    env = os.environ | {"QT_SCALE_FACTOR": scale, "QT_QPA_PLATFORM": "offscreen"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.ui.screens", str(tmp_path), *schemes],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.stdout.strip() == ""
    assert ran.returncode == 0, ran.stderr
    assert len(list(tmp_path.glob("*.png"))) == 2 * len(schemes) * (62 + PICTURES)
