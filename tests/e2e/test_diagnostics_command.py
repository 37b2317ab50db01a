"""`kotaro-bridge diagnostics` as a person runs it: while a model runs, while nothing does, and when nothing works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import LLAMA, Station, ctrl_c, ready
from tests.helpers.cli import CommandLine, started
from tests.helpers.simulated import processes_of, until
from tests.helpers.words import sentence

pytestmark = pytest.mark.e2e

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123"  # noqa: S105
PLANTED = {TOKEN, "hanako", "pa55word", "c00kie-value", "KOUBOU-PC", "b3arerT0ken"}


def inside(path: Path) -> dict[str, str]:
    """The files of a ZIP file and their text."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def plant(line: CommandLine) -> None:
    """Secrets in every file that a person or a program of ours writes."""
    text = f"""
# from hanako, {TOKEN}
api_key = "pa55word"
proxy = "http://hanako:pa55word@proxy:3128"
Authorization: Bearer b3arerT0ken
Cookie: a=c00kie-value
on KOUBOU-PC in C:\\Users\\hanako\\models, /home/hanako/models
"""
    line.write_profile("broken", text)
    line.write_profile("hanako", 'title = "x"\nengine = "llama-server"\n' + f"# {TOKEN}\n")
    for folder, name in (("log", "run-1.log"), ("config", "settings.toml")):
        (line.root / folder).mkdir(parents=True, exist_ok=True)
        (line.root / folder / name).write_text(text, encoding="utf-8")
    for place in ("app/kotaro-bridge.log", "crashes/crash-20260101-000000-1-1.txt"):
        (line.own_log / place).parent.mkdir(parents=True, exist_ok=True)
        (line.own_log / place).write_text(text, encoding="utf-8")
    (line.root / "state").mkdir(parents=True, exist_ok=True)
    (line.root / "state" / "history.sqlite3").write_text("no database")


WHO = {"USER": "hanako", "COMPUTERNAME": "KOUBOU-PC", "HOSTNAME": "KOUBOU-PC", "HF_TOKEN": TOKEN}


def test_everything_is_in_it_and_no_secret(station: Station, tmp_path: Path) -> None:
    line, target = station.line, tmp_path / "d.zip"
    plant(line)
    wslconfig = Path(station.pc.wslconfig_path)
    before = wslconfig.read_bytes()
    wslconfig.write_text(f"[wsl2]\nmemory=99TB # {TOKEN}\nkernel=C:\\\\Users\\\\hanako\\\\vmlinux\n")
    try:
        done = line.call("diagnostics", str(target), "--json", env=WHO)
    finally:
        wslconfig.write_bytes(before)
    assert done.code == 0, done.err
    assert done.json["file"] == str(target)
    files = inside(target)
    assert sorted(files) == sorted(["README.txt", *(part["name"] for part in done.json["parts"])])
    wanted = {
        "versions.txt",
        "packages.txt",
        "system.txt",
        "wsl.txt",
        "cards.txt",
        "settings.toml",
        "wslconfig.txt",
        "gate.txt",
        "runs.json",
    }
    assert wanted - files.keys() == set()
    raw = "\n".join([*files, *files.values()])
    assert [word for word in PLANTED if word in raw] == []
    assert any("<user>\\models" in text for name, text in files.items() if name.startswith("logs/engines"))
    assert "RTX 4070" in files["cards.txt"]
    assert "wsl --version" in files["wsl.txt"]
    assert "memory=99TB" in files["wslconfig.txt"]
    assert done.json["removed"]["secret"] > 5


def test_a_distro_that_is_off_stays_off_and_one_that_runs_is_asked(station: Station, tmp_path: Path) -> None:
    line = station.line
    line.builtin(LLAMA)
    pc = station.pc
    subprocess.run([*pc.wsl_argv, "--shutdown"], env={**os.environ, **pc.env}, check=True, capture_output=True)
    done = line.call("diagnostics", str(tmp_path / "off.zip"))
    assert done.code == 0, done.err
    gate = inside(tmp_path / "off.zip")["gate.txt"]
    assert "its distro does not run" in gate
    assert "passed" not in gate
    listed = subprocess.run(
        [*pc.wsl_argv, "--list", "--running"], env={**os.environ, **pc.env}, capture_output=True, check=False
    )
    assert b"Ubuntu" not in listed.stdout.replace(b"\0", b""), "it stays off"
    pc.boot("Ubuntu")
    done = line.call("diagnostics", str(tmp_path / "on.zip"))
    assert done.code == 0, done.err
    gate = inside(tmp_path / "on.zip")["gate.txt"]
    assert f"# {LLAMA}" in gate
    assert "passed" in gate
    assert gate.count("vram") >= 1


