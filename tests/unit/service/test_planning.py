"""Plans of profiles: what is read on the target, and the second opinion of a tool that may not be there."""

from __future__ import annotations

import msgspec
import pytest

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan import GgufPlanned, HfPlanned, PlanRequest
from kotaro_bridge.domain.planning.second_opinion import Opinion
from kotaro_bridge.domain.ports import Completed
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.service.planning import Planning
from tests.helpers.machine import LLAMA, MODEL, PROJECTOR, VLLM, Machine
from tests.unit.service.test_needs import config

SAID = "CUDA0 8148 1536 345 \nHost 417 0 28 \n"


def test_a_gguf_profile_with_a_second_opinion() -> None:
    machine = Machine()
    machine.target.said = Completed(0, SAID, "")
    found = Planning(machine.ports).plan(LLAMA)
    assert isinstance(found.model, GgufPlanned)
    assert found.model.model.weights_total == MODEL.weights_total
    assert found.plan.fits
    assert found.plan.request == PlanRequest(LLAMA.engine, 8192, images=False)
    assert found.learned == Learned()
    assert found.opinion == Opinion(8148 * MIB, 1536 * MIB, 345 * MIB)
    [asked] = machine.target.ran
    assert asked[:2] == ("/bin/sh", "-c")
    assert "CUDA_VISIBLE_DEVICES=0" in asked
    assert "~/llama-fit-params" in asked


@pytest.mark.parametrize(
    "said",
    [Completed(127, "", ""), Completed(1, SAID, ""), Completed(0, "no rows", ""), problem("wsl.not_installed")],
)
def test_a_tool_that_is_not_there_has_no_opinion(said: Completed) -> None:
    machine = Machine()
    machine.target.said = said
    assert Planning(machine.ports).plan(LLAMA).opinion is None
    script = msgspec.structs.replace(LLAMA, executable="~/start.sh")
    machine.target.ran.clear()
    assert Planning(machine.ports).plan(script).opinion is None
    assert machine.target.ran == []


def test_a_projector_is_read_too() -> None:
    sees = msgspec.structs.replace(LLAMA, projector=PROJECTOR)
    model = Planning(Machine().ports).model(sees)
    assert isinstance(model, GgufPlanned)
    assert model.projector_bytes == 512


def test_a_vllm_profile_is_planned_from_its_config_and_nobody_else_is_asked() -> None:
    machine = Machine()
    machine.target.files["~/m/config.json"] = config()
    found = Planning(machine.ports).plan(msgspec.structs.replace(VLLM, model="~/m/"))
    assert isinstance(found.model, HfPlanned)
    assert found.plan.fits
    assert found.opinion is None
    assert machine.target.ran == []


def test_a_model_that_vllm_fetches_is_elsewhere() -> None:
    with pytest.raises(ProblemError) as caught:
        Planning(Machine().ports).model(VLLM)
    assert caught.value.problem.code == "plan.model_elsewhere"


def test_a_card_that_is_not_there() -> None:
    with pytest.raises(ProblemError) as caught:
        Planning(Machine().ports).cards((0, 3))
    assert caught.value.problem.params == {"index": 3}
    assert Planning(Machine().ports).cards((0,))[0].total == 32 * GIB
