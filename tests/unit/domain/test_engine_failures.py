"""Why llama-server died: forms that the captures do not hold, and the order of causes."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.engine.engine_failures import ERROR_LINES_KEPT, FailureWatch
from kotaro_bridge.domain.engine.engine_log import Engine, LogLine, Stream, Value
from kotaro_bridge.domain.engine.reasons import Reason, ReasonCode

C = ReasonCode
E = "0.01.000.000 E "


def watch(*rows: str) -> FailureWatch:
    found = FailureWatch(Engine.LLAMA_SERVER)
    for number, row in enumerate(rows, start=1):
        found.see(LogLine(Stream.STDERR, number, row))
    return found


def root(*rows: str) -> Reason:
    found = watch(*rows).root
    assert found is not None
    return found


FORMS: list[tuple[str, ReasonCode, dict[str, Value], bool]] = [
    ('error while handling argument "--device": invalid device: CUDA7', C.DEVICE_INVALID, {"device": "CUDA7"}, True),
    (
        E + "llama_prepare_model_devices: invalid value for main_gpu: 3 (available devices: 1)",
        C.DEVICE_INVALID,
        {"device": "3"},
        False,
    ),
    ("error: invalid argument: --bogus", C.ARGUMENT_INVALID, {"cause": "error: invalid argument: --bogus"}, True),
    (
        'error while handling environment variable "LLAMA_ARG_X": stoi',
        C.ARGUMENT_INVALID,
        {"cause": 'error while handling environment variable "LLAMA_ARG_X": stoi'},
        True,
    ),
    (
        E + "gguf_init_from_file: failed to open GGUF file 'm.gguf' (Permission denied)",
        C.MODEL_UNREADABLE,
        {"path": "m.gguf", "cause": "Permission denied"},
        False,
    ),
    (E + "gguf_init_from_reader: failed to read magic", C.MODEL_TRUNCATED, {}, False),
    (E + "llama_model_load: error loading model: missing tensor 'output.weight'", C.MODEL_TRUNCATED, {}, False),
    (
        E + "llama_model_load: error loading model: unknown model architecture: 'new'",
        C.ARCHITECTURE_UNKNOWN,
        {"architecture": "new"},
        False,
    ),
    (E + "llama_model_load: error loading model: CLIP cannot be used as main model", C.MODEL_IS_PROJECTOR, {}, False),
    (E + "llama_model_load: error loading model: odd", C.MODEL_LOAD_FAILED, {"cause": "odd"}, False),
    (E + "llama_init_from_model: failed to allocate compute pp buffers", C.OUT_OF_GPU_MEMORY, {}, False),
    (E + "CUDA error: out of memory", C.OUT_OF_GPU_MEMORY, {}, False),
    (E + "CUDA error: an illegal memory access", C.CUDA_ERROR, {"cause": "an illegal memory access"}, True),
    (E + "srv    load_model: failed to load multimodal model, 'p.gguf'", C.VISION_FAILED, {}, False),
    ("ggml.c:1: GGML_ASSERT(x) failed", C.ENGINE_CRASHED, {"cause": "GGML_ASSERT(x) failed"}, True),
    (E + "something new", C.ENGINE_EXITED, {"cause": "something new"}, False),
]


@pytest.mark.parametrize(("row", "code", "params", "ends"), FORMS)
def test_form(row: str, code: ReasonCode, params: dict[str, Value], ends: bool) -> None:
    found = watch(row)
    assert found.root == Reason(code, Stream.STDERR, 1, row, params)
    assert found.ended is ends


def test_the_cause_wins_over_its_consequences_wherever_it_stands() -> None:
    rows = (
        E + "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        E + "alloc_buffer: allocating 8148.38 MiB on device 0: cudaMalloc failed: out of memory",
        E + "srv  llama_server: exiting due to model loading error",
    )
    for order in (rows, rows[::-1]):
        assert root(*order).line == rows[1]


def test_cuda_that_cannot_start_is_why_a_device_is_invalid() -> None:
    assert root(
        'error while handling argument "--device": invalid device: CUDA0',
        E + "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient",
    ).params == {"cause": "CUDA driver version is insufficient"}


def test_the_first_line_of_a_cause_is_kept() -> None:
    row = E + "gguf_init_from_reader: invalid magic characters: '??c?', expected 'GGUF'"
    assert root(row, row).line_no == 1


@pytest.mark.parametrize(
    "row",
    [
        "0.01.000.000 I srv: exiting due to a word in a prompt",
        "0.01.000.000 W load: control-looking token failed to read magic",
        "a line of the chat template",
        "someone said: allocating memory: cudaMalloc failed",
    ],
)
def test_no_failure(row: str) -> None:
    found = watch(row)
    assert (found.root, found.ended, found.error_lines) == (None, False, [])


def test_error_lines_are_bounded() -> None:
    found = watch(*(f"{E}number {n}" for n in range(100)))
    assert found.error_lines == [f"{E}number {n}" for n in range(ERROR_LINES_KEPT)]


# --- while it serves --------------------------------------------------------------------------------------------------

CORE, API = "(EngineCore pid=7) ERROR 11-21 10:00:00 ", "(APIServer pid=5) ERROR 11-21 10:00:01 "
FATAL = CORE + "[core.py:1240] EngineCore encountered a fatal error."
ILLEGAL = CORE + "[core.py:1240] torch.AcceleratorError: CUDA error: an illegal memory access was encountered"
DIED = API + "[core_client.py:1022] Engine core proc EngineCore_DP0 died unexpectedly, shutting down client."
DEAD = API + "[async_llm.py:811] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."
REQUEST = CORE + "[x.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"


def death(engine: Engine, *rows: str) -> tuple[ReasonCode, dict[str, Value]] | None:
    found = FailureWatch(engine)
    for number, row in enumerate(rows, start=1):
        found.see_serving(LogLine(Stream.STDOUT, number, row))
    assert (found.root, found.ended, found.error_lines) == (None, False, []), "the start is not judged by it"
    return (found.death.code, dict(found.death.params)) if found.death else None


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((E + "CUDA error: an illegal access",), (C.CUDA_ERROR, {"cause": "an illegal access"})),
        ((E + "CUDA error: out of memory",), (C.OUT_OF_GPU_MEMORY, {})),
        (("ggml.c:9: GGML_ASSERT(x) failed",), (C.ENGINE_CRASHED, {"cause": "GGML_ASSERT(x) failed"})),
        ((E + "srv  send_error: task id = 3, error: the request exceeds the context",), None),
        ((E + "llama_decode: failed to allocate compute pp buffers",), None),
        (("0.01.000.000 I slot: a prompt about CUDA error: 700",), None),
    ],
)
def test_what_kills_a_serving_llama_server(
    rows: tuple[str, ...], expected: tuple[ReasonCode, dict[str, Value]] | None
) -> None:
    assert death(Engine.LLAMA_SERVER, *rows) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((FATAL, ILLEGAL, DIED, DEAD), (C.CUDA_ERROR, {"cause": "an illegal memory access was encountered"})),
        ((FATAL, REQUEST, DIED, DEAD), (C.OUT_OF_GPU_MEMORY, {})),
        ((FATAL, CORE + "[c.py:1] AssertionError: odd", DEAD), (C.ENGINE_CRASHED, {"cause": "AssertionError: odd"})),
        ((DIED, DEAD), (C.ENGINE_CRASHED, {"cause": "Engine core proc EngineCore_DP0 died unexpectedly"})),
        ((DEAD,), (C.ENGINE_CRASHED, {"cause": "EngineDeadError: EngineCore encountered an issue."})),
        ((REQUEST, ILLEGAL, API + "[serving.py:1] ValueError: too long"), None),
        ((REQUEST, DIED), (C.ENGINE_CRASHED, {"cause": "Engine core proc EngineCore_DP0 died unexpectedly"})),
    ],
)
def test_what_kills_a_serving_vllm(rows: tuple[str, ...], expected: tuple[ReasonCode, dict[str, Value]] | None) -> None:
    """An error before vLLM says that its engine dies was one of a request."""
    assert death(Engine.VLLM, *rows) == expected


def test_the_first_line_of_a_death_is_kept() -> None:
    found = FailureWatch(Engine.LLAMA_SERVER)
    for number in (1, 2):
        found.see_serving(LogLine(Stream.STDERR, number, E + f"CUDA error: number {number}"))
    assert found.death is not None
    assert found.death.line_no == 1
