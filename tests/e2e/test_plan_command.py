"""The command `plan` as scripts and people use it: document, exit codes, what would fit, and what a start teaches."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.units import GIB, MIB
from tests.e2e.conftest import Station
from tests.helpers.cli import CommandLine, started
from tests.helpers.gguf_header import Q7, Q14, qwen2_shape, reader
from tests.unit.service.test_needs import config

pytestmark = pytest.mark.e2e

BASE = ["weights", "kv", "compute", "overhead", "total", "fits", "margin", "max_context"]
OF_VLLM = ["utilization", "available_kv", "max_concurrency"]
LLAMA = "qwen2.5-14b-q4_k_m"


@pytest.fixture
def alone(tmp_path: Path) -> CommandLine:
    """This machine, with folders of its own."""
    return CommandLine(tmp_path / "home")


def sparse(path: Path, shape: tuple[int, int, int, int, int]) -> Path:
    """A GGUF file with a true header, its true size and no data."""
    header = qwen2_shape(*shape)
    model = read_gguf(reader(header, 10**11), 10**11)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(model.data_offset + model.weights_total + len(model.tensors) * 32)
    return path


def test_the_document_of_a_gguf_file(alone: CommandLine, tmp_path: Path) -> None:
    path = sparse(tmp_path / "q14.gguf", Q14)
    done = alone.call("plan", str(path), "--ctx", "8192", "--vram", "12GiB", "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json
    assert list(found)[: len(BASE)] == BASE
    assert found["total"] == sum(found[part] for part in BASE[:4])
    assert found["margin"] == 12 * GIB - found["total"]
    assert found["fits"] is True
    assert 10_405 <= found["total"] / MIB <= 10_405 * 1.03
    assert found["max_context"] % 256 == 0
    assert found["origins"] == {"weights": "header", "kv": "formula", "compute": "formula", "overhead": "recorded"}
    at_limit = alone.call("plan", str(path), "--ctx", str(found["max_context"]), "--vram", "12GiB", "--json").json
    beyond = alone.call("plan", str(path), "--ctx", str(found["max_context"] + 1), "--vram", "12GiB", "--json").json
    assert (at_limit["fits"], beyond["fits"]) == (True, False)


def test_the_document_of_a_folder_with_its_config_alone(alone: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "Q14-AWQ").mkdir()
    (tmp_path / "Q14-AWQ" / "config.json").write_bytes(config())
    found = alone.call("plan", str(tmp_path / "Q14-AWQ"), "--engine", "vllm", "--vram", "12162MiB", "--json").json
    assert list(found)[: len(BASE) + 3] == BASE + OF_VLLM
    assert found["fits"] is False
    assert 3082 <= found["max_context"] <= 3766
    assert abs(found["available_kv"] / GIB - 0.63) < 0.15
    assert abs(found["weights"] / GIB / 9.53 - 1) < 0.02
    assert "plan.note.marlin" in found["notes"]


def test_a_name_of_the_catalogue_and_what_would_fit(alone: CommandLine) -> None:
    done = alone.call("plan", "qwen2.5-14b-instruct-awq", "--vram", "11.88GiB")
    assert done.code == 0
    assert "It does not fit" in done.out
    assert "3,3" in done.out
    assert "fp8" in done.out
    japanese = alone.call("plan", "qwen2.5-14b-instruct-awq", "--vram", "11.88GiB", "--lang", "ja")
    assert "収まりません" in japanese.out
    nothing = alone.call("plan", "qwen2.5-14b-instruct-awq", "--vram", "6GiB")
    assert "Nothing of this model fits" in nothing.out
    fits = alone.call("plan", "qwen2.5-14b-instruct-awq", "--vram", "24GiB")
    assert "It fits" in fits.out
    assert "utilization" in fits.out


def test_cards_requests_and_kv_types(alone: CommandLine, tmp_path: Path) -> None:
    path = sparse(tmp_path / "q7.gguf", Q7)
    two = alone.call("plan", str(path), "--cards", "2", "--vram", "4GiB", "--json").json
    assert len(two["per_card"]) == 2
    assert alone.call("plan", str(path), "--vram", "4GiB", "--json").json["fits"] is False
    assert two["fits"] is True
    assert "Of each card" in alone.call("plan", str(path), "--cards", "2", "--vram", "4GiB").out
    many = alone.call("plan", str(path), "--parallel", "4", "--kv-type", "q8_0", "--vram", "12GiB", "--json").json
    assert many["kv"] == 4 * 448 * MIB * 34 // 64
    too_long = alone.call("plan", str(path), "--ctx", "40000", "--vram", "80GiB")
    assert "32,768" in too_long.out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("m.gguf", "--profile", LLAMA),
        ("--profile", LLAMA, "--vram", "12GiB"),
        ("m.gguf", "--ctx", "0"),
        ("qwen2.5-14b-instruct-awq", "--vram", "much"),
        ("qwen2.5-14b-instruct-awq", "--vram", "9GiB", "--kv-type", "q8_0"),
        ("qwen2.5-14b-instruct-awq", "--engine", "ollama"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_code_2(alone: CommandLine, words: tuple[str, ...]) -> None:
    done = alone.call("plan", *words)
    assert (done.code, done.out) == (2, "")


def test_what_cannot_be_planned_is_told(alone: CommandLine, tmp_path: Path) -> None:
    path = sparse(tmp_path / "q7.gguf", Q7)
    missing = alone.call("plan", str(tmp_path / "none.gguf"), "--json")
    assert (missing.code, missing.out) == (1, "")
    assert "none.gguf" in missing.err
    wrong = alone.call("plan", str(path), "--engine", "vllm", "--vram", "12GiB")
    assert wrong.code == 1
    assert "llama-server" in wrong.err


def test_without_a_card_the_figures_stand_and_the_answer_is_open(alone: CommandLine, tmp_path: Path) -> None:
    done = alone.call("plan", str(sparse(tmp_path / "q7.gguf", Q7)), "--json")
    if not done.err:
        pytest.fail("this machine has a card: say so to the test")
    assert done.code == 0
    assert (done.json["fits"], done.json["margin"], done.json["max_context"]) == (None, None, None)
    assert done.json["total"] > 5000 * MIB


def test_a_profile_on_this_pc(station: Station) -> None:
    found = station.line.call("plan", "--profile", LLAMA, "--json").json
    assert found["fits"] is True
    need = next(
        each for each in station.line.call("check", "--profile", LLAMA, "--json").json["checks"] if each["id"] == "vram"
    )
    assert need["status"] == "passed"
    longer = station.line.call("plan", "--profile", LLAMA, "--ctx", str(found["max_context"] + 256), "--json").json
    assert longer["fits"] is False
    text = station.line.call("plan", "--profile", LLAMA, "--kv-type", "q8_0").out
    assert "q8_0" in text
    assert "stay free" in text
    awq = station.line.call("plan", "--profile", "qwen2.5-14b-awq", "--json").json
    assert awq["fits"] is False


def test_a_start_teaches_the_next_plan(station: Station) -> None:
    before = station.line.call("plan", "--profile", LLAMA, "--json").json
    assert before["origins"]["compute"] == "formula"
    station.line.builtin(LLAMA)
    with started(station.line, "run", LLAMA) as running:
        running.wait_for("http://")
        assert running.end(signal.SIGINT).code == 0
    after = station.line.call("plan", "--profile", LLAMA, "--json").json
    assert after["origins"]["compute"] == "measured"
    assert after["total"] >= before["total"] - 20 * MIB
    assert json.dumps(after["fits"]) == "true"
