"""What the lines of one model load add up to, and which names of devices mean what.

Owns: the parts that `evidence` is made of. Must not judge. Sizes in bytes.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from kotaro_bridge.domain.engine.engine_log import LogLine
from kotaro_bridge.domain.model.ggml_types import GGML_TYPES
from kotaro_bridge.domain.units import GIB, MIB

# Figures are printed with two decimals; this is the most that one of them can be off.
ROUNDING_BYTES = round(0.005 * MIB) + 1
FILE_SIZE_ROUNDING_BYTES = round(0.005 * GIB) + 1

_GPU = re.compile(r"CUDA\d*")
_HOST = re.compile(r"CPU\w*|\w+_(?:Host|REPACK|Mapped)|BLAS|AMX")
_PINNED = re.compile(r"CUDA\d*_Host")
_WIDTHS = {name: block_bytes / elements for name, elements, block_bytes in GGML_TYPES.values()}


def is_gpu(device: str) -> bool:
    """A name of the CUDA backend itself. `CUDA_Host` is host memory, Vulkan may be a software device, and names for
    several cards at once (`CUDA0_Split`, `Meta(CUDA0,CUDA1)`) do not say which of them holds what.
    """
    return _GPU.fullmatch(device) is not None


def is_host(device: str) -> bool:
    return _HOST.fullmatch(device) is not None


def is_pinned(device: str) -> bool:
    """Host memory that Windows counts as shared GPU memory."""
    return _PINNED.fullmatch(device) is not None


@dataclass(slots=True)
class ModelLoad:
    """One model file as it was loaded; a draft model makes a second one."""

    dimensions: dict[str, int] = field(default_factory=dict)
    per_layer_width: int = 0
    types: set[str] = field(default_factory=set)
    file_bytes: int | None = None
    unused_bytes: int = 0
    gpu_bytes: int = 0
    host_bytes: int = 0
    host_lines: int = 0
    kv_bytes: int = 0
    kv_lines: int = 0
    kv_total: int | None = None
    caches: int = 0
    caches_announced: int = 0
    states: int = 0

    def input_tables(self) -> tuple[int, ...] | None:
        """Elements of the tables that llama.cpp always keeps in host memory (reference llama-server §1.11)."""
        try:
            vocabulary, width = self.dimensions["n_vocab"], self.dimensions["n_embd"]
            if not self.per_layer_width:
                return (vocabulary * width,)
            return (vocabulary * width, vocabulary * self.dimensions["n_layer"] * self.per_layer_width)
        except KeyError:
            return None

    def host_sizes(self) -> tuple[float, ...] | None:
        """What the input tables weigh, for each way to give them types that the file uses; largest last.

        The log names the types of the file but not of each tensor. A host buffer that has exactly one of these sizes is
        the input tables and nothing else: a layer part that went along (`-ot`, seen to keep the splits at 2 when it is
        next to the input) changes the sum. Measured: 417.66 MiB = 152064 x 5120 in q4_K, captures full14 and full7-8k.
        """
        tables = self.input_tables()
        widths = sorted(_WIDTHS[name.upper()] for name in self.types if name.upper() in _WIDTHS)
        if tables is None or not widths:
            return None
        choices = itertools.product(widths, repeat=len(tables))
        return tuple(sorted(sum(n * w for n, w in zip(tables, chosen, strict=True)) for chosen in choices))

    def widest_host_bytes(self) -> float | None:
        """More cannot be input tables; f32, which norms and biases have, counts only where nothing else is."""
        sizes = self.host_sizes()
        tables = self.input_tables()
        if sizes is None or tables is None:
            return None
        matrices = [_WIDTHS[name.upper()] for name in self.types - {"f32"} if name.upper() in _WIDTHS]
        return sum(tables) * max(matrices) if matrices else sizes[-1]

    @property
    def slack_bytes(self) -> int:
        return ROUNDING_BYTES * max(1, self.host_lines)

    @property
    def host_explained(self) -> bool:
        return any(abs(self.host_bytes - size) <= self.slack_bytes for size in self.host_sizes() or ())

    @property
    def caches_complete(self) -> bool:
        """Each cache that was announced (windowed, recurrent) has told its own total."""
        wants_state = self.dimensions.get("ssm_d_state", 0) > 0
        return self.caches >= max(1, self.caches_announced) and self.states >= wants_state

    @property
    def expected_bytes(self) -> int | None:
        """All tensors of the file that are loaded, as far down as its printed size may have been rounded up."""
        return None if self.file_bytes is None else self.file_bytes - self.unused_bytes - FILE_SIZE_ROUNDING_BYTES


@dataclass(slots=True)
class Buffers:
    model: int | None = None
    kv: int | None = None
    compute: int | None = None


@dataclass(slots=True)
class VisionLoad:
    """One encoder of a projector file as it was loaded; a file with sound has two.

    Attributes:
        file_bytes: all tensors of the projector's file.
        gpu_compute: bytes of its compute buffer on a GPU.
        splits, splits_line: of its last schedule; trying flash attention first may have made more (clip.cpp, warmup).
    """

    device: str
    file_bytes: int | None = None
    gpu_compute: int = 0
    splits: int | None = None
    splits_line: LogLine | None = None

    @property
    def is_proven(self) -> bool:
        return is_gpu(self.device) and self.gpu_compute > 0 and self.splits is not None
