"""`wslconfig` as people and scripts use it: documents, exit codes, edits that keep what they do not name."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge.resources import resource
from tests.e2e.conftest import Station
from tests.helpers.cli import CommandLine, Done
from tests.helpers.words import sentence, text

pytestmark = pytest.mark.e2e

CASES: list[dict[str, Any]] = json.loads(resource("wslconfig/keys.json").read_text(encoding="utf-8"))[
    "parser_test_vectors"
]["cases"]
FEW = (
    "plain LF",
    "duplicate: first wins",
    "single backslashes: error",
    "CRLF file (Windows text mode turns CRLF into LF)",
)
USUAL = b"# mine\r\n[wsl2]\r\nMemory = 8GB  # half\r\nprocesors=4\r\n"


@pytest.fixture
def alone(tmp_path: Path) -> CommandLine:
    """This machine, with folders of its own."""
    return CommandLine(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A usual file, with a mistake in it."""
    path = tmp_path / "some.wslconfig"
    path.write_bytes(USUAL)
    return path


def wslconfig(line: CommandLine, *words: object) -> Done:
    """Run one command."""
    return line.call("wslconfig", *map(str, words))


@pytest.mark.parametrize("case", [case for case in CASES if case["name"] in FEW], ids=lambda case: case["name"])
def test_lint_gives_the_answers_of_the_reference(alone: CommandLine, tmp_path: Path, case: dict[str, Any]) -> None:
    path = tmp_path / ".wslconfig"
    path.write_bytes(case["input"].encode())
    done = wslconfig(alone, "lint", path, "--json")
    assert list(done.json) == ["values", "wsl_warnings", "advice"]
    assert done.json["values"] == case["set"]
    named = [[str(path) if value == "F" else value for value in warning] for warning in case["warnings"]]
    assert done.json["wsl_warnings"] == named
    assert done.code == (1 if case["warnings"] else 0)
    assert bool(done.err) == bool(case["warnings"])


def test_lint_says_what_was_meant(alone: CommandLine, file: Path) -> None:
    done = wslconfig(alone, "lint", file, "--json", "--lang", "ja")
    meant = sentence("wslconfig.advice.near_miss", "ja", name="procesors", meant="processors", section="wsl2")
    assert done.json["advice"] == [{"code": "near_miss", "line": 4, "text": f"{meant.what} {meant.do}"}]
    spoken = wslconfig(alone, "lint", file)
    advice = sentence("wslconfig.advice.near_miss", name="procesors", meant="processors", section="wsl2")
    assert advice.what in spoken.out
    assert advice.do in spoken.out
    said = sentence("wslconfig.wsl.MessageConfigUnknownKey", a="wsl2.procesors", b=str(file), c="4").what
    assert (spoken.err, spoken.code) == (text("cli.wslconfig.wsl_says", text=said) + "\n", 1)


def test_set_keeps_what_it_does_not_name(alone: CommandLine, file: Path) -> None:
    done = wslconfig(alone, "set", file, "memory=24GB", "wsl2.swapFile=D:\\wsl\\s.vhdx", "--json")
    expected = USUAL.replace(b"8GB", b"24GB") + b"swapFile=D:\\\\wsl\\\\s.vhdx\r\n"
    assert (done.code, file.read_bytes()) == (0, expected)
    assert done.json["written"] is True
    assert done.json["changes"] == [
        {"key": "wsl2.memory", "before": 8 << 30, "after": 24 << 30},
        {"key": "wsl2.swapFile", "before": None, "after": "D:\\wsl\\s.vhdx"},
    ]
    again = wslconfig(alone, "set", file, "memory=24576MB")
    assert (again.code, again.out, file.read_bytes()) == (0, text("cli.wslconfig.same") + "\n", expected)
    reset = wslconfig(alone, "set", file, "memory=", "swapFile=")
    assert (reset.code, file.read_bytes()) == (0, b"# mine\r\n[wsl2]\r\nprocesors=4\r\n")
    assert "-Memory = 24GB  # half" in reset.out
    assert reset.err == text("cli.wslconfig.saved", path=str(file)) + "\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("memory=8gb",), 1),
        (("memory=-1",), 1),
        (("memory=8GB", "proccessors=4"), 1),
        (("foo=1",), 1),
        (("swapFile=C:\\あ",), 1),
        (("memory",), 2),
        (("memory=8GB", "rest"), 2),
        ((), 2),
    ],
)
def test_set_writes_all_or_nothing(alone: CommandLine, file: Path, words: tuple[str, ...], code: int) -> None:
    done = wslconfig(alone, "set", file, "guiApplications=false", *words) if words else wslconfig(alone, "set", file)
    assert (done.code, done.out, file.read_bytes()) == (code, "", USUAL)
    assert done.err


