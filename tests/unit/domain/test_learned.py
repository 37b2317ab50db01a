"""What earlier starts may change in the next plan, and what not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.model.hf_config import Experts
from kotaro_bridge.domain.model.safetensors import StoredTensor
from kotaro_bridge.domain.planning.learned import STARTS, Learned, Start, model_key, raised
from kotaro_bridge.domain.planning.plan import (
    Figure,
    GgufPlanned,
    Origin,
    Plan,
    PlannedModel,
    PlanRequest,
    free_needed,
    plan,
)
from kotaro_bridge.domain.planning.plan_llama import OVERHEAD_BYTES
from kotaro_bridge.domain.profile import KvType
from kotaro_bridge.domain.units import GIB, MIB
from tests.helpers.plan_rows import awq, gguf

LLAMA = PlanRequest(Engine.LLAMA_SERVER, 8192)
VLLM = PlanRequest(Engine.VLLM, 8192)
SEVEN = GgufPlanned(gguf("q7"))


def start(planned: PlannedModel, request: PlanRequest, found: Plan, *, beyond: int, more_compute: int = 0) -> Start:
    """A start as it was planned, but for these."""
    compute = found.compute.bytes + more_compute
    weights, kv = found.weights.bytes, found.kv.bytes
    return Start(model_key(planned), request, weights + kv + compute + beyond, weights, kv, compute)


def learned(*, beyond: int = 600 * MIB, more_compute: int = 0, count: int = 1) -> Learned:
    one = start(SEVEN, LLAMA, plan(SEVEN, LLAMA, None), beyond=beyond, more_compute=more_compute)
    return Learned((one,) * count)


def test_nothing_learned_changes_nothing() -> None:
    assert plan(SEVEN, LLAMA, None, Learned()) == plan(SEVEN, LLAMA, None)


def test_the_engines_own_compute_buffer_takes_the_formulas_place_up_and_down() -> None:
    for difference in (300 * MIB, -20 * MIB):
        logged = plan(SEVEN, LLAMA, None, learned(more_compute=difference)).compute
        assert logged.origin is Origin.MEASURED
        longer = replace(LLAMA, context=32_768)
        grown = plan(SEVEN, longer, None, learned(more_compute=difference)).compute.bytes
        assert grown - logged.bytes == 24 * MIB  # what the formula adds for the longer mask
        assert abs(logged.bytes - plan(SEVEN, LLAMA, None).compute.bytes - difference) < 20 * MIB


def test_another_graph_or_model_teaches_nothing_of_the_buffer() -> None:
    known = learned(more_compute=300 * MIB)
    for planned, request in (
        (SEVEN, replace(LLAMA, ubatch=1024)),
        (SEVEN, replace(LLAMA, kv_type=KvType.Q8_0)),
        (GgufPlanned(gguf("q14")), LLAMA),
        (GgufPlanned(gguf("q7"), 800 * MIB), LLAMA),
    ):
        assert plan(planned, request, None, known).compute == plan(planned, request, None).compute


def test_an_overhead_seen_from_outside_is_only_raised() -> None:
    """Programs that gave memory back while the model loaded must not make the next plan smaller."""
    assert plan(SEVEN, LLAMA, None, learned(beyond=100 * MIB, count=9)).overhead == Figure(
        OVERHEAD_BYTES, Origin.RECORDED
    )
    more = plan(GgufPlanned(gguf("q14")), LLAMA, None, learned(beyond=700 * MIB)).overhead
    assert more == Figure(700 * MIB, Origin.MEASURED)


def test_one_game_does_not_refuse_every_later_start() -> None:
    recorded = Figure(600, Origin.RECORDED)
    assert raised(recorded, [3 * GIB, 590, 580]) == recorded
    assert raised(recorded, [3 * GIB]).bytes == 600 + 512 * MIB
    assert raised(recorded, [*[500] * STARTS, *[900] * 20]) == recorded  # the newest count
    assert raised(recorded, []) == recorded


def test_several_cards_learn_nothing() -> None:
    two = replace(LLAMA, cards=2)
    assert plan(SEVEN, two, None, learned(beyond=900 * MIB)) == plan(SEVEN, two, None)
    two_of_vllm = replace(VLLM, cards=2)
    assert plan(awq("q14"), two_of_vllm, None, Learned((vllm_start(),))) == plan(awq("q14"), two_of_vllm, None)


def vllm_start(more: int = 1000 * MIB) -> Start:
    """A start of the 14B; `more`: bytes that its log does not name."""
    weights, kv, graphs = round(9.30 * GIB), round(2.0 * GIB), 200 * MIB
    taken = weights + kv + graphs + more
    return Start(model_key(awq("q14")), VLLM, taken, weights, kv, graphs, 13 * GIB)


def test_vllm_learns_weights_what_is_set_aside_and_graphs() -> None:
    found = plan(awq("q14"), VLLM, None, Learned((vllm_start(),)))
    assert found.weights == Figure(round(9.30 * GIB), Origin.MEASURED)
    set_aside = 13 * GIB - round(9.30 * GIB) - round(2.0 * GIB)
    assert found.needed_budget == round(9.30 * GIB) + set_aside + round(1.5 * GIB)
    assert found.compute.origin is Origin.MEASURED
    assert "plan.note.marlin" not in [note.code for note in found.notes]


def test_vllm_with_other_limits_learns_the_weights_alone() -> None:
    eager = replace(VLLM, eager=True)
    found = plan(awq("q14"), eager, None, Learned((vllm_start(),)))
    assert found.weights.origin is Origin.MEASURED
    assert found.compute == plan(awq("q14"), eager, None).compute
    assert plan(awq("q32"), VLLM, None, Learned((vllm_start(),))) == plan(awq("q32"), VLLM, None)
    longer = replace(VLLM, context=4096, parallel=2)
    assert plan(awq("q14"), longer, None, Learned((vllm_start(),))).compute.origin is Origin.MEASURED


def test_a_vllm_start_without_its_budget_teaches_the_rest() -> None:
    base = plan(awq("q14"), VLLM, None)
    without = plan(awq("q14"), VLLM, None, Learned((replace(vllm_start(), budget=None),)))
    assert base.needed_budget is not None
    assert without.needed_budget == base.needed_budget + without.weights.bytes - base.weights.bytes


def test_vllm_that_took_more_than_it_named_is_believed() -> None:
    found = plan(awq("q14"), VLLM, None, Learned((vllm_start(more=3 * GIB),)))
    assert found.overhead.origin is Origin.MEASURED
    assert found.overhead.bytes > plan(awq("q14"), VLLM, None).overhead.bytes


def test_models_are_told_apart_by_what_they_are_made_of() -> None:
    keys = [model_key(GgufPlanned(gguf(name))) for name in ("q7", "q14", "q15", "q05")]
    keys += [model_key(awq("q7")), model_key(awq("q14")), model_key(GgufPlanned(gguf("q7"), 5))]
    full = replace(awq("q7").model, quantization=None)
    keys.append(model_key(replace(awq("q7"), model=full)))
    assert len(set(keys)) == len(keys)
    assert model_key(GgufPlanned(gguf("q7"), name="elsewhere")) == model_key(SEVEN)


def test_models_of_a_config_that_differ_in_anything_teach_each_other_nothing() -> None:
    """The count of experts, what is left unpacked, tied embeddings and KV heads each decide bytes."""
    one = awq("q7")
    model, packing = one.model, one.model.quantization
    assert packing is not None
    experts = Experts(64, 8, 768, 0, (True,) * model.layers)
    others = [
        replace(model, experts=experts),
        replace(model, experts=replace(experts, count=128)),
        replace(model, quantization=replace(packing, excluded=("visual",))),
        replace(model, quantization=replace(packing, excluded=("visual", "lm_head"))),
        replace(model, tied_embeddings=not model.tied_embeddings),
        replace(model, kv_heads=(8,) * model.layers),
        replace(model, head_dim=64),
    ]
    planned = [one, *(replace(one, model=other) for other in others)]
    assert len({model_key(each) for each in planned}) == len(planned)
    with_files = replace(one, name="elsewhere", stored=(StoredTensor("a", "F16", (8,), 16),))
    assert model_key(with_files) == model_key(one)


def test_gguf_models_that_differ_in_anything_teach_each_other_nothing() -> None:
    model = gguf("q7")
    first = model.tensors[1]
    others = [
        replace(model, head_count_kv=(2,) * model.block_count),
        replace(model, key_length=64),
        replace(model, vocab_size=model.vocab_size + 1),
        replace(model, keys={**model.keys, "expert_used_count": 8}),
        replace(model, tensors=(model.tensors[0], replace(first, type="F16"), *model.tensors[2:])),
    ]
    keys = [model_key(GgufPlanned(each)) for each in (model, *others)]
    assert len(set(keys)) == len(keys)
    assert model_key(GgufPlanned(replace(model, name="another", data_offset=0))) == keys[0]


def test_a_model_has_the_same_key_in_the_next_run() -> None:
    """Python seeds `hash` anew in each run: a key that used it would forget all that was learned."""
    script = (
        "from tests.helpers.plan_rows import awq, gguf\n"
        "from kotaro_bridge.domain.planning.learned import model_key\n"
        "from kotaro_bridge.domain.planning.plan import GgufPlanned\n"
        "print(model_key(GgufPlanned(gguf('q7'))), model_key(awq('q7')))"
    )
    root = str(Path(__file__).parents[3])
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": root}
        told = subprocess.run(
            [sys.executable, "-c", script], env=environment, cwd=root, capture_output=True, text=True, check=True
        )
        assert told.stdout.split() == [model_key(SEVEN), model_key(awq("q7"))]


@given(st.lists(st.integers(-2 * GIB, 4 * GIB), max_size=12))
def test_no_growth_whatever_lowers_what_a_gate_asks_for(beyond: list[int]) -> None:
    base = plan(SEVEN, LLAMA, None)
    weights, kv, compute = base.weights.bytes, base.kv.bytes, base.compute.bytes
    starts = tuple(Start("another", LLAMA, weights + kv + compute + more, weights, kv, compute) for more in beyond)
    found = plan(SEVEN, LLAMA, None, Learned(starts))
    assert free_needed(base) <= free_needed(found) <= free_needed(base) + 512 * MIB
