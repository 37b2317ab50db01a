"""The command line as scripts use it: documents, exit codes, options anywhere, and streams of any kind."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SCENARIO, Station
from tests.helpers.cli import COMMAND_S, CommandLine
from tests.helpers.simulated import wsl
from tests.helpers.words import sentence

pytestmark = pytest.mark.e2e

LLAMA = "qwen2.5-14b-q4_k_m"
STATUSES = {"passed", "failed", "unknown", "skipped"}
GPU_KEYS = ["index", "uuid", "name", "total", "free", "used", "driver", "compute_cap"]
CAPTURES = Path(__file__).parents[1] / "data" / "captures"
FOLDERS = ["WIN_PD_OVERRIDE_LOCAL_APPDATA"] if sys.platform == "win32" else ["XDG_CONFIG_HOME", "XDG_STATE_HOME"]
needs_sh = pytest.mark.skipif(sys.platform == "win32", reason="the stood-in Linux side has no sh")
terminal = pytest.mark.skipif(sys.platform == "win32", reason="terminals as files are POSIX")


def assert_gpus(gpus: list[dict[str, Any]]) -> None:
    """The documented keys with bytes as plain numbers."""
    (gpu,) = gpus
    assert list(gpu) == GPU_KEYS
    assert (gpu["index"], gpu["name"], gpu["total"]) == (0, "NVIDIA GeForce RTX 4070", 12282 << 20)
    assert 0 < gpu["used"] < gpu["total"] - gpu["free"]


# Usage and exit codes


@pytest.fixture
def alone(tmp_path: Path) -> CommandLine:
    """This machine, with folders of its own."""
    return CommandLine(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ("chek",),
        ("run",),
        ("check", "--profile", LLAMA, "--need", "1GiB"),
        ("check", "--need", "much"),
        ("check", "--simulate"),
        ("status", "--lang", "fr"),
        ("logs", "-n", "0"),
        ("verdict", "ollama", "log"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_code_2(alone: CommandLine, words: tuple[str, ...]) -> None:
    done = alone.call(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err


def test_simulate_stands_anywhere(station: Station) -> None:
    for words in (
        ("--simulate", SCENARIO, "status", "--json"),
        ("status", "--json", f"--simulate={SCENARIO}"),
        ("status", "--simulate", SCENARIO, "--json"),
    ):
        done = station.line.call(*words)
        assert (done.code, done.err) == (0, ""), words
        assert (done.json["owner"], done.json["runs"]) == (False, [])
        assert_gpus(done.json["gpus"])


def test_check_without_a_profile(station: Station) -> None:
    answers = {(): (True, "skipped"), ("--need", "10GiB"): (True, "passed"), ("--need", "12GiB"): (False, "failed")}
    for words, (ok, vram) in answers.items():
        done = station.line.call("check", *words, "--json")
        document = done.json
        assert list(document) == ["ok", "checks", "gpus", "holders", "remedies"]
        assert (document["ok"], done.code) == (ok, 0 if ok else 1)
        assert all(list(each) == ["id", "status", "detail", "remedy"] for each in document["checks"])
        assert {each["status"] for each in document["checks"]} <= STATUSES
        assert all(each["detail"] for each in document["checks"])
        assert next(each for each in document["checks"] if each["id"] == "vram")["status"] == vram
        assert_gpus(document["gpus"])


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """What `verify-script > FILE` writes."""
    kept = tmp_path / "verify_gpu.sh"
    with kept.open("wb") as file:
        subprocess.run([sys.executable, "-m", "kotaro_bridge", "verify-script"], stdout=file, check=True)
    return kept


def test_the_script_for_start_scripts_of_ones_own_is_for_sh(script: Path) -> None:
    assert script.read_bytes().startswith(b"#!/bin/sh\n")
    assert b"\r" not in script.read_bytes()


@needs_sh
def test_the_script_for_start_scripts_of_ones_own(station: Station, script: Path) -> None:
    """In the distro it tells of the card, and ends as its reason says."""
    for need, code in ((9000, 0), (12000, 1)):
        done = wsl(station.pc, "--exec", "/bin/sh", str(script), "--need-mib", str(need))
        assert done.returncode == code
        assert b"card 0: NVIDIA GeForce RTX 4070, driver 580.88\n" in done.stdout
        assert (b"MiB free, 12000 MiB are needed" in done.stderr) is (code == 1)


def test_nothing_runs(station: Station) -> None:
    line = station.line
    stop = line.call("stop", "--json")
    assert (stop.code, stop.json, stop.err) == (0, {"stopped": [], "owner": False}, "")
    unknown = line.call("stop", "nope")
    assert unknown.code == 1
    assert sentence("profile.unknown", id="nope").what in unknown.err


def test_no_log_yet(alone: CommandLine) -> None:
    logs = alone.call("logs", LLAMA)
    assert (logs.code, logs.out) == (1, "")
    assert sentence("cli.no_logs").what in logs.err
    assert alone.call("logs", "--json").json == {"logs": {}}


@pytest.mark.parametrize(
    ("engine", "files", "word", "code"),
    [
        ("llama-server", ("llama-server/full14-np1.log",), "gpu", 0),
        ("llama-server", ("llama-server/nokvoffload.log",), "partial", 1),
        ("vllm", ("vllm/tiny.stdout", "--stderr", "vllm/tiny.stderr"), "failed", 1),
    ],
)
def test_verdict(alone: CommandLine, engine: str, files: tuple[str, ...], word: str, code: int) -> None:
    words = [name if name.startswith("--") else str(CAPTURES / name) for name in files]
    done = alone.call("verdict", engine, *words, "--json")
    document = done.json
    assert list(document) == ["engine", "verdict", "reasons", "facts"]
    assert (document["engine"], document["verdict"], done.code) == (engine, word, code)
    assert bool(document["reasons"]) == bool(done.err) == (word != "gpu")


@pytest.mark.parametrize(
    ("engine", "content"),
    [
        ("llama-server", b""),
        ("vllm", bytes(range(256)) * 64),
        ("llama-server", b"\0" * 5000),
        ("vllm", b"x" * 3_000_000),
    ],
    ids=["empty", "binary", "zeros", "one-long-line"],
)
def test_verdict_of_what_is_no_log(alone: CommandLine, engine: str, content: bytes) -> None:
    (alone.folder / "log").write_bytes(content)
    done = alone.call("verdict", engine, str(alone.folder / "log"), "--json")
    assert (done.code, done.json["verdict"]) == (1, "unknown")
    assert done.err


def test_verdict_of_no_file(alone: CommandLine) -> None:
    for path, code in ((alone.folder / "none", "cli.file_unreadable"), (alone.folder, "cli.is_folder")):
        done = alone.call("verdict", "vllm", str(path))
        assert (done.code, done.out) == (1, "")
        assert sentence(code, path=str(path)).what in done.err


def test_verdict_of_a_log_that_grew(alone: CommandLine) -> None:
    """As PowerShell's `>>` leaves it: UTF-16, two starts, and the last one counts."""
    names = ("full14-np1", "nokvoffload")
    first, second = ((CAPTURES / f"llama-server/{name}.log").read_text(encoding="utf-8") for name in names)
    path = alone.folder / "log"
    path.write_bytes(f"{first}{second}".replace("\n", "\r\n").encode("utf-16"))
    done = alone.call("verdict", "llama-server", str(path))
    assert (done.code, done.out) == (1, "partial\n")
    assert sentence("cli.last_start_judged", starts=2, line=first.count("\n") + 1).what in done.err
    facts = alone.call("verdict", "llama-server", str(path), "--json").json["facts"]
    assert facts["judged"]["first_line"] == first.count("\n") + 1


