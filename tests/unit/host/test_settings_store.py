"""The settings' file on the disk: changed as a person would, never when it cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.settings import Settings
from kotaro_bridge.host.settings_store import SettingsStore


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "設定 folder" / "settings.toml"


def code_of(store: SettingsStore) -> str:
    with pytest.raises(ProblemError) as caught:
        store.change({"theme": "dark"})
    return caught.value.problem.code


def written(file: Path, content: str | bytes) -> SettingsStore:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return SettingsStore(file)


def test_no_file(file: Path) -> None:
    opened = SettingsStore(file).read()
    assert (opened.settings, opened.problems) == (Settings(), ())
    assert not file.parent.exists()


def test_the_first_change_makes_the_file(file: Path) -> None:
    assert SettingsStore(file).change({"language": "ja", "check_updates": True}) == Settings("ja", "", True)
    assert file.read_text(encoding="utf-8") == 'language = "ja"\ncheck_updates = true\n'
    assert SettingsStore(file).read().settings == Settings("ja", "", True)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_change_leaves_the_rest_as_it_is(file: Path, mark: str, end: str) -> None:
    lines = ["# 私の設定", 'theme = "dark"  # at night', "", 'future = "kept"', ""]
    store = written(file, mark + end.join(lines))
    assert store.change({"theme": "light"}).theme == "light"
    lines[1] = 'theme = "light"  # at night'
    assert file.read_bytes().decode() == mark + end.join(lines)
    assert [told.code for told in store.read().problems] == ["settings.unknown_key"]


def test_a_wrong_value_can_be_put_right(file: Path) -> None:
    store = written(file, 'theme = "pink"\n')
    assert store.change({"theme": "dark"}) == Settings(theme="dark")
    assert store.read().problems == ()


@pytest.mark.parametrize("content", ["theme = dark", "[", b"\xff\xfet\x00", b"#" * ((1 << 20) + 1)])
def test_a_file_that_cannot_be_read_is_told_and_left_alone(file: Path, content: str | bytes) -> None:
    store = written(file, content)
    before = file.read_bytes()
    opened = store.read()
    assert opened.settings == Settings()
    (told,) = opened.problems
    assert told.code in ("settings.broken", "settings.unreadable")
    assert code_of(store) == told.code
    assert file.read_bytes() == before


def test_a_folder_in_the_place_of_the_file(file: Path) -> None:
    file.mkdir(parents=True)
    (told,) = SettingsStore(file).read().problems
    assert told.code == "settings.unreadable"


def test_a_change_that_cannot_be_written(file: Path) -> None:
    store = written(file, 'theme = "light"\n')
    file.chmod(0o400)
    try:
        assert code_of(store) == "settings.not_saved"
    finally:
        file.chmod(0o600)
    assert file.read_text(encoding="utf-8") == 'theme = "light"\n'
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_stays_one(file: Path, tmp_path: Path) -> None:
    store = written(tmp_path / "real.toml", "")
    file.parent.mkdir()
    file.symlink_to(tmp_path / "real.toml")
    store = SettingsStore(file)
    store.change({"theme": "dark"})
    assert file.is_symlink()
    assert (tmp_path / "real.toml").read_text(encoding="utf-8") == 'theme = "dark"\n'
