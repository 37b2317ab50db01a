"""What a gate asks for: the larger of plan and profile; for vLLM also what it is then given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan import GgufPlanned, budget_needs, free_needed, plan, request_of
from kotaro_bridge.domain.profile import VramNeed
from kotaro_bridge.domain.run.gate import UNASKED, CheckId, Need
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.service.gatekeeper import Gatekeeper
from kotaro_bridge.service.needs import Needs
from tests.helpers.machine import LLAMA, MODEL, VLLM, Machine
from tests.helpers.plan_rows import awq

FOLDER = msgspec.structs.replace(VLLM, model="~/models/Q14", need=None)
SMALL = VramNeed(vram_mib=1000, source="measured: somewhere")
ROOMS = ((12 * GIB, 6 * GIB), (16 * GIB, 8 * GIB))
LARGE = VramNeed(vram_mib=20_000, source="measured: somewhere")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def test_the_larger_of_plan_and_profile_counts() -> None:
    needs = Needs(GgufPlanned(MODEL), True, Learned())
    computed = free_needed(plan(GgufPlanned(MODEL), request_of(LLAMA), None))
    assert needs.need(LLAMA) == Need(computed, "header")
    assert needs.need(msgspec.structs.replace(LLAMA, need=SMALL)) == Need(computed, "header")
    assert needs.need(msgspec.structs.replace(LLAMA, need=LARGE)) == Need(20_000 * MIB, LARGE.source)


def test_vllm_is_given_the_larger_budget_and_needs_its_context_beside() -> None:
    needs = Needs(awq("q14"), True, Learned())
    budget = plan(awq("q14"), request_of(FOLDER), None).needed_budget
    assert budget is not None
    assert (needs.budget(FOLDER), needs.need(FOLDER)) == (budget, Need(budget_needs(budget), "header"))
    for stated in (SMALL, LARGE):
        profile = msgspec.structs.replace(FOLDER, need=stated)
        larger = max(budget, stated.vram_mib * MIB)
        need = needs.need(profile)
        assert isinstance(need, Need)
        assert (needs.budget(profile), need.vram) == (larger, budget_needs(larger))


@pytest.mark.parametrize(
    ("needs", "code"),
    [
        (Needs(None, True, Learned()), "gate.need.unknown"),
        (Needs(problem("model.not_gguf"), True, Learned()), "model.not_gguf"),
        (Needs(awq("q14"), True, Learned()), "plan.engine"),
        (Needs(GgufPlanned(MODEL), False, Learned()), UNASKED.code),
    ],
)
def test_what_cannot_be_planned_needs_what_the_profile_says(needs: Needs, code: str) -> None:
    found = needs.need(LLAMA)
    assert isinstance(found, Problem)
    assert found.code == code
    assert needs.per_card(LLAMA, (GIB,), (GIB,)) == ()
    assert needs.budget(LLAMA) is None
    stated = msgspec.structs.replace(LLAMA, need=LARGE)
    assert needs.need(stated) == Need(20_000 * MIB, LARGE.source)
    assert needs.per_card(stated, (GIB,), (GIB,)) == (20_000 * MIB,)


def test_several_cards() -> None:
    two = msgspec.structs.replace(LLAMA, gpus=(0, 1))
    needs = Needs(GgufPlanned(MODEL), True, Learned())
    spread = needs.spread(two, *ROOMS)
    assert isinstance(spread.need, Need)
    assert spread.layers[0] > spread.layers[1]
    assert sum(spread.need.per_card) == spread.need.vram
    assert needs.per_card(two, *ROOMS) == spread.need.per_card
    more = needs.spread(msgspec.structs.replace(two, need=LARGE), *ROOMS)
    assert isinstance(more.need, Need)
    assert more.need.vram >= 20_000 * MIB
    full = needs.spread(two, (4 * GIB, 6 * GIB), (16 * GIB, 8 * GIB))
    assert full.layers[0] > full.layers[1]  # by what the cards have in all
    unknown = needs.spread(two, (), ())
    assert isinstance(unknown.need, Need)
    assert len(unknown.need.per_card) == 2
    of_vllm = Needs(awq("q14"), True, Learned()).spread(msgspec.structs.replace(FOLDER, gpus=(0, 1)), *ROOMS)
    assert isinstance(of_vllm.need, Need)
    assert of_vllm.need.per_card[0] == of_vllm.need.per_card[1]


# --- at the gate ------------------------------------------------------------------------------------------------------


def config(**more: object) -> bytes:
    return json.dumps(
        {
            "model_type": "qwen2", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48,
            "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 152064, "max_position_embeddings": 32768,
            "tie_word_embeddings": False, "torch_dtype": "float16",
            "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, **more,
        }
    ).encode()  # fmt: skip


def machine_with(text: bytes) -> Machine:
    machine = Machine()
    machine.target.files["~/models/Q14/config.json"] = text
    return machine


def test_a_vllm_profile_without_a_need_is_planned_from_its_config(pool: ThreadPoolExecutor) -> None:
    result = Gatekeeper(machine_with(config()).ports, pool).check(FOLDER)
    assert result.report.ok
    assert result.clearance is not None
    budget = plan(awq("q14"), request_of(FOLDER), None).needed_budget
    assert budget is not None
    argv = result.clearance.command.argv
    share = float(argv[argv.index("--gpu-memory-utilization") + 1])
    assert share == -(-budget * 1000 // (32 * GIB)) / 1000
    assert result.clearance.planned is not None
    assert result.report.need == Need(budget_needs(budget), "header")


def test_a_config_that_is_none_refuses_unless_the_need_is_stated(pool: ThreadPoolExecutor) -> None:
    machine = machine_with(b"{}")
    blocking = Gatekeeper(machine.ports, pool).check(FOLDER).report.blocking
    assert [(one.id, one.message.code) for one in blocking] == [(CheckId.VRAM, "model.not_config")]
    stated = msgspec.structs.replace(FOLDER, need=LARGE)
    result = Gatekeeper(machine.ports, pool).check(stated)
    assert result.report.ok
    assert result.clearance is not None
    assert result.clearance.planned is None
