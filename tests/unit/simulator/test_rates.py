"""How fast the simulated engines are: what a healthy start shows is not slow for its card, and a spilled one is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from kotaro_bridge.domain.engine.engine_log import DeviceFacts, LogFacts
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.run.speed import rated, yardstick_of
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.simulator.behaviour import Behaviour
from kotaro_bridge.simulator.card import MIB
from kotaro_bridge.simulator.engine_llama import Engine as LlamaServer
from kotaro_bridge.simulator.engine_vllm import ApiServer
from kotaro_bridge.simulator.llama_placement import Placement
from kotaro_bridge.simulator.models import table
from kotaro_bridge.simulator.state import State
from kotaro_bridge.simulator.vllm_memory import Shape
from tests.helpers.gguf_header import Q14, Q32, qwen2_shape, reader
from tests.helpers.machine import LLAMA, VLLM
from tests.helpers.simulated import simulated_pc

if sys.platform == "win32":
    pytest.skip("claims are checked against Linux processes", allow_module_level=True)

SCENARIOS = ["rtx4070-12gb", "rtx4090-24gb"]
SHAPES = {"rtx4070-12gb": Q14, "rtx4090-24gb": Q32}
FOLDERS = {"rtx4070-12gb": "Qwen2.5-14B-Instruct-AWQ", "rtx4090-24gb": "Qwen2.5-32B-Instruct-AWQ"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_llama_server(scenario: str, tmp_path: Path) -> None:
    model = read_gguf(reader(qwen2_shape(*SHAPES[scenario]), 1 << 40), 1 << 40)
    with simulated_pc(tmp_path / "pc", scenario) as pc:
        server = LlamaServer(State(str(pc.folder)), Behaviour(""), {"-c": "8192", "-np": "1"}, {"CUDA0": 0})
        server.placement = Placement(model, server.options, model.block_count + 1, kv_on_gpu=True)
        yardstick = yardstick_of(LLAMA, model, LogFacts(), None, pc.gpu.snapshot())
        healthy = rated(server.rate(), yardstick, None)
        pc.set(vram_limit_mib=7000)
        assert server.claims[0].grow(9000 * MIB)
        spilled = rated(server.rate(), yardstick, None)
    assert healthy.of_limit is not None
    assert healthy.of_limit == pytest.approx(0.645, abs=0.005)
    assert (healthy.slow, spilled.slow) == (False, True)


def test_two_cards_with_layers_of_their_own_are_no_faster_than_one_and_healthy(tmp_path: Path) -> None:
    model = read_gguf(reader(qwen2_shape(*Q14), 1 << 40), 1 << 40)
    profile = msgspec.structs.replace(LLAMA, gpus=(0, 1))
    with simulated_pc(tmp_path / "pc", "two-cards") as pc:
        devices = {"CUDA0": 0, "CUDA1": 1}
        server = LlamaServer(State(str(pc.folder)), Behaviour(""), {"-c": "8192", "-np": "1"}, devices)
        layers = model.block_count + 1
        server.placement = Placement(model, server.options, layers, kv_on_gpu=True, shares=(1, 1))
        facts = LogFacts(devices={name: DeviceFacts(model=GIB) for name in devices})
        speed = rated(server.rate(), yardstick_of(profile, model, facts, None, pc.gpu.snapshot()), None)
    assert speed.of_limit == pytest.approx(0.645, abs=0.005)
    assert not speed.slow


def test_two_cards_with_a_part_of_each_layer_are_faster_than_one_and_healthy(tmp_path: Path) -> None:
    entry = next(entry for entry in table()["hf"] if entry["folder"] == FOLDERS["rtx4070-12gb"])
    profile = msgspec.structs.replace(VLLM, gpus=(0, 1))
    facts = LogFacts(weights=round(entry["loaded_gib"] * GIB / 2))
    with simulated_pc(tmp_path / "pc", "two-cards") as pc:
        words = ["serve", str(pc.home / "models"), "--tensor-parallel-size", "2"]
        server = ApiServer(State(str(pc.folder)), Behaviour(""), words)
        cards = pc.gpu.snapshot()
        rate = server._rate(Shape(entry["config"], entry["loaded_gib"], cards=2))
        alone = server._rate(Shape(entry["config"], entry["loaded_gib"]))
        speed = rated(rate, yardstick_of(profile, None, facts, json.dumps(entry["config"]), cards), None)
    assert speed.of_limit is not None
    assert not speed.slow
    assert alone < rate < 2 * alone


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("eager", [False, True])
def test_vllm(scenario: str, eager: bool, tmp_path: Path) -> None:
    entry = next(entry for entry in table()["hf"] if entry["folder"] == FOLDERS[scenario])
    extra = ("--enforce-eager",) if eager else ()
    profile = msgspec.structs.replace(VLLM, extra_args=extra)
    facts = LogFacts(weights=round(entry["loaded_gib"] * GIB))
    with simulated_pc(tmp_path / "pc", scenario) as pc:
        server = ApiServer(State(str(pc.folder)), Behaviour(""), ["serve", str(pc.home / "models"), *extra])
        yardstick = yardstick_of(profile, None, facts, json.dumps(entry["config"]), pc.gpu.snapshot())
        speed = rated(server._rate(Shape(entry["config"], entry["loaded_gib"])), yardstick, None)
    assert speed.of_limit is not None
    assert not speed.slow
