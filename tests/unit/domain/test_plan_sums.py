"""The sums of a plan: what is shown of it adds up to the byte, for both engines, short and fitting."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.planning.catalogue_rank import needed_on
from kotaro_bridge.domain.planning.plan import GgufPlanned, PlanCard, PlanRequest, free_needed, plan, stated_card
from kotaro_bridge.domain.planning.plan_llama import CUDA_CONTEXT_BYTES
from kotaro_bridge.domain.planning.plan_sums import plan_sums, verdict
from kotaro_bridge.domain.units import GIB, MIB
from tests.helpers.plan_rows import awq, gguf

LLAMA = PlanRequest(Engine.LLAMA_SERVER, 8192)
VLLM = PlanRequest(Engine.VLLM, 8192)
GREEDY = replace(VLLM, max_num_seqs=1024, max_num_batched_tokens=8192)  # takes more than its budget
DESKTOP = PlanCard("RTX 4070", 12_048 * MIB, 10_957 * MIB, (8, 9))
CARDS = [
    pytest.param(card, id=name)
    for name, card in {
        "desktop": DESKTOP,
        "full": replace(DESKTOP, free=50 * MIB),  # less than the reserve
        "large": replace(DESKTOP, total=32 * GIB, free=30 * GIB),
        "stated": stated_card(round(12.6 * GIB)),
        "tiny": stated_card(GIB // 4),
    }.items()
]


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("request_", [LLAMA, VLLM, GREEDY], ids=["llama", "vllm", "greedy"])
def test_parts_needed_free_and_missing_agree(card: PlanCard, request_: PlanRequest) -> None:
    found = plan(GgufPlanned(gguf("q14")) if request_ is LLAMA else awq("q14"), request_, card)
    sums = plan_sums(found, (card,))
    assert sums is not None
    assert sums.free - sums.needed == found.margin
    assert sums.needed == needed_on(card, found)
    assert sums.set_aside >= 0
    shown = found.total + sums.set_aside + sums.reserve
    fills = found.engine is Engine.VLLM and sums.needed <= sums.free
    assert shown == (sums.free if fills else sums.needed)


def test_what_has_to_be_free_is_what_the_gate_asks_for() -> None:
    for model, request_ in ((GgufPlanned(gguf("q14")), LLAMA), (awq("q14"), VLLM), (awq("q14"), GREEDY)):
        sums = plan_sums(plan(model, request_, DESKTOP), (DESKTOP,))
        assert sums is not None
        assert sums.needed == free_needed(plan(model, request_, None))


def test_the_context_that_vllm_makes_first_is_set_aside() -> None:
    stated, measured = (
        plan_sums(plan(awq("q14"), VLLM, card), (card,)) for card in (stated_card(DESKTOP.free), DESKTOP)
    )
    assert stated is not None
    assert measured is not None
    assert measured.set_aside - stated.set_aside == CUDA_CONTEXT_BYTES


def test_several_cards() -> None:
    cards = (replace(DESKTOP, free=6 * GIB), replace(DESKTOP, free=8 * GIB))
    layers = plan(GgufPlanned(gguf("q14")), replace(LLAMA, cards=2), cards)
    like_parts = plan(awq("q14"), replace(VLLM, cards=2), cards)
    by_layers, by_parts = plan_sums(layers, cards), plan_sums(like_parts, cards)
    assert by_layers is not None
    assert by_parts is not None
    assert by_layers.free - by_layers.needed == layers.margin
    assert by_parts.free - by_parts.needed == like_parts.margin
    assert by_parts.free == 12 * GIB  # vLLM cuts all alike: the card with the least room sets the share
    assert by_parts.set_aside >= 0


@pytest.mark.parametrize(
    ("request_", "card", "code"),
    [
        (LLAMA, stated_card(12 * GIB), "plan.verdict.fits"),
        (LLAMA, DESKTOP, "plan.verdict.fits_kept"),
        (VLLM, stated_card(14 * GIB), "plan.verdict.fits_vllm"),
        (VLLM, DESKTOP, "plan.verdict.missing"),
        (replace(LLAMA, context=40_000), stated_card(80 * GIB), "plan.verdict.too_long"),
    ],
)
def test_the_verdict(request_: PlanRequest, card: PlanCard, code: str) -> None:
    found = plan(GgufPlanned(gguf("q14")) if request_.engine is Engine.LLAMA_SERVER else awq("q14"), request_, card)
    sums = plan_sums(found, (card,))
    assert sums is not None
    assert verdict(found, sums).code == code
    assert plan_sums(plan(awq("q14"), VLLM, None), None) is None