def test_while_a_model_runs_its_owner_answers_and_nothing_is_probed(station: Station, tmp_path: Path) -> None:
    line = station.line
    line.builtin(LLAMA)
    with started(line, "run", LLAMA) as running:
        ready(station, running, LLAMA)
        done = line.call("diagnostics", str(tmp_path / "d.zip"))
        assert done.code == 0, done.err
        running.end(signal.SIGINT)
    files = inside(tmp_path / "d.zip")
    (run,) = json.loads(files["runs.json"])["runs"]
    assert (run["profile"], run["state"]) == (LLAMA, "ready")
    assert LLAMA in files["gate.txt"]
    assert "passed" not in files["gate.txt"]
    assert any(name.startswith(f"logs/engines/{LLAMA}") for name in files)
    log = files["logs/kotaro-bridge/kotaro-bridge.log"]
    for words in ("checking -> launching", "proving -> ready", f"run {LLAMA}"):
        assert words in log


def test_a_wsl_that_hangs_hangs_nothing(station: Station, tmp_path: Path) -> None:
    station.pc.set(wsl="hang")
    done = station.line.call("diagnostics", str(tmp_path / "d.zip"), deadline_s=100)
    assert done.code == 0
    files = inside(tmp_path / "d.zip")
    assert files["wsl.txt"].count("no answer within 10 s") == 3
    assert "wsl.hangs" in files["gate.txt"]
    assert "RTX 4070" in files["cards.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="of Linux")
def test_when_nothing_works_there_is_a_file_all_the_same(tmp_path: Path) -> None:
    """No WSL, no card, broken settings, and folders that cannot be had."""
    line = CommandLine(tmp_path / "home")
    (line.folder / "config" / "kotaro-bridge").mkdir(parents=True)
    (line.folder / "config" / "kotaro-bridge" / "settings.toml").write_text("= broken")
    (line.folder / "config" / "kotaro-bridge" / "profiles").write_text("a file where a folder should be")
    (line.folder / "state").write_text("a file where a folder should be")
    done = line.call("diagnostics", str(tmp_path / "d.zip"))
    assert done.code == 0, done.err
    files = inside(tmp_path / "d.zip")
    assert "storage.unusable" in files["gate.txt"]
    assert files["settings.toml"] == "= broken"
    assert "README.txt" in files
    assert files["versions.txt"].startswith("Kotaro Bridge")


def test_targets_that_are_none(station: Station, tmp_path: Path) -> None:
    line = station.line
    there = tmp_path / "there.zip"
    there.write_text("mine")
    for target, code in (
        (tmp_path, "diagnostics.is_folder"),
        (there, "diagnostics.exists"),
        (tmp_path / "no" / "d.zip", "diagnostics.no_folder"),
    ):
        done = line.call("diagnostics", str(target))
        assert (done.code, done.out) == (1, "")
        assert sentence(code, path=str(target if code != "diagnostics.no_folder" else target.parent)).what in done.err
    assert there.read_text() == "mine"
    assert line.call("diagnostics", str(there), "--force").code == 0
    assert zipfile.is_zipfile(there)
    assert [path.name for path in tmp_path.iterdir()] == ["there.zip"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="everything is writable for root")
def test_a_folder_without_the_right_to_write(station: Station, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = station.line.call("diagnostics", str(tmp_path / "d.zip"))
    tmp_path.chmod(0o700)
    assert done.code == 1
    assert list(tmp_path.iterdir()) == []


@ctrl_c
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(station: Station, tmp_path: Path, number: signal.Signals) -> None:
    station.pc.set(wsl="hang")
    running = station.line.start("diagnostics", str(tmp_path / "d.zip"))
    until(lambda: any("--version" in line for line in processes_of(station.line.folder)), what="it asks WSL")
    done = running.end(number)
    assert done.code == 130
    assert sentence("diagnostics.interrupted").what in done.err
    assert list(tmp_path.iterdir()) == []
    until(lambda: not any("simulator.wsl" in each for each in processes_of(station.line.folder)), what="no wsl.exe")
