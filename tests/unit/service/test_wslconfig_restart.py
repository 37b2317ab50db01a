"""The restart of WSL around our runs, each step and each way in which it fails; and whether a change waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.domain.wsl.wslconfig_effect import Affected
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts, ModelLoad
from kotaro_bridge.domain.wsl.wslconfig_store import Snapshot
from kotaro_bridge.service.wslconfig_restart import (
    Patience,
    Step,
    WslConfigDesk,
    distro_to_ask,
    model_loads,
    model_paths,
    models_seen,
)
from tests.helpers.fake_vm import FACTS, FakeVm
from tests.helpers.memory_store import MemoryStore

QUICK = Patience(stop_s=0.0, seen_s=0.0, load_s=0.0)
FILE = b"[wsl2]\nmemory=20GB\n"
PC = HostFacts(32 * GIB, 16)


def profile(name: str, target: str = "wsl:", model: str = "~/m.gguf") -> Profile:
    return Profile(
        title=name.upper(),
        engine=Engine.LLAMA_SERVER,
        executable="e",
        model=model,
        served_name=name,
        context=4096,
        port=8080,
        id=name,
        target=target,
    )


@dataclass
class FakeRun:
    """A run that stops when it is asked to, but for one that is `deaf`."""

    profile: Profile
    phase: Phase
    deaf: bool = False
    orphan: bool = False
    generation: int = 1
    calls: list[str] = field(default_factory=list)

    @property
    def view(self) -> RunView:
        return RunView(self.profile.id, self.phase, self.generation, 0.0)

    def stop(self) -> None:
        self.calls.append("stop")
        if not self.deaf:
            self.phase = Phase.ORPHANED if self.orphan else Phase.STOPPED

    def wait(self, wanted: Callable[[RunView], bool], timeout_s: float) -> RunView:
        wanted(self.view)
        return self.view


class FakeRuns:
    """Runs by hand; what is submitted waits until `work` is called."""

    def __init__(self, *runs: FakeRun) -> None:
        self.runs = {run.profile.id: run for run in runs}
        self.others: tuple[Profile, ...] = ()
        self.submitted: list[Callable[[], None]] = []

    def profiles(self) -> tuple[Profile, ...]:
        return (*(run.profile for run in self.runs.values()), *self.others)

    def actors(self) -> tuple[FakeRun, ...]:
        return tuple(self.runs.values())

    def actor(self, profile_id: str) -> FakeRun:
        return self.runs[profile_id]

    def start(self, profile_id: str) -> None:
        run = self.runs[profile_id]
        run.calls.append("start")
        run.phase, run.generation = Phase.CHECKING, run.generation + 1

    def submit(self, work: Callable[[], None]) -> None:
        self.submitted.append(work)

    def work(self) -> None:
        for work in self.submitted:
            work()
        self.submitted.clear()


class House:
    """A desk with its file, its VM and its runs."""

    def __init__(self, *runs: FakeRun, data: bytes | None = FILE, names: tuple[str, ...] = ("Ubuntu",)) -> None:
        self.store = MemoryStore(data)
        self.store.at = 500.0
        self.vm = FakeVm(*names)
        self.runs = FakeRuns(*runs)
        self.desk = WslConfigDesk(self.store, self.vm, self.runs, lambda: PC, QUICK)

    def write(self, data: bytes | None, at: float | None) -> None:
        self.store.data, self.store.at = data, at

    def fails(self) -> str:
        """The code that a restart ends with."""
        with pytest.raises(ProblemError) as caught:
            self.desk.restart()
        return caught.value.problem.code.removeprefix("wslconfig.restart.")


# --- the restart ------------------------------------------------------------------------------------------------------


def test_what_a_restart_meets() -> None:
    runs = [
        FakeRun(profile("serves"), Phase.READY),
        FakeRun(profile("loads"), Phase.LOADING),
        FakeRun(profile("rests"), Phase.STOPPED),
        FakeRun(profile("ends"), Phase.STOPPING),
        FakeRun(profile("elsewhere", "local"), Phase.READY),
    ]
    house = House(*runs, names=("Ubuntu", "docker-desktop"))
    assert house.desk.affected() == Affected(("Ubuntu", "docker-desktop"), ("SERVES", "LOADS"), True)
    assert not House().desk.affected().docker


def test_runs_stop_first_and_start_again_one_after_the_other() -> None:
    one, two = FakeRun(profile("one", "wsl:Debian"), Phase.READY), FakeRun(profile("two"), Phase.PROVING)
    ends, local = FakeRun(profile("ends"), Phase.STOPPING), FakeRun(profile("local", "local"), Phase.READY)
    house = House(one, two, ends, local)
    steps: list[str] = []
    assert house.desk.restart(steps.append).ok
    assert steps == list(Step)
    assert (one.calls, two.calls, ends.calls, local.calls) == (["stop", "start"], ["stop", "start"], ["stop"], [])
    assert house.vm.calls == ["running", "facts", "shutdown", "facts", "reaches"]
    assert [distro for distro, _ in house.vm.asked] == ["Ubuntu", "Debian"]


def test_without_runs_the_default_distro_is_started() -> None:
    house = House(names=())
    assert house.desk.restart().ok
    assert house.vm.asked == [(None, ())]
    assert house.vm.calls == ["running", "shutdown", "facts", "reaches"]


def test_an_orphan_is_ended_by_the_shutdown() -> None:
    run = FakeRun(profile("one"), Phase.READY, orphan=True)
    assert House(run).desk.restart().ok
    assert run.calls == ["stop", "start"]


def test_a_run_that_does_not_stop() -> None:
    deaf = FakeRun(profile("deaf"), Phase.READY, deaf=True)
    alone = House(deaf)
    assert alone.fails() == "stop"
    assert "shutdown" not in alone.vm.calls
    assert House(FakeRun(profile("one"), Phase.READY), deaf).fails() == "stop_runs"


def test_a_shutdown_that_fails_starts_nothing() -> None:
    run = FakeRun(profile("one"), Phase.READY)
    house = House(run)
    house.vm.fails["shutdown"] = problem("wsl.hangs")
    with pytest.raises(ProblemError) as caught:
        house.desk.restart()
    assert caught.value.problem.code == "wslconfig.restart.hangs_runs"
    assert caught.value.problem.params == {"seconds": 120, "runs": "ONE"}
    assert run.calls == ["stop"]
    empty = House()
    empty.vm.fails["shutdown"] = problem("wsl.failed", "why", error="Wsl/Service/E_UNEXPECTED")
    with pytest.raises(ProblemError) as caught:
        empty.desk.restart()
    assert caught.value.problem == problem("wslconfig.restart.shutdown", "why", error="Wsl/Service/E_UNEXPECTED")


def test_wsl_does_not_start_again() -> None:
    run = FakeRun(profile("one"), Phase.READY)
    house = House(run, names=())
    house.vm.fails["facts"] = problem("wsl.missing")
    with pytest.raises(ProblemError) as caught:
        house.desk.restart()
    assert caught.value.problem == problem("wslconfig.restart.start_runs", error="wsl.missing", runs="ONE")


def test_the_same_vm_is_no_restart() -> None:
    house = House()
    house.vm.survives = True
    assert house.fails() == "same_vm"


def test_a_vm_without_an_id_is_taken_for_another() -> None:
    house = House()
    house.vm.shown = replace(FACTS, boot_id=None)
    house.vm.survives = True
    assert house.desk.restart().ok


def test_a_wsl_that_does_not_answer_may_be_cured_by_the_restart() -> None:
    house = House()
    house.vm.fails["running"] = problem("wsl.hangs")
    assert house.desk.restart().ok


def test_a_file_that_cannot_be_read_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun(profile("one"), Phase.READY)
    house = House(run)

    def unreadable() -> Snapshot:
        raise ProblemError(problem("wslconfig.unreadable"))

    monkeypatch.setattr(house.store, "read", unreadable)
    with pytest.raises(ProblemError, match="unreadable"):
        house.desk.restart()
    assert run.calls == []
    assert not house.desk.pending()


def test_one_restart_at_a_time() -> None:
    house = House()
    codes: list[str] = []
    house.desk.restart(lambda _: codes.append(house.fails()))
    assert set(codes) == {"busy"}
    assert house.desk.restart().ok


# --- the proof without a restart --------------------------------------------------------------------------------------


def test_effects_start_nothing() -> None:
    house = House(names=())
    with pytest.raises(ProblemError) as caught:
        house.desk.effects()
    assert caught.value.problem.code == "wslconfig.not_running"
    assert house.vm.calls == ["running"]


def test_effects_ask_a_distro_that_is_not_dockers() -> None:
    house = House(names=("docker-desktop", "Debian"))
    assert house.desk.effects().ok
    assert house.vm.asked == [("Debian", ())]
    assert distro_to_ask(("docker-desktop",)) == "docker-desktop"


def test_a_file_that_is_not_there_is_one_of_defaults() -> None:
    house = House(data=None)
    house.store.at = None
    assert house.desk.effects().ok


# --- whether a change waits -------------------------------------------------------------------------------------------


def test_a_change_waits_for_the_vm_that_was_seen() -> None:
    house = House()
    assert not house.desk.pending()
    assert len(house.runs.submitted) == 1
    house.desk.pending()
    assert len(house.runs.submitted) == 1, "one look at a time"
    house.runs.work()
    assert not house.desk.pending()
    assert house.runs.submitted == []
    house.write(b"[wsl2]\nmemory=8GB\n", 2000.0)
    assert house.desk.pending(), "told before anybody has looked again"
    house.runs.work()
    assert house.desk.pending()
    house.write(b"# only a comment\n" + FILE, 2001.0)
    assert not house.desk.pending()


def test_a_look_is_taken_again_while_a_change_waits() -> None:
    house = House()
    desk = WslConfigDesk(house.store, house.vm, house.runs, lambda: PC, replace(QUICK, look_s=0.0))
    desk.pending()
    house.runs.work()
    assert not desk.pending()
    assert house.runs.submitted == []
    house.write(b"", 2000.0)
    assert desk.pending()
    house.runs.work()
    assert desk.pending()
    house.vm.shutdown(1.0)
    house.vm.names = ("Ubuntu",)
    house.vm.shown = replace(house.vm.shown, began_at=3000)
    house.runs.work()
    assert not desk.pending()


@pytest.mark.parametrize(
    ("at", "began", "waits"),
    [(500.0, 1000, False), (1000.9, 1000, False), (1001.0, 1000, True), (None, 1000, False), (5000.0, None, False)],
)
def test_a_vm_that_is_met_for_the_first_time(at: float | None, began: int | None, waits: bool) -> None:
    house = House()
    house.store.at = at
    house.vm.shown = replace(FACTS, began_at=began)
    house.desk.pending()
    house.runs.work()
    assert house.desk.pending() is waits


def test_nothing_waits_where_nothing_runs() -> None:
    house = House(names=())
    house.desk.pending()
    house.runs.work()
    house.write(b"", 2000.0)
    assert not house.desk.pending()
    house.vm.fails["running"] = problem("wsl.hangs")
    house.runs.work()
    assert not house.desk.pending()


@pytest.mark.parametrize(("idle", "lives"), [(None, True), (60000, True), (-1, True), (0, False)])
def test_a_vm_outlives_its_last_distro(idle: int | None, lives: bool) -> None:
    """An empty list of distros is no proof that the VM is gone: one that is started now finds its old settings."""
    first = b"[wsl2]\n" + (b"" if idle is None else f"vmIdleTimeout={idle}\n".encode())
    house = House(data=first)
    desk = WslConfigDesk(house.store, house.vm, house.runs, lambda: PC, replace(QUICK, look_s=0.0))
    desk.pending()
    house.runs.work()
    house.write(first + b"memory=8GB\n", 2000.0)
    house.vm.names = ()
    assert desk.pending()
    house.runs.work()
    assert desk.pending() is lives
    house.runs.work()
    assert desk.pending() is lives
    house.vm.names = ("Ubuntu",)
    house.runs.work()
    assert desk.pending() is lives


def test_a_vm_that_was_written_after_lives_for_the_usual_time() -> None:
    house = House()
    house.write(b"", 2000.0)
    desk = WslConfigDesk(house.store, house.vm, house.runs, lambda: PC, replace(QUICK, look_s=0.0))
    desk.pending()
    house.runs.work()
    house.vm.names = ()
    desk.pending()
    house.runs.work()
    assert desk.pending()


def test_a_restart_takes_the_file_as_it_is() -> None:
    house = House()
    house.desk.pending()
    house.runs.work()
    house.write(b"[wsl2]\nprocessors=16\n", 2000.0)
    assert house.desk.pending()
    house.desk.restart()
    assert not house.desk.pending()


# --- models -----------------------------------------------------------------------------------------------------------


def test_models_that_are_there_are_known_to_the_advice() -> None:
    house = House(FakeRun(profile("one"), Phase.IDLE), FakeRun(profile("same"), Phase.IDLE))
    house.vm.shown = replace(FACTS, models=(("~/m.gguf", 30 * GIB),))
    assert house.desk.host().models == ()
    house.desk.effects()
    assert house.vm.asked == [("Ubuntu", ("~/m.gguf",))]
    assert house.desk.host().models == (ModelLoad("ONE", 30 * GIB),)
    assert "memory_below_model" in {finding.code.value for finding in house.desk.editor().lint().advice}


def test_models_are_asked_for_where_they_are() -> None:
    every = (
        profile("a"),
        profile("b", "wsl:Debian", "/b"),
        profile("c", "wsl:Ubuntu", "/c"),
        profile("d", "local", "/d"),
    )
    assert model_paths(every, "Ubuntu") == ("~/m.gguf", "/c")
    assert model_loads(every, {"/c": 1, "/d": 2}) == (ModelLoad("C", 1),)


def test_models_without_a_desk() -> None:
    vm = FakeVm("Ubuntu", facts=replace(FACTS, models=(("~/m.gguf", 5),)))
    assert models_seen((profile("a"),), vm) == {"~/m.gguf": 5}
    assert models_seen((profile("a"),), FakeVm()) == {}
    vm.fails["running"] = problem("wsl.missing")
    assert models_seen((profile("a"),), vm) == {}


def test_threads_may_ask_at_once() -> None:
    house = House()
    threads = [threading.Thread(target=house.desk.pending) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(house.runs.submitted) == 1
