"""A changed .wslconfig on a simulated PC: it waits, WSL is restarted around our runs, Linux shows what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kotaro_bridge.app.product import Product
from kotaro_bridge.app.this_pc import simulated_setting
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.wsl.wslconfig_effect import Effect, EffectReport
from kotaro_bridge.domain.wsl.wslconfig_findings import Advice
from kotaro_bridge.service.wslconfig_edit import Saved
from kotaro_bridge.service.wslconfig_restart import Patience, Step, WslConfigDesk
from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.texts import Texts
from tests.e2e.conftest import SCENARIO, Station
from tests.helpers.cli import CommandLine
from tests.helpers.own_folders import own_folders
from tests.helpers.simulated import until
from tests.helpers.words import pattern, sentence, text

pytestmark = pytest.mark.e2e

LLAMA = "qwen2.5-14b-q4_k_m"
READY_S = 40.0


@dataclass(frozen=True, slots=True)
class Windows:
    """What stands behind the windows of a simulated PC of their own."""

    made: Product
    pc: SimulatedPC
    line: CommandLine

    @property
    def desk(self) -> WslConfigDesk:
        return self.made.wslconfig

    def save(self, **edits: str) -> None:
        """Change the file as the dialog does."""
        editor = self.desk.editor()
        for name, value in edits.items():
            editor.set(f"wsl2.{name}", value)
        done = editor.save()
        assert isinstance(done, Saved)
        assert done.written

    def serves(self) -> None:
        """The model comes to READY."""
        actor = self.made.supervisor.actor(LLAMA)
        view = actor.wait(lambda view: view.phase in (Phase.READY, Phase.REFUSED, Phase.FAILED), READY_S)
        assert view.phase is Phase.READY, (view.phase, view.problem)


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Windows]:
    line = CommandLine(tmp_path, SCENARIO)
    for name, place in own_folders(tmp_path).items():
        monkeypatch.setenv(name, place)
    line.builtin(LLAMA)
    with line.pc() as pc, Product(simulated_setting(SCENARIO), Texts("en")) as made:
        made.own()
        yield Windows(made, pc, line)
    line.assert_quiet()


def the(report: EffectReport, key: str) -> Effect:
    """What came of one key."""
    (one,) = [effect for effect in report.effects if effect.key == key]
    return one


def why(effect: Effect) -> str | None:
    """What explains a difference."""
    return None if effect.why is None else effect.why.code


def test_a_change_waits_until_wsl_is_restarted(windows: Windows) -> None:
    windows.pc.boot("Ubuntu")
    assert windows.desk.effects().ok
    assert not windows.desk.pending()
    windows.save(memory="12GB", processors="6")
    assert windows.desk.pending()
    waits = windows.desk.effects()
    assert [(effect.key, effect.ok, why(effect)) for effect in waits.effects if effect.ok is False] == [
        ("wsl2.memory", False, "wslconfig.effect.waits"),
        ("wsl2.processors", False, "wslconfig.effect.waits"),
    ]
    steps: list[str] = []
    proof = windows.desk.restart(steps.append)
    assert steps == list(Step)
    assert proof.ok, proof
    assert (the(proof, "wsl2.memory").wanted, the(proof, "wsl2.processors").found) == ("12GB", "6")
    assert the(proof, "wsl2.localhostForwarding").found == "true"
    assert not windows.desk.pending()
    assert windows.pc.running() == ["Ubuntu"]


def test_somebody_else_restarts_wsl(windows: Windows) -> None:
    windows.pc.boot("Ubuntu")
    assert windows.desk.effects().ok
    windows.save(memory="12GB")
    assert windows.desk.pending()
    windows.pc.restart_vm()
    assert windows.desk.effects().ok
    assert not windows.desk.pending()


def test_the_look_goes_on_in_the_background(windows: Windows) -> None:
    windows.pc.boot("Ubuntu")
    assert not windows.desk.pending()
    until(lambda: windows.desk.host().models, what="the first look measures the models")
    windows.save(memory="12GB")
    assert windows.desk.pending()
    assert "Ubuntu" in windows.pc.running()


def test_a_stopped_vm_is_not_started_by_a_question(windows: Windows) -> None:
    with pytest.raises(ProblemError) as caught:
        windows.desk.effects()
    assert caught.value.problem.code == "wslconfig.not_running"
    windows.save(memory="12GB")
    assert not windows.desk.pending()
    assert windows.pc.running() == []


def test_what_served_before_serves_after(windows: Windows) -> None:
    windows.made.supervisor.start(LLAMA)
    windows.serves()
    affected = windows.desk.affected()
    title = windows.made.supervisor.profile(LLAMA).title
    assert (affected.distros, affected.runs, affected.docker) == (("Ubuntu",), (title,), False)
    before = windows.made.supervisor.view(LLAMA).generation
    windows.save(memory="14GB")
    assert windows.desk.restart().ok
    windows.serves()
    assert windows.made.supervisor.view(LLAMA).generation == before + 1


def test_a_shutdown_that_hangs(windows: Windows) -> None:
    windows.made.supervisor.start(LLAMA)
    windows.serves()
    made = windows.made
    impatient = Patience(shutdown_s=1.0)
    store = windows.desk.editor()
    desk = WslConfigDesk(store._store, made.setting.vm, made.supervisor, made.setting.host_facts, impatient)
    windows.pc.set(shutdown="hang")
    steps: list[str] = []
    with pytest.raises(ProblemError) as caught:
        desk.restart(steps.append)
    title = made.supervisor.profile(LLAMA).title
    assert caught.value.problem.code == "wslconfig.restart.hangs_runs"
    assert caught.value.problem.params == {"seconds": 1, "runs": title}
    assert title in Texts("en").message(caught.value.problem).what
    assert steps == [Step.STOP_RUNS, Step.SHUTDOWN]
    assert made.supervisor.view(LLAMA).phase is Phase.STOPPED


def test_a_file_with_which_wsl_does_not_start(windows: Windows) -> None:
    windows.pc.boot("Ubuntu")
    windows.pc.wslconfig_path.write_text("[wsl2]\nkernel=C:\\\\no\\\\such\n")
    with pytest.raises(ProblemError) as caught:
        windows.desk.restart()
    problem = caught.value.problem
    assert problem.code == "wslconfig.restart.start"
    assert "WSL_E_CUSTOM_KERNEL_NOT_FOUND" in str(problem.params["error"])


@pytest.mark.parametrize(
    ("switches", "edits", "key", "code"),
    [
        ({"mirrored": "refused"}, {"networkingMode": "mirrored"}, "wsl2.networkingMode", "fallback_nat"),
        ({"policy": ["wsl2.networkingMode"]}, {"networkingMode": "none"}, "wsl2.networkingMode", "policy"),
        ({"policy": ["wsl2.kernelCommandLine"]}, {"kernelCommandLine": "a=1"}, "wsl2.kernelCommandLine", "policy"),
        ({"memory_cap_mib": 8192}, {"memory": "24GB"}, "wsl2.memory", "memory_less"),
        ({}, {"memory": "64GB"}, "wsl2.memory", "memory_capped"),
    ],
    ids=["mirrored falls back", "policy: mode", "policy: command line", "capped from outside", "more than the PC has"],
)
def test_a_difference_is_explained(
    windows: Windows, switches: dict[str, object], edits: dict[str, str], key: str, code: str
) -> None:
    windows.pc.set(**switches)
    windows.save(**edits)
    report = windows.desk.restart()
    assert not report.ok
    assert (the(report, key).ok, why(the(report, key))) == (False, f"wslconfig.effect.{code}")
    said = the(report, key).why
    assert said is not None
    assert bool(said.evidence) == (code in ("fallback_nat", "policy"))


def test_mirrored_that_works_and_a_command_line(windows: Windows) -> None:
    windows.save(networkingMode="mirrored", kernelCommandLine="sysctl.vm.swappiness=10 quiet")
    report = windows.desk.restart()
    assert report.ok, report
    assert the(report, "wsl2.networkingMode").found == "Mirrored"
    assert the(report, "wsl2.kernelCommandLine").ok


def test_a_line_that_wsl_ignores(windows: Windows) -> None:
    windows.pc.wslconfig_path.write_text("[wsl2]\nmemory=8gb\nprocesors=4\n")
    report = windows.desk.restart()
    assert (the(report, "wsl2.memory").wanted, why(the(report, "wsl2.memory"))) == ("8gb", "wslconfig.effect.ignored")
    assert the(report, "wsl2.processors").wanted == "procesors=4"


def test_docker_desktop_comes_back_at_once(windows: Windows) -> None:
    windows.pc.boot("docker-desktop")
    windows.pc.set(docker_returns=True)
    assert windows.desk.affected().docker
    windows.save(memory="12GB")
    assert windows.desk.restart().ok
    assert sorted(windows.pc.running()) == ["Ubuntu", "docker-desktop"]


def test_memory_too_small_for_the_models_in_use(windows: Windows) -> None:
    windows.pc.boot("Ubuntu")
    windows.pc.wslconfig_path.write_text("[wsl2]\nmemory=8GB\n")
    windows.desk.effects()
    advice = windows.desk.editor().lint().advice
    assert Advice.MEMORY_BELOW_MODEL in {finding.code for finding in advice}
    done = windows.line.call("wslconfig", "lint", "--json")
    assert "memory_below_model" in {each["code"] for each in done.json["advice"]}


# --- in a terminal ----------------------------------------------------------------------------------------------------


def test_restart_asks_where_it_can_and_refuses_where_it_cannot(station: Station) -> None:
    station.pc.boot("Ubuntu")
    done = station.line.call("wslconfig", "restart")
    assert done.code == 1
    assert sentence("wslconfig.restart.not_asked").what in done.err
    assert text("cli.wslconfig.restart.distros", names="Ubuntu") in done.out
    assert station.pc.running() == ["Ubuntu"]


def test_restart_and_proof(station: Station) -> None:
    station.pc.boot("Ubuntu")
    proof = station.line.call("wslconfig", "proof", "--json")
    assert (proof.code, proof.json["ok"]) == (0, True)
    assert station.line.call("wslconfig", "set", "memory=10GB").code == 0
    assert station.line.call("wslconfig", "proof").code == 1
    done = station.line.call("wslconfig", "restart", "--yes", "--json")
    assert (done.code, done.json["ok"]) == (0, True), done
    assert [effect["wanted"] for effect in done.json["effects"] if effect["key"] == "wsl2.memory"] == ["10GB"]
    shown = station.line.call("wslconfig", "proof")
    assert shown.code == 0
    assert "wsl2.memory" in shown.out


def test_restart_is_done_by_the_owner_of_the_runs(windows: Windows) -> None:
    windows.made.supervisor.start(LLAMA)
    windows.serves()
    title = windows.made.supervisor.profile(LLAMA).title
    done = windows.line.call("wslconfig", "restart", "--yes")
    assert done.code == 0, done
    assert text("cli.wslconfig.restart.run", title=title) in done.out
    windows.serves()
    assert windows.made.supervisor.view(LLAMA).generation == 2


def test_proof_of_a_stopped_wsl(windows: Windows) -> None:
    done = windows.line.call("wslconfig", "proof", "--lang", "ja")
    assert (done.code, windows.pc.running()) == (1, [])
    assert pattern("wslconfig.not_running", "ja").search(done.err)
