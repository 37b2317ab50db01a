"""Settings, quit and forget-user as a person and an installer call them: real processes, real models behind them."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

import pytest

from kotaro_bridge.domain.run.run_state import RESTING
from kotaro_bridge.host.control import OwnerLock, ask
from tests.e2e.conftest import Station
from tests.helpers.cli import CommandLine, started
from tests.helpers.simulated import until
from tests.helpers.words import pattern, phase, sentence, text

pytestmark = pytest.mark.e2e

LLAMA = "qwen2.5-14b-q4_k_m"
QUIT_S = 30.0
WINDOWS = {"QT_QPA_PLATFORM": "offscreen"}


@pytest.fixture
def person(tmp_path: Path) -> CommandLine:
    """Somebody on this PC, who has never used the program, with a keyring that nobody else has."""
    line = CommandLine(tmp_path / "home")
    line.env |= {
        "PYTHON_KEYRING_BACKEND": "tests.helpers.file_keyring.FileKeyring",
        "KOTARO_TEST_KEYRING": str(tmp_path / "keyring.json"),
    }
    return line


def without_naming_the_pc(line: CommandLine) -> CommandLine:
    """The same person, as the installer asks."""
    other = CommandLine(line.folder / f"installer-{secrets.token_hex(4)}")
    other.env = line.env
    return other


def settings_file(line: CommandLine) -> Path:
    return Path(line.call("settings", "list", "--json").json["file"])


def test_what_is_set_is_there_for_the_next_command(person: CommandLine) -> None:
    done = person.call("settings", "set", "language=ja", "theme=dark", "check_updates=on", "--json")
    assert (done.code, done.err) == (0, "")
    document = done.json
    assert (document["language"], document["theme"], document["check_updates"]) == ("ja", "dark", True)
    assert document["problems"] == []
    told = person.call("settings")
    assert "language = ja" in told.out
    assert text("cli.settings.file", "ja", path=document["file"]) in told.out
    assert text("cli.settings.file", "en", path=document["file"]) in person.call("settings", "--lang", "en").out
    assert person.call("quit").out.strip() == text("cli.quit.nobody", "ja")


def test_wrong_words_change_nothing(person: CommandLine) -> None:
    for word, code in (("langage=ja", "settings.unknown_name"), ("theme=pink", "settings.bad_word")):
        done = person.call("settings", "set", "language=ja", word)
        assert done.code == 1
        assert pattern(code).search(done.err)
    assert not settings_file(person).exists()


def test_a_broken_file_is_told_by_each_command_and_left_alone(person: CommandLine) -> None:
    file = settings_file(person)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('language = "ja\n', encoding="utf-8")
    for command, code in ((("quit",), 0), (("settings",), 0), (("settings", "set", "theme=dark"), 1)):
        done = person.call(*command)
        assert done.code == code
        assert done.err.count(str(file)) == 1
        assert "line 1" in done.err
    assert file.read_text(encoding="utf-8") == 'language = "ja\n'


def test_a_simulated_pc_has_settings_of_its_own(station: Station, person: CommandLine) -> None:
    station.line.call("settings", "set", "language=ja")
    assert station.line.call("settings", "list", "--json").json["language"] == "ja"
    assert Path(station.line.call("settings", "list", "--json").json["file"]).is_relative_to(station.line.root)
    on = station.line.call("settings", "set", "start_at_login=true", "language=en", "--json")
    assert on.json["start_at_login"] is True


def test_nobody_is_asked_for_updates_from_source(person: CommandLine) -> None:
    done = person.call("update", "--check")
    assert (done.code, done.out) == (1, "")
    assert sentence("update.no_feed").what in done.err


def test_quit_where_nobody_runs_leaves_nothing_behind(person: CommandLine) -> None:
    done = person.call("quit", "--wait", "1")
    assert (done.code, done.out.strip(), done.err) == (0, text("cli.quit.nobody"), "")


def test_quit_ends_a_run_in_order(station: Station) -> None:
    station.line.builtin(LLAMA)
    with started(station.line, "run", LLAMA) as running:
        running.wait_for(phase("ready"))
        done = station.line.call("quit", "--wait", str(QUIT_S))
        assert (done.code, done.out.strip(), done.err) == (0, text("cli.quit.ended"), "")
        assert running.process.poll() is not None
        assert running.out.splitlines()[-1] == phase("stopped")


def test_quit_ends_the_windows_and_what_they_run(station: Station) -> None:
    """In the middle of a start."""
    line = station.line
    line.builtin(LLAMA)
    state = line.root / "state"
    running = line.start(env=WINDOWS)
    try:
        until(lambda: _owns(state), what="the windows own the runs", deadline_s=20)
        assert ask(state, {"verb": "apply", "profile": LLAMA, "word": "context=4096"}) is not None
        until(
            lambda: any(run["state"] not in RESTING for run in (ask(state, {"verb": "status"}) or {})["runs"]),
            what="a start",
        )
        done = without_naming_the_pc(line).call("quit", "--wait", str(QUIT_S))
        assert (done.code, done.out.strip()) == (0, text("cli.quit.ended"))
        assert running.end(deadline_s=5).code == 0
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def _owns(state: Path) -> bool:
    answer = ask(state, {"verb": "status"}) if (state / "control.key").exists() else None
    return answer is not None and answer["owner"] is True


def test_quit_says_when_it_was_not_in_time(person: CommandLine) -> None:
    lock = OwnerLock(person.root)
    person.root.mkdir(parents=True, exist_ok=True)
    assert lock.acquire()
    try:
        done = person.call("quit", "--wait", "0.3")
        assert (done.code, done.out) == (1, "")
        assert sentence("quit.not_in_time", seconds=0).what in done.err
        refused = person.call("forget-user", "--yes")
        assert refused.code == 1
        assert sentence("forget.running").what in refused.err
    finally:
        lock.release()


def test_forget_user_is_refused_while_a_model_runs(station: Station) -> None:
    station.line.builtin(LLAMA)
    with started(station.line, "run", LLAMA) as running:
        running.wait_for(phase("ready"))
        done = without_naming_the_pc(station.line).call("forget-user", "--yes")
        assert done.code == 1
        assert sentence("forget.running").what in done.err
        assert station.line.profiles.exists()
        assert station.line.call("stop").code == 0
        running.end(deadline_s=QUIT_S)


@pytest.mark.skipif(sys.platform == "win32", reason="the registry of whoever runs the tests is not ours to clear")
def test_forget_user_removes_what_is_ours_and_nothing_else(person: CommandLine) -> None:
    person.call("settings", "set", "language=en")
    Path(person.env["KOTARO_TEST_KEYRING"]).write_text('{"kotaro-bridge/hugging-face": "hf_x", "theirs/a": "b"}')
    person.builtin(LLAMA)
    theirs = [person.folder / ".wslconfig", person.folder / "models" / "mine.gguf"]
    for file in theirs:
        file.parent.mkdir(exist_ok=True)
        file.write_text("[wsl2]\n")
    asked = person.call("forget-user")
    assert asked.code == 1
    assert person.profiles.exists()
    done = person.call("forget-user", "--yes")
    assert (done.code, done.err) == (0, "")
    assert text("cli.forget.kept") in done.out
    left = [path for path in person.folder.rglob("kotaro-bridge*")]
    assert left == []
    assert all(file.read_text() == "[wsl2]\n" for file in theirs)
    assert json.loads(Path(person.env["KOTARO_TEST_KEYRING"]).read_text()) == {"theirs/a": "b"}
    assert json.loads(person.call("settings", "list", "--json").out)["language"] == ""


@pytest.mark.skipif(sys.platform == "win32", reason="the registry of whoever runs the tests is not ours to clear")
def test_forget_user_of_a_simulated_pc_leaves_the_real_one(person: CommandLine) -> None:
    person.call("settings", "set", "language=en")
    assert person.call("--simulate", "vram-taken", "settings", "set", "theme=dark").code == 0
    assert person.call("--simulate", "spill", "forget-user", "--yes").out.strip() == text("cli.forget.nothing")
    assert person.call("--simulate", "vram-taken", "forget-user", "--yes").code == 0
    found = [
        json.loads(person.call(*words, "settings", "list", "--json").out)
        for words in ((), ("--simulate", "vram-taken"))
    ]
    assert [(each["language"], each["theme"]) for each in found] == [("en", ""), ("", "")]
