"""Remedies at work: what a refused or failed run offers, and a click that changes, frees, and starts again."""

from __future__ import annotations

import threading

import msgspec
import pytest

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.ports import OllamaModel, SpeedKey
from kotaro_bridge.domain.profile import KvType, VramNeed
from kotaro_bridge.domain.run.holders import HolderKind
from kotaro_bridge.domain.run.metrics import RatesSample
from kotaro_bridge.domain.run.remedy import Remedy, RemedyKind, parse
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice, RunView
from kotaro_bridge.domain.units import GIB, MIB
from tests.helpers.machine import DEADLINE_S, LLAMA, VLLM, Machine, life, vllm_lines
from tests.unit.service.test_supervisor import House, house

CONTEXT = Remedy(RemedyKind.CONTEXT, "4096", "4096")
OOM = "0.00.500.000 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 300.00 MiB on device 0: cudaMalloc failed"


def until(all_runs: House, profile_id: str, *phases: Phase) -> RunView:
    actor = all_runs.supervisor.actor(profile_id)
    view = actor.wait(lambda view: view.phase in phases, DEADLINE_S)
    assert view.phase in phases, view
    return view


def idle(all_runs: House) -> None:
    """Wait until no remedy is being applied."""
    for thread in threading.enumerate():
        if thread.name == "front":
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


def notices(all_runs: House) -> list[str]:
    return [message.problem.code for message in all_runs.heard.messages if isinstance(message, Notice)]


def full(machine: Machine, free: int = 10 * GIB) -> Machine:
    """A card with less free than the model of `LLAMA` wants (10.3 GiB)."""
    machine.gpu.used = machine.gpu.total - free
    return machine


def key(profile_id: str) -> SpeedKey:
    return SpeedKey(profile_id, "f00", "llama-server", "0.5.0", "580.88", "GPU-1", "")


# --- what is offered --------------------------------------------------------------------------------------------------


def test_a_refused_run_offers_what_the_gate_found_and_the_next_start_nothing() -> None:
    machine = full(Machine())
    with life(machine=machine) as alive:
        alive.actor.start()
        view = alive.waits_for(Phase.REFUSED)
        assert [remedy.kind for remedy in view.remedies] == [RemedyKind.CONTEXT, RemedyKind.KV_TYPE]
        machine.gpu.used = 900 * MIB
        alive.loads()
        assert alive.actor.view.remedies == ()


def test_a_run_out_of_memory_offers_a_shorter_context() -> None:
    with life() as alive:
        engine = alive.loads()
        engine.says([OOM])
        engine.exits(1)
        view = alive.waits_for(Phase.FAILED)
        assert view.problem is not None
        assert view.problem.code == "proof.out_of_gpu_memory"
        assert [remedy.kind for remedy in view.remedies] == [RemedyKind.CONTEXT, RemedyKind.KV_TYPE]


def test_a_driver_that_does_not_answer_offers_nothing() -> None:
    machine = Machine()
    with life(machine=machine) as alive:
        engine = alive.loads()
        engine.says([OOM])
        machine.gpu.failure = problem("gpu.driver_lost")
        engine.exits(1)
        alive.until(lambda view: view.phase in (Phase.FAILED, Phase.ORPHANED))
        assert alive.actor.view.remedies == ()


def test_a_stopped_run_offers_nothing() -> None:
    with life() as alive:
        alive.serves()
        alive.actor.stop()
        assert alive.waits_for(Phase.STOPPED).remedies == ()


def test_vllm_s_own_number_becomes_a_remedy() -> None:
    with life(VLLM) as alive:
        engine = alive.loads()
        engine.says(vllm_lines("kvsmall"))
        engine.exits(1)
        view = alive.waits_for(Phase.FAILED)
        assert view.problem is not None
        longest = int(view.problem.params["max_len"])
        assert [remedy.word for remedy in view.remedies] == [f"context={longest // 16 * 16}"]


def test_a_run_slower_than_usual_can_be_measured_anew() -> None:
    machine = Machine()
    with life(machine=machine) as alive:
        machine.speeds.baseline = lambda key: 1000.0  # type: ignore[method-assign]
        machine.http.rates = RatesSample(0.0, "llamacpp:requests_processing 0\n")
        alive.answers()
        view = alive.waits_for(Phase.FAILED)
        assert view.problem is not None
        assert view.problem.code == "proof.speed_drop"
        assert [remedy.word for remedy in view.remedies] == ["forget=speed"]


# --- applied ----------------------------------------------------------------------------------------------------------


def test_a_shorter_context_is_saved_and_started() -> None:
    with house(full(Machine())) as all_runs:
        supervisor = all_runs.supervisor
        supervisor.start("llama")
        refused = until(all_runs, "llama", Phase.REFUSED)
        remedy = refused.remedies[0]
        supervisor.apply("llama", remedy)
        all_runs.machine.target.engine().starts()
        view = until(all_runs, "llama", Phase.LOADING)
        assert view.generation == refused.generation + 1
        assert all_runs.store.changes == [("llama", {"context": int(remedy.value)})]
        assert supervisor.profile("llama").context == int(remedy.value)
        assert remedy.value in all_runs.machine.target.engine().command.argv
        assert supervisor.actor("llama").profile.context == int(remedy.value)
        assert len(supervisor.actors()) == 1


