"""All runs of one machine, what front ends and other processes ask of them, and the end of everything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath

import msgspec
import pytest

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.ports_http import ChatPiece
from kotaro_bridge.domain.run.run_state import Limits, Phase
from kotaro_bridge.domain.run.run_view import Endpoint, Notice, RunView
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.connect import Connect
from kotaro_bridge.service.owner_desk import OwnerDesk
from kotaro_bridge.service.run_actor import RunActor
from kotaro_bridge.service.supervisor import TRIAL, Supervisor, default_limits
from kotaro_bridge.service.telemetry import Telemetry
from kotaro_bridge.service.wslconfig_restart import WslConfigDesk
from tests.helpers.captures import llama_lines
from tests.helpers.fake_vm import FakeVm
from tests.helpers.machine import DEADLINE_S, LLAMA, QUICK, VLLM, Heard, LogPart, Machine, Process, ProfileFiles
from tests.helpers.memory_store import MemoryStore

PROFILES = (LLAMA, VLLM)
BROKEN = (problem("profile.syntax", file="x.toml", line=1, detail="?"),)


class House:
    """A supervisor on a machine by hand, with those who work with it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.bus = Bus()
        self.heard = Heard(self.bus)
        ports = machine.ports
        self.store = ProfileFiles(PROFILES)
        self.elsewhere: tuple[tuple[str, int | None], ...] = ()
        self.supervisor = Supervisor(
            ports,
            self.bus,
            (PROFILES, BROKEN),
            lambda *_: LogPart(),
            lambda _: QUICK,
            store=self.store,
            elsewhere=lambda: self.elsewhere,
        )
        self.telemetry = Telemetry(ports, self.bus, self.supervisor.actors)
        self.connect = Connect(ports, self.supervisor)
        self.vm = FakeVm("Ubuntu")
        self.wslconfig = WslConfigDesk(MemoryStore(), self.vm, self.supervisor, HostFacts)
        self.desk = OwnerDesk(
            self.supervisor, self.telemetry, self.wslconfig, lambda: "shown", self.supervisor.stop_all
        )

    def serves(self) -> Process:
        self.supervisor.start("llama")
        engine = self.machine.target.engine()
        engine.starts()
        engine.takes()
        engine.says(llama_lines("full14-np1"))
        self.machine.http.status = 200
        self.heard.phase(Phase.READY)
        return engine


@contextmanager
def house(machine: Machine | None = None) -> Iterator[House]:
    made = House(machine or Machine())
    try:
        yield made
    finally:
        made.machine.target.open.set()
        made.supervisor.close()


# --- profiles and actors ----------------------------------------------------------------------------------------------


def test_profiles_and_what_is_wrong_with_others() -> None:
    with house() as all_runs:
        supervisor = all_runs.supervisor
        assert supervisor.profiles() == PROFILES
        assert supervisor.profile_problems() == BROKEN
        assert supervisor.profile("vllm") is VLLM
        with pytest.raises(ProblemError) as caught:
            supervisor.start("none")
        assert caught.value.problem.code == "profile.unknown"
        assert caught.value.problem.params["known"] == "llama, vllm"
        with pytest.raises(ProblemError) as caught:
            supervisor.check("x")
        assert caught.value.problem is BROKEN[0], "there is such a file: what is wrong with it is the answer"


def test_a_profile_that_was_never_started_is_idle_and_costs_no_thread() -> None:
    before = threading.active_count()
    with house() as all_runs:
        supervisor = all_runs.supervisor
        assert supervisor.view("llama") == RunView("llama", Phase.IDLE, 0, 0.0)
        assert supervisor.actors() == ()
        assert supervisor.all_resting()
        assert threading.active_count() == before
        assert supervisor.actor("llama") is supervisor.actor("llama")
        assert supervisor.view("llama").phase is Phase.IDLE


def test_start_log_and_stop() -> None:
    with house() as all_runs:
        supervisor = all_runs.supervisor
        all_runs.serves()
        assert supervisor.view("llama").phase is Phase.READY
        assert not supervisor.all_resting()
        assert "listening" in "".join(line.text for line in supervisor.log("llama").tail(50))
        supervisor.stop("llama")
        all_runs.heard.phase(Phase.STOPPED)
        assert supervisor.all_resting()


def test_vllm_gets_more_time_to_load() -> None:
    assert default_limits(VLLM) == Limits(load_s=600.0)
    assert default_limits(LLAMA) == Limits()


