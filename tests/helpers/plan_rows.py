"""Every start that was measured on a card, beside what the plan says of it: for the tests, the bench and the README."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.model.gguf import GgufModel, read_gguf
from kotaro_bridge.domain.model.hf_config import decode_hf_config
from kotaro_bridge.domain.planning.plan import GgufPlanned, HfPlanned, Plan, PlanCard, PlanRequest, plan
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import GIB, MIB
from tests.helpers.gguf_header import Q05, Q1, Q7, Q14, Q32, qwen2_shape, reader

_DATA = Path(__file__).parents[1] / "data" / "measured"
MEASURED = _DATA / "llama-server-h100.jsonl"
TWO_CARDS = _DATA / "llama-server-2xh200.jsonl"
TOTAL = 81_079 * MIB
"""What an engine sees of the H100 (captures README, "Bases")."""
_H200 = 143_156 * MIB
_CAP = (9, 0)
_SHAPES = {"q05": Q05, "q15": Q1, "q7": Q7, "q14": Q14, "q32": Q32}
_SMALL = {"q05", "q15"}


@dataclass(frozen=True, slots=True)
class LlamaRow:
    """A start of llama-server that was whole on the card.

    Args:
        used_mib: nvidia-smi `memory.used` less what was in use before; after_mib: the same after the first long prompt,
            None where there was none.
    """

    name: str
    planned: GgufPlanned
    request: PlanRequest
    used_mib: int
    after_mib: int | None = None

    @property
    def found(self) -> Plan:
        return plan(self.planned, self.request, PlanCard("H100", TOTAL, TOTAL, _CAP, reserve=0))


@dataclass(frozen=True, slots=True)
class VllmRow:
    """A start of vLLM.

    Args:
        budget_mib: what its utilization stood for; kv_gib, tokens: what it then had for KV; used_mib: nvidia-smi.
        starts: whether it became ready.
    """

    name: str
    planned: HfPlanned
    request: PlanRequest
    budget_mib: float
    weights_gib: float
    kv_gib: float
    starts: bool
    tokens: int | None = None
    used_mib: int | None = None

    @property
    def found(self) -> Plan:
        """With exactly this budget: what the plan itself would leave free beside an overrun is added."""
        budget = round(self.budget_mib * MIB)
        more = max(0, plan(self.planned, self.request, None).overrun)
        return plan(self.planned, self.request, PlanCard("H100", TOTAL, budget + more, _CAP, reserve=0, all_ours=True))


@cache
def gguf(name: str) -> GgufModel:
    small = name in _SMALL
    types = ("F16", "F16") if name == "q05" else ("Q4_K", "Q6_K")
    header = qwen2_shape(*_SHAPES[name], vocab=151_936 if small else 152_064, types=types)
    return read_gguf(reader(header, 10**11), 10**11)


@cache
def awq(name: str) -> HfPlanned:
    layers, hidden, feed_forward, heads, kv_heads = _SHAPES[name]
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": hidden,
        "intermediate_size": feed_forward,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": 152_064,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    }
    return HfPlanned(decode_hf_config(json.dumps(config).encode()), name=name)


def llama_rows() -> tuple[LlamaRow, ...]:
    """Captures and README, then the file of further starts."""
    recorded = (json.loads(line) for line in MEASURED.read_text(encoding="utf-8").splitlines() if _whole(line))
    return (*_named_rows(), *(_recorded(row) for row in recorded))


def _named_rows() -> Iterator[LlamaRow]:
    shared = {"parallel": 4, "unified": True}  # the engine's own default, without -np
    for name, model, context, more, used in (
        ("full14", "q14", 8192, shared, 10_405),
        ("full14-lv4", "q14", 8192, shared, 10_405),
        ("full14-default-lv", "q14", 8192, shared, 10_405),
        ("full14-32k", "q14", 32_768, shared, 15_037),
        ("full14-np1", "q14", 8192, {}, 10_405),
        ("full7-8k", "q7", 8192, shared, 5_355),
        ("starve-ctx0", "q7", 5120, shared, 5_180),
        ("README, H200", "q7", 8192, {}, 5_359),
        ("README, H200", "q14", 8192, {}, 10_411),
        ("README, H200", "q32", 8192, {}, 21_365),
    ):
        request = PlanRequest(Engine.LLAMA_SERVER, context, **more)  # type: ignore[arg-type]
        yield LlamaRow(name, GgufPlanned(gguf(model), name=model), request, used)


def _whole(line: str) -> bool:
    return '"-fa"' not in line  # without flash attention: no profile can ask for it


def _recorded(row: dict[str, Any]) -> LlamaRow:
    unified = "-kvu" in row["extra"]
    request = PlanRequest(
        Engine.LLAMA_SERVER,
        row["context"] * (row["parallel"] if unified else 1),
        row["parallel"],
        KvType(row["kv"]),
        row["ubatch"],
        unified=unified,
    )
    planned = GgufPlanned(gguf(row["model"]), name=row["model"])
    before = row["before_mib"]
    return LlamaRow("measured, H100", planned, request, row["loaded_mib"] - before, row["after_request_mib"] - before)


@dataclass(frozen=True, slots=True)
class TwoCardRow:
    """A start of llama-server over two like cards; `used_mib`: what each of them had given at READY."""

    planned: GgufPlanned
    request: PlanRequest
    used_mib: tuple[int, ...]

    @property
    def found(self) -> Plan:
        card = PlanCard("H200", _H200, _H200, _CAP)
        return plan(self.planned, self.request, (card, card))


def two_card_rows() -> tuple[TwoCardRow, ...]:
    """Starts over two H200."""
    recorded = (json.loads(line) for line in TWO_CARDS.read_text(encoding="utf-8").splitlines())
    return tuple(
        TwoCardRow(
            GgufPlanned(gguf(row["model"]), name=row["model"]),
            PlanRequest(Engine.LLAMA_SERVER, row["context"], row["parallel"], KvType(row["kv"]), cards=2),
            tuple(row["taken_mib"]),
        )
        for row in recorded
    )


def vllm_rows() -> tuple[VllmRow, ...]:
    """The captures that came as far as measuring."""
    default = {"max_num_seqs": 1024, "max_num_batched_tokens": 8192}  # of vLLM 0.25 on a card of this size
    eager = {**default, "eager": True}

    def row(name: str, share: float, context: int, limits: dict[str, int], *said: Any, model: str = "q14") -> VllmRow:
        request = PlanRequest(Engine.VLLM, context, **limits)  # type: ignore[arg-type]
        return VllmRow(name, awq(model), request, share * TOTAL / MIB, *said)

    return (
        row("q14", 0.3, 8192, default, 9.53, 12.39, True, 67_648, 26_651),
        row("eager14_kill9", 0.3, 8192, eager, 9.53, 13.0, True, 71_008, 25_881),
        row("kvsmall", 0.15, 32_768, eager, 9.53, 1.13, False, 6_144),
        row("tiny", 0.05, 8192, eager, 9.53, -6.79, False, 0),
        row("p14awq_12g", 0.15, 8192, {}, 9.53, 0.63, False, 3_424),
        row("p32awq_24g", 0.29, 8192, {}, 18.49, 2.76, True, 11_296, 23_055, model="q32"),
    )


def percent(predicted: float, measured: float) -> float:
    """How far a prediction is off."""
    return (predicted / measured - 1) * 100


def lines() -> Iterator[tuple[str, ...]]:
    """The table of all rows: start, predicted, measured, difference."""
    for row in llama_rows():
        request, found = row.request, row.found.total / MIB
        asked = f"{row.planned.name} {request.context:,} × {request.parallel} {request.kv_type} ub {request.ubatch}"
        measured = row.after_mib or row.used_mib
        title = f"{row.name}: {asked}{' unified' if request.unified else ''}"
        yield title, f"{found:,.0f} MiB", f"{measured:,} MiB", f"{percent(found, measured):+.1f} %"
    for over in two_card_rows():
        for number, (size, taken) in enumerate(zip(over.found.per_card, over.used_mib, strict=True)):
            title = f"two H200, card {number}: {over.planned.name} {over.request.context:,}"
            yield title, f"{size / MIB:,.0f} MiB", f"{taken:,} MiB", f"{percent(size / MIB, taken):+.1f} %"
    for each in vllm_rows():
        plan_ = each.found
        title = f"vLLM {each.name}"
        weights, kv = plan_.weights.bytes / GIB, (plan_.available_kv or 0) / GIB
        off = percent(weights, each.weights_gib)
        yield f"{title}: weights", f"{weights:.2f} GiB", f"{each.weights_gib:.2f} GiB", f"{off:+.1f} %"
        yield f"{title}: KV cache", f"{kv:.2f} GiB", f"{each.kv_gib:.2f} GiB", f"{kv - each.kv_gib:+.2f} GiB"
        if each.tokens:
            tokens = round((plan_.max_concurrency or 0) * plan_.request.context)
            off = percent(tokens, each.tokens)
            yield f"{title}: tokens", f"{tokens:,}", f"{each.tokens:,}", f"{off:+.1f} %"
        if each.used_mib:
            used = plan_.total / MIB
            off = percent(used, each.used_mib)
            yield f"{title}: in use", f"{used:,.0f} MiB", f"{each.used_mib:,} MiB", f"{off:+.1f} %"