def test_the_log_of_the_failed_run_stays() -> None:
    with house() as all_runs:
        supervisor = all_runs.supervisor
        supervisor.start("llama")
        engine = all_runs.machine.target.engine()
        engine.starts()
        engine.says([OOM])
        engine.exits(1)
        failed = until(all_runs, "llama", Phase.FAILED)
        supervisor.apply("llama", failed.remedies[0])
        all_runs.machine.target.engine(2).starts()
        until(all_runs, "llama", Phase.LOADING)
        assert OOM in [line.text for line in supervisor.log("llama").tail(50)]


def test_ollama_lets_go_and_the_start_works() -> None:
    machine = full(Machine(), 9 * GIB)
    machine.ollama.models = (OllamaModel("qwen3:8b", 7 * GIB),)
    with house(machine) as all_runs:
        all_runs.supervisor.start("llama")
        refused = until(all_runs, "llama", Phase.REFUSED)
        assert refused.gate is not None
        assert [holder.kind for holder in refused.gate.holders] == [HolderKind.OLLAMA]
        assert refused.remedies[0] == Remedy(RemedyKind.UNLOAD, "qwen3:8b", "qwen3:8b")
        all_runs.supervisor.apply("llama", refused.remedies[0])
        machine.target.engine().starts()
        until(all_runs, "llama", Phase.LOADING)
        assert machine.ollama.unloaded == ["qwen3:8b"]
        assert all_runs.store.changes == []


def test_what_is_usual_is_forgotten_and_the_start_follows() -> None:
    machine = Machine()
    machine.speeds.kept = {key("llama"): 400.0, key("vllm"): 60.0}
    with house(machine) as all_runs:
        all_runs.supervisor.apply("llama", Remedy(RemedyKind.FORGET, "speed"))
        machine.target.engine().starts()
        until(all_runs, "llama", Phase.LOADING)
    assert machine.speeds.kept == {key("vllm"): 60.0}


def test_the_other_run_is_stopped_and_this_one_starts() -> None:
    machine = Machine()
    machine.gpu.total = 16 * GIB
    with house(machine) as all_runs:
        all_runs.serves()
        second = msgspec.structs.replace(LLAMA, id="vllm", title="Second", port=9000)
        all_runs.store.profiles["vllm"] = second
        all_runs.supervisor.reload("vllm")
        all_runs.supervisor.start("vllm")
        refused = until(all_runs, "vllm", Phase.REFUSED)
        assert refused.remedies[0] == Remedy(RemedyKind.STOP_RUN, "llama", LLAMA.title)
        all_runs.supervisor.apply("vllm", refused.remedies[0])
        machine.target.engine(2).starts()
        until(all_runs, "vllm", Phase.LOADING)
        assert all_runs.supervisor.view("llama").phase is Phase.STOPPED


def test_a_run_that_cannot_be_stopped_is_named_and_nothing_starts() -> None:
    machine = Machine()
    with house(machine) as all_runs:
        engine = all_runs.serves()
        machine.target.left = (4711,)
        all_runs.supervisor.apply("vllm", Remedy(RemedyKind.STOP_RUN, "llama"))
        engine.was_asked("stop 10")
        idle(all_runs)
        assert notices(all_runs) == ["remedy.still_there"]
        assert all_runs.supervisor.view("vllm").phase is Phase.IDLE
        machine.target.left = ()
        all_runs.supervisor.stop("llama")
        until(all_runs, "llama", Phase.FAILED, Phase.STOPPED)


@pytest.mark.parametrize(
    ("remedy", "code"),
    [
        (CONTEXT, "profile.not_saved"),
        (Remedy(RemedyKind.UNLOAD, "qwen3:8b"), "ollama.stays"),
        (Remedy(RemedyKind.STOP_RUN, "none"), "profile.unknown"),
    ],
)
def test_what_goes_wrong_is_told_and_nothing_starts(remedy: Remedy, code: str) -> None:
    with house() as all_runs:
        all_runs.store.failure = problem("profile.not_saved", file="x", detail="read-only")
        all_runs.machine.ollama.failure = problem("ollama.stays", model="qwen3:8b", seconds=10)
        all_runs.supervisor.apply("llama", remedy)
        idle(all_runs)
        assert notices(all_runs) == [code]
        assert all_runs.supervisor.view("llama").phase is Phase.IDLE
        assert all_runs.supervisor.profile("llama") == LLAMA


def test_a_run_under_way_is_left_alone() -> None:
    with house() as all_runs:
        all_runs.serves()
        all_runs.supervisor.apply("llama", CONTEXT)
        idle(all_runs)
        assert all_runs.store.changes == []
        assert all_runs.supervisor.view("llama").phase is Phase.READY
        with pytest.raises(ProblemError):
            all_runs.supervisor.apply("none", CONTEXT)


