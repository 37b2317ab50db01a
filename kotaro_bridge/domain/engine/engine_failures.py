"""Why an engine died: the root cause among the lines that a failing start, or a crash while serving, prints.

Owns: the failure signatures of both engines, as data, and their order. Must not judge placement (`placement` does).
The last exception shown is hardly ever the cause (reference vllm §3), so tables are ordered from cause to consequence:
the first signature of the table that was seen wins, and of that one the first line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from kotaro_bridge.domain.engine.engine_log import Engine, LogLine, compiled, group_values
from kotaro_bridge.domain.engine.reasons import Reason, ReasonCode

ERROR_LINES_KEPT = 20


@dataclass(frozen=True, slots=True)
class Signature:
    """A line that tells a cause.

    Args:
        literals: the pattern is tried on lines that contain one of these.
        ends: such a line also proves that the process ended or is about to.
    """

    code: ReasonCode
    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    ends: bool


def _signature(code: ReasonCode, *literals: str, pattern: str = "", ends: bool = False) -> Signature:
    return Signature(code, literals, compiled(pattern or "|".join(map(re.escape, literals))), ends)


C = ReasonCode

_CUDA_ERROR = _signature(C.CUDA_ERROR, "CUDA error: ", pattern=r"CUDA error: (?P<cause>.*)", ends=True)
_LLAMA_CRASH = _signature(
    C.ENGINE_CRASHED,
    "GGML_ASSERT(",
    "terminate called",
    "Segmentation fault",
    pattern=r"(?P<cause>(?:GGML_ASSERT\(|terminate called|Segmentation fault).*)",
    ends=True,
)

# Sources: reference llama-server §3 and §6; seen: captures missing-file, truncated, junk, portused, starve-ngl999-*.
_LLAMA = (
    _signature(C.PORT_IN_USE, "couldn't bind HTTP server socket", pattern=r"couldn't bind .*?port: (?P<port_n>\d+)"),
    _signature(
        C.MODEL_MISSING,
        "(No such file or directory)",
        pattern=r"failed to open GGUF file '(?P<path>.*)' \(No such file",
    ),
    _signature(
        C.MODEL_UNREADABLE,
        "failed to open GGUF file",
        pattern=r"failed to open GGUF file '(?P<path>.*)' \((?P<cause>.*)\)",
    ),
    _signature(C.MODEL_NOT_GGUF, "invalid magic characters"),
    _signature(C.MODEL_IS_PROJECTOR, "CLIP cannot be used as main model"),
    _signature(
        C.MODEL_TRUNCATED,
        "failed to read magic",
        "failed to read header",
        "failed to read key-value pairs",
        "failed to read tensor info",
        "wrong number of tensors; expected",
        "missing tensor '",
        "data is not within the file bounds",
    ),
    _signature(
        C.ARCHITECTURE_UNKNOWN,
        "unknown model architecture",
        pattern=r"unknown model architecture: '(?P<architecture>[^']*)'",
    ),
    _signature(
        C.OUT_OF_GPU_MEMORY,
        "cudaMalloc failed",
        pattern=r"allocating (?P<wanted_mib>\d+(?:\.\d+)?) MiB on device (?P<device_n>\d+): cudaMalloc failed",
    ),
    _signature(
        C.OUT_OF_GPU_MEMORY,
        "unable to allocate CUDA",
        "failed to allocate buffer for kv cache",
        "failed to allocate buffer for rs cache",
        "failed to allocate compute pp buffers",
        "failed to allocate compute tg buffers",
        "CUDA error: out of memory",
    ),
    _signature(C.CUDA_INIT_FAILED, "failed to initialize CUDA", pattern=r"failed to initialize CUDA: (?P<cause>.*)"),
    _signature(C.NO_GPU_DEVICE, "warning: no usable GPU found"),
    _CUDA_ERROR,
    _signature(C.DEVICE_INVALID, "invalid device: ", pattern=r"invalid device: (?P<device>\S+)", ends=True),
    _signature(
        C.DEVICE_INVALID, "invalid value for main_gpu", pattern=r"invalid value for main_gpu: (?P<device>-?\d+)"
    ),
    _signature(
        C.ARGUMENT_INVALID,
        "error: invalid argument",
        "error while handling ",
        pattern=r"(?P<cause>error: invalid argument.*|error while handling .*)",
        ends=True,
    ),
    _signature(C.VISION_FAILED, "failed to load multimodal model"),
    _LLAMA_CRASH,
    _signature(C.MODEL_LOAD_FAILED, "error loading model: ", pattern=r"error loading model: (?P<cause>.*)"),
    _signature(C.ENGINE_EXITED, "exiting due to ", pattern=r"(?P<cause>exiting due to .*)", ends=True),
    _signature(C.ENGINE_EXITED, " E ", pattern=r"\d+\.\d\d\.\d{3}\.\d{3} E (?P<cause>.*)"),
)

_FIGURE = r"\d+(?:\.\d+)?"
_KV_NEED = (
    rf"max seq len \((?P<asked_n>\d+)\), \((?P<needed_gib>{_FIGURE}) GiB KV cache is needed, which is larger than the "
    rf"available KV cache memory \((?P<available_gib>{_FIGURE}) GiB\)"
    r"(?:.*estimated maximum model length is (?P<max_len_n>\d+))?"
)
_BUDGET = (
    rf"Free memory on device (?P<device>\S+) \((?P<free_gib>{_FIGURE})/(?P<total_gib>{_FIGURE}) GiB\) on startup "
    rf"is less than desired GPU memory utilization \((?P<utilization>{_FIGURE}), (?P<wanted_gib>{_FIGURE}) GiB\)"
)

# Sources: reference vllm §3; seen: captures kvsmall, tiny, lowfree, port, p14awq_12g.
_VLLM = (
    _signature(C.PORT_IN_USE, "Address already in use", ends=True),
    _signature(C.BUDGET_NOT_FREE, "is less than desired GPU memory", pattern=_BUDGET, ends=True),
    _signature(C.KV_CACHE_TOO_SMALL, "KV cache is needed", pattern=_KV_NEED, ends=True),
    _signature(C.NO_KV_CACHE_MEMORY, "No available memory for the cache blocks", ends=True),
    _signature(C.NO_KV_CACHE_MEMORY, "Cannot auto-fit max_model_len", ends=True),
    _signature(C.MEMORY_CHANGED, "Error in memory profiling", ends=True),
    _signature(C.GPU_RESIDENCY_REFUSED, "CUDA driver error: device not ready", ends=True),
    _signature(C.OUT_OF_GPU_MEMORY, "CUDA out of memory", ends=True),
    _signature(
        C.CONTEXT_TOO_LONG,
        "greater than the derived max_model_len",
        pattern=r"\((?P<asked_n>\d+)\) is greater than the derived max_model_len(?: \(.*?=(?P<max_len_n>\d+))?",
        ends=True,
    ),
    _signature(
        C.TOO_FEW_GPUS,
        "is larger than the number of available GPUs",
        pattern=r"World size \((?P<wanted_n>\d+)\) is larger than .*? GPUs \((?P<available_n>\d+)\)",
        ends=True,
    ),
    _signature(
        C.HEADS_NOT_DIVISIBLE,
        "must be divisible by tensor parallel size",
        pattern=r"attention heads \((?P<heads_n>\d+)\) must be divisible by tensor parallel size \((?P<cards_n>\d+)\)",
        ends=True,
    ),
    _signature(C.NO_GPU_DEVICE, "Failed to infer device type", ends=True),
    _signature(C.DRIVER_FAILED, "NVMLError", pattern=r"(?P<cause>\w*NVMLError\w*.*)"),
    _signature(C.ARGUMENT_INVALID, ": error: ", pattern=r"^\S.*?: error: (?P<cause>.*)", ends=True),
    # Exit codes of the processes that failed, as Python counts them (Process.exitcode): -9 is a KILL.
    _signature(
        C.ENGINE_KILLED,
        "Failed core proc(s): {'",
        pattern=r"Failed core proc\(s\): \{'[^}]*: -(?P<signal_n>9)\b",
        ends=True,
    ),
    _signature(C.ENGINE_EXITED, "Worker proc ", pattern=r"(?P<cause>Worker proc \S+ died unexpectedly.*)", ends=True),
    # Not Engine core initialization failed: "See root cause above".
    _signature(
        C.ENGINE_EXITED,
        "Error: ",
        "Exception: ",
        "Interrupt: ",
        pattern=r"(?:^|\) |\] )(?P<cause>(?!RuntimeError: Engine core init)[\w.]*(?:Error|Exception|Interrupt): .*)",
        ends=True,
    ),
    _signature(C.ENGINE_EXITED, "EngineCore failed to start.", "Engine core initialization failed", ends=True),
)

# Once an engine serves, an error line may be about a request alone. `ends` marks what the process does not survive:
# llama.cpp aborts behind each of its lines (reference llama-server §6). Not seen in a capture but from source.
_LLAMA_SERVING = (
    _signature(C.OUT_OF_GPU_MEMORY, "CUDA error: out of memory", ends=True),
    _CUDA_ERROR,
    _LLAMA_CRASH,
)

# vLLM says that its engine dies, and the cause behind it (reference vllm §3, run time). A line without `ends` counts
# only behind one that has it: a request may fail of the same.
_VLLM_SERVING = (
    _signature(C.GPU_RESIDENCY_REFUSED, "CUDA driver error: device not ready"),
    _signature(C.OUT_OF_GPU_MEMORY, "CUDA out of memory"),
    _signature(C.CUDA_ERROR, "CUDA error: ", pattern=r"CUDA error: (?P<cause>.*)"),
    _signature(
        C.ENGINE_CRASHED,
        "Error: ",
        "Exception: ",
        pattern=r"(?:^|\) |\] )(?P<cause>(?![\w.]*EngineDeadError)[\w.]*(?:Error|Exception): .*)",
    ),
    _signature(
        C.ENGINE_CRASHED,
        "EngineCore encountered a fatal error",
        "died unexpectedly",
        "terminate called",
        "EngineDeadError",
        pattern=r"(?P<cause>EngineCore encountered a fatal error|Engine core proc \S+ died unexpectedly"
        r"|Worker proc \S+ died unexpectedly|terminate called.*|EngineDeadError.*)",
        ends=True,
    ),
)

_Table: TypeAlias = tuple[tuple[str, int, Signature], ...]


def _flat(signatures: tuple[Signature, ...]) -> _Table:
    """One entry per literal, causes first: a single loop of substring tests per line."""
    return tuple((literal, rank, item) for rank, item in enumerate(signatures) for literal in item.literals)


_TABLES: dict[Engine, _Table] = {Engine.LLAMA_SERVER: _flat(_LLAMA), Engine.VLLM: _flat(_VLLM)}
_SERVING: dict[Engine, _Table] = {Engine.LLAMA_SERVER: _flat(_LLAMA_SERVING), Engine.VLLM: _flat(_VLLM_SERVING)}
# Failures are logged as errors or printed raw; one test at the start of the line spares all others on the rest.
_ORDINARY = {
    Engine.LLAMA_SERVER: re.compile(r"\d+\.\d\d\.\d{3}\.\d{3} [IWD] "),
    Engine.VLLM: re.compile(r"(?:\([^)]*\) )?(?:INFO|WARNING|DEBUG)\b"),
}


class FailureWatch:
    """Collects while an engine starts and, apart from that, what kills it while it serves: ERROR lines of requests
    decide nothing (architecture §5).

    Attributes:
        root: the best known cause of a start that fails.
        death: the best known cause of a death while serving; None while nothing says that the process dies.
        ended: a line of the start said that the process is ending.
        error_lines: the first lines of the start that matched a signature.
    """

    def __init__(self, engine: Engine) -> None:
        self._start, self._serving = _TABLES[engine], _SERVING[engine]
        self._is_ordinary = _ORDINARY[engine].match
        self._rank = len(self._start)
        self._death_rank = len(self._serving)
        self._dying = False
        self.root: Reason | None = None
        self.death: Reason | None = None
        self.ended = False
        self.error_lines: list[str] = []

    def see(self, line: LogLine) -> None:
        """A line from before readiness."""
        found = self._find(line, self._start)
        if found is None:
            return
        rank, signature, match = found
        if len(self.error_lines) < ERROR_LINES_KEPT:
            self.error_lines.append(line.text)
        self.ended = self.ended or signature.ends
        if rank < self._rank:
            self._rank = rank
            self.root = Reason.at(signature.code, line, group_values(match))

    def see_serving(self, line: LogLine) -> None:
        """A line from after readiness."""
        found = self._find(line, self._serving)
        if found is None:
            return
        rank, signature, match = found
        self._dying = self._dying or signature.ends
        if self._dying and rank < self._death_rank:
            self._death_rank = rank
            self.death = Reason.at(signature.code, line, group_values(match))

    def _find(self, line: LogLine, table: _Table) -> tuple[int, Signature, re.Match[str]] | None:
        text = line.text
        if self._is_ordinary(text):
            return None
        for literal, rank, signature in table:
            if literal in text:
                match = signature.pattern.search(text)
                if match:
                    return rank, signature, match
        return None
