"""The start of an installer: a real program that goes on by itself, and files that are none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.installer_start import UNINSTALL, is_installed, show_package, start_installer
from kotaro_bridge.host.release_feed import for_us_alone
from tests.helpers import registry
from tests.helpers.simulated import until

ON_WINDOWS = sys.platform == "win32"


def code_of(take: Callable[[BufferedReader], None], file: Path) -> str:
    with pytest.raises(ProblemError) as caught, file.open("rb") as content:
        take(content)
    return caught.value.problem.code


@pytest.mark.skipif(ON_WINDOWS, reason="there it can be started")
@pytest.mark.parametrize("take", [start_installer, show_package])
def test_elsewhere_it_is_said_where_the_file_is(tmp_path: Path, take: Callable[[BufferedReader], None]) -> None:
    (tmp_path / "x-setup.exe").touch()
    assert code_of(take, tmp_path / "x-setup.exe") == "update.not_windows"
    assert not is_installed()


@pytest.mark.skipif(not ON_WINDOWS, reason="the installer is for Windows")
def test_it_runs_in_its_own_folder_and_nobody_takes_its_place_meanwhile(tmp_path: Path) -> None:
    """What it reads of itself after it was started is what was checked."""
    folder = tmp_path / "山田 updates"
    folder.mkdir()
    file = folder / "setup.cmd"
    wait = "@echo started> mark.txt\r\n:wait\r\n@if not exist go.txt goto wait\r\n@echo ended> end.txt\r\n"
    file.write_bytes(wait.encode())
    with open(file, "rb", opener=for_us_alone) as content:
        start_installer(content)
    until(lambda: (folder / "mark.txt").exists(), what="the installer runs")
    for swap in (lambda: file.write_bytes(b"other"), lambda: file.rename(folder / "aside.cmd"), file.unlink):
        with pytest.raises(PermissionError):
            swap()
    (folder / "go.txt").touch()
    until(lambda: (folder / "end.txt").exists(), what="the installer ends")


@pytest.mark.skipif(not ON_WINDOWS, reason="the installer is for Windows")
@pytest.mark.parametrize("content", [b"", b"no program"])
def test_what_cannot_be_started_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x-setup.exe"
    file.write_bytes(content)
    assert code_of(start_installer, file) == "update.not_started"


@pytest.mark.skipif(not ON_WINDOWS, reason="the registry is Windows'")
def test_the_installed_copy_is_the_one_that_windows_lists(tmp_path: Path) -> None:
    here = str(Path(sys.executable).parent)
    for folder, installed in ((here, True), (here.upper() + "\\", True), (str(tmp_path), False), (None, False)):
        with registry.values(UNINSTALL, InstallLocation=folder):
            assert is_installed() is installed
