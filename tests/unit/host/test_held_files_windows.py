"""Our own files while another program holds them open, as scanners, viewers and backups do on Windows."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import LogLine, Stream
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.log_file import RunLogFile
from kotaro_bridge.host.profile_store import ProfileFolder
from kotaro_bridge.host.settings_store import SettingsStore
from kotaro_bridge.resources import resource

if sys.platform != "win32":
    pytest.skip("elsewhere an open file can be replaced", allow_module_level=True)

from tests.helpers.held_file import FORBIDS_ANYTHING, FORBIDS_TO_REPLACE, held

MOMENT_S = 0.3
PROFILE = "profiles/qwen2.5-14b-q4_k_m.toml"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    ProfileFolder(tmp_path).create("mine", resource(PROFILE).read_text(encoding="utf-8"))
    return tmp_path / "mine.toml"


def later(act: Callable[[], None]) -> None:
    threading.Timer(MOMENT_S, act).start()


@pytest.mark.parametrize("share", [FORBIDS_TO_REPLACE, FORBIDS_ANYTHING])
def test_a_profile_that_is_held_for_a_moment_is_saved(profile: Path, share: int) -> None:
    with held(profile, share) as let_go:
        later(let_go)
        changed = ProfileFolder(profile.parent).change("mine", {"context": 16384})
    assert changed.context == 16384
    assert ProfileFolder(profile.parent).read("mine").context == 16384
    assert os.listdir(profile.parent) == ["mine.toml"]


def test_a_profile_that_stays_held_is_whole_and_the_reason_told(profile: Path) -> None:
    before = profile.read_bytes()
    with held(profile, FORBIDS_TO_REPLACE):
        for act, code in (
            (lambda: ProfileFolder(profile.parent).change("mine", {"context": 16384}), "profile.not_saved"),
            (lambda: ProfileFolder(profile.parent).remove("mine"), "profile.not_removed"),
        ):
            with pytest.raises(ProblemError) as refused:
                act()
            assert refused.value.problem.code == code
    assert profile.read_bytes() == before
    assert os.listdir(profile.parent) == ["mine.toml"]


def test_settings_that_are_held(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    store = SettingsStore(file)
    store.change({"language": "ja"})
    with held(file, FORBIDS_TO_REPLACE) as let_go:
        later(let_go)
        assert store.change({"language": "en"}).language == "en"
    with held(file, FORBIDS_TO_REPLACE), pytest.raises(ProblemError) as refused:
        store.change({"language": "ja"})
    assert refused.value.problem.code == "settings.not_saved"
    with held(file, FORBIDS_ANYTHING):
        assert [each.code for each in store.read().problems] == ["settings.unreadable"]
    assert store.read().settings.language == "en"
    assert os.listdir(tmp_path) == ["settings.toml"]


def test_a_log_that_is_looked_at_loses_nothing_and_is_rotated_later(tmp_path: Path) -> None:
    log = RunLogFile(tmp_path, "run", max_bytes=100)
    numbers = iter(range(1000))

    def write(lines: int) -> None:
        for number in (next(numbers) for _ in range(lines)):
            log.write(LogLine(Stream.STDOUT, 1, f"{number:03} 虎虎"))

    write(1)
    log.flush()
    with held(log.path, FORBIDS_TO_REPLACE):
        write(30)
        log.flush()
        assert [row[:3] for row in log.path.read_text(encoding="utf-8").splitlines()] == [f"{n:03}" for n in range(31)]
    write(12)
    log.close()
    both = [(tmp_path / name).read_text(encoding="utf-8") for name in ("run.1.log", "run.log")]
    found = [int(row[:3]) for row in "".join(both).splitlines()]
    assert found == list(range(found[0], 43))
    assert found[0] == 0 or len(both[1].splitlines()) < 12
