"""The proof: three witnesses, each of them missing or at odds; and whether memory is free again."""

from __future__ import annotations

import dataclasses
from functools import partial

import msgspec
import pytest

from kotaro_bridge.domain.engine_log import DeviceFacts, Engine, LogFacts
from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.placement import Judgement, PlacementWatch, Reason, ReasonCode, Verdict
from kotaro_bridge.domain.ports_http import EngineProps, WarmUp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run_view import Speed
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service.gatekeeper import Clearance
from kotaro_bridge.service.prover import (
    FREED_SLACK,
    GROWTH_SLACK,
    GROWTH_TOLERANCE,
    SHARED_ALLOWANCE,
    Proof,
    Prover,
    claimed_bytes,
    expectation,
    log_problem,
    shared_allowed,
    weight_bytes,
)
from tests.helpers.captures import llama_lines
from tests.helpers.machine import CLAIMED, LLAMA, MODEL, VLLM, Machine, vllm_lines

BEFORE, SHARED = 900 * MIB, 190 * MIB
CLEARANCE = Clearance(None, BEFORE, SHARED, MODEL)  # type: ignore[arg-type]
LOCAL = msgspec.structs.replace(LLAMA, target="local")


def judged(name: str = "full14-np1", profile: Profile = LLAMA) -> Judgement:
    watch = PlacementWatch(profile.engine, expectation(profile, CLEARANCE))
    for line in llama_lines(name) if profile.engine is Engine.LLAMA_SERVER else vllm_lines(name):
        watch.feed(line)
    return watch.judge(ended=False)


def running(taken: int = CLAIMED + 525 * MIB) -> Machine:
    machine = Machine()
    machine.gpu.used = BEFORE + taken
    return machine


def prove(machine: Machine, profile: Profile = LLAMA, clearance: Clearance = CLEARANCE) -> Proof:
    return Prover(machine.ports).prove(profile, clearance, judged(), machine.http)


def code(proof: Proof) -> str | None:
    return proof.problem.code if proof.problem else None


# --- the log ----------------------------------------------------------------------------------------------------------


def test_everything_there_and_gpu() -> None:
    proof = prove(running())
    assert proof.problem is None
    assert proof.vram_taken == CLAIMED + 525 * MIB
    assert proof.judgement.verdict is Verdict.GPU
    assert proof.speed is not None
    assert proof.speed.of_limit is not None
    assert 0.6 < proof.speed.of_limit < 0.7


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("partial20", "proof.layers_on_cpu"),
        ("nokvoffload", "proof.kv_on_cpu"),
        ("cuda-hidden", "proof.cuda_init_failed"),
        ("full14-default-lv", "proof.placement_not_logged"),
        ("full7-8k", "proof.weights_incomplete"),
    ],
)
def test_a_log_that_does_not_say_gpu_fails_before_anything_is_asked(name: str, why: str) -> None:
    machine = running()
    machine.http.warm = RuntimeError("must not be asked")
    proof = Prover(machine.ports).prove(LLAMA, CLEARANCE, judged(name), machine.http)
    assert code(proof) == why


def test_a_context_that_was_cut_is_refused_though_it_is_on_the_gpu() -> None:
    """`context_reduced` is a reason under the verdict `gpu`; a run that was promised more refuses it."""
    watch = PlacementWatch(Engine.LLAMA_SERVER)
    for line in llama_lines("starve-ctx0"):
        watch.feed(line)
    judgement = watch.judge(ended=False)
    assert judgement.verdict is Verdict.GPU
    failed = log_problem(judgement)
    assert failed is not None
    assert (failed.code, dict(failed.params)) == ("proof.context_reduced", {"from": 32768, "to": 5120})


def test_a_verdict_without_a_reason_is_no_proof_either() -> None:
    failed = log_problem(Judgement(Verdict.UNKNOWN, (), LogFacts()))
    assert failed is not None
    assert (failed.code, failed.params["verdict"]) == ("proof.not_proved", "unknown")


def test_the_line_that_proves_it_goes_along() -> None:
    with_line = log_problem(judged("partial20"))
    assert with_line is not None
    assert "offloaded 20/49" in with_line.evidence[0]
    without = log_problem(Judgement(Verdict.UNKNOWN, (Reason(ReasonCode.NOT_READY),), LogFacts()))
    assert without is not None
    assert without.evidence == ()


# --- growth -----------------------------------------------------------------------------------------------------------

LEAST = CLAIMED * (1 - GROWTH_TOLERANCE) - GROWTH_SLACK


