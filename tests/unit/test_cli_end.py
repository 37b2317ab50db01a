"""`kotaro-bridge forget-user` beside a start of this very moment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kotaro_bridge.cli import end
from kotaro_bridge.cli.main import run_command_line
from kotaro_bridge.host.control import OwnerLock
from kotaro_bridge.host.footprint import Trace, TraceKind, traces
from kotaro_bridge.host.paths import Paths
from tests.helpers.own_folders import own_folders
from tests.helpers.words import sentence, text

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the registry of whoever runs the tests is not ours")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_keyring: None) -> None:
    for name, value in own_folders(tmp_path).items():
        monkeypatch.setenv(name, value)
    Paths.of_user().settings_file.parent.mkdir(parents=True)
    Paths.of_user().settings_file.write_text('theme = "dark"\n', encoding="utf-8")


def forget(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = run_command_line(["forget-user", "--yes", "--lang", "en"])
    return code, *capsys.readouterr()


def test_nobody_becomes_an_owner_while_it_is_removed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = Paths.of_user().state
    tried: list[bool] = []

    def start() -> None:
        """A second program that starts just now."""
        tried.append(OwnerLock(state).acquire())

    found = (Trace(TraceKind.RUN_KEY, "a start", start), *traces(Paths.of_user()))
    monkeypatch.setattr(end, "traces", lambda *_: found)
    code, _, err = forget(capsys)
    assert (code, err, tried) == (0, "", [False])
    assert not state.exists()
    assert not Paths.of_user().settings_file.exists()


def test_a_start_between_the_look_and_the_removal_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = OwnerLock(Paths.of_user().state)
    assert owner.acquire()
    monkeypatch.setattr(end, "_is_free", lambda _: True)
    try:
        code, _, err = forget(capsys)
    finally:
        owner.release()
    assert code == 1
    assert sentence("forget.running").what in err
    assert Paths.of_user().settings_file.exists()


def test_what_is_not_ours_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Paths.of_user().config
    for number in range(7):
        (folder / f"note-{number}.txt").touch()
    code, out, err = forget(capsys)
    names = ", ".join([*(f"note-{number}.txt" for number in range(5)), "…"])
    assert (code, err) == (0, "")
    assert text("cli.forget.left", where=str(folder), names=names) in out
    assert len(list(folder.iterdir())) == 7
