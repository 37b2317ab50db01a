"""The need estimate against what the real engine took (captures), and its edges."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.gguf import GgufModel, read_gguf
from kotaro_bridge.domain.kv_cache import ContextShape
from kotaro_bridge.domain.plan import gguf_need, kv_estimate, vllm_utilization
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import GIB, MIB
from tests.helpers.gguf_header import Q7, Q14, Q32, qwen2_shape, reader


def shape(of: tuple[int, int, int, int, int]) -> GgufModel:
    return read_gguf(reader(qwen2_shape(*of), 10**11), 10**11)


@pytest.mark.parametrize(
    ("of", "context", "kv_mib", "measured_mib", "above_mib"),
    [
        (Q14, 8192, 1536, 10405, 87),  # captures full14
        (Q14, 32768, 6144, 15037, 87),  # captures full14-32k
        (Q7, 8192, 448, 5355, 69),  # captures full7-8k
        (Q32, 8192, 2048, 21359, 5),  # one H200, v0.5.0-dev, 2026-11-21
    ],
)
def test_the_estimate_is_above_what_was_measured_by_little(
    of: tuple[int, int, int, int, int], context: int, kv_mib: int, measured_mib: int, above_mib: int
) -> None:
    need = gguf_need(shape(of), ContextShape(context), 0)
    assert need.kv == kv_mib * MIB
    assert round(need.total / MIB) - measured_mib == above_mib


def test_kv_types() -> None:
    model = shape(Q14)
    full = kv_estimate(model, ContextShape(8192))
    assert kv_estimate(model, ContextShape(8192, kv_type=KvType.BF16)) == full
    assert kv_estimate(model, ContextShape(8192, kv_type=KvType.Q8_0)) == full * 34 // 64
    assert kv_estimate(model, ContextShape(8192, kv_type=KvType.Q4_0)) == full * 18 // 64


def test_context_is_padded_and_each_request_has_its_own() -> None:
    model = shape(Q7)
    assert kv_estimate(model, ContextShape(8001)) == kv_estimate(model, ContextShape(8192))
    assert kv_estimate(model, ContextShape(4096, 3)) == 3 * kv_estimate(model, ContextShape(4096))


def test_layers_without_attention_hold_no_kv() -> None:
    model = shape(Q7)
    half = replace(model, head_count_kv=(4, 0) * 14)
    assert kv_estimate(half, ContextShape(4096)) * 2 == kv_estimate(model, ContextShape(4096))


def test_an_architecture_that_is_not_known_is_estimated_upwards() -> None:
    model = replace(shape(Q7), architecture="next-year", keys={"attention.key_length_swa": 256})
    assert kv_estimate(model, ContextShape(4096)) == 1.5 * kv_estimate(shape(Q7), ContextShape(4096))
    assert gguf_need(model, ContextShape(4096), 0).kv == kv_estimate(model, ContextShape(4096))
    odd = replace(model, keys={"attention.key_length_swa": (256,)})
    assert kv_estimate(odd, ContextShape(4096)) == kv_estimate(shape(Q7), ContextShape(4096))


def test_a_larger_micro_batch_takes_more() -> None:
    small, large = (gguf_need(shape(Q7), ContextShape(8192, ubatch=rows), 0) for rows in (512, 2048))
    assert large.overhead - small.overhead == 1536 * 2 * 8192


def test_a_projector_counts_with_its_compute_buffer() -> None:
    model = shape(Q7)
    with_it, without = (gguf_need(model, ContextShape(4096), size) for size in (800 * MIB, 0))
    assert with_it.weights - without.weights == 800 * MIB
    assert with_it.total - without.total == (800 + 512) * MIB


def test_a_part_of_a_model_is_not_estimated() -> None:
    with pytest.raises(ProblemError) as caught:
        gguf_need(replace(shape(Q7), split_count=3), ContextShape(4096), 0)
    assert (caught.value.problem.code, dict(caught.value.problem.params)) == ("plan.split_model", {"parts": 3})


def test_utilization() -> None:
    assert vllm_utilization(23_513 * MIB, 81_079 * MIB) == 0.291
    assert vllm_utilization(12 * GIB, 12 * GIB) == 1.0
    assert vllm_utilization(3 * GIB, 12 * GIB) == 0.25


def test_a_budget_above_the_card() -> None:
    with pytest.raises(ProblemError) as caught:
        vllm_utilization(13 * GIB, 12 * GIB)
    assert caught.value.problem.code == "plan.budget_over_total"
    assert dict(caught.value.problem.params) == {"budget_bytes": 13 * GIB, "total_bytes": 12 * GIB}


@given(st.integers(GIB, 200 * GIB).flatmap(lambda total: st.tuples(st.integers(1, total), st.just(total))))
def test_the_share_grants_the_budget_and_little_more(sizes: tuple[int, int]) -> None:
    budget, total = sizes
    share = vllm_utilization(budget, total)
    assert budget <= share * total * (1 + 1e-12)
    assert share * total < budget + total / 1000 + 1
    assert 0 < share <= 1
