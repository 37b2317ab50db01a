"""Scenario files, the model table and texts: the data of the simulated PC."""

from __future__ import annotations

import json
import struct
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gguf import GGUFReader

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.resources import resource
from kotaro_bridge.simulator import models, scenario
from kotaro_bridge.simulator.behaviour import Behaviour
from kotaro_bridge.simulator.state import SWITCHES

ALL = {
    "rtx4070-12gb",
    "rtx4090-24gb",
    "no-driver",
    "no-gpu-in-wsl",
    "vram-taken",
    "ollama-holds",
    "no-wsl",
    "spill",
    "engine-oom",
    "host-oom",
    "cpu-build",
    "cuda-missing",
    "old-driver",
    "vulkan-build",
    "old-build",
    "torch-cpu",
    "two-cards",
}


def test_all_scenarios_are_there_and_the_default_is_first() -> None:
    names = scenario.names()
    assert set(names) == ALL
    assert names[0] == scenario.DEFAULT == "rtx4070-12gb"


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_scenario_loads_and_makes_sense(name: str) -> None:
    loaded = scenario.load(name)
    assert loaded.language in ("en", "ja")
    assert set(loaded.switches) <= set(SWITCHES)
    Behaviour(loaded.switches.get("engine", ""))
    desktop = sum(process.mib for process in loaded.gpu.desktop + loaded.gpu.more_desktop)
    assert 900 < desktop < loaded.gpu.total_mib - loaded.gpu.reserved_mib
    defaults = [distro.name for distro in loaded.distros if distro.default]
    assert len(defaults) == (0 if name == "no-wsl" else 1)
    if loaded.distros:
        assert "docker-desktop" in {distro.name for distro in loaded.distros} - set(defaults)


def test_the_two_cards() -> None:
    small, large = scenario.load("rtx4070-12gb"), scenario.load("rtx4090-24gb")
    assert (small.gpu.total_mib, small.language, small.host_ram_gib) == (12282, "ja", 32)
    assert (large.gpu.total_mib, large.language) == (24564, "en")
    assert sum(process.mib for process in small.gpu.desktop) == 1050


def test_ollama_holds_seven_gigabytes() -> None:
    holders = {process.name: process.mib for process in scenario.load("vram-taken").gpu.more_desktop}
    assert set(holders) == {"ollama.exe", "ollama_llama_server.exe"}
    assert 7000 <= sum(holders.values()) <= 7400


def test_an_unknown_scenario_is_named_with_those_there_are() -> None:
    with pytest.raises(ProblemError) as caught:
        scenario.load("rtx9999")
    assert caught.value.problem.code == "simulator.no_scenario"
    assert "rtx4070-12gb" in str(caught.value.problem.params["known"])


def test_a_broken_scenario_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    base = resource("simulator/rtx4070-12gb.toml").read_text(encoding="utf-8")
    (tmp_path / "simulator").mkdir()
    (tmp_path / "simulator" / "odd.toml").write_text('base = "rtx4070-12gb"\nlangauge = "en"\n', encoding="utf-8")
    (tmp_path / "simulator" / "rtx4070-12gb.toml").write_text(base, encoding="utf-8")
    monkeypatch.setattr(scenario, "resource", lambda name: tmp_path / name)
    with pytest.raises(ProblemError) as caught:
        scenario.load("odd")
    assert caught.value.problem.code == "simulator.scenario"
    assert "langauge" in str(caught.value.problem.params["detail"])


def test_every_text_has_both_languages_with_the_same_number_of_values() -> None:
    texts = tomllib.loads(resource("simulator/data/wsl_texts.toml").read_text(encoding="utf-8"))
    for name, languages in texts.items():
        assert set(languages) == {"en", "ja"}, name
        assert languages["en"].count("{}") == languages["ja"].count("{}"), name


def test_texts_of_wslconfig_warnings_are_those_of_the_reference() -> None:
    texts = tomllib.loads(resource("simulator/data/wsl_texts.toml").read_text(encoding="utf-8"))
    reference = json.loads(resource("wslconfig/keys.json").read_text(encoding="utf-8"))["warnings"]
    shared = [warning for warning in reference if warning["id"] in texts]
    assert len(shared) > 15
    for warning in shared:
        assert texts[warning["id"]] == {"en": warning["en"], "ja": warning["ja"]}


def shape(name: str) -> dict[str, Any]:
    """A row of the model table."""
    return next(row for row in models.table()["gguf"] if name in row["file"])


def test_a_gguf_file_has_a_true_header_and_takes_no_room(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    models.write_gguf(path, shape("14B"))
    if sys.platform != "win32":
        assert path.stat().st_blocks * 512 < 1 << 20
    with path.open("rb") as file:

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        model = read_gguf(read_at, path.stat().st_size)
    # captures/README.md and full14: 8982142976 bytes of tensors, 8148.38 and 417.66 MiB.
    assert model.weights_total == 8_982_142_976
    assert round(model.weights_on_gpu / 2**20, 2) == 8148.38
    assert round(model.input_bytes / 2**20, 2) == 417.66
    assert (model.block_count, model.vocab_size, len(model.tensors)) == (48, 152_064, 579)


def test_the_gguf_package_reads_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    models.write_gguf(path, shape("32B"))
    reader = GGUFReader(path)
    assert int(reader.fields["qwen2.block_count"].contents()) == 64
    assert len(reader.tensors) == 771
    last = reader.tensors[-1]
    assert last.name == "output.weight"
    assert last.data_offset + last.n_bytes == path.stat().st_size


def test_magic_and_version(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    models.write_gguf(path, shape("14B"))
    with path.open("rb") as file:
        assert struct.unpack("<4sI", file.read(8)) == (b"GGUF", 3)


def test_hugging_face_folders(tmp_path: Path) -> None:
    models.write_models(tmp_path)
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == [
        "MiniCPM-V-2_6",
        "Qwen2.5-14B-Instruct-AWQ",
        "Qwen2.5-32B-Instruct-AWQ",
        "Qwen2.5-7B-Instruct",
        "Qwen2.5-7B-Instruct-AWQ",
    ]
    config = json.loads((tmp_path / "Qwen2.5-14B-Instruct-AWQ" / "config.json").read_text(encoding="utf-8"))
    assert config["quantization_config"]["quant_method"] == "awq"
    assert (config["num_hidden_layers"], config["hidden_size"], config["num_key_value_heads"]) == (48, 5120, 8)


def test_scenarios_survive_the_way_through_json() -> None:
    loaded = scenario.load("vram-taken")
    assert msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(loaded))), scenario.Scenario) == loaded
