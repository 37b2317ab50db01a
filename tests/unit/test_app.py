"""The composition root: the real PC where there is no Windows, a simulated one with several processes, one owner."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from kotaro_bridge.app import last_words
from kotaro_bridge.app.product import Product, open_windows
from kotaro_bridge.app.this_pc import Setting, real_setting, setting_for, simulated_setting
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.ports import EngineCommand
from kotaro_bridge.domain.run.gate import CheckId, Status
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice
from kotaro_bridge.host.control import OwnerLock, ask
from kotaro_bridge.host.crash_report import Crashes
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.paths import Paths
from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.desk import Desk
from tests.helpers.machine import DEADLINE_S, LLAMA, Heard
from tests.helpers.simulated import TIME_SCALE, processes_of, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="this machine plays the Linux side")

SCENARIO = "rtx4070-12gb"
MODEL = "qwen2.5-14b-q4_k_m"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user of this machine with folders of their own; nothing of theirs may run afterwards."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind in ("CONFIG", "STATE", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    yield tmp_path
    until(lambda: not processes_of(tmp_path), what="processes of the user end")


@contextmanager
def product(setting: Setting) -> Iterator[Product]:
    with Product(setting, Texts("en")) as made:
        yield made


def the_pc() -> SimulatedPC:
    """The PC of the scenario, as another part of this process."""
    return SimulatedPC.open(SCENARIO, Paths.of_user().simulated(SCENARIO) / "pc")


@contextmanager
def other_process(script: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def run_to_its_end(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=30)[0].strip()


VISITOR = """
from kotaro_bridge.app.product import Product
from kotaro_bridge.app.this_pc import simulated_setting
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.texts import Texts
with Product(simulated_setting("rtx4070-12gb"), Texts("en")) as product:
    try:
        product.own()
        print("owner")
    except ProblemError as error:
        print(error.problem.code)
"""

OWNER = """
import sys
from kotaro_bridge.app.product import Product
from kotaro_bridge.app.this_pc import simulated_setting
from kotaro_bridge.texts import Texts
with Product(simulated_setting("rtx4070-12gb"), Texts("en")) as product:
    product.own()
    print("owner", flush=True)
    sys.stdin.read()
"""


# --- the real PC ------------------------------------------------------------------------------------------------------


def test_a_machine_without_wsl_refuses_a_wsl_profile_and_does_not_crash() -> None:
    with product(setting_for(None)) as made:
        report = made.supervisor.check(MODEL).report
        checks = {check.id: check for check in report.checks}
        assert (checks[CheckId.WSL].status, checks[CheckId.WSL].message.code) == (Status.FAILED, "wsl.missing")
        assert checks[CheckId.ENGINE].status is Status.UNKNOWN
        assert not report.ok
        made.own()
        assert made.supervisor.reap_leftovers() == ()
        heard = Heard(made.bus)
        made.supervisor.start(MODEL)
        heard.phase(Phase.REFUSED)
        assert heard.phases == [Phase.CHECKING, Phase.REFUSED]


def test_a_local_profile_is_looked_at_on_this_machine() -> None:
    setting = real_setting()
    launcher = setting.machine.launcher(msgspec.structs.replace(LLAMA, target="local"))
    assert isinstance(launcher, LocalLauncher)
    assert launcher.run(["echo", "here"], timeout_s=10).stdout == "here\n"
    assert setting.simulated is None
    setting.close()


def test_the_users_wslconfig_is_read_where_there_is_one(home: Path) -> None:
    setting = real_setting()
    assert setting.machine.wslconfig() is None
    (home / ".wslconfig").write_bytes(b"[wsl2]\n")
    assert setting.machine.wslconfig() == b"[wsl2]\n"
    (home / ".wslconfig").unlink()
    (home / ".wslconfig").mkdir()
    with pytest.raises(ProblemError) as caught:
        setting.machine.wslconfig()
    assert caught.value.problem.code == "storage.unusable"


# --- a simulated PC ---------------------------------------------------------------------------------------------------


def test_an_unknown_scenario_is_a_problem() -> None:
    with pytest.raises(ProblemError):
        simulated_setting("no-such")


def test_all_parts_that_name_a_scenario_see_one_pc() -> None:
    one, other = simulated_setting(SCENARIO), simulated_setting(SCENARIO)
    assert (one.simulated, one.paths) == (other.simulated, other.paths) == (SCENARIO, one.paths)
    the_pc().set(windows_ports_taken=[1234])
    for setting in (one, other):
        assert not setting.machine.port_free(1234)
        assert setting.machine.installed_distros() == ("Ubuntu", "docker-desktop")
        wslconfig = setting.machine.wslconfig()
        assert wslconfig is not None
        assert b"memory=20GB" in wslconfig
    one.close()
    other.close()


def test_runs_of_a_simulated_pc_are_not_those_of_this_machine() -> None:
    """A demo beside a real run: its look for leftovers must not end what another owner started."""
    ready = threading.Event()
    command = EngineCommand(("/bin/sh", "-c", "echo up; sleep 300"), {}, (), ())
    run_id = f"real-{os.getpid()}"
    real = LocalLauncher()
    engine = real.launch(run_id, command, lambda _: ready.set(), lambda _: None)
    assert ready.wait(DEADLINE_S)
    assert real.leftovers() == (run_id,)
    setting = simulated_setting(SCENARIO)
    assert setting.machine.launcher(msgspec.structs.replace(LLAMA, target="local")).leftovers() == ()
    setting.close()
    engine.stop(5)
    assert engine.join(20)


def own_profile(setting: Setting) -> None:
    """The built-in model on a port of its own: tests run beside each other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = f"""
        title = "Here"
        engine = "llama-server"
        executable = "~/llama.cpp/build/bin/llama-server"
        model = "~/models/Qwen2.5-14B-Instruct-Q4_K_M.gguf"
        served_name = "here"
        context = 8192
        port = {port}
    """
    (setting.paths.profiles / "here.toml").write_text(textwrap.dedent(text), encoding="utf-8")


