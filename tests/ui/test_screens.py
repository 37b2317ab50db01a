"""No text is cut off: every window in both languages and schemes at 100 and 150 percent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ui.screens_models import PICTURES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scale", ["1", "1.5"])
def test_no_text_is_cut_off(tmp_path: Path, scale: str) -> None:
    env = os.environ | {"QT_SCALE_FACTOR": scale, "QT_QPA_PLATFORM": "offscreen"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.ui.screens", str(tmp_path)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.stdout.strip() == ""
    assert ran.returncode == 0, ran.stderr
    assert len(list(tmp_path.glob("*.png"))) == 4 * (62 + PICTURES)
