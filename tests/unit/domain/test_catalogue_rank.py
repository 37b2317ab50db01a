"""Order and fit on cards of several sizes; the figures are the plan's, so the plan is asked here too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.planning.catalogue_rank import (
    LEAST_CONTEXT,
    CardNow,
    Fit,
    Ranked,
    Use,
    rank,
    ranked,
    request_for,
)
from kotaro_bridge.domain.planning.closable import closable
from kotaro_bridge.domain.planning.plan import plan
from kotaro_bridge.domain.planning.plan_parts import PlanCard
from kotaro_bridge.domain.planning.speed_forecast import BEST_SHARE, SpeedRange, forecast
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.host.catalogue_store import load_catalogue

RTX_4070 = CardNow(PlanCard("RTX 4070", 12_048 * MIB, 10_957 * MIB, (8, 9)), bandwidth=504e9)
RTX_4090 = CardNow(PlanCard("RTX 4090", 24_188 * MIB, 23_100 * MIB, (8, 9)), bandwidth=1008e9)


def by_id(found: tuple[Ranked, ...]) -> dict[str, Ranked]:
    return {each.entry.id: each for each in found}


def test_what_fits_now_comes_first_and_the_largest_of_it() -> None:
    found = rank(load_catalogue(), RTX_4070)
    assert len(found) == len(load_catalogue())
    fits = [each.fit for each in found]
    assert fits == sorted(fits, key=list(Fit).index)
    assert found[0].entry.id == "qwen2.5-14b-instruct-q4_k_m"
    assert found[0].fit is Fit.NOW


@pytest.mark.parametrize("now", [RTX_4070, RTX_4090], ids=["12 GB", "24 GB"])
def test_the_answer_is_the_plans(now: CardNow) -> None:
    for each in rank(load_catalogue(), now):
        found = plan(each.entry.planned, request_for(each.entry, Use.ONE), now.card)
        assert (each.fit is Fit.NOW) == found.fits, each.entry.id
        assert each.max_context == found.max_context, each.entry.id
        if each.found is not None:
            assert each.need_bytes == now.card.free - (found.margin or 0), each.entry.id
        if each.max_context and each.max_context < 32_768:
            longer = request_for(each.entry, Use.ONE, each.max_context + 512)
            assert not plan(each.entry.planned, longer, now.card).fits, each.entry.id


def test_measured_14b_in_12_gb() -> None:
    """The Q4_K_M took 10,405 MiB with 8,192 tokens (captures full14-np1): it fits; the AWQ at 8,192 does not."""
    found = by_id(rank(load_catalogue(), RTX_4070))
    assert found["qwen2.5-14b-instruct-q4_k_m"].max_context >= 8192
    assert found["qwen2.5-14b-instruct-awq"].fit is Fit.NO


def test_fits_only_after_closing_something() -> None:
    full = replace(RTX_4070, card=replace(RTX_4070.card, free=3 * GIB))
    assert all(each.fit is Fit.NO for each in rank(load_catalogue(), full))
    held = replace(full, closable_bytes=7 * GIB)
    found = by_id(rank(load_catalogue(), held))
    assert found["qwen2.5-7b-instruct-q8_0"].fit is Fit.AFTER_CLOSING
    assert found["qwen2.5-7b-instruct-q8_0"].max_context >= LEAST_CONTEXT
    assert found["qwen2.5-32b-instruct-q4_k_m"].fit is Fit.NO
    assert Fit.NOW not in {each.fit for each in found.values()}
    # More than the card has cannot become free.
    assert replace(full, closable_bytes=99 * GIB).closed.free == full.card.total


def test_an_engine_that_cannot_run_fits_nothing() -> None:
    llama = replace(RTX_4090, engines=frozenset({Engine.LLAMA_SERVER}))
    found = rank(load_catalogue(), llama)
    assert {each.entry.engine for each in found if each.fit is Fit.NOW} == {Engine.LLAMA_SERVER}


def test_pictures_need_eyes() -> None:
    found = rank(load_catalogue(), RTX_4070, Use.IMAGES)
    assert {each.entry.model for each in found} == {"minicpm-v-2.6"}
    # Where no pictures are asked for, a model that sees stands behind one of its size.
    order = [each.entry.model for each in rank(load_catalogue(), RTX_4070)]
    assert order.index("minicpm-v-2.6") > order.index("qwen2.5-7b-instruct")


def test_several_at_once_put_vllm_first_and_need_room_for_each() -> None:
    found = rank(load_catalogue(), RTX_4090, Use.PARALLEL)
    assert found[0].entry.engine is Engine.VLLM
    alone = by_id(rank(load_catalogue(), RTX_4070))["qwen2.5-7b-instruct-q8_0"]
    four = by_id(rank(load_catalogue(), RTX_4070, Use.PARALLEL))["qwen2.5-7b-instruct-q8_0"]
    assert four.max_context < alone.max_context


def test_a_game_keeps_half_of_the_card() -> None:
    beside = RTX_4090.for_use(Use.GAMES)
    assert beside.card.free == RTX_4090.card.free - RTX_4090.card.total // 2
    assert RTX_4090.for_use(Use.ONE) is RTX_4090
    assert rank(load_catalogue(), RTX_4090, Use.GAMES)[0].entry.id == "qwen2.5-14b-instruct-q4_k_m"
    nearly_full = replace(RTX_4070, card=replace(RTX_4070.card, free=GIB)).for_use(Use.GAMES)
    assert nearly_full.card.free == 0


def test_one_entry_with_more_tokens() -> None:
    entry = next(each for each in load_catalogue() if each.id == "qwen2.5-14b-instruct-q4_k_m")
    assert ranked(entry, RTX_4070).fit is Fit.NOW
    assert ranked(entry, RTX_4070, context=32_768).fit is Fit.NO


def test_speed_lies_between_what_was_measured_and_the_best_share() -> None:
    """The simulated RTX 4070 makes 38 tokens a second of a 14B Q4_K_M; an H100 made 140 (captures)."""
    read = 8_544_198_656
    here = forecast(Engine.LLAMA_SERVER, read, 504e9)
    assert here is not None
    assert here.low < 38 < here.high
    h100 = forecast(Engine.LLAMA_SERVER, read, 3.35e12)
    assert h100 is not None
    assert h100.low == pytest.approx(140, rel=0.03)
    assert h100.high == pytest.approx(BEST_SHARE * 3.35e12 / read)
    vllm = forecast(Engine.VLLM, 8_670_000_000, 3.35e12)
    assert vllm is not None
    assert vllm.low == pytest.approx(142, rel=0.03)


@pytest.mark.parametrize(("read", "bandwidth"), [(None, 504e9), (8 * GIB, None), (0, 504e9)])
def test_speed_that_cannot_be_told_is_not_told(read: int | None, bandwidth: float | None) -> None:
    assert forecast(Engine.VLLM, read, bandwidth) is None
    blind = replace(RTX_4070, bandwidth=None)
    assert all(each.speed is None for each in rank(load_catalogue(), blind))
    assert isinstance(rank(load_catalogue(), RTX_4070)[0].speed, SpeedRange)


def test_the_desktop_itself_cannot_be_closed() -> None:
    browser = Holder(HolderKind.PROCESS, "msedge.exe", 268 * MIB)
    ollama = Holder(HolderKind.OLLAMA, "qwen3:8b", 7 * GIB, "qwen3:8b")
    others = (
        Holder(HolderKind.PROCESS, "DWM.exe", 412 * MIB),
        Holder(HolderKind.PROCESS, "explorer.exe", 176 * MIB),
        Holder(HolderKind.DISTRO, "WSL (Debian)", None),
        Holder(HolderKind.PROCESS, "idle.exe", 0),
    )
    assert closable((ollama, *others, browser)) == (ollama, browser)