def test_verdict_names_what_helps(alone: CommandLine) -> None:
    quiet = alone.call("verdict", "llama-server", str(CAPTURES / "llama-server/full14-default-lv.log"))
    assert "-lv 4" in quiet.err
    other = alone.call("verdict", "vllm", str(CAPTURES / "llama-server/full14.log"))
    assert sentence("proof.other_engine", engine="llama-server").what in other.err


def test_verdict_says_once_what_to_do_and_where_the_lines_are(alone: CommandLine) -> None:
    done = alone.call("verdict", "llama-server", str(CAPTURES / "llama-server/nokvoffload.log"))
    proof, remedy, more = done.err.splitlines()
    assert proof.endswith("(nokvoffload.log:1370)")
    assert remedy == f"  {sentence('proof.kv_on_cpu').do}"
    assert more.endswith("(nokvoffload.log:1454)")
    none = alone.call("verdict", "llama-server", str(CAPTURES / "llama-server/nodevice-env.log"))
    assert [line.strip() for line in none.err.splitlines() if line.startswith("  ")] == [
        sentence("proof.no_gpu_device").do
    ]


# Streams


def test_japanese_into_a_pipe_is_utf_8_whatever_the_console_speaks(station: Station) -> None:
    env = {"PYTHONIOENCODING": "cp932"}
    done = station.line.call("check", "--need", "11GiB", "--lang", "ja", env=env)
    assert done.code == 1
    assert sentence("gate.vram.failed", "ja").do in done.err
    assert sentence("gate.wsl.skipped", "ja").what in done.out


@terminal
def test_a_cp932_console_gets_cp932(alone: CommandLine) -> None:
    code, said = _in_terminal(alone, "check", "--lang", "ja", env={"PYTHONIOENCODING": "cp932"})
    assert code == 1
    assert sentence("gpu.no_driver", "ja").what in said.decode("cp932")


@terminal
def test_a_console_that_cannot_say_it_gets_question_marks(alone: CommandLine) -> None:
    code, said = _in_terminal(alone, "check", "--lang", "ja", env={"PYTHONIOENCODING": "latin-1"})
    assert code == 1
    assert "NVIDIA" in said.decode("latin-1")
    assert "???" in said.decode("latin-1")


def _in_terminal(line: CommandLine, *words: str, env: dict[str, str]) -> tuple[int, bytes]:
    """Exit code, and what a terminal was given."""
    import pty

    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            line.argv(*words), env={**line.env, **env}, stdin=slave, stdout=slave, stderr=slave, close_fds=True
        )
    finally:
        os.close(slave)
    said = b""
    with os.fdopen(master, "rb", buffering=0) as terminal, suppress(OSError):  # EIO: the other end was closed
        while chunk := terminal.read(4096):
            said += chunk
    return process.wait(COMMAND_S), said


@pytest.mark.parametrize("variable", FOLDERS)
@pytest.mark.parametrize("place", ["file", *([] if sys.platform == "win32" else ["/proc"])])
def test_a_folder_that_cannot_be_made(alone: CommandLine, variable: str, place: str) -> None:
    (alone.folder / "file").write_text("no folder")
    env = {variable: str(alone.folder / place)}  # even root makes no folder in /proc
    done = alone.call("profiles", "list", env=env)
    assert (done.code, done.out) == (1, "")
    assert "Traceback" not in done.err
    assert sentence("storage.unusable").do in done.err
    assert place in done.err
