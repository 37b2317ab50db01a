"""The way into WSL, over the emulated wsl.exe that really runs its Linux side; and the one on this machine."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.command import build_command
from kotaro_bridge.domain.engine.engine_log import Engine, LogLine, Stream
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.ports import ChannelClosed, Cleaned, EngineCommand, Exited, ProcessEvent, Started, TargetFacts
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.host.guardian import GuardedProcess
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.simulator.pc import SimulatedPC
from tests.helpers.simulated import alive, simulated_pc, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the Linux side runs here")

LLAMA = "~/llama.cpp/build/bin/llama-server"
GGUF = "~/models/Qwen2.5-14B-Instruct-Q4_K_M.gguf"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedPC]:
    """One PC for the tests that change nothing of it."""
    with simulated_pc(tmp_path_factory.mktemp("pc")) as opened:
        yield opened


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[SimulatedPC]:
    with simulated_pc(tmp_path / "pc") as opened:
        yield opened


def wsl(pc: SimulatedPC, distro: str | None = "Ubuntu", short_s: float = 20.0) -> WslLauncher:
    return WslLauncher(pc.wsl_argv, distro, pc.env, short_s)


def probe(launcher: WslLauncher, engine: str, model: str, projector: str, port: int) -> TargetFacts:
    question = EngineCommand((engine, "--list-devices"), {}, (), ())
    return launcher.probe(Engine.LLAMA_SERVER, question, model, projector, port)


def refused(work: Callable[[], object]) -> tuple[str, dict[str, object]]:
    with pytest.raises(ProblemError) as caught:
        work()
    return caught.value.problem.code, dict(caught.value.problem.params)


# --- one-off commands -------------------------------------------------------------------------------------------------


def test_a_command_with_its_output_and_its_code(shared: SimulatedPC) -> None:
    done = wsl(shared).run(["/bin/sh", "-c", "echo out; echo 虎 >&2; pwd; exit 3"], timeout_s=20)
    assert (done.code, done.stderr, done.timed_out) == (3, "虎\n", False)
    assert done.stdout.splitlines() == ["out", str(shared.home)]


def test_arguments_arrive_as_they_are(shared: SimulatedPC) -> None:
    words = ["a b", "$HOME", '"', "'", "\\", "虎.gguf", "", "*", "%PATH%", "^&|"]
    done = wsl(shared).run(["/bin/sh", "-c", 'for word; do printf "<%s>" "$word"; done', "x", *words], timeout_s=20)
    assert done.stdout == "".join(f"<{word}>" for word in words)


def test_stdin_reaches_the_command(shared: SimulatedPC) -> None:
    assert wsl(shared).run(["cat"], timeout_s=20, stdin="虎\n".encode()).stdout == "虎\n"


def test_the_default_distro_needs_no_name(shared: SimulatedPC) -> None:
    assert wsl(shared, None).run(["/bin/sh", "-c", 'echo "$WSL_DISTRO_NAME"'], timeout_s=20).stdout == "Ubuntu\n"


def test_a_command_that_takes_too_long_is_ended(shared: SimulatedPC) -> None:
    begin = time.monotonic()
    late = refused(lambda: wsl(shared).run(["sleep", "60"], timeout_s=0.5))
    assert late == ("wsl.hangs", {"asked": "sleep 60", "seconds": 0})
    assert time.monotonic() - begin < 10


def test_a_grandchild_that_keeps_the_pipes_keeps_nobody_waiting() -> None:
    begin = time.monotonic()
    argv = ["/bin/sh", "-c", "sleep 5 & echo here; sleep 60", "a-script", "its-argument"]
    late = refused(lambda: LocalLauncher().run(argv, timeout_s=0.3))
    assert late == ("launch.hangs", {"asked": "a-script its-argument", "seconds": 0})
    assert time.monotonic() - begin < 4


def test_what_a_command_that_takes_too_long_has_started_ends_with_it(tmp_path: Path) -> None:
    """The wsl.exe of Windows may only start the installed one, and wait for it."""
    said = tmp_path / "pid"
    argv = ["/bin/sh", "-c", 'sleep 60 & echo $! >"$1"; wait', "x", str(said)]
    assert refused(lambda: LocalLauncher().run(argv, timeout_s=2.0))[0] == "launch.hangs"
    until(lambda: not alive(int(said.read_text())), what="the end of the child")


def _main_thread_waits() -> bool:
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return any(summary.name == "communicate" for summary in traceback.extract_stack(frame))


def test_ctrl_c_leaves_no_command_behind(tmp_path: Path) -> None:
    said = tmp_path / "pid"

    def interrupt() -> None:
        until(lambda: said.exists() and said.read_text().strip(), what="the command")
        until(_main_thread_waits, what="it is waited for")  # and not just being started
        os.kill(os.getpid(), signal.SIGINT)

    hand = threading.Thread(target=interrupt)
    hand.start()
    with pytest.raises(KeyboardInterrupt):
        LocalLauncher().run(["/bin/sh", "-c", 'echo $$ >"$1"; exec sleep 60', "x", str(said)], timeout_s=30)
    hand.join()
    assert not alive(int(said.read_text()))


def test_names_of_distros(shared: SimulatedPC) -> None:
    assert wsl(shared).installed() == ("Ubuntu", "docker-desktop")
    wsl(shared).run(["true"], timeout_s=20)
    assert "Ubuntu" in wsl(shared).running()


# --- reading ----------------------------------------------------------------------------------------------------------


def test_parts_of_a_file(shared: SimulatedPC) -> None:
    data = bytes(range(256)) * 1024
    (shared.home / "モデル 虎").mkdir(exist_ok=True)
    (shared.home / "モデル 虎" / "q'4.gguf").write_bytes(data)
    launcher = wsl(shared)
    for path in ("~/モデル 虎/q'4.gguf", str(shared.home / "モデル 虎" / "q'4.gguf")):
        assert launcher.read_at(path, 0, 4) == data[:4]
        assert launcher.read_at(path, 254, 4) == data[254:258]
        assert launcher.read_at(path, len(data) - 2, 100) == data[-2:]
        assert launcher.read_at(path, len(data), 1) == b""
    assert launcher.read_at("~/モデル 虎/q'4.gguf", 0, 1 << 20) == data


def test_a_far_offset_of_a_large_file_is_quick(shared: SimulatedPC) -> None:
    with (shared.home / "large").open("wb") as file:
        file.truncate(40 << 30)
        file.seek(-4, os.SEEK_END)
        file.write(b"last")
    begin = time.monotonic()
    assert wsl(shared).read_at("~/large", (40 << 30) - 4, 4) == b"last"
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("path", ["~/none.gguf", "~/models", "~", "/root/secret"])
def test_a_file_that_is_not_there(shared: SimulatedPC, path: str) -> None:
    assert refused(lambda: wsl(shared).read_at(path, 0, 4)) == ("model.missing", {"path": path})


def test_the_header_of_a_model_through_wsl(shared: SimulatedPC, port: int) -> None:
    facts = probe(wsl(shared), LLAMA, GGUF, "", port)
    assert (facts.engine, facts.engine_unusable, facts.port_free, facts.projector) == (True, False, True, None)
    assert facts.devices is not None
    assert "  CUDA0: NVIDIA GeForce RTX 4070 (12048 MiB, 10473 MiB free)" in facts.devices.said
    assert facts.model is not None
    launcher = wsl(shared)
    model = read_gguf(lambda offset, size: launcher.read_at(GGUF, offset, size), facts.model)
    assert model.block_count == 48


def test_a_read_that_does_not_end(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    assert refused(lambda: WslLauncher([str(slow)], None).read_at("~/x", 0, 4, timeout_s=0.3))[0] == "wsl.hangs"


def test_a_read_that_fails_for_another_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho Input/output error >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ProblemError) as caught:
        WslLauncher([str(broken)], None).read_at("~/x", 0, 4)
    assert (caught.value.problem.code, caught.value.problem.evidence) == ("model.unreadable", ("Input/output error",))


# --- the probe --------------------------------------------------------------------------------------------------------


def test_what_a_target_says_of_what_is_not_there(shared: SimulatedPC) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        facts = probe(wsl(shared), "~/no-engine", "~/no-model", "~/no-projector", server.getsockname()[1])
    assert (facts.engine, facts.model, facts.projector, facts.port_free) == (False, -1, -1, False)
    (shared.home / "engine").write_text("not a program")
    facts = probe(wsl(shared), "~/engine", "", "~/models", 8080)
    assert (facts.engine, facts.engine_unusable, facts.model, facts.projector) == (False, True, None, 0)


def test_a_target_that_says_nothing_is_unknown(tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho; echo something else\n")
    silent.chmod(0o755)
    facts = probe(WslLauncher([str(silent)], None), "x", "y", "z", 1)
    assert (facts.engine, facts.engine_unusable, facts.model, facts.projector, facts.port_free) == (
        None,
        False,
        None,
        None,
        None,
    )


def test_the_cards_as_the_target_sees_them(shared: SimulatedPC) -> None:
    (card,) = wsl(shared).nvidia_smi()
    assert (card.name, card.total) == ("NVIDIA GeForce RTX 4070", 12282 * MIB)
    (card,) = LocalLauncher({**os.environ, **shared.local_env}).nvidia_smi()
    assert card.total == 12282 * MIB


def test_a_machine_without_nvidia_smi(tmp_path: Path, pc: SimulatedPC) -> None:
    program = str(tmp_path / "nvidia-smi")
    named = LocalLauncher({**os.environ, "NVIDIA_SMI": program})
    assert refused(named.nvidia_smi) == ("gpu.smi_missing", {"program": "nvidia-smi"})
    pc.set(nvidia_smi="missing")
    assert refused(wsl(pc).nvidia_smi)[0] == "gpu.smi_missing"
    pc.set(nvidia_smi="blocked")
    assert refused(wsl(pc).nvidia_smi)[0] == "gpu.smi_blocked"
    pc.set(nvidia_smi="hang")
    assert refused(wsl(pc, short_s=1.0).nvidia_smi)[0] == "wsl.hangs"


# --- a WSL that is not as it should be --------------------------------------------------------------------------------


def everything(launcher: WslLauncher) -> list[Callable[[], object]]:
    return [
        lambda: launcher.run(["true"], timeout_s=1.0),
        launcher.installed,
        launcher.leftovers,
        lambda: launcher.reap("run", 0),
        lambda: probe(launcher, "x", "y", "z", 1),
        lambda: launcher.read_at("~/x", 0, 4, timeout_s=1.0),
        launcher.nvidia_smi,
    ]


def test_a_pc_without_wsl_exe(tmp_path: Path) -> None:
    program = str(tmp_path / "wsl.exe")
    launcher = WslLauncher([program], "Ubuntu")
    for work in everything(launcher)[:-1]:
        code, params = refused(work)
        assert (code, params["program"]) == ("wsl.missing", program)
    assert refused(launcher.nvidia_smi)[0] == "wsl.missing"
    command = EngineCommand(("x",), {}, (), ())
    assert refused(lambda: launcher.launch("r", command, print, print))[0] == "launch.not_started"


def test_a_pc_where_wsl_is_only_a_stub(tmp_path: Path) -> None:
    """Its list says so, which the gate asks first; a command meets a prompt for a key, gets none and tells nothing."""
    begin = time.monotonic()
    with simulated_pc(tmp_path / "pc", "no-wsl") as pc:
        launcher = wsl(pc)
        for work in (launcher.installed, launcher.leftovers, lambda: launcher.reap("run", 0)):
            assert refused(work)[0] == "wsl.not_installed"
        assert launcher.run(["true"], timeout_s=20).code == 1
        assert probe(launcher, "x", "y", "z", 1).engine is None
        assert refused(lambda: launcher.read_at("~/x", 0, 4))[0] == "model.unreadable"
        assert refused(launcher.nvidia_smi)[0] == "gpu.smi_no_answer"
    assert time.monotonic() - begin < 20, "the prompt stands for a minute"


def test_a_wsl_that_hangs_is_not_waited_for_without_end(pc: SimulatedPC) -> None:
    pc.set(wsl="hang")
    begin = time.monotonic()
    asked = []
    for work in everything(wsl(pc, short_s=0.5)):
        code, params = refused(work)
        assert code == "wsl.hangs"
        asked.append(params["asked"])
    assert time.monotonic() - begin < 15
    listed = ["wsl.exe --list --quiet", *["wsl.exe --list --quiet --running"] * 2]
    assert asked == ["true", *listed, "kotaro-probe llama-server", "read-at ~/x", "verify_gpu.sh --csv"]


def test_a_wsl_that_fails_says_its_code(pc: SimulatedPC) -> None:
    pc.set(wsl="e_unexpected")
    code, params = refused(lambda: wsl(pc).run(["true"], timeout_s=20))
    assert code == "wsl.failed"
    assert "E_UNEXPECTED" in str(params["error"])


def test_a_distro_that_does_not_exist(shared: SimulatedPC) -> None:
    launcher = wsl(shared, "Debian")
    assert refused(lambda: launcher.run(["true"], timeout_s=20)) == ("wsl.distro_not_found", {"distro": "Debian"})
    assert refused(lambda: probe(launcher, "x", "y", "", 1))[0] == "wsl.distro_not_found"
    assert refused(lambda: launcher.read_at("~/x", 0, 1))[0] == "wsl.distro_not_found"
    assert launcher.leftovers() == ()
    assert launcher.reap("run", 0) == ()


# --- engines ----------------------------------------------------------------------------------------------------------


class Run:
    """An engine inside WSL with everything it reported."""

    def __init__(self, pc: SimulatedPC, launcher: WslLauncher | None = None) -> None:
        self.launcher = launcher or wsl(pc)
        self.lines: list[LogLine] = []
        self.events: queue.SimpleQueue[ProcessEvent] = queue.SimpleQueue()
        self.run_id = f"run-{os.getpid()}-{time.time_ns()}"
        self.process: GuardedProcess | None = None

    def start(self, *argv: str) -> GuardedProcess:
        command = EngineCommand(argv, {"CUDA_VISIBLE_DEVICES": "0"}, ("LLAMA_*",), ())
        self.process = self.launcher.launch(self.run_id, command, self.lines.append, self.events.put)
        return self.process

    def model(self, port: int) -> GuardedProcess:
        profile = Profile("t", Engine.LLAMA_SERVER, LLAMA, GGUF, "m", 8192, port)
        self.process = self.launcher.launch(self.run_id, build_command(profile), self.lines.append, self.events.put)
        return self.process

    def hears(self, text: str) -> None:
        until(lambda: any(text in line.text for line in list(self.lines)), what=text, deadline_s=20)

    def next(self) -> ProcessEvent:
        return self.events.get(timeout=20)

    def end(self) -> list[ProcessEvent]:
        seen = [self.next()]
        while not isinstance(seen[-1], ChannelClosed):
            seen.append(self.next())
        return seen


@pytest.fixture
def engine(pc: SimulatedPC) -> Iterator[Run]:
    made = Run(pc)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.abandon()
        assert made.process.join(20)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def vram(pc: SimulatedPC) -> int:
    return pc.gpu.snapshot()[0].used or 0


def test_an_engine_from_its_start_to_its_end(engine: Run) -> None:
    engine.start("/bin/sh", "-c", 'echo "out $CUDA_VISIBLE_DEVICES"; echo 虎 >&2; exit 3')
    started, exited, cleaned, closed = engine.end()
    assert isinstance(started, Started)
    assert isinstance(exited, Exited)
    assert (exited.code, exited.signal, cleaned) == (3, None, Cleaned(()))
    assert isinstance(closed, ChannelClosed)
    assert (closed.code, closed.cleaned) == (0, True)
    assert {(line.stream, line.text) for line in engine.lines} == {(Stream.STDOUT, "out 0"), (Stream.STDERR, "虎")}


def test_a_model_is_stopped_and_its_memory_is_free(pc: SimulatedPC, engine: Run, port: int) -> None:
    before = vram(pc)
    process = engine.model(port)
    engine.hears("listening on")
    assert vram(pc) - before > 9000 * MIB
    process.stop(10)
    events = engine.end()
    assert Cleaned(()) in events
    assert any(isinstance(event, Exited) for event in events)
    assert vram(pc) == before
    assert engine.launcher.leftovers() == ()


def test_wsl_exe_killed_ends_the_engine_with_term_and_frees_its_memory(pc: SimulatedPC, engine: Run, port: int) -> None:
    before = vram(pc)
    process = engine.model(port)
    started = engine.next()
    assert isinstance(started, Started)
    engine.hears("listening on")
    os.kill(process._popen.pid, signal.SIGKILL)
    closed = engine.end()[-1]
    assert isinstance(closed, ChannelClosed)
    assert not closed.cleaned
    until(lambda: vram(pc) == before, what="the memory is free", deadline_s=20)
    assert engine.launcher.reap(engine.run_id, 10) == ()
    assert engine.launcher.leftovers() == ()


def test_wsl_exe_killed_sends_one_term(pc: SimulatedPC, engine: Run) -> None:
    """Hang-up and end-of-file reach the guardian together, and the look from outside follows."""
    child = "sleep 300 & until grep -q sleep /proc/$!/comm; do :; done"  # a TERM between fork and exec would be lost
    script = f'trap "echo term >>terms" TERM; {child}; echo up; wait; sleep 0.5'
    process = engine.start("/bin/sh", "-c", script)
    engine.hears("up")
    os.kill(process._popen.pid, signal.SIGKILL)
    engine.end()
    assert engine.launcher.reap(engine.run_id, 10) == ()
    assert (pc.home / "terms").read_text() == "term\n"


def test_a_shutdown_of_wsl_ends_the_channel(pc: SimulatedPC, engine: Run) -> None:
    engine.start("sleep", "300")
    assert isinstance(engine.next(), Started)
    subprocess.run([*pc.wsl_argv, "--shutdown"], env={**os.environ, **pc.env}, check=True, capture_output=True)
    closed = engine.end()[-1]
    assert isinstance(closed, ChannelClosed)
    assert not closed.cleaned
    assert engine.launcher.reap(engine.run_id, 10) == ()
    assert pc.running() == []


def test_a_look_for_leftovers_starts_nothing(pc: SimulatedPC) -> None:
    subprocess.run([*pc.wsl_argv, "--shutdown"], env={**os.environ, **pc.env}, check=True, capture_output=True)
    assert pc.running() == []
    for distro in ("Ubuntu", None):
        launcher = wsl(pc, distro)
        assert not launcher.reachable_now()
        assert launcher.leftovers() == ()
        assert launcher.reap("run", 0) == ()
    assert pc.running() == []


def test_an_orphan_is_found_in_a_distro_that_runs(pc: SimulatedPC, engine: Run) -> None:
    engine.start("/bin/sh", "-c", 'echo "pid $$"; trap "" TERM; while :; do sleep 1; done')
    started = engine.next()
    assert isinstance(started, Started)
    engine.hears("pid")
    pid = int(next(line.text.split()[1] for line in engine.lines if line.text.startswith("pid")))
    assert engine.launcher.leftovers() == (engine.run_id,)
    assert engine.launcher.reap(engine.run_id, 0) == ()
    assert not alive(pid)
    assert engine.launcher.leftovers() == ()


def test_a_distro_that_does_not_exist_closes_the_channel_with_its_words(pc: SimulatedPC) -> None:
    engine = Run(pc, wsl(pc, "Debian"))
    process = engine.start("true")
    (closed,) = engine.end()
    assert isinstance(closed, ChannelClosed)
    assert closed.code != 0
    assert any("WSL_E_DISTRO_NOT_FOUND" in line for line in closed.tail)
    assert process.join(10)


def test_a_guardian_that_does_not_answer_is_no_confirmation(tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.write_text('#!/bin/sh\ncase "$*" in *--list*) echo Ubuntu ;; *) echo broken >&2 ;; esac\n')
    silent.chmod(0o755)
    launcher = WslLauncher([str(silent)], "ubuntu")
    with pytest.raises(ProblemError) as caught:
        launcher.reap("run", 0)
    assert (caught.value.problem.code, caught.value.problem.evidence) == ("stop.no_answer", ("broken",))
