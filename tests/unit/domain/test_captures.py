"""Every recording gets the verdict that its README gives, with the reasons that a person needs."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.engine.engine_log import DeviceFacts, Engine, LogFacts, Stream
from kotaro_bridge.domain.engine.log_judge import judge_log
from kotaro_bridge.domain.engine.placement import Judgement, PlacementWatch, ReasonCode, Verdict
from kotaro_bridge.domain.units import GIB, MIB
from tests.helpers.captures import FOLDER, line_number, llama_lines, llama_text, vllm_text

LLAMA: dict[str, tuple[str, list[str]]] = {
    "full14": ("gpu", []),
    "full14-lv4": ("gpu", []),
    "full14-32k": ("gpu", []),
    "full14-np1": ("gpu", []),
    "full7-8k": ("gpu", []),
    "full14-default-lv": ("unknown", ["placement_not_logged"]),
    "starve-default-lv3": ("unknown", ["placement_not_logged"]),
    "starve-ctx0": ("gpu", ["context_reduced"]),
    "partial20": ("partial", ["layers_on_cpu", "weights_on_cpu", "kv_on_cpu", "splits_too_many"]),
    "nokvoffload": ("partial", ["kv_on_cpu", "splits_too_many"]),
    "nodevice-env": ("cpu", ["weights_on_cpu", "kv_on_cpu", "no_gpu_device"]),
    "cuda-hidden": ("cpu", ["cuda_init_failed", "no_gpu_device", "weights_on_cpu", "kv_on_cpu"]),
    "starve-ngl999-fiton": ("failed", ["out_of_gpu_memory", "fit_failed"]),
    "starve-ngl999-fitoff": ("failed", ["out_of_gpu_memory"]),
    "missing-file": ("failed", ["model_missing"]),
    "truncated": ("failed", ["model_truncated"]),
    "junk": ("failed", ["model_not_gguf"]),
    "portused": ("failed", ["port_in_use"]),
}
VLLM: dict[str, tuple[str, list[str]]] = {
    "q14": ("gpu", []),
    "eager14_kill9": ("gpu", []),
    "p32awq_24g": ("gpu", []),
    "kvsmall": ("failed", ["kv_cache_too_small"]),
    "p14awq_12g": ("failed", ["kv_cache_too_small"]),
    "tiny": ("failed", ["no_kv_cache_memory"]),
    "lowfree": ("failed", ["budget_not_free"]),
    "port": ("failed", ["port_in_use"]),
}


def outcome(judgement: Judgement) -> tuple[str, list[str]]:
    return judgement.verdict.value, [reason.code.value for reason in judgement.reasons]


def test_no_recording_is_left_out() -> None:
    assert {path.stem for path in (FOLDER / "llama-server").glob("*.log")} == set(LLAMA)
    assert {path.stem for path in (FOLDER / "vllm").glob("*.stdout")} == set(VLLM)


@pytest.mark.parametrize("name", LLAMA)
def test_llama_server_recording(name: str) -> None:
    assert outcome(judge_log(Engine.LLAMA_SERVER, llama_text(name))) == LLAMA[name]


@pytest.mark.parametrize("name", VLLM)
def test_vllm_recording(name: str) -> None:
    stdout, stderr = vllm_text(name, Stream.STDOUT), vllm_text(name, Stream.STDERR)
    assert stdout is not None
    assert outcome(judge_log(Engine.VLLM, stdout, stderr)) == VLLM[name]
    assert outcome(judge_log(Engine.VLLM, stdout)) == VLLM[name], "stdout alone tells enough"
    assert outcome(judge_log(Engine.VLLM, stdout + (stderr or ""))) == VLLM[name], "both streams in one file"


@pytest.mark.parametrize("name", LLAMA)
def test_live_and_offline_agree(name: str) -> None:
    watch = PlacementWatch(Engine.LLAMA_SERVER)
    raised = [reason for line in llama_lines(name) if (reason := watch.feed(line))]
    judgement = watch.judge(ended=LLAMA[name][0] == "failed")
    assert outcome(judgement) == LLAMA[name]
    assert raised == [r for r in judgement.reasons[:1] if LLAMA[name][0] in ("partial", "cpu")]


LIVE = {
    "partial20": ("offloaded 20/49", "fitting params to free memory took"),
    "nokvoffload": ("CPU KV buffer size =  1536.00", ""),
    "nodevice-env": ("CPU_Mapped model buffer size =  4460.45", "fitting params to free memory took"),
    "cuda-hidden": ("ggml_cuda_init: failed to initialize CUDA", ""),
}


@pytest.mark.parametrize("name", LIVE)
def test_the_first_disqualifying_line_is_raised_when_it_is_fed(name: str) -> None:
    part, after = LIVE[name]
    watch = PlacementWatch(Engine.LLAMA_SERVER)
    raised = next((line.number, reason) for line in llama_lines(name) if (reason := watch.feed(line)))
    assert raised[0] == line_number(llama_text(name), part, after)
    assert raised[1].line_no == raised[0]
    assert raised[1].stream is Stream.STDERR
    assert part in (raised[1].line or "")


def test_reason_parameters() -> None:
    partial = judge_log(Engine.LLAMA_SERVER, llama_text("partial20")).reasons
    assert partial[0].params == {"layers": 20, "total": 49}
    assert partial[1].params["allowed_bytes"] == 152064 * 5120 * 210 // 256
    assert partial[3].params == {"splits": 408, "expected": 2}
    reduced = judge_log(Engine.LLAMA_SERVER, llama_text("starve-ctx0")).reasons[0]
    assert reduced.params == {"from": 32768, "to": 5120}
    starved = judge_log(Engine.LLAMA_SERVER, llama_text("starve-ngl999-fitoff")).reasons[0]
    assert starved.params == {"wanted_bytes": round(8148.38 * MIB), "device": 0}
    assert judge_log(Engine.LLAMA_SERVER, llama_text("portused")).reasons[0].params == {"port": 18080}
    assert judge_log(Engine.LLAMA_SERVER, llama_text("missing-file")).reasons[0].params == {"path": "nope.gguf"}
    quiet = judge_log(Engine.LLAMA_SERVER, llama_text("starve-default-lv3")).reasons[0]
    assert quiet.params["flag"] == "-lv 4"
    assert str(quiet.params["missing"]).startswith("device,layers,weights,")


def test_vllm_failure_parameters() -> None:
    small = judge_log(Engine.VLLM, vllm_text("kvsmall", Stream.STDOUT) or "")
    assert small.reasons[0].params == {
        "asked": 32768,
        "needed_bytes": 6 * GIB,
        "available_bytes": round(1.13 * GIB),
        "max_len": 6144,
    }
    assert small.facts.engine_max_len == 6144
    assert judge_log(Engine.VLLM, vllm_text("p14awq_12g", Stream.STDOUT) or "").facts.engine_max_len == 3424
    low = judge_log(Engine.VLLM, vllm_text("lowfree", Stream.STDOUT) or "").reasons[0]
    assert low.params == {
        "device": "cuda:0",
        "free_bytes": round(19.49 * GIB),
        "total_bytes": round(79.18 * GIB),
        "utilization": "0.92",
        "wanted_bytes": round(72.84 * GIB),
    }
    assert judge_log(Engine.VLLM, vllm_text("tiny", Stream.STDOUT) or "").facts.available_kv == round(-6.79 * GIB)


def facts(engine: Engine, name: str) -> LogFacts:
    if engine is Engine.LLAMA_SERVER:
        return judge_log(engine, llama_text(name)).facts
    return judge_log(engine, vllm_text(name, Stream.STDOUT) or "", vllm_text(name, Stream.STDERR)).facts


def test_llama_server_facts() -> None:
    full = facts(Engine.LLAMA_SERVER, "full14")
    assert full == LogFacts(
        devices={"CUDA0": DeviceFacts(round(8148.38 * MIB), 1536 * MIB, round(119.01 * MIB))},
        devices_used=("CUDA0",),
        host_model=round(417.66 * MIB),
        pinned_host=round(28.01 * MIB) + round(2.32 * MIB),
        kv_total=1536 * MIB,
        layers=49,
        layers_total=49,
        splits=2,
        n_ctx=8192,
        n_ctx_slot=8192,
        n_parallel=4,
        version="0 (unknown)",
        verbosity=5,
        url="http://127.0.0.1:18080",
    )
    spread = facts(Engine.LLAMA_SERVER, "partial20")
    assert spread.devices["CPU"] == DeviceFacts(None, 928 * MIB, None)
    assert spread.devices["CUDA0"].kv == 608 * MIB
    assert (spread.layers, spread.layers_total, spread.splits) == (20, 49, 408)
    assert spread.host_model == round(4944.60 * MIB)
    assert facts(Engine.LLAMA_SERVER, "starve-ctx0").context_reduced == (32768, 5120)
    assert facts(Engine.LLAMA_SERVER, "starve-ctx0").n_ctx == 5120


def test_facts_that_the_default_verbosity_leaves() -> None:
    quiet = facts(Engine.LLAMA_SERVER, "full14-default-lv")
    assert (quiet.n_ctx, quiet.n_ctx_slot, quiet.n_parallel, quiet.verbosity) == (8192, 8192, 4, 3)
    assert (quiet.devices, quiet.host_model, quiet.layers, quiet.splits, quiet.version) == ({}, None, None, None, None)


def test_vllm_facts() -> None:
    q14 = facts(Engine.VLLM, "q14")
    assert q14 == LogFacts(
        n_ctx=8192,
        version="0.25.0",
        url="http://0.0.0.0:8000",
        weights=round(9.53 * GIB),
        available_kv=round(12.39 * GIB),
        kv_tokens=67648,
        graphs=round(1.33 * GIB),
    )
    assert facts(Engine.VLLM, "eager14_kill9").graphs is None
    assert facts(Engine.VLLM, "p32awq_24g").kv_tokens == 11296


def test_the_dry_run_says_nothing() -> None:
    """Fit's trial of starve-ngl999-fiton has full layers, buffers and splits; none of it is evidence."""
    watch = PlacementWatch(Engine.LLAMA_SERVER)
    lines = llama_lines("starve-ngl999-fiton")
    end = line_number(llama_text("starve-ngl999-fiton"), "fitting params to free memory took")
    assert [watch.feed(line) for line in lines if line.number <= end] == [None] * end
    tried = watch.judge(ended=False)
    assert tried.verdict is Verdict.UNKNOWN
    assert tried.reasons[0].code is ReasonCode.NOT_READY
    assert (tried.facts.devices, tried.facts.layers, tried.facts.splits) == ({}, None, None)
    assert all(watch.feed(line) is None for line in lines if line.number > end)
    failure = watch.failure
    assert failure is not None
    assert failure.code is ReasonCode.OUT_OF_GPU_MEMORY
    assert not watch.ready


def test_ready_is_the_engines_own_line() -> None:
    watch = PlacementWatch(Engine.LLAMA_SERVER)
    at = line_number(llama_text("full14-lv4"), "listening on http")
    for line in llama_lines("full14-lv4"):
        watch.feed(line)
        assert watch.ready == (line.number >= at)
