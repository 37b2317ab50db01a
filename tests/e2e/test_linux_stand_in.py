"""What stands in for the Linux side on Windows, switched on here, beside the real scripts under the real sh."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_devices import judge_devices
from kotaro_bridge.domain.engine.engine_log import Engine, LogLine
from kotaro_bridge.domain.ports import ChannelClosed, Cleaned, ConfigFile, EngineCommand, Exited, ProcessEvent, Started
from kotaro_bridge.host.guardian import GuardedProcess, guardian_argv, target_script
from kotaro_bridge.host.launcher import _READ_AT
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.probe import parse_probe, probe_argv
from kotaro_bridge.host.wsl_vm import WslExeVm
from kotaro_bridge.simulator import card, procs
from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.simulator.process_tree import boot_id
from kotaro_bridge.simulator.state import State
from tests.helpers.cli import CommandLine, free_port, started
from tests.helpers.simulated import alive, processes_of, simulated_pc, until, wsl

if sys.platform == "win32":
    pytest.skip("there is no real Linux side to compare with", allow_module_level=True)

pytestmark = pytest.mark.e2e

LLAMA, MODEL = "~/llama.cpp/build/bin/llama-server", "~/models/Qwen2.5-14B-Instruct-Q4_K_M.gguf"
VLLM, HF_MODEL = "~/vllm/bin/vllm", "~/models/Qwen2.5-7B-Instruct-AWQ"
BOTH = ("real", "stand-in")


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[SimulatedPC]:
    with simulated_pc(tmp_path / "pc", linux_side="stand-in") as opened:
        yield opened


def llama(port: int, *more: str) -> EngineCommand:
    flags = "--device CUDA0 -sm none -ngl all --fit off -c 4096 -np 1 -lv 4 --metrics --slots --host 127.0.0.1"
    argv = (LLAMA, "-m", MODEL, *flags.split(), "--port", str(port), *more)
    return EngineCommand(argv, {"A": "1"}, ("LLAMA_*",), ())


def vllm(port: int) -> EngineCommand:
    flags = "--gpu-memory-utilization 0.8 --max-model-len 8192 --max-num-seqs 16 --max-num-batched-tokens 2048"
    argv = (VLLM, "serve", HF_MODEL, *flags.split(), "--host", "127.0.0.1", "--port", str(port))
    return EngineCommand(argv, {}, (), ())


class Guarded:
    """A run that the product's launcher has started, with everything it reported."""

    def __init__(self, pc: SimulatedPC, command: EngineCommand) -> None:
        self.pc = pc
        self.launcher = WslLauncher(pc.wsl_argv, None, pc.env)
        self.lines: list[LogLine] = []
        self.events: queue.SimpleQueue[ProcessEvent] = queue.SimpleQueue()
        self.process: GuardedProcess = self.launcher.launch("run-1", command, self.lines.append, self.events.put)

    def hears(self, text: str) -> None:
        until(lambda: any(text in line.text for line in self.lines), what=f"{text!r} in {self.lines[-5:]}")

    def end(self) -> list[ProcessEvent]:
        seen = [self.events.get(timeout=20)]
        while not isinstance(seen[-1], ChannelClosed):
            seen.append(self.events.get(timeout=20))
        return seen

    def held(self) -> list[int]:
        """Processes that hold VRAM."""
        return [int(claim["pid"]) for claim in card.live_claims(State(str(self.pc.folder)))]


@contextmanager
def guarded(pc: SimulatedPC, command: EngineCommand) -> Iterator[Guarded]:
    run = Guarded(pc, command)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.abandon()
        assert run.process.join(20)


def pids_of(pc: SimulatedPC, module: str) -> list[int]:
    """Processes of this PC that run a module of the simulator."""
    mark = f"KOTARO_SIM={pc.folder}".encode()
    named = f"kotaro_bridge.simulator.{module}".encode()
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in procs.all_pids()}
    return [pid for pid, words in lines.items() if named in words and mark in procs.environment(pid)]


# The same answers as the real scripts


