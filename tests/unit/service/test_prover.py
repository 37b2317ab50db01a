"""The proof: three witnesses, each of them missing or at odds; and whether memory is free again."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
import pytest

from kotaro_bridge.domain.engine.engine_log import DeviceFacts, Engine, LogFacts
from kotaro_bridge.domain.engine.placement import Judgement, PlacementWatch, Reason, ReasonCode, Verdict
from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.ports_http import EngineProps, WarmUp
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.metrics import RatesSample
from kotaro_bridge.domain.run.run_view import Speed
from kotaro_bridge.domain.run.speed import speed_key
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service import speedometer
from kotaro_bridge.service.gatekeeper import Clearance
from kotaro_bridge.service.prover import (
    FREED_SLACK,
    GROWTH_SLACK,
    SHARED_ALLOWANCE,
    Proof,
    Prover,
    claimed_bytes,
    expectation,
    log_problem,
    shared_allowed,
)
from tests.helpers.captures import llama_lines
from tests.helpers.gguf_header import Q7, Q14, Q32, qwen2_shape, reader
from tests.helpers.machine import CLAIMED, DEADLINE_S, LLAMA, MODEL, VLLM, Machine, vllm_lines

BEFORE, SHARED = 900 * MIB, 190 * MIB
CLEARANCE = Clearance(None, (BEFORE,), SHARED, MODEL)  # type: ignore[arg-type]
LOCAL = msgspec.structs.replace(LLAMA, target="local")


def judged(name: str = "full14-np1", profile: Profile = LLAMA) -> Judgement:
    watch = PlacementWatch(profile.engine, expectation(profile, CLEARANCE))
    for line in llama_lines(name) if profile.engine is Engine.LLAMA_SERVER else vllm_lines(name):
        watch.feed(line)
    return watch.judge(ended=False)


class Time:
    """Seconds that pass by waiting alone, and what happens with them."""

    def __init__(self, then: Callable[[float], object] = lambda _: None) -> None:
        self.now = 0.0
        self._then = then

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._then(self.now)


def prove_later(machine: Machine, time: Time, profile: Profile = LLAMA, clearance: Clearance = CLEARANCE) -> Proof:
    prover = Prover(machine.ports, sleep=time.sleep, clock=time)
    name = "full14-np1" if profile.engine is Engine.LLAMA_SERVER else "q14"
    return prover.prove(profile, clearance, judged(name, profile), machine.http, again=True)


def running(taken: int = CLAIMED + 525 * MIB) -> Machine:
    machine = Machine()
    machine.gpu.used = BEFORE + taken
    return machine


def prove(
    machine: Machine,
    profile: Profile = LLAMA,
    clearance: Clearance = CLEARANCE,
    sleep: Callable[[float], None] = lambda _: None,
) -> Proof:
    return Prover(machine.ports, sleep=sleep).prove(profile, clearance, judged(), machine.http)


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

LEAST = CLAIMED - GROWTH_SLACK


@pytest.mark.parametrize(
    ("taken", "why"),
    [(LEAST, None), (LEAST - 1, "proof.growth_short"), (527 * MIB, "proof.growth_short")],
)
def test_memory_must_have_grown_by_what_the_log_claims(taken: int, why: str | None) -> None:
    proof = prove(running(taken))
    assert (code(proof), proof.vram_taken) == (why, taken)


# What was taken where all of the model was on the card, nothing else being there: MiB by nvidia-smi (captures README;
# README, "Measured"). The slack is for what others do, so none of these may need it.
LLAMA_ROWS = [
    ("full14", 10405),
    ("full14-lv4", 10405),
    ("full14-32k", 15037),
    ("full14-np1", 10405),
    ("full7-8k", 5355),
    ("starve-ctx0", 5180),
]
VLLM_ROWS = [("q14", 26651), ("eager14_kill9", 25881), ("p32awq_24g", 23055)]
H200_ROWS = [(Q7, 5359), (Q14, 10411), (Q32, 21365)]
CUDA_CONTEXT = 525 * MIB


def facts_of(name: str, engine: Engine) -> LogFacts:
    watch = PlacementWatch(engine)
    for line in llama_lines(name) if engine is Engine.LLAMA_SERVER else vllm_lines(name):
        watch.feed(line)
    return watch.judge(ended=False).facts


def claimed_on_h200(shape: tuple[int, int, int, int, int]) -> int:
    """Weights, KV cache and compute buffer (formula: captures of 7B and 14B, to 0.01 MiB) at 8,192 tokens."""
    layers, hidden, forward, heads, kv_heads = shape
    model = read_gguf(reader(qwen2_shape(*shape), 1 << 40), 1 << 40)
    cache = 2 * 2 * layers * hidden // heads * kv_heads * 8192
    return model.weights_on_gpu + cache + 3 * (forward + hidden) * 512 * 4 + 8 * MIB


@pytest.mark.parametrize(
    ("claimed", "taken"),
    [
        *((sum(claimed_bytes(facts_of(name, Engine.LLAMA_SERVER), ("CUDA0",))), taken) for name, taken in LLAMA_ROWS),
        *((sum(claimed_bytes(facts_of(name, Engine.VLLM), ("CUDA0",))), taken) for name, taken in VLLM_ROWS),
        *((claimed_on_h200(shape), taken) for shape, taken in H200_ROWS),
    ],
)
def test_every_measured_run_took_its_cuda_context_beyond_what_its_log_claims(claimed: int | None, taken: int) -> None:
    assert claimed
    assert taken * MIB > claimed + CUDA_CONTEXT


@pytest.mark.parametrize(("name", "taken"), [("partial20", 4973), ("nokvoffload", 8871)])
def test_a_partial_run_takes_less_than_a_whole_one_would_claim(name: str, taken: int) -> None:
    assert code(prove(running(taken * MIB))) == "proof.growth_short"
    own = sum(claimed_bytes(facts_of(name, Engine.LLAMA_SERVER), ("CUDA0",)))
    assert own < taken * MIB, "what it says itself fits: growth alone proves nothing"


def test_a_later_proof_asks_what_is_in_use_in_all() -> None:
    """Hours after the start the level before it says nothing: a game of 5,000 MiB ended, another one began."""
    before = dataclasses.replace(CLEARANCE, used_before=(BEFORE + 5000 * MIB,))

    def again(used: int) -> Proof:
        machine = Machine()
        machine.gpu.used = used
        return prove_later(machine, Time(), clearance=before)

    assert code(prove(running(), clearance=before)) == "proof.growth_short"
    assert (code(again(LEAST)), again(LEAST).vram_taken) == (None, None)
    short = again(LEAST - 1)
    assert short.problem is not None
    assert (short.problem.code, short.problem.params["grown_bytes"]) == ("proof.growth_short", LEAST - 1)
    unknown = dataclasses.replace(CLEARANCE, used_before=())
    assert prove_later(running(), Time(), clearance=unknown).problem is None


def test_a_later_proof_leaves_out_nothing_else() -> None:
    machine = running()
    machine.counters.shared = SHARED + 7000 * MIB
    time = Time()
    prover = Prover(machine.ports, sleep=time.sleep, clock=time)
    assert code(prover.prove(LLAMA, CLEARANCE, judged(), machine.http, again=True)) == "proof.spill"
    assert code(prover.prove(LLAMA, CLEARANCE, judged("partial20"), machine.http, again=True)) == "proof.layers_on_cpu"


@pytest.mark.parametrize(("again", "beside_chrome"), [(False, "proof.spill_unclear"), (True, None)])
def test_what_other_programs_took_of_the_shared_memory(again: bool, beside_chrome: str | None) -> None:
    """A browser is opened while the model loads: told apart by the next start, or long after this one."""
    machine, time = running(), Time()
    machine.counters.shared = SHARED + 900 * MIB
    before = dataclasses.replace(CLEARANCE, counters_before=GpuCounters(SHARED, ()))
    prover = Prover(machine.ports, sleep=time.sleep, clock=time)

    def proved_beside(name: str, shared: int) -> str | None:
        machine.counters.processes = (GpuProcess(7, name, 60 * MIB, shared * MIB),)
        return code(prover.prove(LLAMA, before, judged(), machine.http, again=again))

    assert proved_beside("chrome.exe", 900) == beside_chrome
    assert proved_beside("chrome.exe", 600) == "proof.spill", "the rest is nobody else's"
    assert proved_beside("vmmemWSL", 900) == "proof.spill"


def test_memory_that_shrank_is_shown_as_no_growth() -> None:
    proof = prove(running(-100 * MIB))
    assert proof.problem is not None
    assert dict(proof.problem.params) == {"grown_bytes": 0, "claimed_bytes": CLAIMED}


def test_growth_that_cannot_be_told_fails() -> None:
    unknown_before = dataclasses.replace(CLEARANCE, used_before=())
    assert code(prove(running(), clearance=unknown_before)) == "proof.growth_unknown"
    machine = running()
    machine.gpu.used = None
    assert code(prove(machine)) == "proof.growth_unknown"
    lost = running()
    lost.http.on_warm_up = lambda: setattr(lost.gpu, "failure", problem("gpu.driver_lost"))
    lost.http.warm = WarmUp(0, 0.0, None)
    assert code(prove(lost)) == "proof.growth_unknown"


def test_another_card_does_not_answer_for_ours() -> None:
    assert code(prove(running(), msgspec.structs.replace(LLAMA, gpus=(1,)))) == "proof.growth_unknown"


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


def test_a_healthy_start_waits_for_no_sample() -> None:
    machine = running()
    machine.counters.shared = SHARED + PINNED
    assert code(prove(machine, sleep=lambda _: pytest.fail("waited"))) is None


@pytest.mark.parametrize(("falls_after", "pauses", "why"), [(1, 1, None), (2, 2, None), (3, 2, "proof.spill")])
def test_the_lowest_of_three_samples_counts(falls_after: int, pauses: int, why: str | None) -> None:
    machine = running()
    machine.counters.shared = SHARED + 5000 * MIB
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == falls_after:
            machine.counters.shared = SHARED

    assert code(prove(machine, sleep=sleep)) == why
    assert len(waits) == pauses
    assert sum(waits) <= 0.5


def test_what_spills_during_the_warm_up_is_seen() -> None:
    machine = running()
    machine.http.on_warm_up = lambda: setattr(machine.counters, "shared", SHARED + 5000 * MIB)
    assert code(prove(machine)) == "proof.spill"


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


# --- a later proof on a bad day ---------------------------------------------------------------------------------------


def worked(steps: int, requests: int = 1, engine: Engine = Engine.LLAMA_SERVER) -> RatesSample:
    """A page of an engine that has come so far."""
    if engine is Engine.VLLM:
        return RatesSample(0.0, f"vllm:num_requests_running {requests}\nvllm:iteration_tokens_total_count {steps}\n")
    return RatesSample(0.0, f"llamacpp:requests_processing {requests}\nllamacpp:n_decode_total {steps}\n", "[]")


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize("quiet_s", [0.0, 8.0])
def test_an_engine_at_work_answers_a_later_proof_by_that(engine: Engine, quiet_s: float) -> None:
    """A long answer with one slot: our request would wait behind it, and a healthy run would be stopped for it. It may
    take a while to see it get on: a long prompt is read in large steps, and a PC that wakes up answers late.
    """
    machine = running(26_000 * MIB)
    profile = LLAMA if engine is Engine.LLAMA_SERVER else VLLM
    machine.http.said = EngineProps(8192, 1, "0")
    machine.http.warm = RuntimeError("must not be asked")
    machine.http.rates = problem("http.timeout", seconds=2) if quiet_s else worked(7, engine=engine)

    def goes_on(now: float) -> None:
        machine.http.rates = worked(7 + int(now >= quiet_s), engine=engine)

    model = CLEARANCE if engine is Engine.LLAMA_SERVER else dataclasses.replace(CLEARANCE, model=None)
    proof = prove_later(machine, Time(goes_on), profile, model)
    assert (code(proof), proof.speed, kept(machine)) == (None, None, [])


def test_memory_is_looked_at_though_the_engine_is_at_work() -> None:
    machine = running()
    machine.counters.shared = SHARED + 7000 * MIB
    machine.http.rates = worked(1)
    time = Time(lambda now: setattr(machine.http, "rates", worked(1 + int(now * 10))))
    assert code(prove_later(machine, time)) == "proof.spill"


@pytest.mark.parametrize("rates", [worked(7), problem("http.timeout", seconds=2)])
def test_an_engine_that_has_a_request_and_does_not_move_hangs(rates: RatesSample | Problem) -> None:
    machine = running()
    machine.http.rates = rates
    machine.http.warm = problem("http.timeout", seconds=30)
    time = Time()
    assert code(prove_later(machine, time)) == "proof.no_answer"
    assert time.now < 30, "with the 30 s of the request itself it stays below the limit of a proof, 60 s"


def test_an_engine_without_requests_is_measured_at_once() -> None:
    machine, time = running(), Time()
    machine.http.rates = worked(7, requests=0)
    proof = prove_later(machine, time)
    assert proof.speed is not None
    assert (code(proof), proof.speed.tokens_per_s, time.now) == (None, 38.0, 0.0)


@pytest.mark.parametrize("again", [False, True])
def test_a_client_that_came_first_keeps_us_waiting_and_is_served(again: bool) -> None:
    """One that tries again and again, and finds the port of a model that has just loaded."""
    machine, time = running(), Time(lambda now: setattr(machine.http, "rates", worked(1 + int(now * 10))))
    machine.http.rates = worked(1, requests=0)
    machine.http.warm = problem("http.timeout", seconds=30)
    prover = Prover(machine.ports, sleep=time.sleep, clock=time)
    proof = prover.prove(LLAMA, CLEARANCE, judged(), machine.http, again=again)
    assert (code(proof), proof.speed, kept(machine)) == (None, None, [])


def test_a_pc_that_wakes_up_may_answer_late() -> None:
    """The port through WSL's relay, the driver, the counters, and what Windows had moved off the card."""
    machine = running()
    machine.http.said = problem("http.refused", detail="relay")
    machine.gpu.failure = problem("gpu.driver_lost")
    machine.counters.shared = None

    def wakes(now: float) -> None:
        machine.http.said = EngineProps(LLAMA.context, LLAMA.parallel, "0.5.0")
        if now >= 4:
            machine.gpu.failure = None
        if now >= 6:
            machine.counters.shared = SHARED + (7000 * MIB if now < 8 else 0)

    time = Time(wakes)
    assert code(prove_later(machine, time)) is None
    assert 8 <= time.now < 12