@pytest.mark.parametrize(
    ("taken", "why"),
    [(round(LEAST) + 1, None), (round(LEAST) - 1, "proof.growth_short"), (527 * MIB, "proof.growth_short")],
)
def test_memory_must_have_grown_by_what_the_log_claims(taken: int, why: str | None) -> None:
    proof = prove(running(taken))
    assert (code(proof), proof.vram_taken) == (why, taken)


def test_memory_that_shrank_is_shown_as_no_growth() -> None:
    proof = prove(running(-100 * MIB))
    assert proof.problem is not None
    assert dict(proof.problem.params) == {"grown_bytes": 0, "claimed_bytes": CLAIMED}


def test_growth_that_cannot_be_told_fails() -> None:
    unknown_before = dataclasses.replace(CLEARANCE, used_before=None)
    assert code(prove(running(), clearance=unknown_before)) == "proof.growth_unknown"
    machine = running()
    machine.gpu.used = None
    assert code(prove(machine)) == "proof.growth_unknown"
    lost = running()
    lost.http.on_warm_up = lambda: setattr(lost.gpu, "failure", problem("gpu.driver_lost"))
    lost.http.warm = WarmUp(0, 0.0, None)
    assert code(prove(lost)) == "proof.growth_unknown"


def test_another_card_does_not_answer_for_ours() -> None:
    assert code(prove(running(), msgspec.structs.replace(LLAMA, gpu=1))) == "proof.growth_unknown"


# --- shared memory ----------------------------------------------------------------------------------------------------

PINNED = judged().facts.pinned_host or 0


@pytest.mark.parametrize(
    ("rise", "why"), [(0, None), (PINNED + SHARED_ALLOWANCE, None), (PINNED + SHARED_ALLOWANCE + 1, "proof.spill")]
)
def test_shared_memory_may_rise_by_the_pinned_buffers_and_an_allowance(rise: int, why: str | None) -> None:
    machine = running()
    machine.counters.shared = SHARED + rise
    proof = prove(machine)
    assert code(proof) == why
    if proof.problem is not None:
        assert dict(proof.problem.params) == {"rise_bytes": rise, "allowed_bytes": PINNED + SHARED_ALLOWANCE}


def test_a_rise_that_passes_is_no_spill() -> None:
    machine = running()
    machine.counters.shared = SHARED + 5000 * MIB
    machine.http.on_warm_up = lambda: setattr(machine.counters, "shared", SHARED)
    assert code(prove(machine)) is None


def test_a_spill_explains_memory_that_is_missing_on_the_card() -> None:
    machine = running(3000 * MIB)
    machine.counters.shared = SHARED + 7000 * MIB
    assert code(prove(machine)) == "proof.spill"


def test_shared_memory_that_cannot_be_told_fails_on_windows() -> None:
    assert (
        code(prove(running(), clearance=dataclasses.replace(CLEARANCE, shared_before=None))) == "proof.shared_unknown"
    )
    for gone in ("shared", "present"):
        machine = running()
        machine.http.on_warm_up = partial(setattr, machine.counters, gone, None)
        assert code(prove(machine)) == "proof.shared_unknown"


def test_linux_has_no_shared_memory_to_look_at() -> None:
    machine = running()
    machine.counters.present = False
    clearance = dataclasses.replace(CLEARANCE, shared_before=None)
    assert code(prove(machine, LOCAL, clearance)) is None
    assert code(prove(running(), LOCAL)) is None, "where there are counters they count for local too"


# --- the answer -------------------------------------------------------------------------------------------------------


def test_an_engine_that_does_not_answer_is_not_proved() -> None:
    machine = running()
    machine.http.warm = problem("http.status", "out of slots", status=500)
    proof = prove(machine)
    assert proof.problem is not None
    assert (proof.problem.code, proof.problem.params["cause"]) == ("proof.no_answer", "http.status")
    assert proof.problem.evidence == ("out of slots",)


def test_a_speed_that_cannot_be_told_is_left_out() -> None:
    machine = running()
    machine.http.warm = WarmUp(0, 0.0, None)
    proof = prove(machine)
    assert (proof.problem, proof.speed) == (None, None)


def test_a_speed_without_a_limit_stands_alone() -> None:
    machine = running()
    card = machine.gpu.card
    machine.gpu.snapshot = lambda: (dataclasses.replace(card, bus_width_bits=None),)  # type: ignore[method-assign]
    assert prove(machine).speed == Speed(38.0, None)
    other = msgspec.structs.replace(LLAMA, gpu=1)
    assert Prover(machine.ports)._speed(other, judged().facts, WarmUp(38, 1.0, 38.0)) == Speed(38.0, None)