def answers(pc: SimulatedPC, argv: Sequence[str]) -> list[tuple[int, bytes]]:
    """Exit code and stdout of one command, from the real Linux side and from the stand-in."""
    said = []
    for side in BOTH:
        pc.set(linux_side=side)
        done = wsl(pc, "--cd", "~", "--exec", *argv)
        said.append((done.returncode, done.stdout))
    return said


@pytest.mark.parametrize(
    ("executable", "model", "projector"),
    [
        (LLAMA, MODEL, ""),
        ("~/plain", "~/models", "~/none"),
        ("~/nowhere", "~/empty", "~/plain"),
        ("~/models", "~/虎 x", ""),
        ("wslinfo", "~", "/"),
        ("nvidia-smi", "", ""),
        ("no-such-program", "", MODEL),
    ],
)
def test_the_probe(pc: SimulatedPC, executable: str, model: str, projector: str) -> None:
    for name in ("plain", "empty", "虎 x"):
        (pc.home / name).write_bytes(b"" if name == "empty" else b"12345")
    for engine in Engine:
        question = EngineCommand((executable, "--list-devices"), {"CUDA_VISIBLE_DEVICES": "0"}, ("LLAMA_*",), ())
        argv = probe_argv(engine, question, model, projector, free_port())
        real, stand_in = answers(pc, argv)
        assert stand_in == real
        assert real[0] == 0


def test_the_probe_names_the_parts_that_are_missing(pc: SimulatedPC) -> None:
    folder = pc.home / "parts"
    folder.mkdir()
    names = [f"model-0000{number}-of-00004.safetensors" for number in (1, 2, 3, 4)]
    weights = {f"layer.{number}": name for number, name in enumerate((*names, *names))}
    index = {"metadata": {"total_size": 4, "note": "x.safetensors.txt"}, "weight_map": weights}
    (folder / names[0]).write_bytes(b"x")
    (folder / names[2]).write_bytes(b"")
    for text in (json.dumps(index), json.dumps(index, indent=2), "no index", "{}"):
        (folder / "model.safetensors.index.json").write_text(text)
        question = EngineCommand((VLLM, "--list-devices"), {}, (), ())
        real, stand_in = answers(pc, probe_argv(Engine.VLLM, question, "~/parts", "", free_port()))
        assert stand_in == real
        missing = [names[1], names[2], names[3]] if "weight_map" in text else []
        assert list(parse_probe(real[1].decode()).missing_parts) == missing


AT_A_START = "exit-at-once fork-child-keeps-pipe"
WORDS = ("", "cpu-build", "cuda-missing", "driver-old", "vulkan-build", "old-build", "torch-cpu", *AT_A_START.split())


@pytest.mark.parametrize("word", WORDS)
def test_the_question_for_the_devices(pc: SimulatedPC, word: str) -> None:
    """Of each engine in each state: the same words, and the state is told."""
    for engine, program, own in (
        (Engine.LLAMA_SERVER, LLAMA, f"torch-cpu {AT_A_START}"),
        (Engine.VLLM, VLLM, f"vulkan-build old-build {AT_A_START}"),
    ):
        pc.set(engine=word)
        argv = probe_argv(engine, EngineCommand((program, "--list-devices"), {}, (), ()), "", "", free_port())
        real, stand_in = answers(pc, argv)
        assert stand_in == real
        devices = parse_probe(real[1].decode()).devices
        assert devices is not None
        judged = judge_devices(engine, devices, pc.gpu.snapshot()[:1], 1, program)
        assert isinstance(judged, str) is (word in own.split() or not word)


def test_a_config_file_of_the_user(pc: SimulatedPC) -> None:
    file = pc.home / ".config" / "llama.cpp" / "config.ini"
    file.parent.mkdir(parents=True)
    file.write_text("[default]\ncpu-moe = true\n")
    argv = probe_argv(Engine.LLAMA_SERVER, EngineCommand((LLAMA, "--list-devices"), {}, (), ()), "", "", free_port())
    real, stand_in = answers(pc, argv)
    assert stand_in == real
    assert parse_probe(real[1].decode()).configs == (ConfigFile(str(file), True, ("[default]", "cpu-moe = true")),)


