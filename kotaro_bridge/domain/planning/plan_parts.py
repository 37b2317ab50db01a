"""What a plan is asked with and what it answers: plain values, in bytes and tokens.

Owns these types and nothing else. Computing is `plan_llama`'s and `plan_vllm`'s business, both asked through `plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.model.gguf import GgufModel
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import MIB

if TYPE_CHECKING:
    from kotaro_bridge.domain.model.hf_config import HfModel
    from kotaro_bridge.domain.model.safetensors import StoredTensor

RESERVE_BYTES = 128 * MIB
"""Kept free beside the model on a card that shows a desktop: a window that opens while the model loads must not push it
out. A choice, not a measurement; the recorded totals lie within 10 MiB of the plan.
"""


class Origin(StrEnum):
    """Where a figure comes from, the surest first."""

    MEASURED = "measured"
    """On this PC, at an earlier start."""
    HEADER = "header"
    """The sizes in the model's own files."""
    STATED = "stated"
    """The profile or the catalogue says so."""
    FORMULA = "formula"
    """Computed from the shape, by a formula that the engine follows or that holds in every recorded run."""
    RECORDED = "recorded"
    """The largest that was measured on other cards (captures and README: H100, H200)."""
    REST = "rest"
    """All that vLLM's budget leaves, as sure as what is set aside of it."""
    ESTIMATE = "estimate"
    """Nothing of the kind was measured; errs upwards."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Bytes, and where the figure comes from; of a sum, the least sure part."""

    bytes: int
    origin: Origin

    def __add__(self, other: Figure) -> Figure:
        less_sure = max(self.origin, other.origin, key=_SURENESS.__getitem__)
        return Figure(self.bytes + other.bytes, less_sure)


_SURENESS = {origin: place for place, origin in enumerate(Origin)}
NOTHING = Figure(0, Origin.MEASURED)


@dataclass(frozen=True, slots=True)
class PlanCard:
    """A card to plan for.

    Args:
        total: bytes as an engine sees them, without what the driver reserves (81,079 of 81,559 MiB in the captures).
        free: bytes free for us now, after Windows and WSL.
        compute_cap: such as (8, 9); None where not known.
        reserve: bytes of `free` that the plan leaves alone.
        all_ours: somebody named `free` as ours to the last byte: vLLM's CUDA context, which has to be free beside the
            budget that it grants itself, is no part of it.
    """

    name: str
    total: int
    free: int
    compute_cap: tuple[int, int] | None = None
    reserve: int = RESERVE_BYTES
    all_ours: bool = False

    @property
    def usable(self) -> int:
        """Bytes that a plan may fill; negative where less than the reserve is free, so that what is missing adds up."""
        return self.free - self.reserve


def planned_card(card: GpuSnapshot) -> PlanCard:
    """A card as the driver shows it. Where it does not tell what is free, nothing is.

    `total` of a snapshot counts what the driver keeps for itself, free and used do not, nor do engines.
    """
    total = card.total if card.free is None or card.used is None else min(card.total, card.free + card.used)
    major, _, minor = (card.compute_cap or "").partition(".")
    capability = (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
    return PlanCard(card.name, total, card.free or 0, capability)


def stated_card(free: int) -> PlanCard:
    """A card of which nothing is known but the bytes that are ours."""
    return PlanCard("", free, free, reserve=0, all_ours=True)


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is asked of the engine.

    Args:
        context: tokens of one request; parallel: requests at once, each with as much.
        ubatch: llama-server: tokens of one computation; swa_full: sliding-window layers keep the whole context;
            unified: all requests share one cache of `context` tokens (`-kvu`; our own command never asks for it).
        cards: how many the model is spread over.
        max_num_seqs, max_num_batched_tokens, eager: vLLM's options of these names.
        images: vLLM: a model with a vision tower takes pictures.
        uncovered: options that may change what pictures take, and that no figure counts.
    """

    engine: Engine
    context: int
    parallel: int = 1
    kv_type: KvType = KvType.AUTO
    ubatch: int = 512
    swa_full: bool = False
    unified: bool = False
    cards: int = 1
    max_num_seqs: int = 16
    max_num_batched_tokens: int = 2048
    eager: bool = False
    images: bool = True
    uncovered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GgufPlanned:
    """A GGUF model to plan. `projector_bytes`: all tensors of its projector, 0 without one."""

    model: GgufModel
    projector_bytes: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class HfPlanned:
    """A Hugging Face model to plan. Told apart by identity: what is summed from its tensors is kept for the next plan.

    Args:
        stored: the tensors of its safetensors files; None where only the config is there.
    """

    model: HfModel
    stored: tuple[StoredTensor, ...] | None = None
    name: str = ""


PlannedModel: TypeAlias = GgufPlanned | HfPlanned


@dataclass(frozen=True, slots=True)
class Plan:
    """What a start takes of the card, and whether that fits.

    Args:
        weights: on the card, a vision encoder's among them.
        kv: KV cache and recurrent state. llama-server: what it allocates. vLLM: what the requests need, or all that is
            left of the budget if that is more, since vLLM takes that.
        compute: buffers of the computation, CUDA graphs, a vision encoder's own; of several cards llama-server's
            copies for its pipeline too.
        overhead: CUDA context and libraries, which no log names; of every card.
        band_bytes: how far the total may be off, up or down, where nothing of the kind was measured; 0 otherwise.
        fits: whether it would start and serve what is asked, which no model does beyond the context that it was made
            for; None without a card.
        margin: bytes left beside the reserve, negative if they are missing; on the tightest of several cards. vLLM:
            left of the largest budget that the card allows, once the requests have what they need.
        max_context: the longest context of a request that fits, 0 if none does; None without a card.
        per_card: bytes of `total` on each card. layers: llama-server: layers on each of several cards, the output
            layer counted; none for one.
        budget: vLLM: bytes that the utilization stands for. needed_budget: the least that serves what is asked.
        utilization: vLLM: what to pass; available_kv: bytes that the budget leaves for KV; max_concurrency: how many
            requests of full length that holds. None for llama-server, or without a card.
        overrun: vLLM: bytes that a start takes beyond its budget, negative where it stays below.
        notes: what a reader of the figures has to know, as codes.
    """

    engine: Engine
    request: PlanRequest
    weights: Figure
    kv: Figure
    compute: Figure
    overhead: Figure
    band_bytes: int
    fits: bool | None
    margin: int | None
    max_context: int | None
    per_card: tuple[int, ...]
    layers: tuple[int, ...] = ()
    budget: int | None = None
    needed_budget: int | None = None
    utilization: float | None = None
    available_kv: int | None = None
    max_concurrency: float | None = None
    overrun: int = 0
    notes: tuple[Problem, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of VRAM in all, of all cards together."""
        return self.weights.bytes + self.kv.bytes + self.compute.bytes + self.overhead.bytes
