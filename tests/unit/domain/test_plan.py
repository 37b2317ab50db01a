"""The planner's rules: what it counts, what it answers, and how its answers hang together."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.model.hf_config import decode_hf_config
from kotaro_bridge.domain.model.safetensors import StoredTensor
from kotaro_bridge.domain.planning.card_split import pipeline_bytes
from kotaro_bridge.domain.planning.plan import (
    RESERVE_BYTES,
    Figure,
    GgufPlanned,
    HfPlanned,
    Origin,
    PlanCard,
    PlanRequest,
    budget_needs,
    free_needed,
    plan,
    planned_card,
    request_of,
    stated_card,
    vllm_utilization,
)
from kotaro_bridge.domain.planning.plan_fit import longest_context
from kotaro_bridge.domain.planning.plan_llama import OVERHEAD_BYTES
from kotaro_bridge.domain.profile import KvType, Profile, VllmOptions
from kotaro_bridge.domain.units import GIB, MIB
from tests.helpers.plan_rows import awq, gguf

LLAMA = PlanRequest(Engine.LLAMA_SERVER, 8192)
VLLM = PlanRequest(Engine.VLLM, 8192)


def altered(name: str = "q7", **changes: Any) -> GgufPlanned:
    """A model of the captures with other values."""
    return GgufPlanned(replace(gguf(name), **changes))


def with_keys(**keys: int | tuple[int, ...]) -> GgufPlanned:
    model = gguf("q7")
    return GgufPlanned(replace(model, keys={**model.keys, **{k.replace("__", "."): v for k, v in keys.items()}}))


@cache
def hf(**changes: Any) -> HfPlanned:
    config = {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
    }
    return HfPlanned(decode_hf_config(json.dumps({**config, **changes}).encode()))


def compute(planned: GgufPlanned, request: PlanRequest = LLAMA) -> float:
    return plan(planned, request, None).compute.bytes / MIB


def test_each_figure_names_its_origin() -> None:
    found = plan(GgufPlanned(gguf("q7")), LLAMA, None)
    assert found.weights == Figure(gguf("q7").weights_on_gpu, Origin.HEADER)
    assert found.kv == Figure(448 * MIB, Origin.FORMULA)
    assert found.overhead == Figure(OVERHEAD_BYTES, Origin.RECORDED)
    assert found.total == sum(part.bytes for part in (found.weights, found.kv, found.compute, found.overhead))
    of_vllm = plan(awq("q14"), VLLM, None)
    assert (of_vllm.weights.origin, of_vllm.compute.origin) == (Origin.FORMULA, Origin.RECORDED)
    stored = (StoredTensor("model.embed_tokens.weight", "BF16", (8, 8), 128),)
    assert plan(replace(awq("q14"), stored=stored), VLLM, None).weights.origin is Origin.HEADER


def test_a_sum_is_as_sure_as_its_least_sure_part() -> None:
    assert Figure(1, Origin.HEADER) + Figure(2, Origin.ESTIMATE) == Figure(3, Origin.ESTIMATE)
    assert Figure(1, Origin.RECORDED) + Figure(2, Origin.FORMULA) == Figure(3, Origin.RECORDED)


def test_without_a_card_nothing_is_said_of_fitting() -> None:
    for found in (plan(GgufPlanned(gguf("q7")), LLAMA, None), plan(awq("q14"), VLLM, None)):
        assert (found.fits, found.margin, found.max_context, found.utilization, found.budget) == (None,) * 5
        assert found.per_card == (found.total,)


def test_kv_types_and_requests() -> None:
    planned = GgufPlanned(gguf("q14"))
    f16 = plan(planned, LLAMA, None).kv.bytes
    for kv_type, share in ((KvType.BF16, 64), (KvType.Q8_0, 34), (KvType.Q4_0, 18)):
        assert plan(planned, replace(LLAMA, kv_type=kv_type), None).kv.bytes == f16 * share // 64
    assert plan(planned, replace(LLAMA, parallel=3), None).kv.bytes == 3 * f16
    assert plan(planned, replace(LLAMA, parallel=3, unified=True), None).kv.bytes == f16


def test_a_cache_that_is_not_f16_is_unpacked_layer_by_layer() -> None:
    """Nothing to see while the feed-forward block needs more; 256 MiB for a 1.5B with 8 x 32,768 tokens (measured)."""
    long = replace(LLAMA, context=32_768, parallel=8, kv_type=KvType.Q8_0)
    assert (
        compute(GgufPlanned(gguf("q15")), long) - compute(GgufPlanned(gguf("q15")), replace(long, kv_type=KvType.F16))
        > 200
    )
    assert compute(GgufPlanned(gguf("q14")), replace(LLAMA, kv_type=KvType.Q8_0)) == compute(GgufPlanned(gguf("q14")))


def test_heads_without_flash_attention_keep_all_scores() -> None:
    odd = altered(key_length=100, value_length=100)
    scores = 4 * 28 * 8192 * 512 / MIB
    assert compute(odd) > compute(altered()) + scores - 132


def test_windows_have_a_mask_of_their_own() -> None:
    model = replace(gguf("q7"), architecture="gemma2", keys={**gguf("q7").keys, "attention.sliding_window": 4096})
    # 4,608 tokens of window and micro batch beside 8,192 of the others
    assert compute(GgufPlanned(model)) == pytest.approx(compute(altered()) + 4608 * 1024 / MIB, abs=0.01)


def test_experts_and_recurrent_blocks() -> None:
    sparse = with_keys(expert_used_count=8, expert_feed_forward_length=2048)
    assert compute(sparse) > compute(altered())
    mixtral = with_keys(expert_used_count=2)
    assert compute(mixtral) > compute(altered())
    recurrent = with_keys(ssm__inner_size=20_000)
    assert compute(recurrent) > compute(altered())
    per_layer = with_keys(feed_forward_length=(18_944,) * 28)
    assert compute(per_layer) == compute(altered())


def test_logits_count_where_they_are_more_than_the_rest() -> None:
    tiny = GgufPlanned(replace(with_keys(feed_forward_length=0).model, vocab_size=152_064))
    many = replace(LLAMA, parallel=200)
    assert compute(tiny, many) - compute(tiny, replace(many, parallel=1)) > 0


def test_matrices_that_are_not_quantized_bring_cublas() -> None:
    assert plan(GgufPlanned(gguf("q05")), LLAMA, None).compute.bytes > 94 * MIB > compute(GgufPlanned(gguf("q15")))


def test_an_architecture_that_is_not_known_is_estimated_upwards() -> None:
    strange = replace(gguf("q7"), architecture="next-year", keys={**gguf("q7").keys, "attention.key_length_swa": 256})
    found = plan(GgufPlanned(strange), LLAMA, None)
    assert found.kv == Figure(448 * MIB * 3 // 2, Origin.ESTIMATE)
    assert [note.code for note in found.notes] == ["plan.note.architecture"]


def test_a_projector_counts_with_its_buffer_and_its_band() -> None:
    plain, sees = GgufPlanned(gguf("q7")), GgufPlanned(gguf("q7"), 800 * MIB)
    found, without = plan(sees, LLAMA, None), plan(plain, LLAMA, None)
    assert found.total - without.total == (800 + 512) * MIB
    assert found.band_bytes - without.band_bytes == 512 * MIB
    assert [note.code for note in found.notes] == ["plan.note.projector"]
    larger = replace(LLAMA, uncovered=("--image-max-tokens",))
    assert [note.code for note in plan(sees, larger, None).notes] == ["plan.note.projector", "plan.note.uncovered"]
    assert plan(plain, larger, None).notes == without.notes, "without pictures it changes nothing"


def test_what_cannot_be_planned() -> None:
    for model, request, code in (
        (altered(split_count=3), LLAMA, "plan.split_model"),
        (altered(), VLLM, "plan.engine"),
        (awq("q14"), LLAMA, "plan.engine"),
    ):
        with pytest.raises(ProblemError) as caught:
            plan(model, request, None)
        assert caught.value.problem.code == code


def test_a_context_that_the_model_was_not_made_for_does_not_start() -> None:
    card = stated_card(80 * GIB)
    for model, request in ((altered(), LLAMA), (awq("q14"), VLLM)):
        found = plan(model, replace(request, context=40_000), card)
        assert found.fits is False
        assert found.margin is not None
        assert found.margin > 0
        assert found.max_context == 32_768
        assert "plan.note.beyond_training" in [note.code for note in found.notes]
    unknown = plan(altered(context_length=0), LLAMA, card)
    assert (unknown.fits, unknown.max_context) == (True, 8192)


def test_a_measured_card_keeps_a_reserve_and_a_stated_one_none() -> None:
    measured, stated = PlanCard("RTX", 12 * GIB, 11 * GIB), stated_card(11 * GIB)
    ours, theirs = (plan(altered(), LLAMA, card) for card in (measured, stated))
    assert theirs.margin is not None
    assert ours.margin == theirs.margin - RESERVE_BYTES
    assert free_needed(ours) == ours.total + RESERVE_BYTES
    of_vllm = plan(awq("q14"), VLLM, PlanCard("RTX", 24 * GIB, 16 * GIB))
    assert of_vllm.needed_budget is not None
    assert free_needed(of_vllm) == budget_needs(of_vllm.needed_budget)
    assert of_vllm.budget == 16 * GIB - RESERVE_BYTES - 527 * MIB


def test_what_overruns_its_budget_has_to_be_free_too() -> None:
    request = replace(VLLM, max_num_seqs=1024, max_num_batched_tokens=8192)
    found = plan(awq("q14"), request, None)
    assert free_needed(found) == found.total + RESERVE_BYTES
    assert free_needed(plan(awq("q14"), request, stated_card(80 * GIB))) == free_needed(found)


def test_the_band_is_for_cards_that_were_not_measured() -> None:
    known, other = PlanCard("H100", 80 * GIB, 80 * GIB, (9, 0)), PlanCard("RTX", 80 * GIB, 80 * GIB, (8, 9))
    assert plan(altered(), LLAMA, known).band_bytes == 0
    assert plan(altered(), LLAMA, other).band_bytes == 128 * MIB
    marlin = [plan(awq("q14"), VLLM, card) for card in (known, other)]
    assert [round(found.band_bytes / GIB, 2) for found in marlin] == [0.15, 0.5]
    assert [[note.code for note in found.notes] for found in marlin] == [[], ["plan.note.marlin"]]


def test_two_cards() -> None:
    card = PlanCard("RTX", 12 * GIB, 12 * GIB)
    two = replace(LLAMA, cards=2)
    found = plan(GgufPlanned(gguf("q32")), two, (card, card))
    assert plan(GgufPlanned(gguf("q32")), LLAMA, card).fits is False
    assert found.fits
    assert len(found.per_card) == len(found.layers) == 2
    assert found.margin == min(card.usable - size for size in found.per_card)
    assert found.overhead.bytes == 2 * OVERHEAD_BYTES
    assert "plan.note.cards" not in [note.code for note in found.notes], "two H200 were measured (README)"
    assert plan(GgufPlanned(gguf("q32")), two, None).fits is None
    larger = PlanCard("RTX", 16 * GIB, 16 * GIB)
    shared = plan(awq("q32"), replace(VLLM, cards=2), (larger, larger))
    assert shared.fits
    assert shared.per_card[0] == shared.total // 2
    assert shared.utilization is not None
    assert shared.utilization <= 1
    assert "plan.note.cards" in [note.code for note in shared.notes]


@pytest.mark.parametrize("cards", [1, 2, 3])
def test_the_total_is_what_the_cards_hold(cards: int) -> None:
    """The copies that llama-server keeps for its pipeline are in the total too."""
    for projector in (0, 800 * MIB):
        found = plan(GgufPlanned(gguf("q14"), projector), replace(LLAMA, cards=cards), (stated_card(16 * GIB),) * cards)
        assert found.total == sum(found.per_card)
    alone = plan(GgufPlanned(gguf("q14")), LLAMA, None).compute.bytes
    pipeline = pipeline_bytes(gguf("q14").embedding_length, LLAMA.ubatch, LLAMA.context) if cards > 1 else 0
    found = plan(GgufPlanned(gguf("q14")), replace(LLAMA, cards=cards), None)
    assert found.compute.bytes == pytest.approx(cards * (alone + pipeline), abs=1024)


def test_kv_that_fills_the_budget_is_the_rest_of_it() -> None:
    assert plan(awq("q14"), VLLM, stated_card(24 * GIB)).kv.origin is Origin.REST
    assert plan(awq("q14"), VLLM, stated_card(10 * GIB)).kv.origin is Origin.FORMULA


def test_vllm_kv_of_other_attention() -> None:
    full = plan(hf(), VLLM, None).kv.bytes
    assert full == 8192 * 28 * 2 * 4 * 128 * 2
    assert plan(hf(), replace(VLLM, kv_type=KvType.FP8), None).kv.bytes == full // 2
    assert plan(hf(), replace(VLLM, context=8190), None).kv.bytes == full  # whole blocks
    assert plan(hf(), replace(VLLM, cards=8), None).kv.bytes == 2 * full  # a KV head is never cut
    model = replace(hf().model, windowed=(True,) * 14 + (False,) * 14, sliding_window=1024)
    assert plan(HfPlanned(model), VLLM, None).kv.bytes == full // 2 + full // 2 * 3072 // 8192
    from kotaro_bridge.domain.model.hf_config import Mla

    latent = replace(hf().model, mla=Mla(512, None, 64, 128, 128))
    assert plan(HfPlanned(latent), VLLM, None).kv.bytes == 8192 * 28 * 576 * 2


def test_vllm_with_experts_takes_their_width() -> None:
    from kotaro_bridge.domain.model.hf_config import Experts

    experts = Experts(64, 8, 8192, 0, (True,) * 28)
    sparse = replace(hf().model, family="qwen3_moe", experts=experts)
    batch = replace(VLLM, max_num_batched_tokens=8192)
    assert plan(HfPlanned(sparse), batch, None).compute.bytes > plan(hf(), batch, None).compute.bytes


def test_eager_mode_has_no_graphs() -> None:
    graphs, eager = plan(awq("q14"), VLLM, None), plan(awq("q14"), replace(VLLM, eager=True), None)
    assert graphs.compute.bytes - eager.compute.bytes > 100 * MIB
    assert graphs.needed_budget is not None
    assert eager.needed_budget is not None
    assert graphs.needed_budget > eager.needed_budget


def test_a_picture_encoder_is_an_estimate_and_says_so() -> None:
    from kotaro_bridge.domain.model.hf_vision import VisionTower

    tower = VisionTower(486_411_504, 27, 1152, 16, 4304, 14, 448, 9, 640)
    minicpm = HfPlanned(replace(hf().model, vision=tower))
    found, blind = (plan(minicpm, replace(VLLM, images=images), None) for images in (True, False))
    assert found.needed_budget is not None
    assert blind.needed_budget is not None
    assert 1 * GIB < found.needed_budget - blind.needed_budget < 2 * GIB
    assert found.band_bytes - blind.band_bytes == 1 * GIB
    assert [note.code for note in found.notes] == ["plan.note.vision"]
    cropped = plan(minicpm, replace(VLLM, uncovered=("--mm-processor-kwargs",)), None)
    assert cropped.notes[-1].params["names"] == "--mm-processor-kwargs"
    any_size = HfPlanned(replace(hf().model, vision=replace(tower, image_size=None, tokens_per_image=None)))
    assert (plan(any_size, VLLM, None).needed_budget or 0) > found.needed_budget


def test_options_of_pictures_that_no_figure_counts_are_known() -> None:
    words = ("--mm_processor_kwargs={}", "--seed", "1")
    vllm = Profile("t", Engine.VLLM, "v", "~/m", "m", 4096, 8000, extra_args=words)
    assert request_of(vllm).uncovered == ("--mm-processor-kwargs",)
    llama = Profile("t", Engine.LLAMA_SERVER, "l", "~/m", "m", 4096, 8080, extra_args=("--image-max-tokens", "9"))
    assert request_of(llama).uncovered == ("--image-max-tokens",)


def test_a_profile_asks_what_its_command_asks() -> None:
    profile = Profile(
        title="t", engine=Engine.VLLM, executable="vllm", model="~/m", served_name="m", context=4096, port=8000,
        parallel=32, kv_type=KvType.FP8, gpus=(0, 1), extra_args=("--enforce-eager",),
        vllm=VllmOptions(max_num_seqs=16, max_num_batched_tokens=4096, images=True),
    )  # fmt: skip
    assert request_of(profile) == PlanRequest(
        Engine.VLLM, 4096, 32, KvType.FP8, cards=2, max_num_seqs=32, max_num_batched_tokens=4096, eager=True
    )


def test_a_driver_that_tells_little() -> None:
    card = planned_card(GpuSnapshot(0, "GPU-1", "RTX", 12 * GIB))
    assert card == PlanCard("RTX", 12 * GIB, 0, None)


def test_utilization() -> None:
    assert vllm_utilization(23_513 * MIB, 81_079 * MIB) == 0.291
    assert vllm_utilization(12 * GIB, 12 * GIB) == 1.0
    with pytest.raises(ProblemError) as caught:
        vllm_utilization(13 * GIB, 12 * GIB)
    assert caught.value.problem.code == "plan.budget_over_total"


@given(st.integers(GIB, 200 * GIB).flatmap(lambda total: st.tuples(st.integers(1, total), st.just(total))))
def test_the_share_grants_the_budget_and_little_more(sizes: tuple[int, int]) -> None:
    budget, total = sizes
    share = vllm_utilization(budget, total)
    assert budget <= share * total * (1 + 1e-12)
    assert share * total < budget + total / 1000 + 1
    assert 0 < share <= 1


REQUESTS = st.builds(
    PlanRequest,
    st.just(Engine.LLAMA_SERVER),
    st.integers(256, 32_768),
    st.integers(1, 8),
    st.sampled_from([KvType.AUTO, KvType.Q8_0, KvType.Q4_0]),
    st.sampled_from([128, 512, 2048]),
)


@given(REQUESTS, st.integers(0, 8192), st.integers(4, 30))
def test_more_context_never_needs_less(request_: PlanRequest, more: int, free_gib: int) -> None:
    for model, asked in (
        (GgufPlanned(gguf("q7")), request_),
        (awq("q14"), replace(request_, engine=Engine.VLLM, kv_type=KvType.AUTO)),
    ):
        short = plan(model, asked, stated_card(free_gib * GIB))
        long = plan(model, replace(asked, context=asked.context + more), stated_card(free_gib * GIB))
        assert short.margin is not None
        assert long.margin is not None
        assert long.margin <= short.margin
        assert free_needed(long) >= free_needed(short)
        assert short.max_context == long.max_context


@given(REQUESTS, st.integers(4 * GIB, 30 * GIB))
def test_the_longest_context_is_the_largest_that_fits(request_: PlanRequest, free: int) -> None:
    for model, asked, step in (
        (GgufPlanned(gguf("q7")), request_, 256),
        (awq("q14"), replace(request_, engine=Engine.VLLM, kv_type=KvType.AUTO), 16),
    ):
        longest = plan(model, asked, stated_card(free)).max_context
        assert longest is not None
        if longest:
            assert plan(model, replace(asked, context=longest), stated_card(free)).fits
        if longest < 32_768:
            assert plan(model, replace(asked, context=longest + step), stated_card(free)).fits is False


@given(st.integers(1, 5000), st.integers(0, 6000), st.sampled_from([1, 16, 256]))
def test_the_search_finds_the_limit(limit: int, room: int, step: int) -> None:
    found = longest_context(lambda context: context <= room, limit, step)
    wanted = limit if limit <= room else max((n for n in range(0, limit, step) if n <= room), default=0)
    assert found == wanted