def test_a_pc_that_does_not_wake_up_is_not_waited_for() -> None:
    machine, time = running(), Time()
    machine.http.said = problem("http.refused", detail="relay")
    assert code(prove_later(machine, time)) == "proof.no_answer"
    assert 10 <= time.now < 12


def test_a_first_proof_waits_for_nobody() -> None:
    machine, time = running(), Time()
    machine.gpu.failure = problem("gpu.driver_lost")
    assert code(Prover(machine.ports, sleep=time.sleep, clock=time).prove(LLAMA, CLEARANCE, judged(), machine.http))
    assert time.now == 0.0


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


# --- the speed --------------------------------------------------------------------------------------------------------

FACTS = judged().facts
IDLE, BUSY = (
    RatesSample(0.0, "llamacpp:requests_processing 0\n"),
    RatesSample(0.0, "llamacpp:requests_processing 1\n"),
)


def measuring(*speeds: float, baseline: float | None = None, taken: int = CLAIMED + 525 * MIB) -> Machine:
    """A machine whose warm-ups show these speeds, one after the other, and whose profile is known for `baseline`."""
    machine = running(taken)
    left = iter(speeds)
    machine.http.on_warm_up = lambda: setattr(machine.http, "warm", WarmUp(38, 1.0, next(left)))
    machine.http.rates = IDLE
    key = speed_key(LLAMA, MODEL, FACTS, (machine.gpu.card,))
    assert key is not None
    if baseline is not None:
        machine.speeds.kept[key] = baseline
    return machine