@pytest.mark.parametrize("mode", ["normal", "missing", "blocked"])
def test_the_card_as_verify_gpu_tells_it(pc: SimulatedPC, mode: str) -> None:
    pc.set(nvidia_smi=mode)
    script = ["/bin/sh", "-c", target_script("verify_gpu.sh"), "verify_gpu.sh", "--csv", "index,name,memory.free"]
    real, stand_in = answers(pc, script)
    assert stand_in == real
    assert (real[0] == 0) is (mode == "normal")


def test_the_facts_of_the_vm(pc: SimulatedPC) -> None:
    """The VM tells the same, whichever side answers, and either opens a port."""
    vm = WslExeVm(lambda distro: WslLauncher(pc.wsl_argv, distro, pc.env))
    told = {}
    for side in BOTH:
        pc.set(linux_side=side)
        told[side] = vm.facts(None, (MODEL, HF_MODEL, "~/none"), 20.0)
        assert vm.reaches(None, 10.0) is True
        vm.shutdown(20.0)
    real, stand_in = (replace(told[side], boot_id=None, began_at=None) for side in BOTH)
    assert real == stand_in
    assert (real.processors, real.networking) == (16, "Nat")
    assert [path for path, _ in real.models] == [MODEL]
    assert told["real"].boot_id != told["stand-in"].boot_id


def test_the_probe_sees_a_listener(pc: SimulatedPC) -> None:
    import socket

    question = EngineCommand(("~/nowhere",), {}, (), ())
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - a listener on every address is a listener here too
        with socket.create_server((address, 0)) as server:
            real, stand_in = answers(pc, probe_argv(Engine.VLLM, question, "", "", server.getsockname()[1]))
            assert stand_in == real
            assert parse_probe(real[1].decode()).port_free is False


@pytest.mark.parametrize(
    ("path", "first", "size"),
    [
        ("~/data", 1, 4),
        ("~/data", 255, 4),
        ("~/data", 2047, 100),
        ("~/data", 9000, 5),
        ("~/none", 1, 1),
        ("~", 1, 1),
        (MODEL, 1, 70_000),
        (MODEL, 8_000_000_000, 10),
    ],
)
def test_read_at(pc: SimulatedPC, path: str, first: int, size: int) -> None:
    (pc.home / "data").write_bytes(bytes(range(256)) * 8)
    real, stand_in = answers(pc, ["/bin/sh", "-c", _READ_AT, "read-at", path, str(first), str(size)])
    assert stand_in == real


def test_run_files_of_another_boot_of_a_reused_pid_and_of_nobody(pc: SimulatedPC) -> None:
    runs = pc.home / ".local/state/kotaro-bridge/runs"
    runs.mkdir(parents=True)
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    ticks = procs.start_ticks(stranger.pid)
    gone = subprocess.Popen(["true"], start_new_session=True)
    gone.wait()
    files = {
        "other-boot": f"{stranger.pid} another-boot {ticks}\n",
        "reused": f"{stranger.pid} {boot_id()} {(ticks or 0) + 1}\n",
        "gone": f"{gone.pid} {boot_id()} 1\n",
        "empty": "",
        "alive": f"{stranger.pid} {boot_id()} {ticks}\n",
    }
    try:
        for verb in (("list",), *(("reap", name, "1") for name in files if name != "alive")):
            said = []
            for side in BOTH:
                for name, text in files.items():
                    (runs / name).write_text(text)
                pc.set(linux_side=side)
                done = wsl(pc, "--exec", *guardian_argv(*verb))
                said.append((done.returncode, done.stdout, sorted(path.name for path in runs.iterdir())))
            assert said[0] == said[1]
        assert stranger.poll() is None
        pc.set(linux_side="stand-in")
        done = wsl(pc, "--exec", *guardian_argv("reap", "alive", "3"))
        assert done.stdout == b"\n@kotaro alive clean left=\n"
        assert stranger.wait(5) == -signal.SIGTERM
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("program", ["/usr/lib/wsl/lib/nvidia-smi", "/bin/wslinfo"])
def test_programs_that_only_wsl_has(pc: SimulatedPC, program: str) -> None:
    words = ["--query-gpu=name,memory.free", "--format=csv"] if "smi" in program else ["--networking-mode"]
    real, stand_in = answers(pc, [program, *words])
    assert stand_in == real
    assert real[0] == 0
    pc.set(nvidia_smi="missing")
    real, stand_in = answers(pc, [program, *words])
    assert stand_in == real