def test_diff_shows_and_restore_brings_back(alone: CommandLine, file: Path) -> None:
    none = wslconfig(alone, "diff", file)
    assert (none.code, none.out) == (1, "")
    assert sentence("wslconfig.no_backups", path=str(file)).what in none.err
    staged = wslconfig(alone, "diff", file, "memory=24GB", "--json")
    assert staged.json["changes"] == [{"key": "wsl2.memory", "before": 8 << 30, "after": 24 << 30}]
    assert [row for row in staged.json["diff"] if row[:1] in "+-"][2:] == [
        "-Memory = 8GB  # half",
        "+Memory = 24GB  # half",
    ]
    assert file.read_bytes() == USUAL
    wslconfig(alone, "set", file, "memory=24GB")
    (backup,) = wslconfig(alone, "restore", file, "--list", "--json").json["backups"]
    since = wslconfig(alone, "diff", file, "--json")
    assert (since.json["backup"], since.json["diff"]) == (backup["id"], staged.json["diff"])
    assert backup["size"] == len(USUAL)
    assert backup["id"] in wslconfig(alone, "restore", file, "--list").out
    done = wslconfig(alone, "restore", file)
    assert (done.code, file.read_bytes()) == (0, USUAL)
    missing = wslconfig(alone, "restore", file, "--backup", "20000101T000000000000Z")
    assert (missing.code, missing.out) == (1, "")


def test_a_strange_file_is_asked_about(alone: CommandLine, tmp_path: Path) -> None:
    path, data = tmp_path / "wide", "[wsl2]\r\nmemory=8GB # メモリ\r\n".encode("utf-16")
    path.write_bytes(data)
    assert wslconfig(alone, "lint", path, "--json").json["values"] == {"wsl2.memory": 8 << 30}
    done = wslconfig(alone, "set", path, "swap=0")
    assert (done.code, path.read_bytes()) == (1, data)
    assert sentence("wslconfig.caveat.utf16", path=str(path)).what in done.err
    assert wslconfig(alone, "set", path, "swap=0", "--anyway").code == 0
    assert path.read_bytes().decode("utf-16") == "[wsl2]\r\nmemory=8GB # メモリ\r\nswap=0\r\n"
    assert wslconfig(alone, "set", path, "swap=1GB", "--convert").code == 0
    assert path.read_bytes() == "[wsl2]\r\nmemory=8GB # メモリ\r\nswap=1GB\r\n".encode()