def kept(machine: Machine) -> list[float]:
    return list(machine.speeds.kept.values())


def test_a_proved_speed_is_kept() -> None:
    machine = measuring(38.0)
    proof = prove(machine)
    assert proof.speed is not None
    assert (proof.problem, proof.speed.slow, proof.speed.baseline, kept(machine)) == (None, False, None, [38.0])


def test_a_speed_whose_key_is_not_known_is_not_kept() -> None:
    machine = measuring(38.0)
    nameless = dataclasses.replace(machine.gpu.card, uuid="")
    machine.gpu.snapshot = lambda: (nameless,)  # type: ignore[method-assign]
    assert (code(prove(machine)), kept(machine)) == (None, [])


def test_a_speed_without_a_limit_stands_alone() -> None:
    machine = measuring(1.0)
    wide = dataclasses.replace(machine.gpu.card, bus_width_bits=None)
    machine.gpu.snapshot = lambda: (wide,)  # type: ignore[method-assign]
    assert prove(machine).speed == Speed(1.0, None)


def test_low_speed_alone_marks_a_run_and_does_not_stop_it() -> None:
    machine = measuring(4.6, 4.4)
    proof = prove(machine)
    assert proof.speed is not None
    assert (proof.problem, proof.speed.slow, proof.speed.tokens_per_s) == (None, True, 4.6)
    assert kept(machine) == [], "a slow run is nobody's baseline"