def test_two_clicks_are_one() -> None:
    machine = Machine()
    held, entered = threading.Event(), threading.Event()
    unload = machine.ollama.unload

    def slowly(name: str) -> None:
        entered.set()
        assert held.wait(DEADLINE_S)
        unload(name)

    machine.ollama.unload = slowly  # type: ignore[method-assign]
    with house(machine) as all_runs:
        remedy = Remedy(RemedyKind.UNLOAD, "qwen3:8b")
        all_runs.supervisor.apply("llama", remedy)
        assert entered.wait(DEADLINE_S)
        all_runs.supervisor.apply("llama", remedy)
        held.set()
        machine.target.engine().starts()
        until(all_runs, "llama", Phase.LOADING)
        idle(all_runs)
        assert machine.ollama.unloaded == ["qwen3:8b"]
        assert len(machine.target.launches) == 1


def test_no_start_follows_the_end_of_everything() -> None:
    machine = Machine()
    entered, held = threading.Event(), threading.Event()

    def slowly(name: str) -> None:
        entered.set()
        assert held.wait(DEADLINE_S)

    machine.ollama.unload = slowly  # type: ignore[method-assign]
    with house(machine) as all_runs:
        all_runs.supervisor.apply("llama", Remedy(RemedyKind.UNLOAD, "qwen3:8b"))
        assert entered.wait(DEADLINE_S)
        threading.Timer(0.05, held.set).start()
        assert all_runs.supervisor.close()
        assert all_runs.supervisor.view("llama").phase is Phase.IDLE
    assert machine.target.launches == []


# --- a changed file, and other processes ------------------------------------------------------------------------------


def test_a_changed_file_counts_from_the_next_start() -> None:
    with house() as all_runs:
        supervisor = all_runs.supervisor
        engine = all_runs.serves()
        changed = msgspec.structs.replace(LLAMA, context=4096, kv_type=KvType.Q8_0)
        all_runs.store.profiles["llama"] = changed
        assert all_runs.desk.handle({"verb": "reload", "profile": "llama"}) == {}
        assert supervisor.view("llama").phase is Phase.READY
        assert supervisor.actor("llama").profile is LLAMA
        supervisor.start("llama")
        assert supervisor.actor("llama").profile is LLAMA
        supervisor.stop("llama")
        engine.was_asked("stop 10")
        until(all_runs, "llama", Phase.STOPPED)
        supervisor.start("llama")
        assert supervisor.actor("llama").profile == changed
        all_runs.machine.target.engine(2).starts()


def test_runs_of_another_owner_are_in_the_way_too() -> None:
    with house(full(Machine(), GIB)) as all_runs:
        all_runs.elsewhere = (("vllm", 20 * GIB), ("gone", GIB))
        result = all_runs.supervisor.check("llama")
        assert [(holder.name, holder.bytes) for holder in result.report.holders] == [(VLLM.title, 20 * GIB)]
        assert [remedy.word for remedy in result.remedies] == ["stop=vllm"]


def test_another_process_asks_for_a_remedy() -> None:
    with house(full(Machine())) as all_runs:
        all_runs.supervisor.start("llama")
        until(all_runs, "llama", Phase.REFUSED)
        run = all_runs.desk.handle({"verb": "status"})["runs"][0]
        assert run["warning"] is None
        assert [remedy["kind"] for remedy in run["remedies"]] == ["context", "kv_type"]
        word = run["remedies"][0]["word"]
        assert word == f"context={run['remedies'][0]['value']}"
        answer = all_runs.desk.handle({"verb": "apply", "profile": "llama", "word": word})
        assert answer == {"profile": "llama", "word": word}
        all_runs.machine.target.engine().starts()
        until(all_runs, "llama", Phase.LOADING)
        for profile_id, nonsense, code in (
            ("llama", "cpu=1", "remedy.unknown"),
            ("llama", "context=1", "remedy.value"),
            ("none", word, "profile.unknown"),
        ):
            refused = all_runs.desk.handle({"verb": "apply", "profile": profile_id, "word": nonsense})
            assert refused["error"]["code"] == code


def test_a_stated_need_goes_with_the_context_it_was_measured_at() -> None:
    stated = msgspec.structs.replace(LLAMA, need=VramNeed(vram_mib=11_000, source="measured: here"))
    machine = full(Machine(), 10_900 * MIB)
    with house(machine) as all_runs:
        all_runs.store.profiles["llama"] = stated
        all_runs.supervisor.reload("llama")
        all_runs.supervisor.start("llama")
        refused = until(all_runs, "llama", Phase.REFUSED)
        all_runs.supervisor.apply("llama", parse(refused.remedies[0].word, stated))
        machine.target.engine().starts()
        until(all_runs, "llama", Phase.LOADING)
        assert all_runs.supervisor.profile("llama").need is None