def test_another_program_is_told_to_be_missing(pc: SimulatedPC) -> None:
    done = wsl(pc, "--exec", "uname", "-a")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"execvpe(uname) failed: No such file or directory" in done.stderr


# Runs


@pytest.mark.parametrize("side", BOTH)
def test_a_run_reports_the_same_events(pc: SimulatedPC, side: str) -> None:
    pc.set(linux_side=side)
    with guarded(pc, llama(free_port())) as run:
        run.hears("listening on")
        (pid,) = run.held()
        assert run.launcher.leftovers() == ("run-1",)
        run.process.stop(5)
        begun, exited, cleaned, closed = run.end()
    assert isinstance(closed, ChannelClosed)
    assert begun == Started(pid)
    assert (exited, cleaned, closed.code, closed.cleaned) == (Exited(0, None, 0), Cleaned(()), 0, True)
    assert run.held() == []
    assert not list((pc.home / ".local/state/kotaro-bridge/runs").iterdir())


@pytest.mark.parametrize("side", BOTH)
def test_vllm_ends_whole(pc: SimulatedPC, side: str) -> None:
    pc.set(linux_side=side)
    with guarded(pc, vllm(free_port())) as run:
        run.hears("Application startup complete")
        run.process.stop(5)
        assert run.end()[1:3] == [Exited(0, None, 0), Cleaned(())]
    assert run.held() == []


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize(
    ("word", "expected"),
    [("exit-at-once", Exited(1, None, 0)), ("host-oom", Exited(None, 9, 1)), ("crash:0.1", Exited(None, 6, 0))],
)
def test_an_engine_that_ends_by_itself(pc: SimulatedPC, side: str, word: str, expected: Exited) -> None:
    pc.set(linux_side=side, engine=word)
    with guarded(pc, llama(free_port())) as run:
        assert run.end()[1:3] == [expected, Cleaned(())]


@pytest.mark.parametrize("side", BOTH)
def test_stop_while_loading_is_death_by_the_signal(pc: SimulatedPC, side: str) -> None:
    pc.set(linux_side=side, time_scale=1.0)
    with guarded(pc, llama(free_port())) as run:
        run.hears("loading model")
        run.process.stop(5)
        assert run.end()[1:3] == [Exited(None, 15, 0), Cleaned(())]


@pytest.mark.parametrize("side", BOTH)
def test_a_deaf_engine_is_killed_after_the_grace_and_at_once_when_asked(pc: SimulatedPC, side: str) -> None:
    pc.set(linux_side=side, engine="ignore-term,fork-child-keeps-pipe")
    for hasty in (False, True):
        with guarded(pc, llama(free_port())) as run:
            run.hears("listening on")
            run.process.stop(60 if hasty else 1)
            if hasty:
                run.process.kill()
            assert run.end()[1:3] == [Exited(None, 9, 0), Cleaned(())]


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize(("program", "code"), [("~/none", 127), ("~/plain", 126)])
def test_a_program_that_is_none(pc: SimulatedPC, side: str, program: str, code: int) -> None:
    pc.set(linux_side=side)
    (pc.home / "plain").write_text("")
    with guarded(pc, EngineCommand((program,), {}, (), ())) as run:
        begun, *ended, _ = run.end()
    assert isinstance(begun, Started)
    assert ended == [Exited(code, None, 0), Cleaned(())]


def test_a_killed_wsl_ends_the_engine_in_order(pc: SimulatedPC) -> None:
    with guarded(pc, llama(free_port())) as run:
        run.hears("listening on")
        (pid,) = run.held()
        (emulator,) = pids_of(pc, "wsl")
        os.kill(emulator, procs.KILL)
        closed = run.end()[-1]
        assert isinstance(closed, ChannelClosed)
        assert not closed.cleaned
        until(lambda: not alive(pid), what="the engine ends")
        until(lambda: not run.launcher.leftovers(), what="and is no run any more")
    assert run.held() == []