def test_low_speed_that_does_not_come_again_is_nothing() -> None:
    machine = measuring(4.6, 38.0)
    proof = prove(machine)
    assert proof.speed is not None
    assert (proof.problem, proof.speed.slow, proof.speed.tokens_per_s, kept(machine)) == (None, False, 38.0, [38.0])


def test_low_speed_with_memory_missing_stops_a_run() -> None:
    proof = prove(measuring(4.6, 4.6, taken=CLAIMED - 1))
    assert proof.problem is not None
    figures = {"grown_bytes": CLAIMED - 1, "claimed_bytes": CLAIMED, "tokens_per_s": 4.6, "percent": 8}
    assert (proof.problem.code, dict(proof.problem.params)) == ("proof.slow_and_short", figures)
    assert code(prove(measuring(4.6, 4.6, taken=CLAIMED))) is None
    assert code(prove(measuring(38.0, taken=CLAIMED - 1))) is None


@pytest.mark.parametrize(
    ("speed", "beyond", "why"), [(4.6, 1, "proof.slow_and_spilled"), (4.6, 0, None), (38.0, 1, None)]
)
def test_low_speed_with_shared_memory_well_up_stops_a_run(speed: float, beyond: int, why: str | None) -> None:
    machine = measuring(speed, speed)
    machine.counters.shared = SHARED + PINNED + SHARED_ALLOWANCE // 2 + beyond
    proof = prove(machine)
    assert code(proof) == why
    if proof.problem is not None:
        assert proof.problem.params["rise_bytes"] == PINNED + SHARED_ALLOWANCE // 2 + 1
        assert proof.problem.params["tokens_per_s"] == 4.6


