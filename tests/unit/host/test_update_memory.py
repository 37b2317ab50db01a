"""What is remembered of newer versions: across starts, and through a file that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from kotaro_bridge.domain.update import Release
from kotaro_bridge.host.update_memory import UpdateMemoryFile

RELEASE = Release("0.2.0", "https://example.invalid/", "https://example.invalid/x", 7, "ab" * 32)


def test_it_is_there_the_next_time(tmp_path: Path) -> None:
    file = tmp_path / "updates.json"
    assert UpdateMemoryFile(file).load() == (None, None)
    UpdateMemoryFile(file).save(12.5, RELEASE)
    assert UpdateMemoryFile(file).load() == (12.5, RELEASE)
    UpdateMemoryFile(file).save(13.0, None)
    assert UpdateMemoryFile(file).load() == (13.0, None)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"checked_at": "x"}', b'{"checked_at": 1, "release": {}}']
)
def test_a_file_that_is_none_counts_as_not_there(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "updates.json"
    file.write_bytes(content)
    assert UpdateMemoryFile(file).load() == (None, None)


@pytest.mark.allow_log(r"no memory of updates", reason="the folder is a file here")
def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    UpdateMemoryFile(tmp_path / "file" / "updates.json").save(1.0, None)
