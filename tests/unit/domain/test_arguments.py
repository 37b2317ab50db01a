"""The whitelist of extra arguments: what could leave the GPU is refused with its reason in every spelling."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.engine.arguments import (
    ALLOWED,
    FORBIDDEN,
    checked_extra_args,
    forbidden_reason,
    forbidden_reasons,
)
from kotaro_bridge.domain.engine.command import build_command
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.profile import Profile

LLAMA, VLLM = Engine.LLAMA_SERVER, Engine.VLLM


def with_extra(engine: Engine, *extra: str) -> Profile:
    return Profile("t", engine, "engine", "model", "served", 8192, 8080, extra_args=extra)


def refusal(engine: Engine, *extra: str) -> str:
    """The code of the refusal."""
    with pytest.raises(ProblemError) as caught:
        build_command(with_extra(engine, *extra))
    assert caught.value.problem.params["argument"] in {*extra, *(word.partition("=")[0] for word in extra)}
    return caught.value.problem.code


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("-ngl 20; --gpu-layers 20; --n-gpu-layers 99; --n_gpu_layers 99; -ngl=20; --gpu-layers=auto", "layers"),
        ("-fit on; --fit on; --fit-target 0; -fitc 512; --fit_ctx 512; --fit=on", "fit"),
        ("-nkvo; --no-kv-offload; --no_kv_offload; -kvo; --kv-offload", "kv_in_ram"),
        ("-cmoe; --cpu-moe; --cpu_moe; -ncmoe 4; --n-cpu-moe 4", "experts_on_cpu"),
        ("-ncffn 4; --n-cpu-ffn 4; --n_cpu_ffn 4", "weights_in_ram"),
        ("-ot x=CPU; --override-tensor x=CPU; --override_tensor x=CPU; --override-tensor=x=CPU", "tensors_moved"),
        ("--no-mmproj-offload; --mmproj-offload; -mmdev none; --mmproj-device CPU", "vision_on_cpu"),
        ("-ctk q4_1; --cache-type-k q8_0; -ctv f16; --cache_type_v iq4_nl", "kv_type"),
        ("-fa on; --flash-attn on; --flash_attn on", "flash_attention"),
        ("-dev none; --device Vulkan0; -sm row; --split-mode tensor; -mg -1; --main-gpu -1; -ts 1,1", "device"),
        ("--rpc 10.0.0.2:50052", "remote_device"),
        ("-md d.gguf; --model-draft d; --spec-draft-model d; -ngld 0; -devd none; --device-draft none", "draft_model"),
        ("-cmoed; -ncmoed 2; -otd x=CPU; -ctkd q4_0; --n-cpu-moe-draft 2; --fim-qwen-7b-spec", "draft_model"),
        ("--spec-default; --spec-type draft-mtp; -hfd a/b; --gpu-layers-draft 0; --draft 4", "draft_model"),
        ("--lora a.gguf; --lora-scaled a:1; --lora-init-without-apply; --control-vector-scaled c:1", "lora"),
        ("--repack; -nr; --no-repack; --no-host; --no_host; --no-op-offload; -lzm on; --lazy-mode on", "host_buffers"),
        ("--override-kv qwen2.block_count=int:20", "header_overridden"),
        ("--sleep-idle-seconds 60; --sleep_idle_seconds 60", "sleep"),
        ("--models-dir d; --models-preset p; --no-models-autoload", "router"),
        ("-cram 8192; --cache-ram -1; -ctxcp 32; --swa-checkpoints 3; -cms 1; --slot-save-path d", "host_cache"),
        ("-lv 3; --verbosity 3; -v; --log-disable; --log-jsonl; --no-log-prefix; --no-warmup", "log"),
        ("-c 0; -np 4; -kvu; --kv-unified-per-slot 9; -m x; -hf a/b; -hff f; --gpt-oss-20b-default", "profile_key"),
        ("-mm p; --mmproj-url u; --no-mmproj; --no-mmproj-auto; -mu u; -dr a/b", "profile_key"),
        ("--host 0.0.0.0; --port 1; --reuse-port; --no-slots; --api-prefix /x", "endpoint"),
    ],
)
def test_llama_server_every_spelling_has_its_reason(words: str, reason: str) -> None:
    for spelling in words.split("; "):
        assert refusal(LLAMA, *spelling.split()) == f"command.forbidden.{reason}", spelling


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--cpu-offload-gb 4; --cpu_offload_gb=4; --cpu-offload-params x; --cpu-off 4; --cpu_off=4", "weights_in_ram"),
        ("--offload-backend uva; --offload-group-size 2; --offload_params x; --offl 2", "weights_in_ram"),
        ("--engram-config {}; --engram-config.cpu_offload true; --engram_config.cpu_offload=true", "weights_in_ram"),
        ("--kv-offloading-size 4; --kv_offloading_size=4; --kv-offloading-backend lmcache; --kv-off 4", "kv_in_ram"),
        ("--kv-transfer-config {}; --kv-transfer-config.kv_connector X; --kv_transfer_config.a.b=1", "kv_in_ram"),
        ("--kv-tr {}; --ec-transfer-config {}; --ec 1; --attention-config.hisparse_config.x 1; -ac {}", "kv_in_ram"),
        ("--config f.yaml; --config=f.yaml; --conf f.yaml", "config_file"),
        ("--enable-sleep-mode; --enable_sleep_mode; --no-enable-sleep-mode; --enable-sleep", "sleep"),
        ("--swap-space 4; --device cpu; --device=cpu", "gone"),
        ("--quantization awq; -q awq; --quant awq", "quantization"),
        ("--kv-cache-memory-bytes 9G; --kv-cache-m=9G; --gpu-memory-utilization 1; --gpu-mem 1", "budget"),
        ("--num-gpu-blocks-override 9; --skip-mm-profiling; --device-mem 1", "budget"),
        ("--speculative-config {}; --speculative_config.model d; -sc {}; --spec {}", "draft_model"),
        ("--enable-lora; --lora-modules a=b; --max-cpu-loras 4; --max_cpu_loras=4", "lora"),
        ("--hf-overrides {}; --hf-overrides.num_hidden_layers 8", "header_overridden"),
        ("--mm-processor-cache-gb 8", "host_cache"),
        ("--disable-log-stats; --log-config-file f", "log"),
        ("--max-model-len 9; --max_num_seqs=9; --no-trust-remote-code; --model x; --trust", "profile_key"),
        ("--host 0.0.0.0; --uds s; --api-server-count 2; -asc 2; --headless", "endpoint"),
        ("-tp 2; --tensor-parallel-size=2; -pp 2; -dpl 2; --data_parallel_size 2; --nnodes 2; -n 2", "device"),
        ("--distributed-executor-backend ray; --distri ray; --master-addr h", "device"),
    ],
)
def test_vllm_every_spelling_has_its_reason(words: str, reason: str) -> None:
    for spelling in words.split("; "):
        assert refusal(VLLM, *spelling.split()) == f"command.forbidden.{reason}", spelling


@pytest.mark.parametrize(
    ("engine", "extra", "code"),
    [
        (LLAMA, ("--temp=1",), "command.unknown_argument"),  # llama.cpp has no glued form
        (LLAMA, ("--whatever",), "command.unknown_argument"),
        (LLAMA, ("--cpu-m",), "command.unknown_argument"),  # llama.cpp has no abbreviations
        (LLAMA, ("word",), "command.unknown_argument"),
        (LLAMA, ("",), "command.unknown_argument"),
        (LLAMA, ("--temp",), "command.value_missing"),
        (LLAMA, ("--temp", "-nkvo"), "command.value_missing"),
        (LLAMA, ("--chat-template", "--no-kv-offload"), "command.value_missing"),
        (LLAMA, ("--temp", "1", "-nkvo"), "command.forbidden.kv_in_ram"),
        (VLLM, ("--whatever",), "command.unknown_argument"),
        (VLLM, ("--",), "command.unknown_argument"),
        (VLLM, ("--k", "1"), "command.unknown_argument"),  # could be a budget or a KV cache in RAM
        (VLLM, ("serve",), "command.unknown_argument"),
        (VLLM, ("--mm-processor-kwargs.num_crops", "4"), "command.unknown_argument"),
        (VLLM, ("--enforce-eager=--cpu-offload-gb",), "command.unknown_argument"),  # a switch has no value
        (VLLM, ("--seed", "--cpu-offload-gb=4"), "command.value_missing"),
        (VLLM, ("--seed", "--4"), "command.value_missing"),
        (VLLM, ("--load-format", "tensorizer"), "command.value_refused"),
        (VLLM, ("--load_format=runai_streamer",), "command.value_refused"),
    ],
)
def test_what_is_not_on_the_list_is_refused(engine: Engine, extra: tuple[str, ...], code: str) -> None:
    assert refusal(engine, *extra) == code


@pytest.mark.parametrize(
    ("engine", "extra"),
    [
        (LLAMA, ("-t", "8", "--jinja", "--temp", "-0.5", "--seed", "-1", "--chat_template_kwargs", "{}")),
        (LLAMA, ("-lm", "none", "--top-p", ".9", "--offline", "-n", "64")),
        (VLLM, ("--enforce-eager", "--dtype=half", "--seed", "1", "--load_format", "dummy")),
    ],
)
def test_harmless_arguments_pass_unchanged(engine: Engine, extra: tuple[str, ...]) -> None:
    assert build_command(with_extra(engine, *extra)).argv[-len(extra) :] == extra


@pytest.mark.parametrize(
    ("value", "parallel", "passes"),
    [
        ("1", 1, False),
        ("2", 1, False),
        ("3", 1, True),
        ("3", 4, False),
        ("6", 4, True),
        ("-1", 4, True),
        ("x", 1, False),
    ],
)
def test_a_thread_stays_free_for_the_questions_of_the_watch(value: str, parallel: int, passes: bool) -> None:
    profile = msgspec.structs.replace(with_extra(LLAMA, "--threads_http", value), parallel=parallel)
    if passes:
        assert checked_extra_args(profile) == ("--threads_http", value)
        return
    with pytest.raises(ProblemError) as caught:
        checked_extra_args(profile)
    assert (caught.value.problem.code, caught.value.problem.params["least"]) == ("command.value_low", parallel + 2)


@pytest.mark.parametrize("extra", [("--dtype", "float32"), ("--dtype=float",)])
def test_weights_twice_as_wide_as_the_plan_counts_are_refused(extra: tuple[str, ...]) -> None:
    with pytest.raises(ProblemError) as caught:
        checked_extra_args(with_extra(VLLM, *extra))
    assert caught.value.problem.code == "command.value_refused"


@given(st.sampled_from(Engine), st.lists(st.text(max_size=12), max_size=6).map(tuple))
def test_any_words_are_passed_whole_or_refused(engine: Engine, extra: tuple[str, ...]) -> None:
    try:
        passed = checked_extra_args(with_extra(engine, *extra))
    except ProblemError as error:
        refused = error.problem.code
        assert refused.startswith("command.")
    else:
        assert passed == extra


@pytest.mark.parametrize("engine", Engine)
def test_no_argument_is_both_allowed_and_forbidden(engine: Engine) -> None:
    allowed = [name for entry in ALLOWED[engine] for name in entry.names]
    assert {name: reason for name in allowed if (reason := forbidden_reason(engine, name))} == {}
    assert len(set(allowed)) == len(allowed)


@pytest.mark.parametrize("engine", Engine)
def test_every_forbidden_name_gives_its_own_reason(engine: Engine) -> None:
    """No entry hides behind an earlier one."""
    for entry in FORBIDDEN[engine]:
        assert {name: forbidden_reason(engine, name) for name in entry.names} == dict.fromkeys(
            entry.names, entry.reason
        )


def test_every_reason_is_a_word() -> None:
    assert all(reason.isidentifier() for reason in forbidden_reasons())


@pytest.mark.parametrize("engine", Engine)
def test_no_flag_that_we_pass_may_be_passed_again(engine: Engine) -> None:
    profile = with_extra(engine)
    ours = [word for word in build_command(profile, utilization=0.9).argv if word.startswith("-")]
    assert {flag: forbidden_reason(engine, flag) for flag in ours if not forbidden_reason(engine, flag)} == {}


# Every flag that the reference lists for `vllm serve` 0.33 (vllm §2, §5.1, §7), but for those that choose nothing about
# memory, devices or the address.
VLLM_FLAGS = """
--gpu-memory-utilization --device-memory-utilization --kv-cache-memory-bytes --max-model-len --kv-cache-dtype
--block-size --max-num-batched-tokens --max-num-seqs --enforce-eager --dtype --quantization --tensor-parallel-size
--pipeline-parallel-size --distributed-executor-backend --trust-remote-code --limit-mm-per-prompt
--language-model-only --skip-mm-profiling --mm-processor-cache-gb --served-model-name --host --port --uds
--uvicorn-log-level --disable-access-log-for-endpoints --enable-log-requests --disable-log-stats --enable-sleep-mode
--load-format --cpu-offload-gb --cpu-offload-params --offload-backend --offload-group-size --offload-num-in-group
--offload-prefetch-step --offload-params --kv-offloading-size --kv-offloading-backend --kv-transfer-config
--ec-transfer-config --attention-config --engram-config --max-cpu-loras --api-server-count --nnodes --node-rank
--master-addr --master-port --headless --data-parallel-size --data-parallel-size-local --data-parallel-address
--data-parallel-rpc-port --data-parallel-start-rank --data-parallel-hybrid-lb --data-parallel-external-lb --config
--swap-space --disable-log-requests --device
"""


def test_every_vllm_flag_of_the_reference_has_an_answer() -> None:
    allowed = {name for entry in ALLOWED[VLLM] for name in entry.names}
    assert [flag for flag in VLLM_FLAGS.split() if flag not in allowed and forbidden_reason(VLLM, flag) is None] == []
