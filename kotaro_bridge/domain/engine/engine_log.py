"""Engine log text as typed pieces: lines, the events that a line can be, and the facts that a whole log tells.

Owns: the vocabulary that both dialects share (`engine_log_llama`, `engine_log_vllm`) and the matcher that is cheap on
the lines that say nothing. Must not judge: what an event means for placement is in `placement` and its rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from types import MappingProxyType
from typing import TypeAlias

from kotaro_bridge.domain.units import GIB, MIB

Value: TypeAlias = str | int | float
Json: TypeAlias = dict[str, object]


class Engine(StrEnum):
    LLAMA_SERVER = "llama-server"
    VLLM = "vllm"


class Stream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one stream; `number` counts from 1 per stream."""

    stream: Stream
    number: int
    text: str


class EventKind(Enum):
    """What a line can tell. The values of each are the named groups of its pattern."""

    VERSION = auto()
    VERBOSITY = auto()
    READY = auto()
    STARTING = auto()
    START = auto()
    CONFIG_FILE = auto()
    # which devices there are and which are used
    DEVICE_TABLE = auto()
    DEVICE_ENTRY = auto()
    DEVICE_USED = auto()
    DEVICES_FOUND = auto()
    CUDA_INIT_FAILED = auto()
    NO_USABLE_GPU = auto()
    CPU_PLATFORM = auto()
    ROUTER = auto()
    # the model and where its parts went
    MODEL_START = auto()
    MODEL_DIMENSION = auto()
    PER_LAYER_EMBEDDING = auto()
    TENSOR_TYPE = auto()
    FILE_SIZE = auto()
    UNUSED_TENSOR = auto()
    ARCHITECTURE = auto()
    OFFLOADED = auto()
    MODEL_BUFFER = auto()
    TENSOR_FALLBACK = auto()
    TENSOR_OVERRIDE = auto()
    LORA_FALLBACK = auto()
    LORA_BUFFER = auto()
    WEIGHTS = auto()
    OFFLOADER = auto()
    OPTIONS = auto()
    # context, KV cache, compute
    CONTEXT = auto()
    SLOTS = auto()
    CONTEXT_REDUCED = auto()
    KV_BUFFER = auto()
    KV_TOTAL = auto()
    KV_ANNOUNCED = auto()
    KV_AVAILABLE = auto()
    KV_TOKENS = auto()
    KV_ON_HOST = auto()
    COMPUTE_BUFFER = auto()
    OUTPUT_BUFFER = auto()
    SPLITS = auto()
    FUSED_OPS = auto()
    GRAPHS = auto()
    # vision
    MULTIMODAL = auto()
    CLIP_BACKEND = auto()
    CLIP_SIZE = auto()
    CLIP_COMPUTE = auto()
    CLIP_SPLITS = auto()
    CLIP_SETTLED = auto()
    CLIP_UNSUPPORTED = auto()
    # the dry run of llama-server's fit
    DRY_RUN_START = auto()
    DRY_RUN_END = auto()
    ALLOCATION = auto()
    FIT_FAILED = auto()


@dataclass(frozen=True, slots=True)
class Event:
    kind: EventKind
    line: LogLine
    values: Mapping[str, Value]

    def text(self, name: str) -> str:
        return str(self.values[name])

    def number(self, name: str) -> int:
        return int(self.values[name])


@dataclass(frozen=True, slots=True)
class LineRule:
    """A pattern for the whole line. Groups ending in `_n` are counts, in `_mib` and `_gib` sizes (kept as `_bytes`)."""

    kind: EventKind
    pattern: re.Pattern[str]

    def event(self, line: LogLine) -> Event | None:
        match = self.pattern.match(line.text)
        return Event(self.kind, line, group_values(match)) if match else None


# Each gate is a literal text and the rules worth trying on a line that contains it: a substring test costs some 40 ns,
# an anchored pattern that fails ten times that, and nearly all lines are of no interest.
Gates: TypeAlias = tuple[tuple[str, tuple[LineRule, ...]], ...]


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern whose `\\d+` end at 15 digits: no real figure is longer, and one of 400 would overflow a float."""
    return re.compile(pattern.replace(r"\d+", r"\d{1,15}"))


_UNITS = {"_mib": MIB, "_gib": GIB}


def group_values(match: re.Match[str]) -> Mapping[str, Value]:
    """The named groups that took part, as numbers where their suffix says so (see `LineRule`)."""
    values: dict[str, Value] = {}
    for name, text in match.groupdict().items():
        if text is None:
            continue
        unit = _UNITS.get(name[-4:])
        if unit:
            values[f"{name[:-4]}_bytes"] = round(float(text) * unit)
        elif name.endswith("_n"):
            values[name[:-2]] = int(text.replace(",", ""))
        else:
            values[name] = text
    return MappingProxyType(values)


def match_line(gates: Gates, line: LogLine) -> Event | None:
    """The event that the line is, or None: nearly all lines are nothing."""
    text = line.text
    for literal, rules in gates:
        if literal in text:
            for rule in rules:
                event = rule.event(line)
                if event:
                    return event
    return None


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """Bytes of one device's buffers as the engine named them; None where the log does not tell."""

    model: int | None = None
    kv: int | None = None
    compute: int | None = None

    def to_json(self) -> Json:
        return {"model": self.model, "kv": self.kv, "compute": self.compute}


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What a log tells, dry runs left out. Sizes in bytes; None where the log does not tell.

    Args:
        devices: buffers per device name (`CUDA0`, `CPU`); host-side weights are in `host_model` instead.
        devices_used: devices that llama-server said it uses ("using device").
        host_model: weights in host memory (llama-server; the input embedding always is).
        pinned_host: pinned host buffers (`CUDA_Host`), which Windows counts as shared GPU memory.
        kv_total: the KV cache as a whole, by llama-server's own sum.
        splits: the worst figure of the scheduler lines (`408 / 2` is 408).
        n_ctx: context of the whole server in tokens; n_ctx_slot: of one of the n_parallel requests.
        context_reduced: context before and after the engine cut it to fit.
        weights, available_kv, kv_tokens, graphs: vLLM's figures; available_kv is negative when the budget is overdrawn.
        engine_max_len: the longest context that vLLM says would fit.
        error_lines: the first lines that look like errors, from before readiness.
    """

    devices: Mapping[str, DeviceFacts] = field(default_factory=dict)
    devices_used: tuple[str, ...] = ()
    host_model: int | None = None
    pinned_host: int | None = None
    kv_total: int | None = None
    layers: int | None = None
    layers_total: int | None = None
    splits: int | None = None
    n_ctx: int | None = None
    n_ctx_slot: int | None = None
    n_parallel: int | None = None
    context_reduced: tuple[int, int] | None = None
    version: str | None = None
    verbosity: int | None = None
    url: str | None = None
    weights: int | None = None
    available_kv: int | None = None
    kv_tokens: int | None = None
    graphs: int | None = None
    engine_max_len: int | None = None
    error_lines: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """The `facts` object of the command line."""
        plain: Json = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("devices", "error_lines")
        }
        plain["devices_used"] = list(self.devices_used)
        plain["context_reduced"] = list(self.context_reduced) if self.context_reduced else None
        devices = {name: device.to_json() for name, device in self.devices.items()}
        return {"devices": devices, **plain, "error_lines": list(self.error_lines)}
