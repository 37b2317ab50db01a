"""What every target has in common: one-off commands, reading parts of files, the guardian. Concrete: `launcher_wsl.py`,
`launcher_local.py`.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from kotaro_bridge.domain.engine.engine_log import Engine, LogLine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.ports import Completed, EngineCommand, ProcessEvent, TargetFacts
from kotaro_bridge.host.guardian import GuardedProcess, alive_ids, guardian_argv, left_pids, run_argv, target_script
from kotaro_bridge.host.nvidia_smi import FIELDS, parse_nvidia_smi
from kotaro_bridge.host.probe import parse_probe, probe_argv
from kotaro_bridge.host.winproc import JobObject, kill_with_children, popen_flags
from kotaro_bridge.host.wsl_text import decode

SHORT_S = 20.0
_REAP_MARGIN_S = 15.0

# `tail -c +N` starts at byte N counted from 1 and seeks in regular files, so that far offsets cost nothing. The test
# keeps a missing file apart from an empty range.
_READ_AT = """
case $1 in "~/"*) set -- "$HOME/${1#"~/"}" "$2" "$3" ;; esac
[ -r "$1" ] && [ -f "$1" ] || exit 44
tail -c +"$2" "$1" | head -c "$3"
"""
_NOT_READABLE = 44


_under_way: set[subprocess.Popen[bytes]] = set()
_turn = threading.Lock()
_no_more = threading.Event()


def end_short_commands() -> None:
    """End what other threads of this process still wait for, and whatever they ask next: the process is about to go."""
    with _turn:
        _no_more.set()
        for popen in tuple(_under_way):
            kill_with_children(popen)


@contextmanager
def _short_command(command: Sequence[str], env: Mapping[str, str] | None) -> Iterator[subprocess.Popen[bytes]]:
    """A program with its streams on pipes, known to `end_short_commands` from its first moment. Raises OSError."""
    pipe = subprocess.PIPE
    with _turn:
        if _no_more.is_set():
            raise InterruptedError("this program is about to end")
        popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env, **popen_flags())
        _under_way.add(popen)
    try:
        with popen:
            yield popen
    finally:
        _under_way.discard(popen)


class TargetLauncher(ABC):
    """Implements `domain.ports.Launcher` over a prefix command that reaches the Linux side.

    Args:
        env: environment of the launching process itself; None inherits.
        short_s: how long a short command may take; the first one starts WSL's virtual machine.
        grace_s: what the guardian waits after TERM when it loses its owner; below WSL's idle timer of 15 s.
    """

    def __init__(self, env: dict[str, str] | None, short_s: float = SHORT_S, grace_s: int = 10) -> None:
        self._env = env
        self._short_s = short_s
        self._grace_s = grace_s

    @abstractmethod
    def command(self, argv: Sequence[str]) -> list[str]:
        """The command of this side that runs `argv` on the Linux side."""

    @abstractmethod
    def failure(self, completed: Completed) -> Problem | None:
        """What the launching program says about itself in a finished command; None if it worked."""

    @abstractmethod
    def reachable_now(self) -> bool:
        """True if looking inside the target starts nothing that was off."""

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None) -> Completed:
        """Run one short command and wait. See `domain.ports.Launcher.run`."""
        completed = self.complete(self.command(argv), _named(argv), timeout_s=timeout_s, stdin=stdin)
        failed = self.failure(completed)
        if failed is not None:
            raise ProblemError(failed)
        return completed

    def complete(
        self, command: Sequence[str], asked: str, *, timeout_s: float, stdin: bytes | None = None
    ) -> Completed:
        """One command of this side, decoded, that goes by `asked`. Raises ProblemError if it could not be started."""
        code, out, err, timed_out = self.run_here(command, timeout_s=timeout_s, stdin=stdin)
        return Completed(code, decode(out), decode(err), timed_out, asked, timeout_s)

    def run_here(
        self, command: Sequence[str], *, timeout_s: float, stdin: bytes | None = None
    ) -> tuple[int, bytes, bytes, bool]:
        """(exit code, stdout, stderr, timed out) of the same, undecoded. Raises ProblemError as `complete`."""
        with contextlib.ExitStack() as stack:
            try:
                popen = stack.enter_context(_short_command(command, self._env))
            except OSError as error:
                raise ProblemError(self.not_started(command[0], error)) from error
            try:
                out, err = popen.communicate(stdin, timeout=timeout_s)
                return popen.returncode, out, err, False
            except subprocess.TimeoutExpired as error:
                # Windows closes a pipe only when all who hold it are gone; what came so far is enough.
                kill_with_children(popen)
                return -1, error.stdout or b"", error.stderr or b"", True
            except BaseException:
                kill_with_children(popen)  # Ctrl-C: a wsl.exe that hangs must not stay behind
                popen.wait()
                raise

    @contextmanager
    def piped(self, argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """A command of the Linux side with its streams on pipes, ended with the context.

        Raises:
            ProblemError: it could not be started.
        """
        command, pipe = self.command(argv), subprocess.PIPE
        try:
            popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=self._env, **popen_flags())
        except OSError as error:
            raise ProblemError(self.not_started(command[0], error)) from error
        job = JobObject()
        job.add(popen)
        try:
            yield popen
        finally:
            popen.kill()
            for stream in (popen.stdin, popen.stdout, popen.stderr):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            popen.wait()
            job.close()

    def not_started(self, program: str, error: OSError) -> Problem:
        """The problem of a launching program that could not be started at all."""
        return problem("launch.not_started", program=program, detail=str(error))

    def probe(self, engine: Engine, question: EngineCommand, model: str, projector: str, port: int) -> TargetFacts:
        """What the target says about engine, model and port. See `domain.ports.Launcher.probe`."""
        argv = probe_argv(engine, question, model, projector, port)
        return parse_probe(self.run(argv, timeout_s=self._short_s).stdout)

    def read_at(self, path: str, offset: int, size: int, *, timeout_s: float = 30.0) -> bytes:
        """Up to `size` bytes of a file of the target. See `domain.ports.Launcher.read_at`."""
        argv = ["/bin/sh", "-c", _READ_AT, "read-at", path, str(offset + 1), str(size)]
        code, out, err, timed_out = self.run_here(self.command(argv), timeout_s=timeout_s)
        if code == _NOT_READABLE:
            raise ProblemError(problem("model.missing", path=path))
        failed = self.failure(Completed(code, decode(out) if code else "", "", timed_out, _named(argv), timeout_s))
        if failed is not None:
            raise ProblemError(failed)
        if code != 0:
            raise ProblemError(problem("model.unreadable", decode(err).strip(), path=path))
        return out

    def launch(
        self,
        run_id: str,
        command: EngineCommand,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> GuardedProcess:
        """Start an engine under the guardian. See `domain.ports.Launcher.launch`."""
        argv = self.command(run_argv(run_id, command, self._grace_s))
        return GuardedProcess(argv, run_id, self._env, on_line, on_event)

    def launch_told(
        self,
        run_id: str,
        command: EngineCommand,
        told: str,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> GuardedProcess:
        """Start a program under the guardian that gets one line on its stdin. See `ModelTarget.fetch`."""
        argv = self.command(run_argv(run_id, command, self._grace_s, told=True))
        return GuardedProcess(argv, run_id, self._env, on_line, on_event, told)

    def leftovers(self) -> tuple[str, ...]:
        """Run ids that still live though their owner is gone."""
        if not self.reachable_now():
            return ()
        return alive_ids(self.run(guardian_argv("list"), timeout_s=self._short_s).stdout)

    def reap(self, run_id: str, grace_s: float) -> tuple[int, ...]:
        """End a leftover run; returns pids still there. Nothing to do where the target is not running."""
        if not self.reachable_now():
            return ()
        argv = guardian_argv("reap", run_id, str(round(grace_s)))
        completed = self.run(argv, timeout_s=grace_s + _REAP_MARGIN_S)
        left = left_pids(completed.stdout)
        if left is None:
            raise ProblemError(problem("stop.no_answer", completed.stderr.strip()))
        return left

    def nvidia_smi(self) -> tuple[GpuSnapshot, ...]:
        """The cards as nvidia-smi inside the target sees them: `verify_gpu.sh` asks it, as it does for people."""
        argv = ["/bin/sh", "-c", target_script("verify_gpu.sh"), "verify_gpu.sh", "--csv", FIELDS]
        return parse_nvidia_smi(self.run(argv, timeout_s=self._short_s))


def _named(argv: Sequence[str]) -> str:
    """A command of the Linux side in a few words: a script goes by the name it was given, with its first argument."""
    return " ".join(argv[3:5] if tuple(argv[:2]) == ("/bin/sh", "-c") else argv[:2])
