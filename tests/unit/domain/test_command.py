"""Commands from the whitelist: today's flags, nothing that moves a model off the GPU."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase

import msgspec
import pytest

from kotaro_bridge.domain.engine.command import build_command, device_question
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.profile import KvType, Profile, VllmOptions

LLAMA = Profile("t", Engine.LLAMA_SERVER, "~/llama-server", "~/m.gguf", "qwen", 8192, 8080, parallel=2)
VLLM = Profile("t", Engine.VLLM, "~/vllm", "Qwen/Q", "qwen", 8192, 8000, vllm=VllmOptions())


def value_of(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_llama_server_is_told_to_fail_rather_than_use_the_cpu() -> None:
    argv = build_command(LLAMA).argv
    expected = {
        "-m": "~/m.gguf",
        "--device": "CUDA0",
        "-ngl": "all",
        "--fit": "off",
        "-sm": "none",
        "-c": "16384",  # two requests of 8192 each
        "-np": "2",
        "-lv": "4",
        "--cache-ram": "0",
        "--ctx-checkpoints": "0",
        "--host": "127.0.0.1",
        "--port": "8080",
        "-a": "qwen",
    }
    assert {flag: value_of(argv, flag) for flag in expected} == expected
    assert {"--metrics", "--slots"} < set(argv)
    assert "-ctk" not in argv
    assert "--mmproj" not in argv


def test_llama_server_options_follow_the_profile() -> None:
    profile = Profile(
        "t", Engine.LLAMA_SERVER, "x", "m", "s", 512, 8080, kv_type=KvType.Q8_0, projector="p.gguf", gpus=(1,)
    )
    command = build_command(profile)
    assert value_of(command.argv, "-ctk") == value_of(command.argv, "-ctv") == "q8_0"
    assert value_of(command.argv, "--mmproj") == "p.gguf"
    assert "--mmproj-offload" in command.argv
    assert command.env["CUDA_VISIBLE_DEVICES"] == "1"


def test_vllm_gets_its_budget_and_the_limits_that_keep_it() -> None:
    command = build_command(VLLM, utilization=0.8125)
    argv = command.argv
    assert argv[1:3] == ("serve", "Qwen/Q")
    assert value_of(argv, "--gpu-memory-utilization") == "0.812"
    assert value_of(argv, "--max-num-batched-tokens") == "2048"
    assert value_of(argv, "--max-num-seqs") == "16"
    assert value_of(argv, "--max-model-len") == "8192"
    assert value_of(argv, "--host") == "127.0.0.1"
    assert "--enforce-eager" not in argv
    assert "--quantization" not in argv
    assert command.env["NO_COLOR"] == "1"


def test_vllm_options_follow_the_profile() -> None:
    options = VllmOptions(images=True, trust_remote_code=True)
    profile = Profile("t", Engine.VLLM, "v", "m", "s", 512, 8000, parallel=32, kv_type=KvType.FP8, vllm=options)
    argv = build_command(profile).argv
    assert json.loads(value_of(argv, "--limit-mm-per-prompt")) == {"image": 1, "video": 0}
    assert "--trust-remote-code" in argv
    assert value_of(argv, "--max-num-seqs") == "32"
    assert value_of(argv, "--kv-cache-dtype") == "fp8"
    assert "--gpu-memory-utilization" not in argv
    assert "--max-num-seqs" in build_command(Profile("t", Engine.VLLM, "v", "m", "s", 512, 8000)).argv


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("LLAMA_ARG_N_GPU_LAYERS", True),
        ("LLAMA_ARG_FIT", True),
        ("LLAMA_SERVER_CHILD_MODE", True),
        ("GGML_CUDA_ENABLE_UNIFIED_MEMORY", True),
        ("GGML_CUDA_NO_PINNED", True),
        ("GGML_CUDA_DEVICES", True),
        ("GGML_BACKEND_PATH", True),
        ("MTMD_BACKEND_DEVICE", True),
        ("AIP_MODE", True),
        ("AIP_HTTP_PORT", True),
        ("LMCACHE_LOCAL_CPU", True),
        ("VLLM_USE_SIMPLE_KV_OFFLOAD", True),
        ("VLLM_SERVER_DEV_MODE", True),
        ("CUDA_VISIBLE_DEVICES", True),
        ("CUDA_MANAGED_FORCE_DEVICE_ALLOC", True),
        ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", True),
        ("CUDA_INJECTION64_PATH", True),
        ("PYTORCH_CUDA_ALLOC_CONF", True),
        ("TRITON_INTERPRET", True),
        ("LD_PRELOAD", True),
        ("LD_AUDIT", True),
        ("VLLM_WSL2_ENABLE_PIN_MEMORY", False),
        ("VLLM_CACHE_ROOT", False),
        ("CUDA_HOME", False),
        ("CUDA_PATH", False),
        ("CUDA_CACHE_PATH", False),
        ("LD_LIBRARY_PATH", False),
        ("HF_TOKEN", False),
        ("HF_HOME", False),
        ("PATH", False),
    ],
)
def test_the_environment_is_scrubbed_but_for_the_allowlist(name: str, removed: bool) -> None:
    for command in (build_command(LLAMA), build_command(VLLM), device_question(LLAMA), device_question(VLLM)):
        kept = name in command.keep or not any(fnmatchcase(name, pattern) for pattern in command.unset)
        assert kept is not removed


@pytest.mark.parametrize("profile", [LLAMA, VLLM, msgspec.structs.replace(LLAMA, gpus=(1,))])
def test_the_question_for_devices_has_exactly_the_environment_of_the_start(profile: Profile) -> None:
    question, start = device_question(profile), build_command(profile)
    assert (question.env, question.unset, question.keep) == (start.env, start.unset, start.keep)
    assert question.argv == (profile.executable, *(("--list-devices",) if profile.engine is LLAMA.engine else ()))


def test_llama_server_is_kept_from_the_users_config_file() -> None:
    """Nothing can be below a device file, so nothing is found there."""
    assert build_command(LLAMA).env["XDG_CONFIG_HOME"] == "/dev/null"
    assert "XDG_CONFIG_HOME" not in build_command(VLLM).env


BOTH = msgspec.structs.replace(LLAMA, gpus=(2, 0))


def test_layers_go_to_the_cards_that_were_chosen() -> None:
    command = build_command(BOTH, layers=(20, 29))
    assert command.env["CUDA_VISIBLE_DEVICES"] == "2,0"
    assert value_of(command.argv, "--device") == "CUDA0,CUDA1"
    assert value_of(command.argv, "-sm") == "layer"
    assert value_of(command.argv, "-ts") == "20,29"
    assert value_of(command.argv, "-ngl") == "all"
    assert value_of(command.argv, "--fit") == "off"
    assert "-mg" not in command.argv
    assert "-ts" not in build_command(BOTH).argv


def test_vllm_takes_a_part_of_each_layer_to_each_card() -> None:
    command = build_command(msgspec.structs.replace(VLLM, gpus=(0, 1)), utilization=0.5)
    assert value_of(command.argv, "--tensor-parallel-size") == "2"
    assert command.env["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "--tensor-parallel-size" not in build_command(VLLM).argv
