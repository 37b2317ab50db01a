"""Profiles of one's own at the command line: made, edited, copied, handed on, taken over, removed; never lost."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import Param
from tests.e2e.conftest import Station
from tests.helpers.cli import CommandLine, Done, started
from tests.helpers.words import phase, sentence

pytestmark = pytest.mark.e2e

LLAMA, VLLM = "qwen2.5-14b-q4_k_m", "qwen2.5-7b-awq"
MODEL = "~/models/Qwen2.5-14B-Instruct-Q4_K_M.gguf"
NEW = ("profiles", "new", "mine", "--engine", "llama-server", "--model", MODEL, "--context", "4096")


def assert_refused(done: Done, code: str, **params: Param) -> None:
    """Exit code 1, nothing on stdout, and the sentence with what to do."""
    message = sentence(code, **params)
    assert (done.code, done.out) == (1, ""), done
    for part in (*message.what.split("?"), *message.do.split("?")):
        assert part in done.err, done.err


def content(line: CommandLine, profile: str) -> str:
    return (line.profiles / f"{profile}.toml").read_text(encoding="utf-8")


def test_a_new_profile_passes_the_gate(station: Station) -> None:
    line = station.line
    done = line.call(*NEW, "--set", "kv_type=q8_0", "--set", "extra_args=--temp 0.5", "--json")
    assert done.code == 0, done.err
    assert done.json["file"] == str(line.profiles / "mine.toml")
    assert done.json["command"][:3] == ["~/llama.cpp/build/bin/llama-server", "-m", MODEL]
    assert tomllib.loads(content(line, "mine"))["extra_args"] == ["--temp", "0.5"]
    assert line.call("check", "--profile", "mine", "--json").json["ok"]
    assert_refused(line.call(*NEW), "profile.exists", id="mine")
    again = line.call(*NEW, "--replace")
    assert again.code == 0, again.err
    assert "kv_type" not in content(line, "mine")


def test_a_new_profile_from_the_catalogue(station: Station) -> None:
    line = station.line
    done = line.call("profiles", "new", "fromcat", "--from", "qwen2.5-7b-instruct-awq", "--context", "2048", "--json")
    assert done.code == 0, done.err
    assert (done.json["engine"], done.json["context"]) == ("vllm", 2048)
    assert done.json["model"] == "~/models/Qwen2.5-7B-Instruct-AWQ"
    unknown = line.call("profiles", "new", "no", "--from", "gpt-5")
    assert_refused(unknown, "profile.not_in_catalogue", name="gpt-5", known="?")
    other = line.call("profiles", "new", "no", "--from", "qwen2.5-7b-instruct-awq", "--engine", "llama-server")
    assert other.code == 2
    assert not (line.profiles / "no.toml").exists()


def test_edits_keep_everything_else_and_are_whole_or_not_at_all(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA)
    path = line.profiles / f"{LLAMA}.toml"
    path.write_text("# my own words\n" + path.read_text(), encoding="utf-8")
    done = line.call("profiles", "edit", LLAMA, "context=2048", "need=", "--json")
    assert done.code == 0, done.err
    assert done.json["changed"]["context"] == [8192, 2048]
    assert "# my own words" in path.read_text()
    before = path.read_bytes()
    for word, code in (
        ("context=5", "profile.value"),
        ("contxt=5", "profile.edit_key"),
        ("gpus=x", "profile.edit_value"),
        ("gpus=1,1", "profile.card_twice"),
        ("extra_args=-nkvo", "command.forbidden.kv_in_ram"),
        ("extra_args=--cpu-moe", "command.forbidden.weights_in_ram"),
        ("kv_type=fp8", "profile.kv_type"),
        ("title=\x1b[2J", "profile.control"),
    ):
        refused = line.call("profiles", "edit", LLAMA, "port=8090", word)
        assert refused.code == 1, word
        assert sentence(code).do.split("?")[0] in refused.err, word
        assert path.read_bytes() == before, word
    wrong = line.call("profiles", "edit", LLAMA, "port=8090", "context")
    assert (wrong.code, path.read_bytes()) == (2, before)
    assert "KEY=VALUE" in wrong.err
    assert_refused(line.call("profiles", "edit", "nope", "context=512"), "profile.unknown", id="nope")


def test_another_engine_brings_its_own_program_and_port(station: Station) -> None:
    line = station.line
    new = ("--engine", "llama-server", "--model", "~/m", "--context", "4096")
    assert line.call("profiles", "new", "mine", *new).code == 0
    assert line.call("profiles", "edit", "mine", "engine=vllm").code == 0
    shown = line.call("profiles", "show", "mine", "--json").json
    assert (shown["engine"], shown["executable"], shown["port"]) == ("vllm", "~/vllm/bin/vllm", 8000)
    changed = line.call("profiles", "edit", "mine", "engine=llama-server", "executable=~/own", "port=9000", "--json")
    assert changed.json["changed"].keys() == {"engine", "executable", "port"}
    assert line.call("profiles", "edit", "mine", "engine=vllm").code == 0
    shown = line.call("profiles", "show", "mine", "--json").json
    assert (shown["executable"], shown["port"]) == ("~/own", 9000), "what a person chose stays"


def test_an_edit_of_a_built_in_profile_makes_it_ones_own(station: Station) -> None:
    line = station.line
    done = line.call("profiles", "edit", VLLM, "context=4096")
    assert done.code == 0
    assert f"profiles remove {VLLM}" in done.out
    assert f"profiles remove {VLLM}" not in line.call("profiles", "edit", VLLM, "context=4096").out
    shown = line.call("profiles", "show", VLLM, "--json").json
    assert (shown["context"], shown["builtin"]) == (4096, False)
    assert line.call("profiles", "remove", VLLM, "--yes").code == 0
    assert line.call("profiles", "show", VLLM, "--json").json["builtin"]


def test_an_edit_repairs_a_file_that_is_none(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA, gpu=1)
    assert_refused(line.call("profiles", "show", LLAMA), "profile.gpu_key", file="?", line="?", key="gpu", value=1)
    text = content(line, LLAMA).replace("gpu = 1", "gpus = 1")
    line.write_profile(LLAMA, text)
    done = line.call("profiles", "edit", LLAMA, "gpus=1")
    assert done.code == 0, done.err
    assert tomllib.loads(content(line, LLAMA))["gpus"] == [1]


def test_a_copy_and_an_export_that_comes_back_the_same(station: Station, tmp_path: Path) -> None:
    line = station.line
    assert line.call("profiles", "copy", LLAMA, "second").code == 0
    assert_refused(line.call("profiles", "copy", LLAMA, "second"), "profile.exists", id="second")
    assert_refused(line.call("profiles", "copy", LLAMA, "../x"), "profile.id", file="?", id="../x")
    exported = line.call("profiles", "export", "second")
    assert exported.code == 0
    assert exported.err == ""
    assert exported.out.startswith("# ")
    assert all(f"#   {word}" in exported.out for word in ("executable: ~/llama.cpp", f"model: {MODEL}", "gpus: 0"))
    assert exported.out.endswith(content(line, "second"))
    file = tmp_path / "handed-on.toml"
    assert line.call("profiles", "export", "second", str(file)).code == 0
    assert_refused(line.call("profiles", "export", "second", str(file)), "profile.file_exists", file=str(file))
    assert file.read_text(encoding="utf-8") == exported.out
    asked = line.call("profiles", "import", str(file))  # nobody is there to answer
    assert_refused(asked, "profile.not_asked")
    assert "~/llama.cpp/build/bin/llama-server" in asked.err, "what would be run is shown"
    taken = line.call("profiles", "import", str(file), "--yes", "--json")
    assert taken.code == 0, taken.err
    assert taken.json["profile"] == "handed-on"
    ours, theirs = (tomllib.loads(content(line, each)) for each in ("second", "handed-on"))
    assert ours == theirs
    again = line.call("profiles", "import", str(file), "--yes")
    assert_refused_after_showing(again, "profile.exists", id="handed-on")
    assert line.call("profiles", "import", str(file), "--yes", "--id", "third").code == 0


def assert_refused_after_showing(done: Done, code: str, **params: Param) -> None:
    """The program was shown before."""
    assert done.code == 1
    assert sentence(code, **params).what in done.err


PLAIN = f"""\
title = "x"
engine = "llama-server"
executable = "/bin/sh"
model = {json.dumps(MODEL)}
served_name = "x"
context = 4096
port = 8099
"""
HOSTILE = {
    "not there": (None, "profile.no_file"),
    "too large": (PLAIN.encode() + b"#" * 70_000, "profile.too_large"),
    "no text": (b"\xff\xfe\x00", "profile.unreadable"),
    "no toml": (b"= = =", "profile.syntax"),
    "endless lists": (b"title = " + b"[" * 9000, "profile.syntax"),
    "endless number": (PLAIN.replace("4096", "9" * 6000).encode(), "profile.syntax"),
    "an id of its own": (f'id = "../../x"\n{PLAIN}'.encode(), "profile.key"),
    "built in": (f"builtin = true\n{PLAIN}".encode(), "profile.key"),
    "weights to the CPU": (f'extra_args = ["-ngl", "0"]\n{PLAIN}'.encode(), "command.forbidden.layers"),
    "another port": (f'extra_args = ["--host", "0.0.0.0"]\n{PLAIN}'.encode(), "command.forbidden.endpoint"),
    "unheard of": (f'extra_args = ["--do-it"]\n{PLAIN}'.encode(), "command.unknown_argument"),
    "a terminal": (PLAIN.replace('"x"', '"\\u001b[2Jx"', 1).encode(), "profile.control"),
    "backwards": (PLAIN.replace("/bin/sh", "/bin/\\u202ehs").encode(), "profile.control"),
    "any target": (f'target = "ssh:me@there"\n{PLAIN}'.encode(), "profile.target"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_import_changes_nothing(station: Station, tmp_path: Path, what: str) -> None:
    data, code = HOSTILE[what]
    file = tmp_path / "theirs.toml"
    if data is not None:
        file.write_bytes(data)
    done = station.line.call("profiles", "import", str(file), "--yes", deadline_s=10.0)
    assert (done.code, done.out) == (1, ""), done
    assert "Traceback" not in done.err
    assert all(part in done.err for part in sentence(code).do.split("?")), done.err
    assert not station.line.profiles.exists()


def test_a_profile_that_runs_stays(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA, context=2048)
    with started(line, "run", LLAMA) as running:
        running.wait_for(phase("ready"))
        assert_refused(line.call("profiles", "remove", LLAMA, "--yes"), "profile.running", id=LLAMA)
        assert (line.profiles / f"{LLAMA}.toml").exists()
        done = line.call("profiles", "edit", LLAMA, "context=4096")
        assert (done.code, "next start" in done.out) == (0, True)
        assert line.call("stop", LLAMA).code == 0
    done = line.call("profiles", "remove", LLAMA, "--yes", "--json")
    assert done.code == 0, done.err
    assert done.json == {"profile": LLAMA, "file": str(line.profiles / f"{LLAMA}.toml")}
    assert_refused(line.call("profiles", "remove", LLAMA, "--yes"), "profile.builtin_stays", id=LLAMA)


def test_in_japanese(station: Station) -> None:
    done = station.line.call(*NEW, "--lang", "ja")
    assert (done.code, done.err) == (0, "")
    assert "作成しました" in done.out