def test_a_file_is_only_converted(alone: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "wide"
    path.write_bytes("[wsl2]\r\nmemory=8GB\r\n".encode("utf-16-be"))
    assert wslconfig(alone, "set", path).code == 2
    assert wslconfig(alone, "set", path, "--convert").code == 0
    assert path.read_bytes() == b"[wsl2]\r\nmemory=8GB\r\n"
    junk = b"[wsl2]\n\x81\n"
    path.write_bytes(junk)
    done = wslconfig(alone, "set", path, "swap=0", "--convert")
    assert (done.code, path.read_bytes()) == (1, junk)
    assert sentence("wslconfig.not_converted", path=str(path)).what in done.err


def test_a_flood_of_warnings_is_whole_in_json_alone(alone: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "junk"
    path.write_bytes(b"; x\n" * 5000 + b"[wsl2\n" * 2)
    assert len(wslconfig(alone, "lint", path, "--json").json["wsl_warnings"]) == 5002
    told = wslconfig(alone, "lint", path).err.splitlines()
    assert len(told) == 53
    assert told[-1] == text("cli.wslconfig.more", count=4950)


def test_files_that_are_not_there(alone: CommandLine, tmp_path: Path) -> None:
    for words in (("lint",), ("show",), ("diff",)):
        done = wslconfig(alone, *words, tmp_path / "none")
        assert (done.code, done.out) == (1, "")
        assert sentence("wslconfig.no_file", path=str(tmp_path / "none")).what in done.err
    own = tmp_path / ".wslconfig"
    assert wslconfig(alone, "lint").out == text("cli.wslconfig.no_file", path=str(own)) + "\n"
    assert wslconfig(alone, "lint", "--json").json == {"values": {}, "wsl_warnings": [], "advice": []}
    assert text("cli.wslconfig.no_backups", path=str(own)) in wslconfig(alone, "restore", "--list").out
    assert wslconfig(alone, "set", "networkingMode=mirrored").code == 0
    assert own.read_bytes() == b"[wsl2]\r\nnetworkingMode=Mirrored\r\n"
    again = wslconfig(alone, "set", "networkingMode=nat")
    assert again.err.splitlines() == [text("cli.wslconfig.saved", path=str(own)), text("cli.wslconfig.counts")]


def test_show(alone: CommandLine, file: Path) -> None:
    done = wslconfig(alone, "show", file)
    assert done.code == 0
    assert "wsl2.memory = 8GB" in done.out
    assert text("wslconfig.key.memory.what") in done.out
    assert "wsl2.swapFile" not in done.out
    every = wslconfig(alone, "show", file, "--all", "--lang", "ja").out
    assert "wsl2.swapFile = -" in every
    assert text("wslconfig.key.swapFile.what", "ja") in every
    document = wslconfig(alone, "show", file, "--json").json
    assert (document["file"], document["exists"], document["encoding"]) == (str(file), True, "utf-8")
    assert len(document["settings"]) == 55
    memory = document["settings"][0]
    assert list(memory) == ["key", "type", "value", "default", "recommended", "reason", "main"]
    assert (memory["key"], memory["type"], memory["value"], memory["main"]) == ("wsl2.memory", "size", 8 << 30, True)
    # The file is about Windows: elsewhere nothing is known of the computer that it is for.
    of_this_pc = [memory[name] is not None for name in ("default", "recommended", "reason")]
    assert of_this_pc == [sys.platform == "win32"] * 3


def test_the_file_of_a_simulated_pc(station: Station) -> None:
    """A Windows with 32 GiB and 16 processors, whose file says 20 GB."""
    path = station.pc.wslconfig_path
    before = path.read_bytes()
    try:
        memory, *_ = wslconfig(station.line, "show", "--json").json["settings"]
        assert (memory["value"], memory["default"], memory["recommended"]) == (20 << 30, 16 << 30, 24 << 30)
        assert memory["reason"]
        done = wslconfig(station.line, "set", "memory=64GB", "processors=32")
        lines = path.read_bytes().split(os.linesep.encode())  # line ends stay as the file had them
        assert (done.code, lines) == (0, [b"[wsl2]", b"memory=64GB", b"processors=32", b""])
        assert (
            sentence("wslconfig.advice.memory_above_host", memory_bytes=64 << 30, host_bytes=32 << 30).what in done.err
        )
        lint = wslconfig(station.line, "lint", "--json")
        assert (lint.code, lint.json["wsl_warnings"]) == (1, [["MessageTooManyProcessors", "32", "16"]])
        assert wslconfig(station.line, "restore").code == 0
        assert path.read_bytes() == before
    finally:
        path.write_bytes(before)
