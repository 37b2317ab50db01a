"""What can happen to a run that serves, on the simulated PC: the run, what is said, and the engine's real processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from kotaro_bridge.app.product import Product
from kotaro_bridge.app.this_pc import simulated_setting
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Notice, RunView
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.texts import Texts
from tests.helpers.cli import CommandLine, listens
from tests.helpers.machine import Heard
from tests.helpers.own_folders import own_folders
from tests.helpers.simulated import TIME_SCALE, processes_of, until

pytestmark = pytest.mark.e2e

SCENARIO, MODEL = "rtx4070-12gb", "qwen2.5-14b-q4_k_m"
READY = [Phase.CHECKING, Phase.LAUNCHING, Phase.LOADING, Phase.PROVING, Phase.READY]
GAME = {"name": "Game.exe", "pid": 5120, "mib": 3000, "shared_mib": 12}
BROWSER = {"name": "chrome.exe", "pid": 5121, "mib": 60, "shared_mib": 700}


@dataclass(frozen=True, slots=True)
class Owner:
    """The product with a model, on a PC that a test may meddle with."""

    product: Product
    pc: SimulatedPC
    heard: Heard
    port: int

    @property
    def view(self) -> RunView:
        return self.product.supervisor.view(MODEL)

    @property
    def notices(self) -> list[str]:
        return [message.problem.code for message in self.heard.messages if isinstance(message, Notice)]

    def samples(self, count: int) -> None:
        """Let telemetry look that many times more."""
        seen = len(self.heard.samples)
        until(lambda: len(self.heard.samples) >= seen + count, what="telemetry samples")

    def serves(self) -> None:
        self.product.supervisor.start(MODEL)
        assert self.heard.phase(Phase.READY).endpoint is not None
        self.samples(1)  # the level from which programs grow

    def ends(self) -> RunView:
        view = self.heard.phase(Phase.FAILED)
        assert not listens(self.port)
        assert self.heard.phases == [*READY, Phase.STOPPING, Phase.FAILED]
        return view


@pytest.fixture
def profile_keys(request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(getattr(request, "param", {}))


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile_keys: dict[str, str]) -> Iterator[Owner]:
    line = CommandLine(tmp_path, SCENARIO)
    for name, place in own_folders(tmp_path).items():
        monkeypatch.setenv(name, place)
    line.builtin(MODEL, **profile_keys)
    with line.pc(time_scale=TIME_SCALE) as pc, Product(simulated_setting(SCENARIO), Texts("en")) as product:
        product.own()
        product.telemetry.set_watched(True)
        yield Owner(product, pc, Heard(product.bus), line.port_of(MODEL))
    until(lambda: not processes_of(tmp_path), what="everything ends")


WARN = pytest.mark.parametrize("profile_keys", [{"watch": "warn"}], indirect=True)


def test_a_program_that_squeezes_the_model_out_ends_the_run_and_is_named(owner: Owner) -> None:
    owner.serves()
    owner.pc.set(programs=[GAME])
    view = owner.ends()
    assert view.problem is not None
    assert (view.problem.code, view.problem.params["program"]) == ("watch.squeezed", "Game.exe")
    assert view.problem.params["grown_bytes"] == 3000 * MIB
    message = owner.product.texts.message(view.problem)
    assert "Game.exe took 3,000 MiB more video memory" in message.what
    assert message.do.startswith("Close Game.exe")
    assert "watch.tight" in owner.notices


def test_memory_that_moves_without_a_culprit_is_a_spill(owner: Owner) -> None:
    owner.serves()
    owner.pc.set(vram_limit_mib=7000)
    view = owner.ends()
    assert view.problem is not None
    assert view.problem.code == "watch.spill"


def test_a_browser_with_shared_memory_of_its_own_ends_nothing(owner: Owner) -> None:
    owner.serves()
    owner.pc.set(programs=[BROWSER])
    owner.samples(5)
    assert (owner.view.phase, owner.view.warning) == (Phase.READY, None)
    assert owner.notices == ["watch.shared_by_others"]


@WARN
def test_under_warn_the_run_goes_on_with_a_warning_until_a_proof_holds(owner: Owner) -> None:
    owner.serves()
    owner.pc.set(programs=[GAME])
    until(lambda: owner.view.warning is not None, what="the warning")
    owner.samples(3)
    assert owner.view.warning is not None
    assert (owner.view.phase, owner.view.warning.code) == (Phase.READY, "watch.squeezed")
    assert owner.notices.count("watch.squeezed") == 1
    assert listens(owner.port)
    owner.pc.set(programs=[])
    owner.product.supervisor.actor(MODEL).prove_again()
    until(lambda: owner.view.phase is Phase.READY and owner.view.warning is None, what="a proof without a warning")
    assert owner.heard.phases[-2:] == [Phase.PROVING, Phase.READY]


@WARN
def test_a_new_proof_asks_for_no_policy(owner: Owner) -> None:
    owner.serves()
    owner.pc.set(programs=[GAME])
    until(lambda: owner.view.warning is not None, what="the warning")
    owner.product.supervisor.actor(MODEL).prove_again()
    until(
        lambda: owner.view.phase is Phase.FAILED, what="the end, 10 s after the memory was first missed", deadline_s=30
    )
    assert owner.view.problem is not None
    assert owner.view.problem.code == "proof.spill"


def test_another_driver_withdraws_the_address_until_the_proof_holds(owner: Owner) -> None:
    owner.serves()
    owner.pc.set(driver="581.15")
    until(lambda: owner.heard.phases == [*READY, Phase.PROVING, Phase.READY], what="another proof")
    assert [change.view.endpoint is not None for change in owner.heard.changes[-2:]] == [False, True]
    owner.samples(3)
    assert owner.heard.phases == [*READY, Phase.PROVING, Phase.READY]


def test_a_driver_that_was_away_for_a_moment_is_proved_and_one_that_stays_away_ends_the_run(owner: Owner) -> None:
    owner.serves()
    owner.pc.set(nvml="lost")
    owner.samples(1)
    owner.pc.set(nvml="normal")
    until(lambda: owner.heard.phases == [*READY, Phase.PROVING, Phase.READY], what="another proof")
    owner.pc.set(nvml="lost")
    until(lambda: owner.view.problem is not None, what="the end")
    assert owner.view.problem is not None
    assert owner.view.problem.code == "gpu.driver_lost"
    owner.pc.set(nvml="normal")
    owner.heard.phase(Phase.FAILED)


def test_without_counters_no_start_is_proved(owner: Owner) -> None:
    owner.pc.set(counters="missing")
    owner.product.supervisor.start(MODEL)
    view = owner.heard.phase(Phase.FAILED)
    assert view.problem is not None
    assert view.problem.code == "proof.shared_unknown"


def test_a_crash_while_serving_names_its_cause(owner: Owner) -> None:
    owner.pc.set(engine="crash:0.2")
    owner.product.supervisor.start(MODEL)
    view = owner.heard.phase(Phase.FAILED)
    assert view.problem is not None
    assert (view.problem.code, view.problem.params["cause"]) == (
        "proof.cuda_error",
        "an illegal memory access was encountered",
    )


@pytest.mark.parametrize("linux_side", ["real", "stand-in"])
def test_an_engine_that_linux_killed_for_want_of_ram_is_named_with_figures(owner: Owner, linux_side: str) -> None:
    owner.pc.set(engine="host-oom", linux_side=linux_side)
    owner.product.supervisor.start(MODEL)
    view = owner.heard.phase(Phase.FAILED)
    assert view.problem is not None
    assert view.problem.code == "engine.out_of_ram"
    message = owner.product.texts.message(view.problem)
    assert "ran out of system memory" in message.what
    assert "?" not in message.what + message.do
    assert ".wslconfig" in message.do
    assert "10,614 MiB (the model's 8,566 MiB and 2 GiB)" in message.do


def test_a_long_answer_under_way_is_answer_enough_for_a_later_proof(owner: Owner) -> None:
    """The model takes one request at a time; ours would wait behind this one longer than a proof may take."""
    owner.serves()
    before = owner.view.speed
    body = {
        "messages": [{"role": "user", "content": "A long story, please."}],
        "max_tokens": 7000,
        "stream": True,
        "ignore_eos": True,
    }
    with (
        httpx.Client(trust_env=False, timeout=30.0) as client,
        client.stream("POST", f"http://127.0.0.1:{owner.port}/v1/chat/completions", json=body) as answer,
    ):
        events = answer.iter_lines()
        assert next(events).startswith("data:")
        owner.product.supervisor.actor(MODEL).prove_again()
        until(lambda: owner.heard.phases == [*READY, Phase.PROVING, Phase.READY], what="another proof")
        assert next(line for line in events if line).startswith("data: {"), "the answer goes on"
    assert owner.view.speed == before