def test_a_check_without_a_start() -> None:
    with house() as all_runs:
        supervisor = all_runs.supervisor
        assert supervisor.check("llama").clearance is not None
        assert supervisor.check().report.ok
        assert not supervisor.check(None, 64 << 30).report.ok
        with pytest.raises(ProblemError):
            supervisor.check("none")
        assert all_runs.machine.target.launches == []


def test_many_checks_at_once_do_not_wait_for_themselves() -> None:
    with house() as all_runs:
        machine = all_runs.machine
        checks = [threading.Thread(target=all_runs.supervisor.check, args=("vllm",)) for _ in range(6)]
        for each in checks:
            each.start()
        for each in checks:
            each.join(DEADLINE_S)
        assert not any(each.is_alive() for each in checks)
        assert machine.target.smi_asked == 6


# --- work of front ends -----------------------------------------------------------------------------------------------


def test_front_ends_do_not_keep_runs_waiting() -> None:
    """Six chats that hang, and a run is started and stopped beside them."""
    released = threading.Event()
    with house() as all_runs:
        for _ in range(6):
            all_runs.supervisor.submit(partial(_wait, released))
        all_runs.serves()
        all_runs.supervisor.stop_all()
        all_runs.heard.phase(Phase.STOPPED)
        released.set()


@pytest.mark.allow_log("work of a front end failed", reason="a defect is put in on purpose")
def test_work_of_a_front_end_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise RuntimeError("a defect")

    with house() as all_runs:
        all_runs.supervisor.submit(fails)
    assert "a defect" in caplog.text


# --- what an earlier owner left ---------------------------------------------------------------------------------------


def test_leftovers_are_ended_and_told() -> None:
    machine = Machine()
    machine.target.runs = (f"{TRIAL}-1", "old-2")
    answers = iter([(), (4711, 4712)])
    machine.target.reap = lambda run, grace: next(answers)  # type: ignore[assignment,method-assign]
    with house(machine) as all_runs:
        all_runs.supervisor.announce_leftovers()
        notices = [message.problem for message in all_runs.heard.messages if isinstance(message, Notice)]
        assert [(told.code, told.params["run"], told.params["pids"]) for told in notices] == [
            ("stop.leftover_ended", f"{TRIAL}-1", ""),
            ("stop.leftover_kept", "old-2", "4711, 4712"),
        ]


def test_a_target_is_asked_once_for_leftovers() -> None:
    """Both profiles are of one distro."""
    machine = Machine()
    machine.target.runs = ("old",)
    with house(machine) as all_runs:
        assert len(all_runs.supervisor.reap_leftovers()) == 1
        assert [run for run, _ in machine.target.reaped] == ["old"]


def test_a_target_that_cannot_be_asked_is_no_obstacle() -> None:
    machine = Machine()
    machine.target.runs = problem("wsl.missing")
    with house(machine) as all_runs:
        assert all_runs.supervisor.reap_leftovers() == ()


def test_our_own_run_is_no_leftover() -> None:
    """The look for leftovers runs beside the windows: a model that is started meanwhile must live."""
    with house() as all_runs:
        engine = all_runs.serves()
        ours = all_runs.supervisor.actor("llama").run_id
        all_runs.machine.target.runs = ("old", ours)
        assert [told.params["run"] for told in all_runs.supervisor.reap_leftovers()] == ["old"]
        assert [run for run, _ in all_runs.machine.target.reaped] == ["old"]
        assert engine.calls == []


# --- the end ----------------------------------------------------------------------------------------------------------


def test_close_stops_everything_and_ends_all_threads() -> None:
    before = set(threading.enumerate())
    with house() as all_runs:
        engine = all_runs.serves()
        assert all_runs.supervisor.close()
        assert engine.calls == ["stop 10"]
        assert all_runs.heard.phases[-1] is Phase.STOPPED
    assert set(threading.enumerate()) <= before


def test_close_says_when_something_is_left() -> None:
    with house() as all_runs:
        all_runs.serves()
        all_runs.machine.target.left = (4711,)
        assert not all_runs.supervisor.close()
        assert all_runs.heard.phases[-1] is Phase.ORPHANED


def test_close_waits_for_work_that_ends_with_the_engines() -> None:
    """A chat ends when its engine is gone."""
    gone = threading.Event()
    with house() as all_runs:
        all_runs.bus.subscribe(lambda message: gone.set() if all_runs.supervisor.all_resting() else None)
        all_runs.serves()
        ended: list[bool] = []
        all_runs.supervisor.submit(lambda: ended.append(gone.wait(DEADLINE_S)))
        all_runs.supervisor.close()
        assert ended == [True]


