"""Room on the drive of a distro's disk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kotaro_bridge.host.disk import distro_folder, free_beneath


def test_free_bytes_of_a_drive(tmp_path: Path) -> None:
    assert (free_beneath(tmp_path) or 0) > 0
    assert free_beneath(tmp_path / "nowhere") is None


@pytest.mark.skipif(sys.platform == "win32", reason="there the registry answers")
def test_only_windows_has_such_a_disk() -> None:
    assert distro_folder("Ubuntu") is None
