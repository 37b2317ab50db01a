"""Which engine is advised, why, and what is offered where a common recommendation does not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.model.catalogue import CatalogueEntry
from kotaro_bridge.domain.planning.advice import Objection, advise, engine_limits, for_entry, objection
from kotaro_bridge.domain.planning.catalogue_rank import CardNow, Fit, Use, request_for
from kotaro_bridge.domain.planning.plan import plan
from kotaro_bridge.domain.planning.plan_parts import PlanCard, stated_card
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.host.catalogue_store import load_catalogue
from kotaro_bridge.texts import Texts

RTX_4070 = CardNow(PlanCard("RTX 4070", 12_048 * MIB, 10_957 * MIB, (8, 9)), bandwidth=504e9)
RTX_4080 = CardNow(PlanCard("RTX 4080", 16_140 * MIB, 15_000 * MIB, (8, 9)), bandwidth=717e9)
RTX_4090 = CardNow(PlanCard("RTX 4090", 24_188 * MIB, 23_100 * MIB, (8, 9)), bandwidth=1008e9)


def entry(entry_id: str) -> CatalogueEntry:
    return next(each for each in load_catalogue() if each.id == entry_id)


def figure(what: Problem, name: str) -> int:
    value = what.params[name]
    assert isinstance(value, int)
    return value


def against(found: Objection | None) -> Objection:
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("now", "use", "engine", "reason"),
    [
        (RTX_4090, Use.ONE, Engine.LLAMA_SERVER, "advice.one"),
        (RTX_4090, Use.PARALLEL, Engine.VLLM, "advice.parallel"),
        (RTX_4070, Use.PARALLEL, Engine.VLLM, "advice.parallel"),
        (RTX_4090, Use.GAMES, Engine.LLAMA_SERVER, "advice.games"),
        (RTX_4090, Use.IMAGES, Engine.VLLM, "advice.images"),
        (RTX_4070, Use.IMAGES, Engine.LLAMA_SERVER, "advice.images"),
    ],
)
def test_each_use_has_its_engine(now: CardNow, use: Use, engine: Engine, reason: str) -> None:
    found = advise(load_catalogue(), now, use)
    assert found.engine is engine
    assert found.reasons[0].code == reason
    assert found.offers
    assert {offer.entry.engine for offer in found.offers} == {engine}
    assert all(offer.fit is Fit.NOW for offer in found.offers)
    assert len({offer.entry.model for offer in found.offers}) == len(found.offers)


def test_vllm_wants_a_new_driver() -> None:
    limits = engine_limits("566.36", (8, 9))
    assert list(limits) == [Engine.VLLM]
    assert limits[Engine.VLLM].code == "advice.driver_too_old"
    found = advise(load_catalogue(), RTX_4090, Use.PARALLEL, limits)
    assert found.engine is Engine.LLAMA_SERVER
    assert limits[Engine.VLLM] in found.reasons
    assert {offer.entry.engine for offer in found.offers} == {Engine.LLAMA_SERVER}


@pytest.mark.parametrize(
    ("driver", "capability", "limited"),
    [
        ("580.88", (8, 9), set()),
        (None, None, set()),
        ("odd", (7, 5), set()),
        ("580.88", (6, 1), {Engine.VLLM}),
        ("580.88", (3, 5), {Engine.VLLM, Engine.LLAMA_SERVER}),
        ("470.10", (8, 9), {Engine.VLLM, Engine.LLAMA_SERVER}),
    ],
)
def test_what_driver_and_card_allow(
    driver: str | None, capability: tuple[int, int] | None, limited: set[Engine]
) -> None:
    assert set(engine_limits(driver, capability)) == limited


def test_a_card_that_no_engine_runs_on_is_told_why() -> None:
    limits = engine_limits("470.10", (8, 9))
    found = advise(load_catalogue(), RTX_4070, Use.ONE, limits)
    assert found.engine is None
    assert list(found.reasons) == list(limits.values())
    assert found.offers == ()


def test_where_only_the_other_engine_has_something_that_fits() -> None:
    """6.5 GiB: the smallest for vLLM needs more, a 7B Q4_K_M does not."""
    small = replace(RTX_4070, card=PlanCard("small", 8 * GIB, round(6.5 * GIB), (8, 6)))
    found = advise(load_catalogue(), small, Use.PARALLEL)
    assert found.engine is Engine.LLAMA_SERVER
    assert found.reasons[0].code == "advice.only_fits"


def test_offers_after_closing_where_nothing_fits_now() -> None:
    held = replace(RTX_4070, card=replace(RTX_4070.card, free=3 * GIB), closable_bytes=7 * GIB)
    found = advise(load_catalogue(), held, Use.ONE)
    assert found.engine is Engine.LLAMA_SERVER
    assert {offer.fit for offer in found.offers} == {Fit.AFTER_CLOSING}
    nothing = advise(load_catalogue(), replace(held, closable_bytes=0), Use.IMAGES)
    assert (nothing.engine, nothing.offers) == (Engine.LLAMA_SERVER, ())


def test_14b_awq_at_8192_on_12_gb_is_answered_with_what_fits() -> None:
    (found,) = advise(load_catalogue(), RTX_4070, Use.ONE).objections
    assert found.entry.id == "qwen2.5-14b-instruct-awq"
    assert found.said is not None
    assert dict(found.said.params) == {"name": found.entry.name, "context": 8192, "card_gib": 12}
    assert found.why.code in ("advice.too_large", "advice.far_too_large")
    assert figure(found.why, "need_bytes") > RTX_4070.card.total
    same = found.instead[0]
    assert same.code == "advice.instead_same"
    assert same.params["name"] == "Qwen2.5 14B Instruct Q4_K_M"
    # What is offered is what the plan says, not a figure kept somewhere.
    offered = entry("qwen2.5-14b-instruct-q4_k_m")
    assert plan(offered.planned, request_for(offered, Use.ONE, 8192), RTX_4070.card).fits
    assert figure(same, "longest") >= 8192


def test_7b_fp16_at_8192_on_16_gb_is_answered_with_what_fits() -> None:
    (found,) = advise(load_catalogue(), RTX_4080, Use.ONE).objections
    assert found.entry.id == "qwen2.5-7b-instruct-fp16"
    assert found.instead[0].params["name"] == "Qwen2.5 7B Instruct Q8_0"


def test_nothing_is_objected_where_it_holds_or_nobody_says_it() -> None:
    assert advise(load_catalogue(), RTX_4090, Use.ONE).objections == ()
    assert advise(load_catalogue(), RTX_4070, Use.IMAGES).objections == ()
    assert objection(load_catalogue(), entry("qwen2.5-14b-instruct-awq"), 8192, RTX_4090) is None
    # Said of 16 GB, and true of a card that has a little more.
    roomy = CardNow(PlanCard("roomy", round(17.5 * GIB), round(17.5 * GIB), (8, 9)))
    assert advise(load_catalogue(), roomy, Use.ONE).objections == ()
    limited = engine_limits("566.36", (8, 9))
    assert advise(load_catalogue(), RTX_4070, Use.ONE, limited).objections == ()


def test_too_long_a_context_has_a_shorter_one() -> None:
    found = against(objection(load_catalogue(), entry("qwen2.5-32b-instruct-awq"), 16_384, RTX_4090))
    assert found.said is None
    assert found.why.code == "advice.too_large"
    assert 0 < figure(found.why, "longest") < 16_384
    codes = [each.code for each in found.instead]
    assert codes == ["advice.instead_other", "advice.instead_shorter"]
    assert 1024 <= figure(found.instead[1], "context") < 16_384


def test_a_full_card_is_told_apart_from_a_small_one() -> None:
    full = replace(RTX_4090, card=replace(RTX_4090.card, free=9 * GIB))
    found = against(objection(load_catalogue(), entry("qwen2.5-14b-instruct-q8_0"), 8192, full))
    assert found.why.code == "advice.too_full"
    assert figure(found.why, "free_bytes") == 9 * GIB
    assert found.instead == () or found.instead[0].code == "advice.instead_other"


def test_what_sees_is_not_replaced_by_what_does_not() -> None:
    found = against(objection(load_catalogue(), entry("minicpm-v-2.6-fp16"), 8192, RTX_4070))
    assert found.instead[0].code == "advice.instead_same"
    assert str(found.instead[0].params["name"]).startswith("MiniCPM-V 2.6")


@pytest.mark.parametrize("now", [RTX_4070, RTX_4080, CardNow(stated_card(12 * GIB))])
def test_what_is_offered_needs_less_than_is_free(now: CardNow) -> None:
    """Also on a card that is ours to the last byte, where a plan keeps nothing back."""
    found = against(objection(load_catalogue(), entry("qwen2.5-14b-instruct-q8_0"), 4096, now))
    assert figure(found.why, "need_bytes") > now.card.free
    assert found.instead
    assert figure(found.instead[0], "need_bytes") <= now.card.free


def test_files_decide_the_engine() -> None:
    assert for_entry(entry("qwen2.5-7b-instruct-q8_0")).code == "advice.gguf"
    assert for_entry(entry("qwen2.5-7b-instruct-awq")).code == "advice.safetensors"


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_sentence_is_whole(language: str) -> None:
    texts = Texts(language)
    said = [advise(load_catalogue(), now, use) for now in (RTX_4070, RTX_4080) for use in Use]
    said.append(advise(load_catalogue(), RTX_4070, Use.ONE, engine_limits("470.10", (3, 5))))
    problems = [reason for advice in said for reason in advice.reasons]
    for advice in said:
        for each in advice.objections:
            assert each.said is not None
            problems += [each.said, each.why, *each.instead]
    for problem in problems:
        what = texts.message(problem).what
        assert what != problem.code
        assert "?" not in what
        assert "{" not in what