# --- the test chat ----------------------------------------------------------------------------------------------------


def test_a_chat_goes_to_the_engine_that_offers_the_address() -> None:
    with house() as all_runs:
        all_runs.serves()
        endpoint = all_runs.supervisor.view("llama").endpoint
        assert endpoint is not None
        http = all_runs.machine.http
        assert list(all_runs.connect.test_chat(endpoint, with_image=False)) == http.pieces
        assert len(list(all_runs.connect.test_chat(endpoint, with_image=True))) == 2
        (model, question, image), (_, about_picture, with_image) = http.asked
        assert (model, image, with_image) == ("q14", False, True)
        assert question != about_picture
        assert http.closed == 2


def test_a_chat_that_fails_or_is_given_up_closes_its_connection() -> None:
    with house() as all_runs:
        all_runs.serves()
        endpoint = all_runs.supervisor.view("llama").endpoint
        assert endpoint is not None
        http = all_runs.machine.http
        http.pieces = [ChatPiece("Hi"), problem("http.broken", detail="?")]
        pieces = all_runs.connect.test_chat(endpoint, with_image=False)
        assert next(pieces) == ChatPiece("Hi")
        with pytest.raises(ProblemError):
            next(pieces)
        assert http.closed == 1
        given_up = all_runs.connect.test_chat(endpoint, with_image=False)
        next(given_up)
        given_up.close()  # type: ignore[attr-defined]
        assert http.closed == 2


def test_an_address_that_nobody_offers_is_not_asked() -> None:
    with house() as all_runs:
        with pytest.raises(ProblemError) as caught:
            next(all_runs.connect.test_chat(Endpoint("http://127.0.0.1:1/v1", "q14", None, False), with_image=False))
        assert caught.value.problem.code == "connect.not_ready"


# --- requests of other processes --------------------------------------------------------------------------------------


def test_status_of_an_owner_without_runs() -> None:
    with house() as all_runs:
        assert all_runs.desk.handle({"verb": "status"}) == {"owner": True, "runs": [], "gpus": []}


def test_status_of_a_serving_run() -> None:
    with house() as all_runs:
        all_runs.serves()
        all_runs.telemetry.tick()
        answer = all_runs.desk.handle({"verb": "status"})
        (run,) = answer["runs"]
        assert run["since"] > 0
        assert {**run, "since": 0, "of_limit": None} == {
            "profile": "llama",
            "state": "ready",
            "since": 0,
            "problem": None,
            "cause": None,
            "verdict": "gpu",
            "base_url": "http://127.0.0.1:8080/v1",
            "model": "q14",
            "warm_up_tokens_per_s": 38.0,
            "of_limit": None,
            "usual_tokens_per_s": None,
            "slow": False,
            "vram_taken": 10_279_599_473 + 525 * MIB,
            "warning": None,
            "remedies": [],
            "tokens_per_s": None,
        }
        card = all_runs.machine.gpu.card
        assert answer["gpus"] == [
            {
                "index": 0,
                "uuid": "GPU-1",
                "name": "RTX",
                "total": card.total,
                "free": card.free,
                "used": card.used,
                "driver": "580",
                "compute_cap": "8.9",
            }
        ]


def test_status_of_a_run_that_was_refused() -> None:
    with house() as all_runs:
        all_runs.machine.taken_ports.add(8080)
        all_runs.supervisor.start("llama")
        all_runs.heard.phase(Phase.REFUSED)
        (run,) = all_runs.desk.handle({"verb": "status"})["runs"]
        assert (run["state"], run["base_url"], run["verdict"], run["warm_up_tokens_per_s"]) == (
            "refused",
            None,
            None,
            None,
        )
        assert run["problem"] == {"code": "gate.port_windows.failed", "params": {"port": 8080}, "evidence": []}


@pytest.mark.parametrize("profile", ["llama", None])
def test_a_stop_is_answered_when_the_run_has_ended(profile: str | None) -> None:
    with house() as all_runs:
        all_runs.serves()
        (view,) = all_runs.desk.handle({"verb": "stop", "profile": profile})["stopped"]
        assert (view["profile"], view["state"]) == ("llama", "stopped")
        assert all_runs.desk.handle({"verb": "stop", "profile": profile}) == {"stopped": []}


def test_a_stop_that_leaves_something_says_so() -> None:
    with house() as all_runs:
        all_runs.serves()
        all_runs.machine.target.left = (4711,)
        (view,) = all_runs.desk.handle({"verb": "stop"})["stopped"]
        assert (view["state"], view["problem"]["code"]) == ("orphaned", "stop.processes_left")
        assert view["problem"]["params"] == {"pids": "4711"}