# --- what the log tells in bytes --------------------------------------------------------------------------------------


def test_the_bytes_of_a_vllm_log() -> None:
    facts = judged("q14", VLLM).facts
    assert facts.weights is not None
    assert weight_bytes(facts) == facts.weights
    assert claimed_bytes(facts) == facts.weights + (facts.available_kv or 0) + (facts.graphs or 0)
    bare = LogFacts(weights=100, available_kv=-5)
    assert claimed_bytes(bare) == 100


def test_the_bytes_of_a_llama_log() -> None:
    assert claimed_bytes(LogFacts()) is None
    assert weight_bytes(LogFacts(devices={"CPU": DeviceFacts(model=7)})) is None
    facts = LogFacts(devices={"CUDA0": DeviceFacts(model=100, kv=20, compute=3), "CPU": DeviceFacts(compute=9)})
    assert (weight_bytes(facts), claimed_bytes(facts)) == (100, 123)
    assert shared_allowed(facts) == SHARED_ALLOWANCE


def test_the_expectation_comes_from_the_models_header() -> None:
    expected = expectation(LLAMA, CLEARANCE)
    assert (expected.weights_on_gpu_bytes, expected.n_ctx, expected.parallel) == (MODEL.weights_on_gpu, 8192, 1)
    assert expected.kv_bytes == 1536 * MIB
    assert expected.host_allowed_bytes == MODEL.input_bytes
    uneven = dataclasses.replace(CLEARANCE, model=dataclasses.replace(MODEL, plain_attention=False))
    assert expectation(LLAMA, uneven).kv_bytes is None
    headless = expectation(VLLM, dataclasses.replace(CLEARANCE, model=None))
    assert (headless.weights_on_gpu_bytes, headless.n_ctx, headless.vision) == (None, 8192, False)


# --- after the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "at_end", "taken", "left"),
    [
        (BEFORE, BEFORE + 10_000 * MIB, 10_000 * MIB, None),
        (BEFORE + FREED_SLACK, None, None, None),
        (BEFORE + FREED_SLACK + 1, None, None, "stop.vram_left"),
        # A game took 5,000 MiB while the model of 10,000 ran: the model's own memory came back.
        (BEFORE + 7_000 * MIB, BEFORE + 15_000 * MIB, 10_000 * MIB, None),
        (BEFORE + 7_001 * MIB, BEFORE + 15_000 * MIB, 10_000 * MIB, "stop.vram_left"),
        (BEFORE + 7_000 * MIB, None, 10_000 * MIB, "stop.vram_left"),
        (None, None, None, "stop.vram_unknown"),
    ],
)
def test_memory_must_be_free_again(used: int | None, at_end: int | None, taken: int | None, left: str | None) -> None:
    machine = Machine()
    machine.gpu.used = used
    found = Prover(machine.ports, freed_s=0.0).vram_left(0, BEFORE, at_end, taken)
    assert (found.code if found else None) == left


def test_memory_whose_level_before_is_unknown_is_not_judged() -> None:
    assert Prover(Machine().ports).vram_left(0, None, 5, 5) is None


def test_a_driver_may_take_a_moment_to_show_memory_as_free() -> None:
    machine = running()
    snapshot = machine.gpu.snapshot

    def second_time() -> object:
        seen = snapshot()
        machine.gpu.used = BEFORE
        return seen

    machine.gpu.snapshot = second_time  # type: ignore[assignment,method-assign]
    assert Prover(machine.ports).vram_left(0, BEFORE, None, None) is None
    assert machine.gpu.asked == 2


@pytest.mark.parametrize(
    "said", [EngineProps(4096, 1, None), EngineProps(8192, 2, None), EngineProps(None, None, None)]
)
def test_a_server_that_is_not_as_asked_is_no_proof(said: EngineProps) -> None:
    machine = running()
    machine.http.said = said
    assert code(prove(machine)) == "proof.not_as_asked"


def test_an_engine_that_does_not_say_what_it_is_is_no_proof() -> None:
    machine = running()
    machine.http.said = problem("http.status", status=404)
    assert code(prove(machine)) == "proof.no_answer"


def test_vllm_does_not_tell_its_slots() -> None:
    machine = running(26_000 * MIB)
    machine.http.said = EngineProps(8192, None, "0.25.0")
    assert code(Prover(machine.ports).prove(VLLM, CLEARANCE, judged("q14", VLLM), machine.http)) is None
