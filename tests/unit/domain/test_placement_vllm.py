"""vLLM: the 0.33 dialect built after reference vllm §3, ways off the GPU, and starts that fail."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine, LogLine, Stream
from kotaro_bridge.domain.engine.log_judge import judge_log
from kotaro_bridge.domain.engine.placement import Expectation, Judgement, PlacementWatch, ReasonCode, Verdict
from kotaro_bridge.domain.units import GIB
from tests.helpers.captures import split_log, vllm_text

C = ReasonCode
API = "(APIServer pid=10) INFO 11-01 10:00:00 [api_server.py:1] "
CORE = "(EngineCore pid=20) INFO 11-01 10:00:10 [core.py:1] "
ERROR = "(EngineCore pid=20) ERROR 11-01 10:00:10 [core.py:1] "
CONFIG = "config: model='q', dtype=torch.float16, max_seq_len=8192, kv_cache_dtype=auto, device_config=cuda"

V033 = {
    "version": API + "vLLM server version 0.33.0, serving model q14awq",
    "args": API + "non-default args: {'model_tag': 'q14awq', 'max_model_len': 8192, 'gpu_memory_utilization': 0.8}",
    "architecture": API + "Resolved architecture: Qwen2ForCausalLM",
    "config": CORE + f"Initializing a V1 LLM engine (v0.33.0) with {CONFIG}, seed=0",
    "runner": CORE + "Using V2 Model Runner",
    "weights": CORE + "Model loading took 9.53 GiB memory and 2.305637 seconds",
    "available": CORE + "Available KV cache memory: 4.39 GiB",
    "tokens": CORE + "GPU KV cache size: 23,968 tokens, Maximum concurrency for 8,192 tokens per request: 2.93x",
    "graphs": CORE + "Graph capturing finished in 7 secs, took 1.33 GiB",
    "summary": CORE
    + "Free memory on device (79.05/79.18 GiB) on startup. Desired GPU memory utilization is (0.8, 63.3 GiB).",
    "starting": API + "Starting vLLM server on http://127.0.0.1:8000",
}
READY = "(APIServer pid=10) INFO:     Application startup complete."


def log(*, without: str = "", more: str = "") -> str:
    return "\n".join([row for name, row in V033.items() if name != without] + [more])


def outcome(judgement: Judgement) -> tuple[Verdict, list[ReasonCode]]:
    return judgement.verdict, [reason.code for reason in judgement.reasons]


def test_033_is_understood() -> None:
    judgement = judge_log(Engine.VLLM, log(), READY)
    assert outcome(judgement) == (Verdict.GPU, [])
    facts = judgement.facts
    assert (facts.version, facts.n_ctx, facts.kv_tokens) == ("0.33.0", 8192, 23968)
    assert (facts.weights, facts.available_kv) == (round(9.53 * GIB), round(4.39 * GIB))
    assert facts.graphs == round(1.33 * GIB)


@pytest.mark.parametrize("name", ["config", "weights", "available", "tokens"])
def test_each_line_is_needed(name: str) -> None:
    judgement = judge_log(Engine.VLLM, log(without=name), READY)
    assert outcome(judgement) == (Verdict.UNKNOWN, [C.EVIDENCE_MISSING])


@pytest.mark.parametrize(
    ("old", "new"),
    [("9.53 GiB", "0.0 GiB"), ("memory: 4.39", "memory: -1.0"), ("23,968", "0"), ("device_config=cuda", "x=y")],
)
def test_empty_evidence_is_none(old: str, new: str) -> None:
    assert judge_log(Engine.VLLM, log().replace(old, new), READY).verdict is Verdict.UNKNOWN


def test_a_quiet_log_names_what_to_set() -> None:
    (reason,) = judge_log(Engine.VLLM, "", READY).reasons
    assert (reason.code, reason.params["flag"]) == (C.PLACEMENT_NOT_LOGGED, "VLLM_LOGGING_LEVEL=INFO")


class TestReadiness:
    def test_the_line_on_stdout_is_enough_only_without_a_stderr(self) -> None:
        assert outcome(judge_log(Engine.VLLM, log())) == (Verdict.GPU, [])
        assert outcome(judge_log(Engine.VLLM, log(), "")) == (Verdict.UNKNOWN, [C.NOT_READY])
        assert outcome(judge_log(Engine.VLLM, log(without="starting"))) == (Verdict.UNKNOWN, [C.NOT_READY])

    def test_live(self) -> None:
        watch = PlacementWatch(Engine.VLLM)
        for line in split_log(log(), Stream.STDOUT):
            watch.feed(line)
        assert not watch.ready
        watch.feed(LogLine(Stream.STDERR, 1, "(APIServer pid=10) INFO:     Waiting for application startup."))
        assert outcome(watch.judge(ended=False)) == (Verdict.UNKNOWN, [C.NOT_READY])
        watch.feed(LogLine(Stream.STDERR, 2, READY))
        assert watch.ready
        assert outcome(watch.judge(ended=False)) == (Verdict.GPU, [])

    def test_progress_bars_are_lines(self) -> None:
        bars = "(EngineCore pid=20) \rCapturing: 0%|  | 0/51\rCapturing: 100%|##| 51/51 [00:03<00:00]\n"
        assert outcome(judge_log(Engine.VLLM, log(), bars + READY)) == (Verdict.GPU, [])


DISQUALIFYING = [
    (CORE + "Offloader set to UVAOffloader", Verdict.PARTIAL, C.OFFLOADER_ACTIVE),
    (CORE + "Total CPU offloaded parameters: 4.00 GiB", Verdict.PARTIAL, C.OFFLOADER_ACTIVE),
    (API + "non-default args: {'cpu_offload_gb': 4.0}", Verdict.PARTIAL, C.OFFLOADER_ACTIVE),
    (API + "non-default args: {'kv_offloading_size': 8.0}", Verdict.PARTIAL, C.KV_OFFLOAD_ACTIVE),
    (
        CORE
        + f"Initializing a V1 LLM engine (v0.33.0) with {CONFIG}, kv_transfer_config=KVTransferConfig(kv_role='both')",
        Verdict.PARTIAL,
        C.KV_OFFLOAD_ACTIVE,
    ),
    (
        API + "non-default args: {'attention_config': {'hisparse_config': {'x': 1}}}",
        Verdict.PARTIAL,
        C.KV_OFFLOAD_ACTIVE,
    ),
    (CORE + "GPU + host KV cache size: 67,648 tokens", Verdict.PARTIAL, C.KV_OFFLOAD_ACTIVE),
    (API + "non-default args: {'ec_transfer_config': {'x': 1}}", Verdict.PARTIAL, C.ENCODER_TRANSFER_ACTIVE),
    (API + "Resolved architecture: DeepseekV41ForCausalLM", Verdict.PARTIAL, C.ENGRAM_ON_CPU),
    (API + "Resolved architecture: Qwen4ExpForConditionalGeneration", Verdict.PARTIAL, C.ENGRAM_ON_CPU),
    (API + "vLLM server version 0.33.0+cpu, serving model q", Verdict.CPU, C.CPU_PLATFORM),
    (CORE + "CPU KV cache size: 23,968 tokens", Verdict.CPU, C.CPU_PLATFORM),
    (API + "Unspecified platform detected, switching to CPU Platform instead.", Verdict.CPU, C.CPU_PLATFORM),
    (
        CORE + f"Initializing a V1 LLM engine (v0.33.0) with {CONFIG}".replace("=cuda", "=cpu"),
        Verdict.CPU,
        C.CPU_PLATFORM,
    ),
    (
        CORE + f"Initializing a V1 LLM engine (v0.33.0) with {CONFIG}".replace("=cuda", "=xpu"),
        Verdict.UNKNOWN,
        C.DEVICE_UNEXPECTED,
    ),
]


@pytest.mark.parametrize(("row", "verdict", "code"), DISQUALIFYING)
@pytest.mark.parametrize("first", [True, False])
def test_a_way_off_the_gpu(row: str, verdict: Verdict, code: ReasonCode, first: bool) -> None:
    text = f"{row}\n{log()}" if first else log(more=row)
    watch = PlacementWatch(Engine.VLLM)
    raised = [(line.text, reason) for line in split_log(text, Stream.STDOUT) if (reason := watch.feed(line))]
    assert [(fed, reason.code) for fed, reason in raised] == [(row, code)]
    assert outcome(watch.judge(ended=False)) == (verdict, [code])


def test_engram_that_was_told_to_stay_on_the_gpu() -> None:
    args = V033["args"].replace("{'model_tag'", "{'engram_config': {'cpu_offload': False}, 'model_tag'")
    text = log().replace(V033["args"], args).replace("Qwen2ForCausalLM", "DeepseekV41ForCausalLM")
    assert outcome(judge_log(Engine.VLLM, text, READY)) == (Verdict.GPU, [])


def test_a_length_that_vllm_cut_is_told() -> None:
    row = CORE + "Auto-fit max_model_len: reduced from 8192 to 6144 to fit in available KV cache memory (4.39 GiB)"
    judgement = judge_log(Engine.VLLM, log(more=row), READY)
    assert outcome(judgement) == (Verdict.GPU, [C.CONTEXT_REDUCED])
    assert (judgement.facts.n_ctx, judgement.facts.context_reduced) == (6144, (8192, 6144))


FAILURES = [
    (ERROR + "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available", C.NO_KV_CACHE_MEMORY, {}),
    (
        ERROR + "AssertionError: Error in memory profiling. Initial free memory 1, current free memory 2",
        C.MEMORY_CHANGED,
        {},
    ),
    (ERROR + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.2 GiB", C.OUT_OF_GPU_MEMORY, {}),
    (ERROR + "RuntimeError: CUDA driver error: device not ready", C.GPU_RESIDENCY_REFUSED, {}),
    (
        "ValueError: User-specified max_model_len (65536) is greater than the derived max_model_len "
        "(max_position_embeddings=32768 or model_max_length=None in model's config.json)",
        C.CONTEXT_TOO_LONG,
        {"asked": 65536, "max_len": 32768},
    ),
    (
        "ValueError: World size (2) is larger than the number of available GPUs (1) in this node.",
        C.TOO_FEW_GPUS,
        {"wanted": 2, "available": 1},
    ),
    ("RuntimeError: Failed to infer device type, please set the environment variable", C.NO_GPU_DEVICE, {}),
    (
        "pynvml.NVMLError_LibraryNotFound: NVML Shared Library Not Found",
        C.DRIVER_FAILED,
        {"cause": "NVMLError_LibraryNotFound: NVML Shared Library Not Found"},
    ),
    (
        "vllm serve: error: unrecognized arguments: --bogus",
        C.ARGUMENT_INVALID,
        {"cause": "unrecognized arguments: --bogus"},
    ),
    (
        ERROR + "Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.",
        C.ENGINE_EXITED,
        {"cause": "Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor."},
    ),
    ("(APIServer pid=10) OSError: q: no such model", C.ENGINE_EXITED, {"cause": "OSError: q: no such model"}),
    ("(APIServer pid=10) RuntimeError: Engine core initialization failed. See root cause above.", C.ENGINE_EXITED, {}),
    (ERROR + "EngineCore failed to start.", C.ENGINE_EXITED, {}),
    (
        "(APIServer pid=10) RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {'EngineCore_DP0': -9}",
        C.ENGINE_KILLED,
        {"signal": 9},
    ),
]


@pytest.mark.parametrize(("row", "code", "params"), FAILURES)
def test_a_start_that_fails(row: str, code: ReasonCode, params: dict[str, object]) -> None:
    end = "(APIServer pid=10) RuntimeError: Engine core initialization failed. See root cause above."
    judgement = judge_log(Engine.VLLM, V033["config"], f"{row}\n{end}")
    assert outcome(judgement) == (Verdict.FAILED, [code])
    assert judgement.reasons[0].params == params
    assert judgement.reasons[0].line == row


def test_the_cause_is_not_the_last_exception() -> None:
    stdout, stderr = vllm_text("lowfree", Stream.STDOUT), vllm_text("lowfree", Stream.STDERR)
    assert stdout is not None
    assert stderr is not None
    assert stderr.rstrip().endswith("Failed core proc(s): {}")
    judgement = judge_log(Engine.VLLM, stdout, stderr)
    assert judgement.reasons[0].code is C.BUDGET_NOT_FREE
    assert judgement.reasons[0].stream is Stream.STDOUT
    assert judge_log(Engine.VLLM, stderr).reasons[0].code is C.BUDGET_NOT_FREE


def test_an_error_of_a_request_is_no_failed_start() -> None:
    late = "(APIServer pid=10) ERROR 11-01 10:00:10 [serving.py:1] ValueError: bad request"
    assert outcome(judge_log(Engine.VLLM, log(more=late), READY)) == (Verdict.GPU, [])
    watch = PlacementWatch(Engine.VLLM)
    watch.feed(LogLine(Stream.STDERR, 1, READY))
    watch.feed(LogLine(Stream.STDOUT, 1, late))
    assert watch.failure is None


TWO = Expectation(devices=("CUDA0", "CUDA1"))
WORKERS = """\
(EngineCore pid=1) INFO 11-21 19:19:48 [core.py:1] Initializing a V1 LLM engine (v0.25.0) with config: \
device_config=cuda, tensor_parallel_size={cards}, max_seq_len=8192
(Worker_TP0 pid=2) INFO 11-21 19:19:48 [model_runner.py:1] Model loading took 4.80 GiB and 2.3 seconds
(Worker_TP1 pid=3) INFO 11-21 19:19:48 [model_runner.py:1] Model loading took 4.81 GiB and 2.3 seconds
(Worker_TP0 pid=2) INFO 11-21 19:19:48 [gpu_worker.py:1] Available KV cache memory: 3.5 GiB
(Worker_TP1 pid=3) INFO 11-21 19:19:48 [gpu_worker.py:1] Available KV cache memory: 3.25 GiB
(EngineCore pid=1) INFO 11-21 19:19:48 [kv_cache_utils.py:1] GPU KV cache size: 30,000 tokens
(Worker_TP0 pid=2) INFO 11-21 19:19:48 [model_runner.py:1] Graph capturing finished in 2 secs, took 0.13 GiB
INFO:     Application startup complete.
"""


def spread(text: str, expectation: Expectation | None = TWO) -> Judgement:
    watch = PlacementWatch(Engine.VLLM, expectation)
    for line in split_log(text, Stream.STDOUT):
        watch.feed(line)
    return watch.judge(ended=False)


def test_each_worker_tells_of_its_card() -> None:
    found = spread(WORKERS.format(cards=2))
    assert (found.verdict, found.reasons) == (Verdict.GPU, ())
    first, second = (found.facts.devices[name] for name in TWO.devices)
    assert (first.model, second.model) == (round(4.80 * GIB), round(4.81 * GIB))
    assert (first.kv, second.kv) == (round(3.5 * GIB), round(3.25 * GIB))
    assert (first.compute, second.compute) == (round(0.13 * GIB), None)
    assert found.facts.weights == second.model, "the larger"
    assert found.facts.available_kv == second.kv, "as much as the fullest card has"


def test_a_version_that_lets_only_the_first_worker_speak() -> None:
    text = "\n".join(row for row in WORKERS.format(cards=2).split("\n") if "TP1" not in row)
    found = spread(text)
    assert found.verdict is Verdict.GPU
    assert found.facts.weights == round(4.80 * GIB)


@pytest.mark.parametrize("cards", [1, 4])
def test_fewer_cards_than_asked_for_are_not_enough(cards: int) -> None:
    """More are not what was planned either."""
    found = spread(WORKERS.format(cards=cards))
    assert found.verdict is Verdict.UNKNOWN
    assert [(reason.code, reason.params) for reason in found.reasons] == [
        (C.CARDS_UNUSED, {"wanted": 2, "found": cards})
    ]
    assert "tensor_parallel_size" in (found.reasons[0].line or "")


def test_a_configuration_that_does_not_tell_is_no_proof_for_several() -> None:
    text = WORKERS.replace(", tensor_parallel_size={cards}", "")
    assert [reason.params.get("missing") for reason in spread(text).reasons] == ["cards"]
    assert spread(text, Expectation()).verdict is Verdict.GPU


def test_heads_that_cannot_be_divided() -> None:
    said = "Total number of attention heads (28) must be divisible by tensor parallel size (3)."
    row = f"(APIServer pid=1)   Value error, {said}"
    watch = PlacementWatch(Engine.VLLM, TWO)
    watch.feed(LogLine(Stream.STDERR, 1, row))
    judged = watch.judge(ended=True)
    assert (judged.reasons[0].code, judged.reasons[0].params) == (C.HEADS_NOT_DIVISIBLE, {"heads": 28, "cards": 3})