def test_what_is_left_of_a_run_does_not_hide_why_it_was_stopped() -> None:
    with house() as all_runs:
        all_runs.serves()
        all_runs.machine.target.left = (4711,)
        actor = all_runs.supervisor.actor("llama")
        actor.disqualify(1, problem("watch.spill"))
        actor.wait(lambda view: view.phase is Phase.ORPHANED, DEADLINE_S)
        (run,) = all_runs.desk.status()["runs"]
        assert (run["problem"]["code"], run["cause"]["code"]) == ("stop.processes_left", "watch.spill")


def test_logs_of_one_run_and_of_all() -> None:
    with house() as all_runs:
        engine = all_runs.serves()
        engine.says(["one more"])
        assert all_runs.desk.handle({"verb": "logs", "profile": "llama", "lines": 1}) == {
            "logs": {"llama": ["one more"]}
        }
        assert len(all_runs.desk.handle({"verb": "logs"})["logs"]["llama"]) == len(llama_lines("full14-np1")) + 1


def test_the_window_is_opened() -> None:
    with house() as all_runs:
        assert all_runs.desk.handle({"verb": "open"}) == {"window": "shown"}
        assert all_runs.desk.handle({"verb": "what?"}) == {}


def test_wsl_is_restarted_for_another_process() -> None:
    with house() as all_runs:
        meets = {"distros": ["Ubuntu"], "runs": [], "docker": False}
        assert all_runs.desk.handle({"verb": "wsl-affected"}) == meets
        report = all_runs.desk.handle({"verb": "wsl-restart"})
        assert report["ok"]
        assert {effect["key"]: effect["why"] for effect in report["effects"]}["wsl2.memory"] == {
            "code": "wslconfig.effect.not_told",
            "params": {},
            "evidence": [],
        }
        all_runs.vm.fails["shutdown"] = problem("wsl.missing")
        assert all_runs.desk.handle({"verb": "wsl-restart"})["error"]["code"] == "wslconfig.restart.shutdown"


def test_an_unknown_profile_is_a_problem_in_the_answer() -> None:
    with house() as all_runs:
        for verb in ("stop", "logs"):
            error = all_runs.desk.handle({"verb": verb, "profile": "none"})["error"]
            assert (error["code"], error["params"]["id"]) == ("profile.unknown", "none")


@pytest.mark.allow_log("request", reason="a request that is none")
def test_a_request_that_is_none_is_answered_too() -> None:
    with house() as all_runs:
        error = all_runs.desk.handle({"verb": "logs", "lines": "many"})["error"]
        assert error["code"] == "run.internal"


def test_each_profile_has_its_own_run() -> None:
    """Two runs side by side: an end of one is not the end of the other."""
    machine = Machine()
    with house(machine) as all_runs:
        all_runs.serves()
        machine.gpu.used = machine.gpu.total - 25_000 * MIB
        all_runs.supervisor.start("vllm")
        second = machine.target.engine(2)
        assert second.command.argv[0] == "~/vllm"
        all_runs.supervisor.stop("vllm")
        all_runs.supervisor.actor("vllm").wait(_ended, DEADLINE_S)
        assert all_runs.supervisor.view("llama").phase is Phase.READY


def _ended(view: RunView) -> bool:
    return view.phase in (Phase.STOPPED, Phase.ORPHANED)


def _wait(event: threading.Event) -> None:
    event.wait(DEADLINE_S)


def test_one_model_is_loaded_at_a_time() -> None:
    """Two that load together would each count on the same free memory."""
    with house() as all_runs:
        supervisor = all_runs.supervisor
        supervisor.start("llama")
        engine = all_runs.machine.target.engine()
        engine.starts()
        supervisor.start("vllm")
        refused = supervisor.actor("vllm").wait(lambda view: view.phase is Phase.REFUSED, DEADLINE_S)
        assert refused.problem is not None
        assert (refused.problem.code, refused.problem.params) == ("gate.another_loading", {"title": LLAMA.title})
        assert len(all_runs.machine.target.launches) == 1
        engine.takes()
        engine.says(llama_lines("full14-np1"))
        all_runs.machine.http.status = 200
        all_runs.heard.phase(Phase.READY)
        supervisor.start("vllm")
        judged = supervisor.actor("vllm").wait(lambda view: view.generation == 2 and view.gate is not None, DEADLINE_S)
        assert judged.gate is not None  # its turn came; whether it fits is the gate's business


