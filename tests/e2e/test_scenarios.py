"""Every scenario of the simulated PC through the command line, with both engines: what is checked, how a run ends."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from kotaro_bridge.domain.errors import Param
from kotaro_bridge.simulator.scenario import names
from tests.e2e.conftest import Station
from tests.helpers.cli import CommandLine, listens, started
from tests.helpers.words import phase, sentence

pytestmark = pytest.mark.e2e

LLAMA, VLLM = "qwen2.5-14b-q4_k_m", "qwen2.5-7b-awq"
RUN_S, STOP_S = 30.0, 20.0
CHECKS = {
    *("driver", "wsl", "gpu_in_target", "engine", "model"),
    *("engine_gpu", "config_file", "port_windows", "port_target", "localhost_forwarding", "vram"),
}
UNASKED = dict.fromkeys(("engine", "engine_gpu", "config_file", "model", "port_target"), "unknown")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a scenario makes of a profile.

    Args:
        end: READY (and then a stop), or the code of the sentence on stderr.
        blocked: the checks that do not pass, empty if the run comes as far as the engine.
    """

    scenario: str
    profile: str
    end: str
    params: dict[str, Param]
    blocked: dict[str, str]


def case(scenario: str, profile: str, end: str, blocked: dict[str, str] | None = None, **params: Param) -> Any:
    expected = Expected(scenario, profile, end, params, blocked or {})
    return pytest.param(scenario, expected, id=f"{scenario}-{profile}")


NO_GPU_IN_WSL = {"gpu_in_target": "failed", "engine_gpu": "failed", "vram": "unknown"}
NO_DRIVER = {"driver": "failed", **NO_GPU_IN_WSL}
NO_CUDA = {"engine_gpu": "failed"}
NO_WSL = {"wsl": "failed", "gpu_in_target": "unknown", "vram": "unknown", **UNASKED}
LLAMA_SERVER = "llama.cpp/build/bin/llama-server"
MISSING = "libcudart.so.13: cannot open shared object file: No such file or directory"
TOO_OLD: dict[str, Param] = {"driver": "566.36", "cuda": 13, "needed": 580}
VULKAN = "Vulkan0: NVIDIA GeForce RTX 4070"
OLLAMA = "ollama_llama_server.exe (7,156 MiB)"
UNLOADABLE = "Ollama qwen3:8b (7,168 MiB)"