def test_a_clear_drop_stops_a_run_with_both_figures() -> None:
    machine = measuring(16.0, 16.4, baseline=38.0)
    proof = prove(machine)
    assert proof.problem is not None
    assert (proof.problem.code, dict(proof.problem.params)) == (
        "proof.speed_drop",
        {"tokens_per_s": 16.4, "percent": 28, "baseline": 38.0},
    )
    assert kept(machine) == [38.0]


def test_a_drop_is_confirmed_first() -> None:
    machine = measuring(16.0, 20.0, baseline=38.0)
    proof = prove(machine)
    assert proof.speed is not None
    assert (proof.problem, proof.speed.tokens_per_s, proof.speed.baseline, proof.speed.slow) == (
        None,
        20.0,
        38.0,
        False,
    )


def test_less_than_usual_is_no_drop_and_what_is_usual_is_not_slow() -> None:
    assert code(prove(measuring(20.0, baseline=38.0))) is None
    proof = prove(measuring(4.6, baseline=5.0))
    assert proof.speed is not None
    assert (proof.problem, proof.speed.slow) == (None, False)


@pytest.mark.parametrize("baseline", [None, 38.0])
@pytest.mark.parametrize("busy", ["before", "after", "unknown"])
def test_a_speed_beside_other_requests_speaks_against_nothing(busy: str, baseline: float | None) -> None:
    """A client may have found the port before the address was offered; after a resume it surely has."""
    machine = measuring(4.6, 4.6, baseline=baseline, taken=CLAIMED - 1)
    if busy == "after":
        second = machine.http.on_warm_up
        calls: list[None] = []

        def now_busy() -> None:
            second()
            calls.append(None)
            machine.http.rates = BUSY if len(calls) == 2 else IDLE

        machine.http.on_warm_up = now_busy
    else:
        machine.http.rates = BUSY if busy == "before" else RatesSample(0.0, None)
    proof = prove(machine)
    assert proof.speed is not None
    assert (proof.problem, proof.speed.slow, proof.speed.tokens_per_s) == (None, False, 4.6)
    assert kept(machine) == ([] if baseline is None else [baseline])