# --- files of profiles that come and go -------------------------------------------------------------------------------


def test_a_new_profile_can_be_started_at_once() -> None:
    with house() as all_runs:
        made = msgspec.structs.replace(LLAMA, id="made")
        all_runs.store.profiles["made"] = made
        assert all_runs.desk.handle({"verb": "reload", "profile": "made"}) == {}
        assert all_runs.supervisor.profile("made") == made
        assert [profile.id for profile in all_runs.supervisor.profiles()][:-1] == [profile.id for profile in PROFILES]


def test_a_start_waits_while_the_actor_of_a_changed_profile_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would run beside the old actor's last start, which would keep the slot for loading."""
    closing, go_on = threading.Event(), threading.Event()
    close = RunActor.close

    def slowly(actor: RunActor, timeout_s: float) -> bool:
        closing.set()
        assert go_on.wait(DEADLINE_S)
        return close(actor, timeout_s)

    with house() as all_runs:
        supervisor = all_runs.supervisor
        old = supervisor.actor("llama")
        all_runs.store.profiles["llama"] = msgspec.structs.replace(LLAMA, title="Changed")
        supervisor.reload("llama")
        with monkeypatch.context() as patched:
            patched.setattr(RunActor, "close", slowly)
            starts = [threading.Thread(target=supervisor.start, args=("llama",)) for _ in range(2)]
            starts[0].start()
            assert closing.wait(DEADLINE_S)
            starts[1].start()
            starts[1].join(0.2)
            assert starts[1].is_alive()
            old.start()  # the click that came just before: the old actor may still take it
            go_on.set()
            for each in starts:
                each.join(DEADLINE_S)
        engine = all_runs.machine.target.engine()
        assert not old.alive
        engine.starts()
        all_runs.heard.phase(Phase.LOADING)
        supervisor.stop("llama")
        all_runs.heard.phase(Phase.STOPPED)
        supervisor.start("vllm")
        assert all_runs.heard.phase(Phase.LAUNCHING, Phase.REFUSED).phase is Phase.LAUNCHING


def test_a_file_that_was_repaired_is_no_problem_any_more() -> None:
    with house() as all_runs:
        broken = PurePath(str(BROKEN[0].params["file"])).stem
        all_runs.store.profiles[broken] = msgspec.structs.replace(LLAMA, id=broken)
        all_runs.supervisor.reload(broken)
        assert all_runs.supervisor.profile_problems() == BROKEN[1:]


def test_a_removed_profile_is_gone_and_one_that_runs_stays() -> None:
    with house() as all_runs:
        all_runs.serves()
        del all_runs.store.profiles["vllm"]
        assert all_runs.desk.handle({"verb": "forget", "profile": "vllm"}) == {}
        assert "vllm" not in [profile.id for profile in all_runs.supervisor.profiles()]
        answer = all_runs.desk.handle({"verb": "forget", "profile": "llama"})
        assert answer["error"]["code"] == "profile.running"
        assert "llama" in [profile.id for profile in all_runs.supervisor.profiles()]


def test_a_built_in_profile_is_there_again() -> None:
    with house() as all_runs:
        all_runs.store.profiles["vllm"] = msgspec.structs.replace(all_runs.store.profiles["vllm"], builtin=True)
        all_runs.supervisor.forget("vllm")
        assert all_runs.supervisor.profile("vllm").builtin


def test_a_broken_file_that_was_removed_is_forgotten() -> None:
    with house() as all_runs:
        all_runs.supervisor.forget(PurePath(str(BROKEN[0].params["file"])).stem)
        assert all_runs.supervisor.profile_problems() == BROKEN[1:]
        assert all_runs.supervisor.profiles() == PROFILES


def test_after_an_end_of_all_runs_nothing_starts_any_more() -> None:
    """A program that has crashed waits with its box for a person: its menu, or a remedy under way, starts no model."""
    with house() as all_runs:
        engine = all_runs.serves()
        all_runs.supervisor.end_all()
        all_runs.heard.phase(Phase.STOPPED)
        assert engine.calls == ["stop 10"]
        actor = all_runs.supervisor.actor(LLAMA.id)
        all_runs.supervisor.start(LLAMA.id)
        actor.stop()
        actor.start()  # behind what was put before it
        actor.wait(lambda view: view.phase is Phase.LAUNCHING, DEADLINE_S)
        assert all_runs.heard.phases.count(Phase.CHECKING) == 2
