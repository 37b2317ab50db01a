"""A model over two cards: what the gate asks of each, what the proof wants of each, and what a stop gives back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import pytest

from kotaro_bridge.domain.engine.engine_devices import DeviceAnswer
from kotaro_bridge.domain.engine.engine_log import Engine, Stream
from kotaro_bridge.domain.engine.placement import Judgement, PlacementWatch, Verdict
from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.profile import Profile, VramNeed
from kotaro_bridge.domain.run.gate import CheckId, Status
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.service.gatekeeper import Clearance, Gatekeeper, GateResult
from kotaro_bridge.service.holders import Holders, Serving
from kotaro_bridge.service.prover import FREED_SLACK, Proof, Prover, claimed_bytes, expectation
from kotaro_bridge.service.remedies import remedies_for
from kotaro_bridge.service.run_session import Session
from tests.helpers.captures import llama_text, split_log
from tests.helpers.machine import ASKED, CUDA_LINKED, LISTED, LLAMA, MODEL, VLLM, Machine
from tests.helpers.two_cards import on_two_cards

BOTH = msgspec.structs.replace(LLAMA, gpus=(0, 1))
SECOND = GpuSnapshot(1, "GPU-2", "RTX", 12 * GIB, 11 * GIB, 1 * GIB, "580", "8.9", 0.1, 50, 100.0, 10501, 192)
BEFORE = (900 * MIB, 1 * GIB)
CONTEXT = 525 * MIB


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def machine(second: GpuSnapshot = SECOND, total: int = 12 * GIB) -> Machine:
    made = Machine()
    made.gpu.total = total
    made.gpu.more = (second,)
    listed = (*LISTED, "  CUDA1: RTX (12000 MiB, 11000 MiB free)")
    made.target.devices[Engine.LLAMA_SERVER] = DeviceAnswer(0, listed, CUDA_LINKED)
    asked = (*(word for word in ASKED.split("|") if not word.startswith("count")), "count 2", "device 8.9 RTX")
    made.target.devices[Engine.VLLM] = DeviceAnswer(0, asked)
    return made


def check(made: Machine, pool: ThreadPoolExecutor, profile: Profile = BOTH) -> GateResult:
    return Gatekeeper(made.ports, pool).check(profile)


def vram(result: GateResult) -> tuple[Status, str, object]:
    found = next(one for one in result.report.checks if one.id is CheckId.VRAM)
    return found.status, found.message.code, found.message.params.get("card")


# --- the gate ---------------------------------------------------------------------------------------------------------


def test_the_layers_that_the_gate_counted_on_are_those_of_the_command(pool: ThreadPoolExecutor) -> None:
    result = check(machine(), pool)
    assert result.report.ok, result.report.blocking
    assert result.clearance is not None
    argv = result.clearance.command.argv
    layers = [int(count) for count in argv[argv.index("-ts") + 1].split(",")]
    assert sum(layers) == MODEL.block_count + 1
    assert result.clearance.used_before == BEFORE
    need = result.report.need
    assert need is not None
    assert len(need.per_card) == 2
    assert need.vram == sum(need.per_card) > MODEL.weights_on_gpu


def test_a_card_with_less_room_gets_fewer_layers(pool: ThreadPoolExecutor) -> None:
    full = replace(SECOND, free=4 * GIB, used=8 * GIB)
    need = check(machine(full), pool).report.need
    assert need is not None
    assert need.per_card[0] > need.per_card[1]
    assert need.per_card[1] <= 4 * GIB


def test_a_card_that_others_hold_is_the_one_that_is_told(pool: ThreadPoolExecutor) -> None:
    result = check(machine(replace(SECOND, free=GIB, used=11 * GIB), total=8 * GIB), pool)
    assert vram(result) == (Status.FAILED, "gate.vram.card_failed", "1 (RTX)")
    assert result.clearance is None


def test_a_remedy_has_to_fit_each_card(pool: ThreadPoolExecutor) -> None:
    """A shorter context that helps is one with which no card lacks anything."""
    full = replace(SECOND, free=3 * GIB, used=9 * GIB)
    long = msgspec.structs.replace(BOTH, context=32768)
    result = check(machine(full), pool, long)
    assert vram(result)[0] is Status.FAILED
    shorter = [remedy for remedy in result.remedies if remedy.kind == "context"]
    assert shorter
    fitting = msgspec.structs.replace(long, context=int(shorter[0].value))
    assert all(part <= free for part, free in zip(result.need(fitting), result.report.free, strict=True))


def test_a_stated_need_is_of_all_cards_together(pool: ThreadPoolExecutor) -> None:
    stated = msgspec.structs.replace(BOTH, need=VramNeed(vram_mib=20_000, source="measured"))
    need = check(machine(), pool, stated).report.need
    assert need is not None
    assert need.vram >= 20_000 * MIB
    assert max(need.per_card) < 12_000 * MIB


def test_vllm_gets_its_budget_from_each_card_alike(pool: ThreadPoolExecutor) -> None:
    profile = msgspec.structs.replace(VLLM, gpus=(0, 1), need=VramNeed(vram_mib=16_000, source="measured"))
    result = check(machine(), pool, profile)
    assert result.report.ok, result.report.blocking
    assert result.clearance is not None
    argv = result.clearance.command.argv
    assert argv[argv.index("--tensor-parallel-size") + 1] == "2"
    assert float(argv[argv.index("--gpu-memory-utilization") + 1]) == pytest.approx(8000 / 12288, abs=0.002)
    need = result.report.need
    assert need is not None
    assert need.per_card[0] == need.per_card[1] > 8000 * MIB


def test_an_engine_that_sees_one_card_of_two(pool: ThreadPoolExecutor) -> None:
    made = machine()
    made.target.devices[Engine.LLAMA_SERVER] = DeviceAnswer(0, LISTED, CUDA_LINKED)
    found = next(one for one in check(made, pool).report.checks if one.id is CheckId.ENGINE_GPU)
    assert (found.status, found.message.code) == (Status.FAILED, "engine.devices_missing")


def test_runs_on_one_of_the_cards_are_in_the_way_and_others_are_not() -> None:
    runs = tuple(Serving(msgspec.structs.replace(LLAMA, id=str(card), gpus=(card,)), None) for card in (0, 1, 2))
    holders = Holders(Machine().ports, lambda: runs)
    assert [each.profile.id for each in holders.others(BOTH)] == ["0", "1"]


# --- the proof --------------------------------------------------------------------------------------------------------


def judged(text: str) -> Judgement:
    clearance = Clearance(None, BEFORE, 190 * MIB, MODEL)  # type: ignore[arg-type]
    watch = PlacementWatch(Engine.LLAMA_SERVER, expectation(BOTH, clearance))
    for line in split_log(text, Stream.STDERR):
        watch.feed(line)
    return watch.judge(ended=False)


WHOLE = judged(on_two_cards(llama_text("full14-np1")))
CLAIMED = claimed_bytes(WHOLE.facts, BOTH.devices)


def prove(first: int, second: int) -> Proof:
    """With so much more in use on each card than before."""
    made = machine(replace(SECOND, used=BEFORE[1] + second), total=32 * GIB)
    made.gpu.used = BEFORE[0] + first
    clearance = Clearance(None, BEFORE, 190 * MIB, MODEL)  # type: ignore[arg-type]
    return Prover(made.ports, sleep=lambda _: None).prove(BOTH, clearance, WHOLE, made.http)


def test_a_log_of_two_cards_is_whole() -> None:
    assert (WHOLE.verdict, WHOLE.reasons) == (Verdict.GPU, ())
    assert WHOLE.facts.splits == 3
    assert set(WHOLE.facts.devices) >= {"CUDA0", "CUDA1"}


@pytest.mark.parametrize(("splits", "code"), [(2, "splits_unexpected"), (4, "splits_too_many")])
def test_two_cards_make_three_splits(splits: int, code: str) -> None:
    found = judged(on_two_cards(llama_text("full14-np1"), splits=splits))
    assert code in [reason.code for reason in found.reasons]
    assert found.verdict is not Verdict.GPU


def test_a_card_without_its_part_is_missed() -> None:
    text = on_two_cards(llama_text("full14-np1"))
    rows = [row for row in text.split("\n") if not ("CUDA1" in row and "compute" in row)]
    found = judged("\n".join(rows))
    assert [reason.params for reason in found.reasons] == [{"missing": "compute"}]


def test_each_card_has_grown_by_what_the_log_says_of_it() -> None:
    proof = prove(CLAIMED[0] + CONTEXT, CLAIMED[1] + CONTEXT)
    assert proof.problem is None
    assert proof.per_card == (CLAIMED[0] + CONTEXT, CLAIMED[1] + CONTEXT)
    assert proof.vram_taken == sum(proof.per_card)


@pytest.mark.parametrize("short", [0, 1])
def test_growth_on_the_other_card_does_not_stand_in(short: int) -> None:
    grown = [CLAIMED[0] + CONTEXT, CLAIMED[1] + CONTEXT]
    grown[short] -= 2 * GIB
    grown[1 - short] += 2 * GIB
    proof = prove(*grown)
    assert proof.problem is not None
    assert proof.problem.code == "proof.growth_short_on_card"
    assert proof.problem.params["card"] == short
    assert proof.problem.params["claimed_bytes"] == CLAIMED[short]


def test_a_card_that_the_driver_does_not_show_is_no_proof() -> None:
    made = machine(total=32 * GIB)
    made.gpu.more = ()
    clearance = Clearance(None, BEFORE, 190 * MIB, MODEL)  # type: ignore[arg-type]
    proof = Prover(made.ports, sleep=lambda _: None).prove(BOTH, clearance, WHOLE, made.http)
    assert proof.problem is not None
    assert proof.problem.code == "proof.growth_unknown"


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "card"),
    [
        ((BEFORE[0], BEFORE[1] + FREED_SLACK), None),
        ((BEFORE[0], BEFORE[1] + FREED_SLACK + 1), 1),
        ((BEFORE[0] + 2 * FREED_SLACK, BEFORE[1]), 0),
    ],
)
def test_the_memory_of_each_card_is_free_again(used: tuple[int, int], card: int | None) -> None:
    made = machine(replace(SECOND, used=used[1]))
    made.gpu.used = used[0]
    found = Prover(made.ports, freed_s=0.0).vram_left((0, 1), BEFORE, (), ())
    assert (found.params["card"] if found else None) == card
    assert found is None or found.code == "stop.vram_left_on_card"


def test_after_a_failure_each_card_counts() -> None:
    """A shorter context is offered only if it fits both."""
    full = replace(SECOND, free=2 * GIB, used=10 * GIB)
    session = Session(1, "r", need=lambda p: (4 * GIB, 2 * GIB + p.context * 100_000))
    why = problem("proof.out_of_gpu_memory")
    assert remedies_for(machine(full).ports, BOTH, session, why) == ()
    roomier = replace(SECOND, free=2 * GIB + 500_000_000)
    assert [each.word for each in remedies_for(machine(roomier).ports, BOTH, session, why)] == ["context=4864"]
    nobody = machine()
    nobody.gpu.more = ()
    assert remedies_for(nobody.ports, BOTH, session, why) == ()
