"""Wrong input through the command line: refused with a sentence that helps, in bounded time, and nothing is started."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge.domain.errors import Param
from tests.e2e.conftest import SCENARIO, Station, ctrl_c
from tests.helpers.cli import CommandLine, Done, Running, started
from tests.helpers.simulated import until
from tests.helpers.words import phase, sentence

pytestmark = pytest.mark.e2e

LLAMA, VLLM = "qwen2.5-14b-q4_k_m", "qwen2.5-7b-awq"
HANGING_S = 60.0
IMPATIENT_S = 15.0


def assert_refused(done: Done, code: str, **params: Param) -> None:
    """REFUSED with this sentence and what to do; nothing was launched."""
    message = sentence(code, **params)
    assert done.code == 1
    assert done.out.splitlines()[:2] == [phase("checking"), phase("refused")]
    assert phase("launching") not in done.out
    assert "Traceback" not in done.err
    for part in (*message.what.split("?"), *message.do.split("?")):
        assert part in done.err


# What hangs is waited for beside the other tests: it takes the product's own limits of 20 s


@dataclass(frozen=True, slots=True)
class Hanging:
    wsl: Running
    smi: Running


@pytest.fixture(scope="module", autouse=True)
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hanging]:
    """A check where wsl.exe does not answer, a run where nvidia-smi does not."""
    with ExitStack() as stack:
        runs = []
        for switch, words in (("wsl", ("check", "--profile", LLAMA)), ("nvidia_smi", ("run", LLAMA))):
            line = CommandLine(tmp_path_factory.mktemp(f"{switch}-hangs"), SCENARIO)
            stack.callback(line.assert_quiet)
            stack.enter_context(line.pc(**{switch: "hang"}))
            line.builtin(LLAMA)
            runs.append(stack.enter_context(started(line, *words)))
        yield Hanging(*runs)


# Profiles


@pytest.mark.parametrize(
    ("text", "code", "params"),
    [
        ("title = ", "profile.syntax", {"line": 1}),
        ('title = "x"\nengine = "llama-server"\ngpu_layers = 20\n', "profile.key", {"line": 3, "key": "gpu_layers"}),
        ('title = "x"\nengine = "ollama"\n', "profile.value", {"line": 2, "key": "engine"}),
        ('title = "x"\nengine = "vllm"\n', "profile.missing", {"key": "executable"}),
    ],
)
def test_a_broken_profile_is_named_with_line_and_key(
    station: Station, text: str, code: str, params: dict[str, Param]
) -> None:
    path = station.line.write_profile("mine", text)
    commands = (("run", "mine"), ("check", "--profile", "mine"), ("profiles", "list"))
    answers = [station.line.call(*words) for words in commands]
    for done in answers:
        assert done.code == 1
        assert str(path) in done.err
        assert all(str(value) in done.err for value in params.values())
        assert sentence(code).do.split("?")[0] in done.err
    assert LLAMA in answers[-1].out  # the list has the others


def test_a_broken_profile_with_the_name_of_a_built_in_one_starts_nothing(station: Station) -> None:
    path = station.line.write_profile(LLAMA, "title = ")
    done = station.line.call("run", LLAMA)
    assert (done.code, done.out) == (1, "")
    assert str(path) in done.err


def test_unknown_profile_and_scenario(station: Station) -> None:
    unknown = station.line.call("run", "nope")
    assert (unknown.code, unknown.out) == (1, "")
    assert sentence("profile.unknown", id="nope").what in unknown.err
    nowhere = station.line.call("check", "--simulate", "nope")
    assert (nowhere.code, nowhere.out) == (1, "")
    assert SCENARIO in nowhere.err
    assert "Traceback" not in nowhere.err
    before = set(station.line.folder.rglob("*"))
    outside = station.line.call("profiles", "list", "--simulate", "../../../../nope")
    assert (outside.code, outside.out) == (2, "")
    made = {path for path in station.line.folder.rglob("*") if "calls" not in path.parts} - before
    assert not made, "no folder for a scenario that is none"


# What the profile names


def _truncated(home: Path) -> str:
    with (home / "models" / "Qwen2.5-14B-Instruct-Q4_K_M.gguf").open("rb") as whole:
        (home / "cut.gguf").write_bytes(whole.read(1 << 20))
    return "~/cut.gguf"


def _junk(home: Path) -> str:
    (home / "junk.gguf").write_bytes(b"no model" * 1000)
    return "~/junk.gguf"


def _empty(home: Path) -> str:
    (home / "empty.gguf").write_bytes(b"")
    return "~/empty.gguf"


@pytest.mark.parametrize(
    ("make", "code", "params"),
    [
        (lambda _: "~/none.gguf", "model.missing", {"path": "~/none.gguf"}),
        (lambda _: "~/models", "model.missing", {"path": "~/models"}),
        (_truncated, "model.truncated", {}),
        (_junk, "model.not_gguf", {}),
        (_empty, "model.not_gguf", {}),
    ],
    ids=["missing", "a-folder", "truncated", "junk", "empty"],
)
def test_a_model_that_cannot_be_loaded(
    station: Station, make: Callable[[Path], str], code: str, params: dict[str, Param]
) -> None:
    station.line.builtin(LLAMA, model=make(station.pc.home))
    assert_refused(station.line.call("run", LLAMA), code, **params)


def _not_executable(home: Path) -> str:
    (home / "data").write_bytes(b"data")
    return "~/data"


@pytest.mark.parametrize(
    ("profile", "keys", "code", "params"),
    [
        (VLLM, {"model": "~/models/none"}, "model.missing", {"path": "~/models/none"}),
        (VLLM, {"executable": "~/none"}, "engine.missing", {"path": "~/none", "engine": "vllm"}),
        (LLAMA, {"executable": _not_executable}, "engine.unusable", {"path": "~/data", "engine": "llama-server"}),
        (LLAMA, {"extra_args": ["--cpu-moe"]}, "command.forbidden.experts_on_cpu", {"argument": "--cpu-moe"}),
        (LLAMA, {"target": "wsl:Debian"}, "wsl.distro_not_found", {"distro": "Debian"}),
        (LLAMA, {"gpus": [1]}, "gate.no_such_gpu", {"index": 1, "count": 1}),
    ],
)
def test_a_profile_that_names_what_is_not_there(
    station: Station, profile: str, keys: dict[str, Any], code: str, params: dict[str, Param]
) -> None:
    made = {key: value(station.pc.home) if callable(value) else value for key, value in keys.items()}
    station.line.builtin(profile, **made)
    assert_refused(station.line.call("run", profile), code, **params)


# What is in the way


def test_port_taken_on_windows(station: Station) -> None:
    port = station.line.port_of(station.line.builtin(LLAMA))
    station.pc.set(windows_ports_taken=[port])
    assert_refused(station.line.call("run", LLAMA), "gate.port_windows.failed", port=port)


@contextmanager
def listener(host: str) -> Iterator[int]:
    with socket.create_server((host, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.skipif(sys.platform == "win32", reason="the stood-in Linux side has no loopback of its own")
def test_port_taken_inside_linux(station: Station) -> None:
    with listener("127.0.0.2") as port:  # Windows can still bind 127.0.0.1
        station.line.builtin(LLAMA, port=port)
        done = station.line.call("run", LLAMA)
    assert_refused(done, "gate.port_target.failed", port=port)
    assert sentence("gate.port_windows.passed", port=port).what in done.out


def test_localhost_forwarding_switched_off(station: Station) -> None:
    port = station.line.port_of(station.line.builtin(LLAMA))
    before = station.pc.wslconfig_path.read_bytes()
    try:
        station.pc.wslconfig_path.write_text("[wsl2]\nlocalhostForwarding=false\n")
        done = station.line.call("run", LLAMA)
    finally:
        station.pc.wslconfig_path.write_bytes(before)
    assert_refused(done, "gate.localhost_forwarding.failed", port=port)


def test_wsl_answers_with_an_error(station: Station) -> None:
    station.line.builtin(VLLM)
    station.pc.set(wsl="e_unexpected")
    done = station.line.call("run", VLLM)
    assert_refused(done, "wsl.failed", error="Wsl/Service/E_UNEXPECTED")


@ctrl_c
@pytest.mark.parametrize("words", [("run", LLAMA), ("stop",)])
def test_an_impatient_person_leaves_a_wsl_that_hangs(station: Station, words: tuple[str, ...]) -> None:
    station.line.builtin(LLAMA)
    station.pc.set(wsl="hang")
    with started(station.line, *words) as running:
        until(lambda: any("simulator.wsl" in left for left in station.line.left()), what="WSL is asked")
        done = running.end(signal.SIGINT, IMPATIENT_S)
    assert done.code != 0
    assert "Traceback" not in done.err
    # the fixture sees that the wsl.exe that hangs is gone as well


def test_no_wsl_on_this_machine(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    line.builtin(LLAMA)
    assert_refused(line.call("run", LLAMA), "wsl.missing")
    assert not line.left()


# The last tests: by now it has been waited for long enough


def test_nvidia_smi_that_hangs(hanging: Hanging) -> None:
    assert_refused(hanging.smi.end(deadline_s=HANGING_S), "gpu.smi_no_answer", detail="timeout")


def test_wsl_that_hangs(hanging: Hanging) -> None:
    done = hanging.wsl.end(deadline_s=HANGING_S)
    assert done.code == 1
    assert sentence("wsl.hangs", asked="wsl.exe --list --quiet", seconds=20).what in done.err
    assert sentence("wsl.hangs").do in done.err