@pytest.mark.parametrize(("busy", "why"), [(0.9, None), (0.49, "proof.speed_drop"), (None, "proof.speed_drop")])
def test_a_speed_beside_a_game_or_another_model_speaks_against_nothing(busy: float | None, why: str | None) -> None:
    machine = measuring(16.0, 16.0, baseline=38.0)
    machine.gpu.utilization = busy
    proof = prove(machine)
    assert (code(proof), kept(machine)) == (why, [38.0])


def test_a_driver_that_does_not_answer_excuses_no_speed() -> None:
    machine = measuring(16.0, 16.0, baseline=38.0)
    machine.http.rates = IDLE

    def sleep(_: float) -> None:
        machine.gpu.failure = problem("gpu.driver_lost")

    assert code(prove(machine, sleep=sleep)) == "proof.speed_drop"


def test_runs_that_are_proved_at_once_are_measured_one_after_the_other() -> None:
    """After a resume: side by side each would get its share of the card, and be stopped for it."""
    machine, inside, most = running(), [0], [0]
    entered, leave = threading.Semaphore(0), threading.Semaphore(0)

    def warm_up() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        entered.release()
        assert leave.acquire(timeout=DEADLINE_S)
        inside[0] -= 1

    machine.http.on_warm_up = warm_up
    prover = Prover(machine.ports)
    with ThreadPoolExecutor(2) as pool:
        proofs = [pool.submit(prover.prove, LLAMA, CLEARANCE, judged(), machine.http) for _ in range(2)]
        assert entered.acquire(timeout=DEADLINE_S)
        assert not entered.acquire(timeout=0.2)
        leave.release(2)
        assert [code(proof.result(DEADLINE_S)) for proof in proofs] == [None, None]
    assert most == [1]


def test_an_engine_that_hangs_in_its_warm_up_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedometer, "_TURN_S", 0.01)
    machine = running()
    prover = Prover(machine.ports)

    def hangs() -> None:
        machine.http.on_warm_up = lambda: None
        other = pool.submit(prover.prove, LLAMA, CLEARANCE, judged(), machine.http)
        others.append(other.result(DEADLINE_S))

    machine.http.on_warm_up = hangs
    others: list[Proof] = []
    with ThreadPoolExecutor(1) as pool:
        assert code(prover.prove(LLAMA, CLEARANCE, judged(), machine.http)) is None
    assert [code(proof) for proof in others] == [None]


def test_our_own_request_may_last_a_moment() -> None:
    machine = measuring(16.0, 16.0, baseline=38.0)
    machine.http.rates = BUSY

    def sleep(_: float) -> None:
        machine.http.rates = IDLE

    assert code(prove(machine, sleep=sleep)) == "proof.speed_drop"


def test_a_second_answer_that_is_too_short_to_tell_does_not_help() -> None:
    machine = measuring(16.0, baseline=38.0)
    machine.http.on_warm_up = lambda: setattr(machine.http, "warm", next(answers))
    answers = iter([WarmUp(16, 1.0, 16.0), WarmUp(0, 0.0, None)])
    assert code(prove(machine)) == "proof.speed_drop"


def test_an_engine_that_dies_in_the_second_warm_up_is_not_proved() -> None:
    machine = measuring(16.0, baseline=38.0)
    machine.http.rates = problem("http.refused", detail="gone")
    assert code(prove(machine)) == "proof.no_answer"


def test_memory_that_fails_is_not_measured_twice() -> None:
    machine = measuring(4.6, taken=0)
    proof = prove(machine)
    assert proof.speed is not None
    assert (code(proof), proof.speed.slow, kept(machine)) == ("proof.growth_short", True, [])


CONFIG = json.dumps({"hidden_size": 5120, "vocab_size": 152_064, "tie_word_embeddings": False}).encode()