CASES = [
    case("rtx4070-12gb", LLAMA, "ready"),
    case("rtx4070-12gb", VLLM, "ready"),
    case("rtx4070-12gb", "qwen2.5-32b-q4_k_m", "gate.vram.too_small", {"vram": "failed"}),
    case("rtx4090-24gb", "qwen2.5-32b-q4_k_m", "ready"),
    case("rtx4090-24gb", "qwen2.5-32b-awq", "ready"),
    case("rtx4090-24gb", "minicpm-v-2.6", "ready"),
    case("no-driver", LLAMA, "gpu.no_driver", NO_DRIVER),
    case("no-driver", VLLM, "gpu.no_driver", NO_DRIVER),
    case("no-gpu-in-wsl", LLAMA, "gpu.smi_blocked", NO_GPU_IN_WSL),
    case("no-gpu-in-wsl", VLLM, "gpu.smi_blocked", NO_GPU_IN_WSL),
    case("vram-taken", LLAMA, "gate.vram.held", {"vram": "failed"}, holders=OLLAMA),
    case("vram-taken", VLLM, "gate.vram.held", {"vram": "failed"}, holders=OLLAMA),
    case("ollama-holds", LLAMA, "gate.vram.held", {"vram": "failed"}, holders=UNLOADABLE),
    case("ollama-holds", VLLM, "gate.vram.held", {"vram": "failed"}, holders=UNLOADABLE),
    case("no-wsl", LLAMA, "wsl.not_installed", NO_WSL),
    case("no-wsl", VLLM, "wsl.not_installed", NO_WSL),
    case("spill", LLAMA, "proof.spill"),
    case("spill", VLLM, "proof.spill"),
    case("engine-oom", LLAMA, "proof.out_of_gpu_memory"),
    case("engine-oom", VLLM, "proof.out_of_gpu_memory"),
    case("host-oom", LLAMA, "engine.out_of_ram"),
    case("host-oom", VLLM, "engine.out_of_ram_unsized"),
    case("cpu-build", LLAMA, "engine.cpu_build", NO_CUDA, path=f"~/{LLAMA_SERVER}"),
    case("cpu-build", VLLM, "engine.package_for_cpu", NO_CUDA, package="vLLM 0.25.0+cpu"),
    case("cuda-missing", LLAMA, "engine.cuda_library_missing", NO_CUDA, libraries="libcudart.so.13", cuda=13),
    case("cuda-missing", VLLM, "engine.torch_library_missing", NO_CUDA, detail=MISSING, version="2.11.0+cu130"),
    case("old-driver", LLAMA, "engine.driver_too_old", NO_CUDA, **TOO_OLD),
    case("old-driver", VLLM, "engine.driver_too_old", NO_CUDA, **TOO_OLD),
    case("vulkan-build", LLAMA, "engine.other_backend", NO_CUDA, path=f"~/{LLAMA_SERVER}", devices=VULKAN),
    case("old-build", LLAMA, "engine.too_old", NO_CUDA, path=f"~/{LLAMA_SERVER}"),
    case("torch-cpu", VLLM, "engine.package_for_cpu", NO_CUDA, package="torch 2.11.0+cpu"),
    case("two-cards", LLAMA, "ready"),  # of one card; of both: test_two_cards
    case("two-cards", VLLM, "ready"),
]
EVIDENCE = {
    "proof.out_of_gpu_memory": "out of memory",
    "engine.out_of_ram": "" if sys.platform == "win32" else "Killed",  # the word of the sh that runs the engine
    "engine.out_of_ram_unsized": "{'EngineCore_DP0': -9}",
    "engine.cpu_build": "  (none)",
    "engine.cuda_library_missing": "libcudart.so.13 => not found",
    "engine.too_old": "invalid argument: --list-devices",
}
"""What of the engine's own words has to be shown."""


def test_every_scenario_has_its_cases() -> None:
    assert {param.values[0] for param in CASES} == set(names())


@pytest.mark.parametrize(("shared_station", "expected"), CASES, indirect=["shared_station"])
def test_check_says_what_is_wrong_and_run_ends_as_it_must(station: Station, expected: Expected) -> None:
    line = station.line
    line.builtin(expected.profile)
    if expected.blocked or expected.profile == LLAMA:
        _assert_check(line, expected)
    with started(line, "run", expected.profile) as running:
        if expected.end == "ready":
            running.wait_for(f"http://127.0.0.1:{line.port_of(expected.profile)}/v1", RUN_S)
            done = running.end(signal.SIGINT, STOP_S)
        else:
            done = running.end(deadline_s=RUN_S)
    states = done.out.splitlines()
    assert not listens(line.port_of(expected.profile))
    assert states[0] == phase("checking")
    if expected.end == "ready":
        assert (done.code, done.err) == (0, "")
        assert states[:5] == [phase(name) for name in ("checking", "launching", "loading", "proving", "ready")]
        assert states[-2:] == [phase("stopping"), phase("stopped")]
        return
    assert done.code == 1
    assert "http://" not in done.out + done.err
    _assert_says(done.err, expected)
    if expected.blocked:
        assert states[1] == phase("refused")
        assert phase("launching") not in states
    else:
        assert states[-2:] == [phase("stopping"), phase("failed")]


def _assert_check(line: CommandLine, expected: Expected) -> None:
    check = line.call("check", "--profile", expected.profile, "--json")
    assert check.code == (1 if expected.blocked else 0), check
    found = {each["id"]: each["status"] for each in check.json["checks"]}
    of_engine = {} if "q4_k_m" in expected.profile else {"config_file": "skipped"}
    assert found == dict.fromkeys(CHECKS, "passed") | expected.blocked | of_engine
    assert bool(check.err) == bool(expected.blocked)


def _assert_says(said: str, expected: Expected) -> None:
    """What happened and what to do are there; figures may differ."""
    message = sentence(expected.end, **expected.params)
    for part in (*message.what.split("?"), *message.do.split("?")):
        assert part in said, f"{part!r} is not in {said!r}"
    assert EVIDENCE.get(expected.end, "") in said
