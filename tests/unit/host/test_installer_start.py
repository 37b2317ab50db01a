"""The start of an installer: a real program that goes on by itself, and files that are none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.installer_start import start_installer
from tests.helpers.simulated import until

ON_WINDOWS = sys.platform == "win32"


def code_of(file: Path) -> str:
    with pytest.raises(ProblemError) as caught:
        start_installer(file)
    return caught.value.problem.code


@pytest.mark.skipif(ON_WINDOWS, reason="there it can be started")
def test_elsewhere_it_is_said_where_the_file_is(tmp_path: Path) -> None:
    assert code_of(tmp_path / "x-setup.exe") == "update.not_windows"


@pytest.mark.skipif(not ON_WINDOWS, reason="the installer is for Windows")
def test_it_runs_in_its_own_folder(tmp_path: Path) -> None:
    folder = tmp_path / "山田 updates"
    folder.mkdir()
    (folder / "setup.cmd").write_text("@echo started> mark.txt\r\n")
    start_installer(folder / "setup.cmd")
    until(lambda: (folder / "mark.txt").exists(), what="the installer runs")


@pytest.mark.skipif(not ON_WINDOWS, reason="the installer is for Windows")
@pytest.mark.parametrize("content", [None, b"", b"no program"])
def test_what_cannot_be_started_is_told(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x-setup.exe"
    if content is not None:
        file.write_bytes(content)
    assert code_of(file) == "update.not_started"