def test_a_whole_life_on_a_simulated_pc() -> None:
    setting = simulated_setting(SCENARIO)
    the_pc().set(time_scale=TIME_SCALE)
    own_profile(setting)
    state, logs = setting.paths.state, setting.paths.logs
    with product(setting) as made:
        made.own()
        heard = Heard(made.bus)
        made.supervisor.start("here")
        assert heard.phase(Phase.READY).endpoint is not None
        answer = ask(state, {"verb": "status"})
        assert answer is not None
        assert [(run["profile"], run["state"], run["verdict"]) for run in answer["runs"]] == [("here", "ready", "gpu")]
        endpoint = made.supervisor.view("here").endpoint
        assert endpoint is not None
        pieces = list(made.connect.test_chat(endpoint, with_image=False))
        assert pieces[-1].done
        assert made.close()
        assert heard.phases == [
            Phase.CHECKING,
            Phase.LAUNCHING,
            Phase.LOADING,
            Phase.PROVING,
            Phase.READY,
            Phase.STOPPING,
            Phase.STOPPED,
        ]
    assert ask(state, {"verb": "status"}) is None
    (log,) = logs.glob("here-*.log")
    assert "listening on" in log.read_text(encoding="utf-8")


# --- owners -----------------------------------------------------------------------------------------------------------


def test_one_owner_at_a_time() -> None:
    with product(simulated_setting(SCENARIO)) as made:
        made.own()
        with other_process(VISITOR) as visitor:
            assert run_to_its_end(visitor) == "owner.taken"
        assert ask(made.setting.paths.state, {"verb": "status"}) is not None
    with other_process(VISITOR) as visitor:
        assert run_to_its_end(visitor) == "owner"


def test_a_visitor_does_not_end_the_owners_pc() -> None:
    with product(simulated_setting(SCENARIO)) as made:
        made.own()
        the_pc().boot("Ubuntu")
        with other_process(VISITOR) as visitor:
            assert run_to_its_end(visitor) == "owner.taken"
        assert the_pc().running() == ["Ubuntu"]


def test_an_owner_that_ends_first_leaves_the_pc_to_its_visitors() -> None:
    with other_process(OWNER) as owner:
        assert first_line(owner) == "owner"
        with product(simulated_setting(SCENARIO)):
            the_pc().boot("Ubuntu")
            run_to_its_end(owner)
            assert the_pc().running() == ["Ubuntu"]


def test_a_visitor_never_takes_the_lock() -> None:
    """A status query that ends must not keep an application that starts at this moment from being the owner."""
    setting = simulated_setting(SCENARIO)
    lock = OwnerLock(setting.paths.state)
    held: list[bool] = []
    visitor = Product(setting, Texts("en"))
    close = setting.close

    def noted() -> None:
        held.append(lock.acquire())
        close()

    setting.close = noted
    visitor.close()
    assert held == [True]
    lock.release()


def test_a_second_start_opens_the_window_of_the_first() -> None:
    opened = threading.Event()
    with product(simulated_setting(SCENARIO)) as made:

        def show() -> str:
            opened.set()
            return "shown"

        made.own(on_open=show)
        assert ask(made.setting.paths.state, {"verb": "open"}) == {"window": "shown"}
        assert opened.is_set()


# --- an end that hangs ------------------------------------------------------------------------------------------------

HANGS = """
import threading
from kotaro_bridge.app import session
from kotaro_bridge.service import time_to_end
time_to_end.END_S = 0.2
with session.product() as made:
    made.own()
    answer, asked = made.setting.machine.gpu.snapshot, threading.Event()
    def hang():
        asked.set()
        threading.Event().wait()
    made.setting.machine.gpu.snapshot = hang
    made.telemetry.set_watched(True)
    asked.wait()
print("never")
"""


def test_a_driver_that_hangs_does_not_keep_the_place_of_the_owner() -> None:
    with other_process(HANGS) as process:
        said, _ = process.communicate(timeout=30)
        assert (process.returncode, said) == (1, "")
    with product(setting_for(None)) as made:
        made.own()


# --- the windows ------------------------------------------------------------------------------------------------------


def test_what_a_start_has_to_tell_waits_until_the_windows_listen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is told before may not hear it, and it is told once."""
    from kotaro_bridge.ui import application

    settings = Paths.of_user().settings_file
    settings.parent.mkdir(parents=True)
    settings.write_text("theme = 3\n", encoding="utf-8")
    crashes = home / "crashes"
    crashes.mkdir()
    (crashes / "crash-1.txt").touch()
    (crashes / "crash-1.untold").touch()
    monkeypatch.setattr(last_words.of_process(), "crashes", Crashes(crashes, str, str))
    heard: set[str] = set()
    both = threading.Event()

    def hear(message: object) -> None:
        if isinstance(message, Notice):
            heard.add(message.problem.code)
            if heard >= {"settings.bad_value", "app.crashed_before"}:
                both.set()

    def windows(desk: Desk, *, on_ready: application.OnReady, **_: object) -> int:
        for thread in threading.enumerate():
            if thread.name == "front":
                thread.join(DEADLINE_S)
        desk.bus.subscribe(hear)
        on_ready(lambda: True, lambda: None)
        assert both.wait(DEADLINE_S), heard
        return 0

    monkeypatch.setattr(application, "run_application", windows)
    with product(setting_for(None)) as made:
        assert open_windows(made) == 0
