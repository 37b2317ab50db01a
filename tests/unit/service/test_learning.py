"""What a proved start leaves behind, and that the next gate and plan know it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import pytest

from kotaro_bridge.domain.engine.engine_log import Engine, LogFacts
from kotaro_bridge.domain.engine.placement import PlacementWatch
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan import GgufPlanned, HfPlanned, Origin, plan, request_of
from kotaro_bridge.domain.ports import EngineCommand, StartPlace
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.service.gatekeeper import Clearance, Gatekeeper
from kotaro_bridge.service.learning import learned_for, place_of, remember
from kotaro_bridge.service.prover import Prover, expectation
from tests.helpers.captures import llama_lines
from tests.helpers.machine import CLAIMED, LLAMA, MODEL, VLLM, Machine
from tests.helpers.plan_rows import awq

PLANNED = GgufPlanned(MODEL)
TAKEN = CLAIMED + 700 * MIB
PLACE = StartPlace("llama-server", "RTX", "580 wsl")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def proved(machine: Machine, planned: GgufPlanned | HfPlanned | None = PLANNED, *, again: bool = False) -> None:
    machine.gpu.used = 900 * MIB + TAKEN
    clearance = Clearance(None, (900 * MIB,), 190 * MIB, MODEL, planned=planned)  # type: ignore[arg-type]
    if planned is not None:
        clearance = replace(clearance, command=EngineCommand(("~/llama-server",), {}, (), ()))
    watch = PlacementWatch(LLAMA.engine, expectation(LLAMA, clearance))
    for line in llama_lines("full14-np1"):
        watch.feed(line)
    proof = Prover(machine.ports, sleep=lambda _: None).prove(
        LLAMA, clearance, watch.judge(ended=False), machine.http, again=again
    )
    assert proof.problem is None


def test_a_proved_start_is_remembered_with_the_logs_own_figures() -> None:
    machine = Machine()
    proved(machine)
    [(place, version, start)] = machine.starts.kept
    assert place == PLACE
    assert version
    assert (start.vram, start.budget) == (TAKEN, None)
    assert start.kv == 1536 * MIB
    assert start.weights + start.kv + start.compute == CLAIMED
    assert start.beyond == 700 * MIB
    assert start.request == request_of(LLAMA)


def test_the_next_plan_and_gate_know_it(pool: ThreadPoolExecutor) -> None:
    machine = Machine()
    before = Gatekeeper(machine.ports, pool).check(LLAMA).report.need
    proved(machine)
    found = plan(PLANNED, request_of(LLAMA), None, learned_for(machine.ports, LLAMA, machine.gpu.card))
    assert found.compute.origin is found.overhead.origin is Origin.MEASURED
    assert found.overhead.bytes == 700 * MIB
    machine.gpu.used = 900 * MIB
    after = Gatekeeper(machine.ports, pool).check(LLAMA).report.need
    assert before is not None
    assert after is not None
    assert after.vram > before.vram


def test_a_later_proof_and_one_that_planned_nothing_teach_nothing() -> None:
    machine = Machine()
    proved(machine, again=True)
    proved(machine, None)
    assert machine.starts.kept == []


def test_the_same_card_on_another_side_or_driver_is_another_place() -> None:
    card = Machine().gpu.card
    local = msgspec.structs.replace(LLAMA, target="local")
    assert place_of(LLAMA, card) == PLACE
    assert place_of(local, card) == replace(PLACE, driver="580 linux")
    assert place_of(LLAMA, replace(card, driver="591.44")) == replace(PLACE, driver="591 wsl")
    assert place_of(LLAMA, replace(card, driver=None)) is None
    assert place_of(LLAMA, replace(card, name="")) is None


def test_without_a_card_or_with_several_nothing_is_known() -> None:
    machine = Machine()
    proved(machine)
    two = msgspec.structs.replace(LLAMA, gpus=(0, 1))
    assert learned_for(machine.ports, LLAMA, None) == Learned()
    assert learned_for(machine.ports, two, machine.gpu.card) == Learned()
    assert learned_for(machine.ports, LLAMA, replace(machine.gpu.card, driver=None)) == Learned()


VLLM_FACTS = LogFacts(version="0.25.0", weights=9 * GIB, available_kv=2 * GIB, graphs=100 * MIB)


def kept(machine: Machine, facts: LogFacts, command: tuple[str, ...] = ("vllm",), taken: int = 12 * GIB) -> int:
    """How many starts are known after one of vLLM."""
    clearance = Clearance(EngineCommand(command, {}, (), ()), (0,), 0, None, planned=awq("q14"))
    remember(machine.ports, VLLM, clearance, facts, (machine.gpu.card,), (taken,))
    return len(machine.starts.kept)


def test_vllm_is_remembered_with_its_budget() -> None:
    machine = Machine()
    assert kept(machine, VLLM_FACTS, ("vllm", "--gpu-memory-utilization", "0.500")) == 1
    start = machine.starts.kept[0][2]
    assert (start.weights, start.kv, start.compute) == (9 * GIB, 2 * GIB, 100 * MIB)
    assert start.budget == 16 * GIB
    assert kept(machine, replace(VLLM_FACTS, graphs=None)) == 2
    assert machine.starts.kept[1][2].budget is None


def test_a_log_that_does_not_tell_teaches_nothing() -> None:
    machine = Machine()
    for facts in (replace(VLLM_FACTS, version=None), replace(VLLM_FACTS, weights=None)):
        assert kept(machine, facts) == 0
    clearance = Clearance(EngineCommand(("x",), {}, (), ()), (0,), 0, MODEL, planned=PLANNED)
    remember(machine.ports, LLAMA, clearance, LogFacts(version="1"), (machine.gpu.card,), (GIB,))
    nameless = replace(machine.gpu.card, driver=None)
    remember(machine.ports, VLLM, clearance, VLLM_FACTS, (nameless,), (GIB,))
    remember(machine.ports, VLLM, clearance, VLLM_FACTS, (machine.gpu.card,), ())
    assert machine.starts.kept == []


def test_a_card_that_does_not_tell_leaves_the_budget_open() -> None:
    machine = Machine()
    machine.gpu.used = None
    assert kept(machine, VLLM_FACTS, ("vllm", "--gpu-memory-utilization", "0.500")) == 1
    assert machine.starts.kept[0][2].budget is None
    assert VLLM.engine is Engine.VLLM
