"""What earlier starts on this PC teach the next plan.

Owns which figure may replace which. The rule keeps a learned figure from weakening the promise:

- What the engine's own log said of the same model (weights, compute buffer, what vLLM set aside) is exact, and engine,
  version, card and driver are the same: it takes the formula's place, up or down.
- What was only seen from outside, the growth of the card's used memory beyond what the log names, is as wrong as other
  programs made it: one that gave 300 MiB back while we loaded makes it 300 MiB too small. So it never lowers the
  overhead that was measured elsewhere, it only raises it: by the median of the newest starts, since a game that was
  opened meanwhile must not refuse every later start, and by no more than `_MOST_MORE`, for the same reason.

The gate still takes the larger of this and what a profile states, and the proof still comes after it.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kotaro_bridge.domain.planning.plan_parts import Figure, GgufPlanned, Origin, PlannedModel, PlanRequest
from kotaro_bridge.domain.units import MIB

STARTS = 9
"""How many of the newest starts count."""
_MOST_MORE = 512 * MIB


@dataclass(frozen=True, slots=True)
class Start:
    """One proved start. Bytes.

    Args:
        model: see `model_key`.
        vram: growth of the card's used memory.
        weights, kv: by the engine's log; compute: llama-server's compute buffers, vLLM's CUDA graphs.
        budget: vLLM: what its utilization stood for.
    """

    model: str
    request: PlanRequest
    vram: int
    weights: int
    kv: int
    compute: int
    budget: int | None = None

    @property
    def beyond(self) -> int:
        """What no line of the log names."""
        return self.vram - self.weights - self.kv - self.compute


@dataclass(frozen=True, slots=True)
class Learned:
    """Starts on this PC, the newest first: of one engine in one version, on one card with one driver."""

    starts: tuple[Start, ...] = ()

    def of(self, model: str, alike: Callable[[PlanRequest], bool]) -> tuple[Start, ...]:
        """Those of a model whose request is alike."""
        return tuple(start for start in self.starts if start.model == model and alike(start.request))


def model_key(planned: PlannedModel) -> str:
    """Tells models apart by all that decides what they take, wherever their files are and whatever they are called.

    A digest, the same in every run: two models that differ in anything must not teach each other. Of a Hugging Face
    model the config alone counts, since a start plans without the headers of its files.
    """
    made_of = _of_gguf(planned) if isinstance(planned, GgufPlanned) else planned.model
    return hashlib.sha256(repr(made_of).encode()).hexdigest()


def _of_gguf(planned: GgufPlanned) -> tuple[object, ...]:
    model, by_type = planned.model, Counter[str]()
    for tensor in model.tensors:
        by_type[tensor.type] += tensor.bytes
    shape = (
        model.architecture,
        model.block_count,
        model.head_count,
        model.head_count_kv,
        model.key_length,
        model.value_length,
        model.embedding_length,
        model.vocab_size,
    )
    tables = (sorted(model.keys.items()), sorted(by_type.items()), model.weights_on_gpu)
    return (shape, tables, planned.projector_bytes)


def raised(recorded: Figure, beyond: Iterable[int]) -> Figure:
    """The overhead: what was recorded elsewhere, or more where the starts here took more."""
    seen = tuple(beyond)[:STARTS]
    middle = round(statistics.median(seen)) if seen else 0
    if middle <= recorded.bytes:
        return recorded
    return Figure(min(middle, recorded.bytes + _MOST_MORE), Origin.MEASURED)