def test_a_killed_guardian_leaves_a_run_that_the_next_owner_ends(pc: SimulatedPC) -> None:
    pc.boot("Ubuntu")
    with guarded(pc, vllm(free_port())) as run:
        run.hears("Application startup complete")
        (guardian,) = pids_of(pc, "guardian_stand_in")
        os.kill(guardian, procs.KILL)
        run.process.abandon()
        assert run.launcher.leftovers() == ("run-1",)
        assert run.held() != []
        assert run.launcher.reap("run-1", 5) == ()
        assert (run.launcher.leftovers(), run.held()) == ((), [])


def test_an_engine_core_without_its_server_is_ended_too(pc: SimulatedPC) -> None:
    with guarded(pc, vllm(free_port())) as run:
        run.hears("Application startup complete")
        begun = run.events.get(timeout=20)
        assert isinstance(begun, Started)
        os.kill(begun.pid, procs.KILL)
        assert run.end()[:2] == [Exited(None, 9, 0), Cleaned(())]
    assert run.held() == []


# The distro and its VM


def test_a_distro_runs_as_long_as_its_programs_and_its_idle_time(pc: SimulatedPC) -> None:
    assert pc.running() == []
    wsl(pc, "--exec", "/bin/wslinfo", "--version")
    assert pc.running() == ["Ubuntu"]
    pc.advance(16)
    assert pc.running() == []
    with guarded(pc, llama(free_port())) as run:
        run.hears("listening on")
        pc.advance(100)
        assert pc.running() == ["Ubuntu"]
        (pid,) = run.held()
        assert wsl(pc, "--terminate", "Ubuntu").returncode == 0
        assert pc.running() == []
        closed = run.end()[-1]
        assert isinstance(closed, ChannelClosed)
        assert (closed.code, closed.cleaned) == (1, False)
        until(lambda: not alive(pid), what="the engine is gone with its distro")
    pc.boot("Ubuntu")
    pc.advance(1000)
    assert pc.running() == ["Ubuntu"]
    assert wsl(pc, "--shutdown").returncode == 0
    assert pc.running() == []


def test_the_file_is_read_when_the_vm_starts(pc: SimulatedPC) -> None:
    pc.wslconfig_path.write_text("[wsl2]\nnonsense=1\ngpuSupport=false\nvmIdleTimeout=1000\n", encoding="utf-8")
    warned = wsl(pc, "--exec", "/bin/wslinfo", "--version", env={"WSL_UTF8": "1"})
    assert b"wsl2.nonsense" in warned.stderr
    assert wsl(pc, "--exec", "/usr/lib/wsl/lib/nvidia-smi").returncode == 1
    pc.wslconfig_path.write_text("[wsl2]\nnetworkingMode=mirrored\n", encoding="utf-8")
    assert wsl(pc, "--exec", "/bin/wslinfo", "--networking-mode").stdout == b"nat\n"
    pc.advance(20)
    assert wsl(pc, "--exec", "/bin/wslinfo", "--networking-mode").stdout == b"mirrored\n"
    wsl(pc, "--shutdown")
    pc.wslconfig_path.write_text("[wsl2]\nmacAddress=x\n", encoding="utf-8")
    failed = wsl(pc, "--exec", "/bin/wslinfo", "--version", env={"WSL_UTF8": "1"})
    assert b"Wsl/Service/CreateInstance/CreateVm/ParseConfig/E_INVALIDARG" in failed.stdout


# The product


@pytest.mark.parametrize("profile", ["qwen2.5-14b-q4_k_m", "qwen2.5-7b-awq"])
def test_the_product_runs_an_engine_to_ready_and_stops_it(tmp_path: Path, profile: str) -> None:
    line = CommandLine(tmp_path, "rtx4070-12gb")
    with line.pc(linux_side="stand-in"):
        line.builtin(profile)
        assert line.call("check", "--profile", profile).code == 0
        with started(line, "run", profile) as run:
            run.wait_for(f"http://127.0.0.1:{line.port_of(profile)}/v1")
            assert line.call("status", "--json").json["runs"][0]["state"] == "ready"
            assert "Exception occurred" not in line.call("logs").out  # the warm-up leaves its stream early
            assert run.end(signal.SIGINT).code == 0
        line.assert_quiet()
    until(lambda: not processes_of(tmp_path), what="nothing is left")
