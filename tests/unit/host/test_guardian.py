"""The guardian, run for real under sh: it owns the engine's processes and leaves none behind, whatever happens."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import LogLine, Stream
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.ports import ChannelClosed, Cleaned, EngineCommand, Exited, ProcessEvent, Started
from kotaro_bridge.host.guardian import GuardedProcess, LineSplitter, exited
from kotaro_bridge.host.launcher_local import LocalLauncher

if sys.platform == "win32":
    pytest.skip("the guardian runs on the Linux side", allow_module_level=True)

# Processes of a run are known by its id: two runs of the tests on one machine must not have the same.
RUN = f"run-{os.getpid()}"

# Says "up" when its child is there: a TERM that meets a shell between fork and exec is lost.
UP_AND_WAIT = "sleep 300 & until grep -q sleep /proc/$!/comm; do :; done; echo up; wait"


class Engine:
    """A guarded shell script with everything it reported."""

    def __init__(self, home: Path) -> None:
        self.vmstat = home / "vmstat"
        self.counts(0)
        environment = {
            **os.environ,
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "LLAMA_ARG_FIT": "on",
            "KOTARO_VMSTAT": str(self.vmstat),
        }
        self.launcher = LocalLauncher(env=environment)
        self.runs = home / "state" / "kotaro-bridge" / "runs"
        self.lines: list[LogLine] = []
        self.events: queue.SimpleQueue[ProcessEvent] = queue.SimpleQueue()
        self.said = threading.Condition()
        self.process: GuardedProcess | None = None

    def counts(self, kills: int) -> None:
        """What the kernel says of how many processes it has killed for want of RAM."""
        self.vmstat.write_text(f"pgfault 1\noom_kill {kills}\noom_kill_other 7\n")

    def start(self, script: str, *arguments: str, run_id: str = RUN) -> GuardedProcess:
        command = EngineCommand(("/bin/sh", "-c", script, "engine", *arguments), {"A": "1"}, ("LLAMA_*", "GGML_*"), ())
        self.process = self.launcher.launch(run_id, command, self._line, self.events.put)
        return self.process

    def _line(self, line: LogLine) -> None:
        with self.said:
            self.lines.append(line)
            self.said.notify_all()

    def hears(self, text: str) -> None:
        with self.said:
            assert self.said.wait_for(lambda: any(text in line.text for line in self.lines), 10), self.lines

    def next(self) -> ProcessEvent:
        return self.events.get(timeout=20)

    def end(self) -> list[ProcessEvent]:
        """All events up to the end of the channel."""
        seen = [self.next()]
        while not isinstance(seen[-1], ChannelClosed):
            seen.append(self.next())
        return seen


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.abandon()
        assert made.process.join(20)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_soon(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_start_output_exit_and_clean_up_are_reported_in_order(engine: Engine) -> None:
    engine.start("echo out; echo err >&2; exit 3")
    started, exited, cleaned, closed = engine.end()
    assert isinstance(started, Started)
    assert (exited, cleaned) == (Exited(3, None, 0), Cleaned(()))
    assert isinstance(closed, ChannelClosed)
    assert (closed.code, closed.cleaned) == (0, True)
    assert {(line.stream, line.text) for line in engine.lines} == {(Stream.STDOUT, "out"), (Stream.STDERR, "err")}
    assert not list(engine.runs.iterdir())


def test_the_environment_is_scrubbed_and_set(engine: Engine) -> None:
    engine.start('env | grep -c ^LLAMA_; echo "A=$A"')
    engine.end()
    assert [line.text for line in engine.lines] == ["0", "A=1"]


def test_arguments_arrive_whole_and_the_home_folder_is_that_of_the_target(engine: Engine, tmp_path: Path) -> None:
    words = ("~/m odels/虎.gguf", "a'b\"c", "$HOME `id` \\", "", "*", '{"image":1,"video":0}', "~x", "two\nlines")
    engine.start('for word; do printf "<%s>" "$word"; done', *words)
    engine.end()
    said = "\n".join(line.text for line in engine.lines)
    assert said == "".join(f"<{word}>" for word in (f"{tmp_path}/m odels/虎.gguf", *words[1:]))


def test_stop_is_one_term_and_waits_for_the_engine(engine: Engine) -> None:
    process = engine.start('trap "echo term" TERM; ' + UP_AND_WAIT + "; echo bye; exit 0")
    engine.hears("up")
    process.stop(5)
    assert Exited(0, None, 0) in engine.end()
    assert [line.text for line in engine.lines if line.stream is Stream.STDOUT] == ["up", "term", "bye"]


def test_an_engine_that_ignores_term_is_killed_after_the_grace(engine: Engine) -> None:
    process = engine.start('trap "" TERM; echo up; while :; do sleep 1; done')
    engine.hears("up")
    process.stop(1)
    events = engine.end()
    assert Exited(None, 9, 0) in events
    assert Cleaned(()) in events


def test_kill_cuts_the_grace_short(engine: Engine) -> None:
    process = engine.start('trap "" TERM; echo up; while :; do sleep 1; done')
    engine.hears("up")
    begin = time.monotonic()
    process.stop(60)
    process.kill()
    assert Exited(None, 9, 0) in engine.end()
    assert time.monotonic() - begin < 20


def test_a_child_in_a_session_of_its_own_is_found_by_its_mark(engine: Engine) -> None:
    engine.start('setsid sleep 300 & echo "child $!"; exit 0')
    engine.end()
    child = int(next(line.text.split()[1] for line in engine.lines if line.text.startswith("child")))
    assert not alive(child)


def test_a_child_without_the_mark_is_found_by_its_session(engine: Engine) -> None:
    engine.start('env -i sleep 300 & echo "child $!"; exit 0')
    engine.end()
    child = int(next(line.text.split()[1] for line in engine.lines if line.text.startswith("child")))
    assert not alive(child)


def test_the_launching_process_killed_ends_the_engine(engine: Engine) -> None:
    process = engine.start('trap "exit 0" TERM; ' + UP_AND_WAIT)
    started = engine.next()
    assert isinstance(started, Started)
    engine.hears("up")
    process.abandon()
    assert isinstance(engine.end()[-1], ChannelClosed)
    assert gone_soon(started.pid)


def test_an_orphan_is_found_and_ended_by_the_next_owner(engine: Engine) -> None:
    process = engine.start('trap "exit 0" TERM; ' + UP_AND_WAIT)
    started = engine.next()
    assert isinstance(started, Started)
    engine.hears("up")
    os.killpg(process._popen.pid, signal.SIGKILL)  # the guardian with all its helpers, as when the whole VM side is cut
    engine.end()
    assert alive(started.pid)
    assert engine.launcher.leftovers() == (RUN,)
    assert engine.launcher.reap(RUN, 2) == ()
    assert not alive(started.pid)
    assert engine.launcher.leftovers() == ()


def test_end_of_file_on_the_guardians_stdin_ends_the_engine(engine: Engine) -> None:
    process = engine.start('trap "exit 0" TERM; ' + UP_AND_WAIT)
    engine.hears("up")
    process._close_stdin()
    assert Exited(0, None, 0) in engine.end()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_to_the_guardian_ends_the_engine_once(engine: Engine, number: signal.Signals) -> None:
    process = engine.start('trap "echo term" TERM; ' + UP_AND_WAIT + "; exit 0")
    engine.hears("up")
    process._popen.send_signal(number)
    assert Exited(0, None, 0) in engine.end()
    assert sum("term" in line.text for line in engine.lines) == 1


def test_a_run_file_of_another_boot_or_of_a_reused_pid_kills_nobody(engine: Engine) -> None:
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        engine.runs.mkdir(parents=True)
        (engine.runs / "old-boot").write_text(f"{stranger.pid} other-boot 1\n")
        (engine.runs / "reused").write_text(f"{stranger.pid} {boot} 1\n")
        (engine.runs / "broken").write_text("")
        (engine.runs / "reused.ending").mkdir()  # its guardian was killed while it ended the run
        assert engine.launcher.leftovers() == ()
        assert not list(engine.runs.iterdir())
        assert engine.launcher.reap("reused", 1) == ()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


ADD_A_KILL = 'printf "oom_kill 6\\n" >"$KOTARO_VMSTAT"; '


def test_processes_that_the_kernel_killed_meanwhile_are_counted(engine: Engine) -> None:
    engine.counts(4)
    engine.start(ADD_A_KILL + "kill -KILL $$")
    assert Exited(None, 9, 2) in engine.end()


@pytest.mark.parametrize("text", [None, "", "pgfault 1\n"])
def test_a_kernel_that_does_not_count_is_unknown_and_not_zero(engine: Engine, text: str | None) -> None:
    if text is None:
        engine.vmstat.unlink()
    else:
        engine.vmstat.write_text(text)
    engine.start("exit 3")
    assert Exited(3, None, None) in engine.end()


def test_a_counter_that_comes_up_later_tells_nothing(engine: Engine) -> None:
    engine.vmstat.unlink()
    engine.start(ADD_A_KILL + "exit 3")
    assert Exited(3, None, None) in engine.end()


@pytest.mark.parametrize(("script", "code", "signal"), [("exit 137", None, 9), ("exit 255", 255, None)])
def test_a_start_script_hands_on_how_its_engine_ended(
    engine: Engine, script: str, code: int | None, signal: int | None
) -> None:
    engine.start(script)
    assert Exited(code, signal, 0) in engine.end()


@pytest.mark.parametrize(
    ("status", "ended"), [(0, (0, None)), (128, (128, None)), (129, (None, 1)), (192, (None, 64)), (193, (193, None))]
)
def test_a_status_above_128_is_a_signal_as_far_as_there_are_signals(
    status: int, ended: tuple[int | None, int | None]
) -> None:
    found = exited({"code": str(status)})
    assert (found.code, found.signal) == ended


def test_a_program_that_is_missing_ends_with_127(engine: Engine) -> None:
    command = EngineCommand(("/nowhere/engine",), {}, (), ())
    engine.process = engine.launcher.launch(RUN, command, engine._line, engine.events.put)
    assert Exited(127, None, 0) in engine.end()


def test_a_launching_program_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        GuardedProcess([str(tmp_path / "no-wsl.exe")], "r", None, print, print)
    assert caught.value.problem.code == "launch.not_started"


def test_a_flood_of_lines_is_taken_whole(engine: Engine) -> None:
    engine.start("seq 1 200000")
    engine.end()
    assert len(engine.lines) == 200000
    assert engine.lines[-1].text == "200000"


def test_read_at_reads_a_part_of_a_file(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "虎.bin").write_bytes(bytes(range(256)) * 8)
    assert engine.launcher.read_at("~/虎.bin", 254, 4) == b"\xfe\xff\x00\x01"
    assert engine.launcher.read_at(str(tmp_path / "虎.bin"), 2046, 100) == b"\xfe\xff"
    assert engine.launcher.read_at("~/虎.bin", 5000, 100) == b""
    for path in ("~/none", "~"):
        with pytest.raises(ProblemError) as caught:
            engine.launcher.read_at(path, 0, 1)
        assert caught.value.problem.code == "model.missing"


def test_lines_are_cut_at_both_ends_and_inside_characters() -> None:
    splitter = LineSplitter(Stream.STDERR)
    data = "虎 1\r\n50%\r100%\nrest".encode()
    lines = [line for byte in data for line in splitter.feed(bytes([byte]))] + splitter.finish()
    assert [line.text for line in lines] == ["虎 1", "50%", "100%", "rest"]
    assert [line.number for line in lines] == [1, 2, 3, 4]
    assert LineSplitter(Stream.STDOUT).finish() == []
    cut = LineSplitter(Stream.STDOUT)
    assert [line.text for line in cut.feed(b"\xe8\x99") + cut.finish()] == ["\ufffd"]
    assert len(LineSplitter(Stream.STDOUT).feed(b"x" * 200_000)) == 1
    assert LineSplitter(Stream.STDOUT).feed("ab\n".encode("utf-16-le"))[0].text == "ab"


def test_all_lines_of_stderr_are_taken_before_the_end_is_told(engine: Engine) -> None:
    """The cause of an end stands on stderr, the end is told on stdout: another pump reads that."""
    for number in range(3):
        taken: list[int] = []

        def on_event(event: ProcessEvent, taken: list[int] = taken) -> None:
            if isinstance(event, Exited):
                taken.append(len(engine.lines))
            engine.events.put(event)

        engine.lines.clear()
        command = EngineCommand(("/bin/sh", "-c", "seq 1 50000 >&2; exit 3"), {}, (), ())
        engine.process = engine.launcher.launch(f"{RUN}-{number}", command, engine._line, on_event)
        engine.end()
        assert taken == [50000]


def test_a_line_that_is_told_comes_to_the_program_and_stands_nowhere(engine: Engine) -> None:
    secret = "hf_" + "s" * 5000  # longer than what a pipe takes at once
    script = 'IFS= read -r line; echo "${#line}"; read -r more || echo end; sleep 300'
    command = EngineCommand(("/bin/sh", "-c", script), {}, (), ())
    engine.process = engine.launcher.launch_told(RUN, command, secret, engine._line, engine.events.put)
    engine.hears(str(len(secret)))
    engine.hears("end")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        assert secret.encode() not in told
    assert not any(secret in line.text for line in engine.lines)
    engine.process.stop(5)
    assert Cleaned(()) in engine.end()


def test_a_program_under_run_still_has_nothing_on_its_stdin(engine: Engine) -> None:
    engine.start("readlink /proc/self/fd/0; ls /proc/self/fd | wc -l")
    engine.hears("/dev/null")
    engine.end()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_whose_log_can_no_longer_be_taken_is_ended(engine: Engine) -> None:
    """The thread that reads the log is gone with the error: a model that leaves the GPU would not be seen."""

    def broken(line: LogLine) -> None:
        raise RuntimeError(f"a defect at {line.text}")

    command = EngineCommand(("/bin/sh", "-c", "echo up; exec sleep 300"), {}, (), ())
    engine.process = engine.launcher.launch(RUN, command, broken, engine.events.put)
    started = engine.next()
    assert isinstance(started, Started)
    assert isinstance(engine.end()[-1], ChannelClosed)
    assert gone_soon(started.pid)
