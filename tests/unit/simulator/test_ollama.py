"""The simulated Ollama: real HTTP, memory on the simulated card, one for all who have the PC open, gone with it."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest

from kotaro_bridge.domain.ports import OllamaModel
from kotaro_bridge.host.ollama import HttpOllama
from kotaro_bridge.simulator.card import MIB
from kotaro_bridge.simulator.pc import SimulatedPC
from tests.helpers.simulated import processes_of, simulated_pc, until

if sys.platform == "win32":
    pytest.skip("processes are looked for in /proc", allow_module_level=True)

SIZE = 7168 * MIB


def used(pc: SimulatedPC) -> int:
    found = pc.gpu.snapshot()[0].used
    assert found is not None
    return found


def test_it_holds_memory_and_lets_go_of_it(tmp_path: Path) -> None:
    with simulated_pc(tmp_path / "pc", "ollama-holds") as pc:
        assert pc.ollama_address is not None
        ollama = HttpOllama(pc.ollama_address)
        assert ollama.loaded() == (OllamaModel("qwen3:8b", SIZE),)
        counters = pc.counters.read()
        assert counters is not None
        assert ("ollama.exe", SIZE) in [(each.name, each.dedicated) for each in counters.processes]
        before = used(pc)
        ollama.unload("qwen3:8b")
        assert ollama.loaded() == ()
        assert used(pc) == before - SIZE
        counters = pc.counters.read()
        assert counters is not None
        assert "ollama.exe" not in [each.name for each in counters.processes]
        ollama.unload("qwen3:8b")


def test_it_answers_nothing_else(tmp_path: Path) -> None:
    with simulated_pc(tmp_path / "pc", "ollama-holds") as pc, httpx.Client(trust_env=False) as client:
        address = str(pc.ollama_address)
        assert client.get(f"{address}/api/tags").status_code == 404
        for body in (
            {"model": "qwen3:8b", "prompt": "Hi", "keep_alive": 0},
            {"model": "qwen3:8b"},
            {"model": "other", "keep_alive": 0},
        ):
            assert client.post(f"{address}/api/generate", json=body).status_code == 404
        assert HttpOllama(address).loaded() == (OllamaModel("qwen3:8b", SIZE),)


def test_it_is_the_same_for_all_and_ends_with_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "pc"
    with simulated_pc(folder, "ollama-holds") as first:
        second = SimulatedPC.open("ollama-holds", folder)
        assert second.ollama_address == first.ollama_address
        second.close()  # the same process has it open twice: the PC ends with it
        until(lambda: not processes_of(folder), what="Ollama ends with its PC")
        assert first.ollama_address is None


def test_other_pcs_have_none(tmp_path: Path) -> None:
    with simulated_pc(tmp_path / "pc") as pc:
        assert pc.ollama_address is None
