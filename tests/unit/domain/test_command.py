"""Commands from the whitelist: today's flags, nothing that moves a model off the GPU."""

from __future__ import annotations

import json

from kotaro_bridge.domain.command import KEEP, UNSET, build_command
from kotaro_bridge.domain.engine_log import Engine
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
        "t", Engine.LLAMA_SERVER, "x", "m", "s", 512, 8080, kv_type=KvType.Q8_0, projector="p.gguf", gpu=1
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


def test_the_environment_is_scrubbed_but_for_the_allowlist() -> None:
    command = build_command(LLAMA)
    assert command.unset == UNSET
    assert command.keep == KEEP
    assert {"LLAMA_*", "GGML_*", "MTMD_*", "LMCACHE_*", "VLLM_*", "CUDA_VISIBLE_DEVICES"} <= set(UNSET)
    assert "VLLM_WSL2_ENABLE_PIN_MEMORY" in KEEP
