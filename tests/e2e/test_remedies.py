"""Refused, one click, READY: a shorter context, Ollama's model unloaded, our other run stopped; and from a terminal."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kotaro_bridge.app.product import Product
from kotaro_bridge.app.this_pc import simulated_setting
from kotaro_bridge.domain.run.holders import HolderKind
from kotaro_bridge.domain.run.remedy import RemedyKind
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView
from kotaro_bridge.texts import Texts
from tests.e2e.conftest import SCENARIO, Station
from tests.helpers.cli import CommandLine, listens, started
from tests.helpers.own_folders import own_folders
from tests.helpers.simulated import until as poll
from tests.helpers.words import pattern, phase

pytestmark = pytest.mark.e2e

LLAMA, SMALL = "qwen2.5-14b-q4_k_m", "qwen2.5-7b-awq"
READY_S = 40.0
OLLAMA = "ollama-holds"
ON_OLLAMA = pytest.mark.parametrize("shared_station", [OLLAMA], indirect=True)


class Desk:
    """A person at the windows of a simulated PC of their own: the PC ends with the first that closes it here."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch

    @contextmanager
    def at(self, scenario: str = SCENARIO) -> Iterator[tuple[Product, CommandLine]]:
        """What stands behind the windows, the owner of all runs."""
        line = CommandLine(self._folder, scenario)
        for name, place in own_folders(self._folder).items():
            self._monkeypatch.setenv(name, place)
        for profile in (LLAMA, SMALL):
            line.builtin(profile)
        with line.pc(), Product(simulated_setting(scenario), Texts("en")) as made:
            made.own()
            yield made, line
        line.assert_quiet()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def until(made: Product, profile_id: str, *phases: Phase) -> RunView:
    """Wait until the run is in one of the phases."""
    wanted = frozenset(phases)
    view = made.supervisor.actor(profile_id).wait(lambda view: view.phase in wanted, READY_S)
    assert view.phase in wanted, (view.phase, view.problem)
    return view


def click(made: Product, profile_id: str, kind: RemedyKind) -> RunView:
    """Start, be refused, take the remedy of that kind, and come to READY."""
    made.supervisor.start(profile_id)
    refused = until(made, profile_id, Phase.REFUSED)
    remedy = next(remedy for remedy in refused.remedies if remedy.kind is kind)
    made.supervisor.apply(profile_id, remedy)
    made.supervisor.apply(profile_id, remedy)
    # A changed profile has another actor, so that none is waited on before the start has begun.
    poll(
        lambda: made.supervisor.view(profile_id).generation > refused.generation,
        what="the start begins",
        deadline_s=READY_S,
    )
    ready = until(made, profile_id, Phase.READY, Phase.REFUSED, Phase.FAILED)
    assert ready.phase is Phase.READY, ready.problem
    assert ready.generation == refused.generation + 1
    return ready


# --- one click --------------------------------------------------------------------------------------------------------


def test_a_shorter_context_makes_it_fit(desk: Desk) -> None:
    with desk.at() as (made, line):
        line.builtin(LLAMA, context=32768)
        made.supervisor.reload(LLAMA)
        ready = click(made, LLAMA, RemedyKind.CONTEXT)
        assert ready.endpoint is not None
        context = made.supervisor.profile(LLAMA).context
        assert 8192 <= context < 32768
        assert context % 256 == 0
        assert tomllib.loads((line.profiles / f"{LLAMA}.toml").read_text())["context"] == context


def test_ollama_s_model_is_unloaded(desk: Desk) -> None:
    with desk.at(OLLAMA) as (made, line):
        before = (line.profiles / f"{LLAMA}.toml").read_bytes()
        ready = click(made, LLAMA, RemedyKind.UNLOAD)
        assert ready.endpoint is not None
        assert made.setting.machine.ollama.loaded() == ()
        assert (line.profiles / f"{LLAMA}.toml").read_bytes() == before


def test_our_other_run_is_stopped(desk: Desk) -> None:
    with desk.at() as (made, _):
        made.supervisor.start(SMALL)
        other = until(made, SMALL, Phase.READY)
        click(made, LLAMA, RemedyKind.STOP_RUN)
        assert made.supervisor.view(SMALL).phase is Phase.STOPPED
        report = made.supervisor.view(LLAMA).gate
        assert report is not None
        assert report.holders == ()
        refused = made.supervisor.check(SMALL)
        assert (refused.report.holders[0].kind, refused.report.holders[0].key) == (HolderKind.RUN, LLAMA)
        assert [remedy.word for remedy in refused.remedies] == [f"stop={LLAMA}"]
        assert other.vram_taken is not None


