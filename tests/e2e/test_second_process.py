"""While a model runs, other processes of the same user ask for it, and one stops it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Station
from tests.helpers.cli import CommandLine, Running, started
from tests.helpers.words import phase, sentence

pytestmark = pytest.mark.e2e

LLAMA, VLLM = "qwen2.5-14b-q4_k_m", "qwen2.5-7b-awq"
PROFILE_KEYS = ["id", "title", "engine", "target", "model", "context", "port", "builtin"]


@pytest.fixture(scope="module")
def serving(shared_station: Station) -> Iterator[Running]:
    """A run that is ready."""
    line = shared_station.line
    line.builtin(LLAMA)
    with started(line, "run", LLAMA) as running:
        running.wait_for(phase("ready"))
        running.wait_for("/v1")
        yield running
        done = running.end(signal.SIGINT)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == phase("stopped")
    line.assert_quiet()


@pytest.fixture
def line(shared_station: Station) -> CommandLine:
    """The command line beside a run."""
    return shared_station.line


def test_status_of_a_run(line: CommandLine, serving: Running) -> None:
    done = line.call("status", "--json")
    assert (done.code, done.err) == (0, "")
    document = done.json
    assert list(document) == ["owner", "runs", "gpus"]
    assert document["owner"] is True
    assert [gpu["name"] for gpu in document["gpus"]] == ["NVIDIA GeForce RTX 4070"]
    (run,) = document["runs"]
    assert (run["profile"], run["state"], run["verdict"], run["problem"]) == (LLAMA, "ready", "gpu", None)
    assert (run["base_url"], run["model"]) == (f"http://127.0.0.1:{line.port_of(LLAMA)}/v1", "qwen2.5-14b")
    assert run["warm_up_tokens_per_s"] > 30
    assert run["vram_taken"] > 10_000 << 20
    told = line.call("status")
    assert (told.code, told.err) == (0, "")
    assert run["base_url"] in told.out
    assert phase("ready") in told.out


def test_logs_of_a_run(line: CommandLine, serving: Running) -> None:
    document = line.call("logs", "--json").json
    assert list(document) == ["logs"]
    kept = document["logs"][LLAMA]
    assert any("offloaded 49/49 layers to GPU" in row for row in kept)
    stored = line.folder / "stored.log"
    stored.write_text("\n".join(document["logs"][LLAMA]), encoding="utf-8")
    assert line.call("verdict", "llama-server", str(stored)).out == "gpu\n"  # what is kept is what the engine wrote
    last = line.call("logs", LLAMA, "-n", "2")
    assert (last.code, last.err) == (0, "")
    assert len(last.out.splitlines()) == 2
    unknown = line.call("logs", "nope")
    assert unknown.code == 1
    assert sentence("profile.unknown", id="nope").what in unknown.err


def test_a_second_run_is_refused_and_the_first_goes_on(line: CommandLine, serving: Running) -> None:
    done = line.call("run", LLAMA)
    assert (done.code, done.out) == (1, "")
    assert sentence("owner.taken").what in done.err
    assert serving.process.poll() is None
    check = line.call("check", "--profile", LLAMA, "--json")
    assert check.code == 1
    blocked = {each["id"] for each in check.json["checks"] if each["status"] == "failed"}
    assert blocked == {"port_windows", "port_target", "vram"}
    assert line.call("status", "--json").json["runs"][0]["state"] == "ready"


def test_profiles_are_listed_and_shown(line: CommandLine, serving: Running) -> None:
    listed = line.call("profiles", "list", "--json")
    assert (listed.code, listed.err) == (0, "")
    profiles = {each["id"]: each for each in listed.json["profiles"]}
    assert len(profiles) == 7
    assert all(list(each) == PROFILE_KEYS for each in profiles.values())
    assert not profiles[LLAMA]["builtin"]
    assert profiles[VLLM] | {"builtin": True, "port": 8000, "engine": "vllm", "target": "wsl:"} == profiles[VLLM]
    shown = line.call("profiles", "show", LLAMA, "--json")
    assert (shown.code, shown.err) == (0, "")
    command = shown.json["command"]
    assert command[command.index("--device") + 1] == "CUDA0"
    assert command[command.index("--port") + 1] == str(line.port_of(LLAMA))
    assert {"--fit", "-ngl", "-lv"} <= set(command)


def test_the_log_on_disk_is_of_the_run(line: CommandLine, serving: Running) -> None:
    (kept,) = (line.root / "log").glob("*.log")
    assert kept.name.startswith(LLAMA)
    assert "listening on http://127.0.0.1" in kept.read_text(encoding="utf-8")
