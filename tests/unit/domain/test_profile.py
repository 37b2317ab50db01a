"""Profiles from TOML: strict, with file, line and key in every complaint."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.profile import KvType, decode_profile, line_of
from kotaro_bridge.domain.units import MIB

GOOD = """\
title = "Qwen"  # comment
engine = "llama-server"
executable = "~/llama-server"
model = "~/models/qwen.gguf"
served_name = "qwen"
context = 8192
port = 8080
kv_type = "q8_0"

[need]
vram_mib = 10405
source = "measured: captures full14"
"""


def refused(text: str, profile_id: str = "qwen") -> Problem:
    with pytest.raises(ProblemError) as caught:
        decode_profile(text, file="qwen.toml", profile_id=profile_id)
    assert caught.value.problem.params["file"] == "qwen.toml"
    return caught.value.problem


@pytest.mark.parametrize("key", ["executable", "model", "served_name", "projector"])
@pytest.mark.parametrize("value", ["--cpu-offload-gb=10", "-ot x=CPU", " --config f"])
def test_what_reads_as_an_option_is_no_value(key: str, value: str) -> None:
    """The whitelist looks at `extra_args`; an engine looks at every word."""
    lines = [line for line in GOOD.splitlines() if not line.startswith(key)]
    problem = refused("\n".join([f'{key} = "{value}"', *lines]))
    assert (problem.code, problem.params["key"], problem.params["line"]) == ("profile.reads_as_option", key, 1)


@pytest.mark.parametrize("target", ["wsl:--shutdown", "wsl:-d"])
def test_a_distro_that_reads_as_an_option_is_none(target: str) -> None:
    assert refused(f'target = "{target}"\n{GOOD}').code == "profile.target"


@pytest.mark.parametrize("name", ["con", "nul", "com1", "lpt9", "aux.old"])
def test_a_device_of_windows_is_no_name_of_a_profile(name: str) -> None:
    assert refused(GOOD, name).code == "profile.id"
    assert decode_profile(GOOD, file="x", profile_id="console").id == "console"


def test_a_whole_profile() -> None:
    profile = decode_profile(GOOD, file="qwen.toml", profile_id="qwen", builtin=True)
    assert (profile.id, profile.builtin, profile.kv_type) == ("qwen", True, KvType.Q8_0)
    assert profile.stated_need == 10405 * MIB
    assert not profile.is_local
    assert profile.distro is None
    assert not profile.sees_images


def test_targets_and_images() -> None:
    local = decode_profile(GOOD.replace("port =", 'target = "local"\nport ='), file="f", profile_id="q")
    assert (local.is_local, local.distro) == (True, None)
    named = decode_profile(GOOD.replace("port =", 'target = "wsl:Ubuntu-24.04"\nport ='), file="f", profile_id="q")
    assert named.distro == "Ubuntu-24.04"
    seeing = decode_profile(GOOD.replace("port =", 'projector = "p.gguf"\nport ='), file="f", profile_id="q")
    assert seeing.sees_images
    vllm = (
        GOOD[: GOOD.index("[need]")].replace("llama-server", "vllm").replace("q8_0", "fp8") + "[vllm]\nimages = true\n"
    )
    seen = decode_profile(vllm, file="f", profile_id="q")
    assert seen.sees_images
    assert seen.stated_need is None


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "key"),
    [
        ("context = 8192", 'context = "8192"', "profile.value", 6, "context"),
        ("context = 8192", "context = 12", "profile.value", 6, "context"),
        ("port = 8080", "port = 80", "profile.value", 7, "port"),
        ("port = 8080", "port = 8080\ncolour = 1", "profile.key", 8, "colour"),
        ("vram_mib = 10405", "vram_mb = 10405", "profile.key", 11, "need.vram_mb"),
        ("vram_mib = 10405", "vram_mib = 0", "profile.value", 11, "need.vram_mib"),
        ('kv_type = "q8_0"', 'kv_type = "q4_1"', "profile.value", 8, "kv_type"),
        ('kv_type = "q8_0"', 'kv_type = "fp8"', "profile.kv_type", 8, "kv_type"),
        ('engine = "llama-server"', 'engine = "ollama"', "profile.value", 2, "engine"),
        ('model = "~/models/qwen.gguf"\n', "", "profile.missing", 1, "model"),
        ('model = "~/models/qwen.gguf"', 'model = "  "', "profile.empty", 4, "model"),
        ("port = 8080", 'port = 8080\ntarget = "wsl:Ubuntu 24"', "profile.target", 8, "target"),
        ("port = 8080", 'port = 8080\ntarget = "ssh:x"', "profile.target", 8, "target"),
        ("port = 8080", 'port = 8080\nid = "x"', "profile.key", 8, "id"),
        ("port = 8080", "port = 8080\nextra_args = [1]", "profile.value", 8, "extra_args"),
        ("[need]", "[vllm]\nmax_num_seqs = 4\n[need]", "profile.only_vllm", 10, "vllm"),
        ('engine = "llama-server"', 'engine = "vllm"', "profile.kv_type", 8, "kv_type"),
    ],
)
def test_a_complaint_names_line_and_key(old: str, new: str, code: str, line: int, key: str) -> None:
    found = refused(GOOD.replace(old, new))
    assert (found.code, found.params["line"], found.params["key"].__str__().split(".0")[0]) == (code, line, key)


def test_a_projector_is_for_llama_server() -> None:
    text = GOOD.replace('engine = "llama-server"', 'engine = "vllm"\nprojector = "p"').replace("q8_0", "auto")
    assert refused(text).code == "profile.only_llama"


def test_broken_toml_names_its_line() -> None:
    found = refused(GOOD.replace("port = 8080", "port 8080"))
    assert (found.code, found.params["line"]) == ("profile.syntax", 7)
    assert refused('title = "open').params["line"] == 1


def test_a_file_name_that_is_no_id() -> None:
    assert refused(GOOD, "Qwen 14B").code == "profile.id"


def test_line_of_finds_keys_and_tables() -> None:
    text = "a.b = 1\n[x.y]\nz = 2\n[[list]]\nq = 1\n"
    assert line_of(text, ("a", "b")) == 1
    assert line_of(text, ("x", "y", "z")) == 3
    assert line_of(text, ("x", "y", "missing")) == 2
    assert line_of(text, ("list", "q")) == 5
    assert line_of(text, ("nowhere",)) == 1


@given(st.text(max_size=200))
def test_any_text_is_a_profile_or_a_problem(text: str) -> None:
    with pytest.raises(ProblemError):
        decode_profile(text, file="f.toml", profile_id="f")


def test_several_cards() -> None:
    both = decode_profile(GOOD.replace("port =", "gpus = [0, 2]\nport ="), file="f", profile_id="q")
    assert (both.gpus, both.devices) == ((0, 2), ("CUDA0", "CUDA1"))
    other = decode_profile(GOOD.replace("port =", "gpus = [2]\nport ="), file="f", profile_id="q")
    plain = decode_profile(GOOD, file="f", profile_id="q")
    assert (both.shares_card(other), both.shares_card(plain), other.shares_card(plain)) == (True, True, False)
    twice = refused(GOOD.replace("port =", "gpus = [1, 1]\nport ="))
    assert (twice.code, twice.params["line"]) == ("profile.card_twice", 7)
    for wrong in ("[]", "[-1]", "[64]", "1", "[0, 1, 2, 3, 4, 5, 6, 7, 8]"):
        assert refused(GOOD.replace("port =", f"gpus = {wrong}\nport =")).code == "profile.value"


def test_the_key_of_the_days_with_one_card_names_the_new_one() -> None:
    found = refused(GOOD.replace("port =", "gpu = 1\nport ="))
    assert found.code == "profile.gpu_key"
    assert (found.params["line"], found.params["value"]) == (7, "1")


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000 + "]" * 5000])
def test_what_no_parser_takes_is_a_syntax_error(value: str) -> None:
    assert refused(GOOD.replace("8192", value)).code == "profile.syntax"


@pytest.mark.parametrize(
    "line",
    [
        'title = "a\\u001b[2J"',
        'version = "\\u202exe.txt"',
        'extra_args = ["--temp", "\\u0000"]',
        'need.source = "\\u0007"',
    ],
)
def test_characters_that_are_obeyed_and_not_shown_are_refused(line: str) -> None:
    key = line.partition(" ")[0].partition(".")[0]
    kept = GOOD[: GOOD.index("[need]")] if key == "need" else GOOD
    text = re.sub(rf"^{key} =.*\n", "", kept, flags=re.M)
    found = refused(f"{line}\n{'need.vram_mib = 1' if key == 'need' else ''}\n{text}")
    assert (found.code, found.params["key"]) == ("profile.control", key)