# --- from a terminal --------------------------------------------------------------------------------------------------


def test_the_terminal_offers_a_context_saves_it_and_the_start_works(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA, context=32768)
    file = line.profiles / f"{LLAMA}.toml"
    file.write_text("# mine\n" + file.read_text())
    refused = line.call("run", LLAMA)
    assert refused.code == 1
    offered = line.call("remedy", LLAMA)
    assert (offered.code, offered.err) == (0, "")
    words = [row.split()[0] for row in offered.out.splitlines()]
    assert [word.partition("=")[0] for word in words] == ["context"]
    assert f"kotaro-bridge --simulate {SCENARIO} remedy {LLAMA} {words[0]} " in refused.err
    done = line.call("remedy", LLAMA, words[0])
    assert (done.code, done.err) == (0, "")
    assert words[0] in done.out
    assert file.read_text().startswith("# mine\n")
    assert line.call("remedy", LLAMA).out == Texts("en").text("cli.remedy.not_needed") + "\n"
    with started(line, "run", LLAMA) as running:
        running.wait_for(f"http://127.0.0.1:{line.port_of(LLAMA)}/v1", READY_S)
        running.end(2)


@ON_OLLAMA
def test_the_terminal_names_ollama_and_unloads_its_model(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA)
    refused = line.call("check", "--profile", LLAMA, "--json")
    assert refused.code == 1
    largest = refused.json["holders"][0]
    assert (largest["kind"], largest["name"], largest["key"]) == ("ollama", "qwen3:8b", "qwen3:8b")
    assert largest["bytes"] == 7168 << 20
    assert refused.json["remedies"][0] == {"word": "unload=qwen3:8b", "kind": "unload", "value": "qwen3:8b"}
    done = line.call("remedy", LLAMA, "unload=qwen3:8b", "--json")
    assert done.json == {"profile": LLAMA, **refused.json["remedies"][0]}
    assert line.call("check", "--profile", LLAMA).code == 0
    again = line.call("remedy", LLAMA, "unload=qwen3:8b")
    assert (again.code, again.err) == (0, "")


def test_the_terminal_stops_the_run_of_another_owner(station: Station) -> None:
    line = station.line
    line.builtin(LLAMA)
    line.builtin(SMALL)
    with started(line, "run", SMALL) as running:
        running.wait_for(f"http://127.0.0.1:{line.port_of(SMALL)}/v1", READY_S)
        refused = line.call("check", "--profile", LLAMA, "--json").json
        assert refused["holders"][0]["key"] == SMALL
        assert refused["remedies"][0]["word"] == f"stop={SMALL}"
        assert line.call("remedy", LLAMA, f"stop={SMALL}").code == 0
        assert running.end().code == 0
        assert phase("stopped") in running.out
    assert line.call("check", "--profile", LLAMA).code == 0
    nothing = line.call("remedy", LLAMA, f"stop={SMALL}")
    assert (nothing.code, nothing.err) == (0, "")


def test_an_owner_takes_over_what_the_terminal_changed(desk: Desk) -> None:
    with desk.at() as (made, line):
        assert line.call("remedy", LLAMA, "context=4096").code == 0
        assert made.supervisor.profile(LLAMA).context == 4096


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("cpu=1",), "remedy.unknown"),
        (("context=many",), "remedy.no_number"),
        (("context=12",), "remedy.value"),
        (("kv_type=fp8",), "remedy.value"),
        (("stop=nobody",), "profile.unknown"),
        (("unload=qwen3:8b",), "ollama.unreachable"),
    ],
)
def test_nonsense_says_so_and_changes_nothing(station: Station, words: tuple[str, ...], code: str) -> None:
    line = station.line
    line.builtin(LLAMA)
    file: Path = line.profiles / f"{LLAMA}.toml"
    before = file.read_bytes()
    done = line.call("remedy", LLAMA, *words)
    assert done.code == 1
    assert done.out == ""
    assert pattern(code).search(done.err)
    assert "Traceback" not in done.err
    assert file.read_bytes() == before


def test_where_nothing_helps_the_reason_is_told(station: Station) -> None:
    line = station.line
    line.builtin("qwen2.5-32b-q4_k_m")
    done = line.call("remedy", "qwen2.5-32b-q4_k_m")
    assert (done.code, done.out) == (1, "")
    assert Texts("en").text("cli.remedy.none") in done.err
    as_json = line.call("remedy", "qwen2.5-32b-q4_k_m", "--json")
    assert (as_json.code, as_json.json) == (1, {"ok": False, "remedies": []})
    assert not listens(line.port_of("qwen2.5-32b-q4_k_m"))