@pytest.mark.parametrize(
    ("model", "config", "known"),
    [
        ("~/models/q14awq/", CONFIG, True),
        ("~/models/q14awq", b"\xff", False),
        ("~/models/q14awq", problem("target.unreadable"), False),
        ("Qwen/Q14", CONFIG, False),
    ],
)
def test_the_share_of_vllm_comes_from_the_models_config(
    model: str, config: bytes | Problem, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = msgspec.structs.replace(VLLM, model=model)
    machine = running(26_000 * MIB)
    machine.http.said = EngineProps(8192, None, "0.25.0")
    asked: list[str] = []

    def read_at(path: str, offset: int, size: int, *, timeout_s: float = 30.0) -> bytes:
        asked.append(path)
        return machine.target.answer(config)

    monkeypatch.setattr(machine.target, "read_at", read_at)
    clearance = dataclasses.replace(CLEARANCE, model=None)
    proof = Prover(machine.ports).prove(profile, clearance, judged("q14", VLLM), machine.http)
    assert proof.speed is not None
    assert (proof.problem, proof.speed.of_limit is not None) == (None, known)
    assert asked == ([] if model == "Qwen/Q14" else ["~/models/q14awq/config.json"])
    assert kept(machine) == [38.0], "the speed itself is known without it"


def test_whether_vllm_is_idle_is_asked_in_its_own_words() -> None:
    machine = measuring(38.0, 38.0)
    profile = msgspec.structs.replace(VLLM, model="~/q14awq")
    machine.http.said = EngineProps(8192, None, "0.25.0")
    machine.gpu.used = BEFORE + 26_000 * MIB
    key = speed_key(profile, None, judged("q14", VLLM).facts, (machine.gpu.card,))
    assert key is not None
    machine.speeds.kept[key] = 100.0
    machine.http.rates = RatesSample(0.0, "vllm:num_requests_running 0.0\n")
    clearance = dataclasses.replace(CLEARANCE, model=None)
    proof = Prover(machine.ports).prove(profile, clearance, judged("q14", VLLM), machine.http)
    assert code(proof) == "proof.speed_drop"


# --- what the log tells in bytes --------------------------------------------------------------------------------------


def test_the_bytes_of_a_vllm_log() -> None:
    facts = judged("q14", VLLM).facts
    assert facts.weights is not None
    assert claimed_bytes(facts, ("CUDA0",)) == (facts.weights + (facts.available_kv or 0) + (facts.graphs or 0),)
    bare = LogFacts(weights=100, available_kv=-5)
    assert claimed_bytes(bare, ("CUDA0",)) == (100,)


def test_the_bytes_of_a_llama_log() -> None:
    assert claimed_bytes(LogFacts(), ("CUDA0",)) == ()
    assert claimed_bytes(LogFacts(devices={"CPU": DeviceFacts(model=7)}), ("CUDA0",)) == ()
    facts = LogFacts(devices={"CUDA0": DeviceFacts(model=100, kv=20, compute=3), "CPU": DeviceFacts(compute=9)})
    assert claimed_bytes(facts, ("CUDA0",)) == (123,)
    assert claimed_bytes(facts, ("CUDA0", "CUDA1")) == (), "a card of which the log says nothing"
    assert shared_allowed(facts) == SHARED_ALLOWANCE


def test_the_expectation_comes_from_the_models_header() -> None:
    expected = expectation(LLAMA, CLEARANCE)
    assert (expected.weights_on_gpu_bytes, expected.n_ctx, expected.parallel) == (MODEL.weights_on_gpu, 8192, 1)
    assert expected.kv_bytes == 1536 * MIB
    assert expected.host_allowed_bytes == MODEL.input_bytes
    uneven = dataclasses.replace(CLEARANCE, model=dataclasses.replace(MODEL, architecture="next-year"))
    assert expectation(LLAMA, uneven).kv_bytes is None
    headless = expectation(VLLM, dataclasses.replace(CLEARANCE, model=None))
    assert (headless.weights_on_gpu_bytes, headless.n_ctx, headless.vision) == (None, 8192, False)


# --- after the end ----------------------------------------------------------------------------------------------------


def each(size: int | None) -> tuple[int, ...]:
    """A size of one card; empty where it is not known."""
    return () if size is None else (size,)


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
    found = Prover(machine.ports, freed_s=0.0).vram_left((0,), (BEFORE,), each(at_end), each(taken))
    assert (found.code if found else None) == left


def test_memory_whose_level_before_is_unknown_is_not_judged() -> None:
    assert Prover(Machine().ports).vram_left((0,), (), (5,), (5,)) is None


def test_a_driver_may_take_a_moment_to_show_memory_as_free() -> None:
    machine = running()
    snapshot = machine.gpu.snapshot

    def second_time() -> object:
        seen = snapshot()
        machine.gpu.used = BEFORE
        return seen

    machine.gpu.snapshot = second_time  # type: ignore[assignment,method-assign]
    assert Prover(machine.ports).vram_left((0,), (BEFORE,), (), ()) is None
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
