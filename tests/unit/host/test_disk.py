"""Room on the drive of a distro's disk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kotaro_bridge.host.disk import distro_folder, free_beneath


def test_free_bytes_of_a_drive(tmp_path: Path) -> None:
    assert (free_beneath(tmp_path) or 0) > 0
    assert free_beneath(tmp_path / "nowhere") is None


ROWS = ("{2}", [("{1}", "Debian", r"C:\Users\k\debian"), ("{2}", "Ubuntu", "\\\\?\\D:\\wsl\\ubuntu")])


@pytest.mark.parametrize(
    ("distro", "folder"),
    [(None, r"D:\wsl\ubuntu"), ("ubuntu", r"D:\wsl\ubuntu"), ("Debian", r"C:\Users\k\debian"), ("Nowhere", None)],
)
def test_the_folder_of_a_distros_disk(distro: str | None, folder: str | None) -> None:
    found = distro_folder(distro, lambda: ROWS)
    assert (None if found is None else str(found)) == folder


def test_a_windows_that_does_not_tell() -> None:
    assert distro_folder("Ubuntu", lambda: None) is None


@pytest.mark.skipif(sys.platform == "win32", reason="there the registry answers")
def test_only_windows_has_such_a_disk() -> None:
    assert distro_folder("Ubuntu") is None
