"""The product's folders: where they are, who may read them, and what happens where none can be made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.paths import Paths


def test_all_folders_are_below_a_root(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "root"
    paths = Paths(root)
    assert not root.exists()
    folders = [paths.config, paths.profiles, paths.state, paths.logs, paths.cache, paths.simulated("rtx4070-12gb")]
    assert len(set(folders)) == len(folders)
    assert all(folder.is_dir() and folder.is_relative_to(root) for folder in folders)
    assert paths.settings_file == paths.config / "settings.toml"
    assert not paths.settings_file.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the places of Linux")
def test_the_user_s_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    paths = Paths.of_user()
    assert paths.config == tmp_path / "CONFIG" / "kotaro-bridge"
    assert paths.state == tmp_path / "STATE" / "kotaro-bridge"
    assert paths.cache == tmp_path / "CACHE" / "kotaro-bridge"
    assert paths.logs.is_relative_to(paths.state)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_only_the_user_may_look(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "root")
    for folder in (paths.profiles, paths.config, paths.state, tmp_path / "root"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ProblemError) as caught:
            _ = Paths(root).state
        assert caught.value.problem.code == "storage.unusable"
        assert str(root) in str(caught.value.problem.params["path"])


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(ProblemError) as caught:
        _ = Paths(tmp_path).state
    assert caught.value.problem.code == "storage.unusable"
