"""The Linux-side guardian as seen from here: its command line, its tagged lines, its pipes.

Owns one guardian process (under wsl.exe, sh or ssh) and its two pumps. Must not decide when to stop an engine.
`resources/guardian/guardian.sh` is handed over whole with `sh -c`: nothing to install, nothing left half written.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import IO

from kotaro_bridge.domain.engine.engine_log import LogLine, Stream
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.ports import ChannelClosed, Cleaned, EngineCommand, Exited, ProcessEvent, Started
from kotaro_bridge.host.winproc import JobObject, popen_flags
from kotaro_bridge.host.wsl_text import strip_wide
from kotaro_bridge.resources import resource

_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 16
_TAIL_LINES = 20
_DRAIN_S = 1.0
_SIGNALS = 64
_TAG = re.compile(r"@kotaro (\S+) (start|drained|exit|clean|alive)\b(.*)\Z")
_FIELD = re.compile(r"(\w+)=(\S*)")


@cache
def target_script(*names: str) -> str:
    """Scripts of `resources/guardian` without comment lines, joined: a command line holds 32,767 UTF-16 units."""
    lines = [line for name in names for line in resource(f"guardian/{name}").read_text(encoding="utf-8").splitlines()]
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#")) + "\n"


def guardian_argv(*arguments: str) -> list[str]:
    """Command of the Linux side that runs the guardian with `arguments` (see the script's head)."""
    return ["/bin/sh", "-c", target_script("environment.sh", "guardian.sh"), "kotaro-guardian", *arguments]


def run_argv(run_id: str, command: EngineCommand, grace_s: int, *, told: bool = False) -> list[str]:
    """Command of the Linux side that runs `command` under the guardian; `told`: a first line comes for its stdin."""
    return guardian_argv(
        "tell" if told else "run", run_id, str(grace_s), *environment_words(command), "--", *command.argv
    )


def environment_words(command: EngineCommand) -> list[str]:
    """A command's environment as the scripts take it: UNSET KEEP [NAME=VALUE...]."""
    values = [f"{name}={value}" for name, value in command.env.items()]
    return [",".join(command.unset), ",".join(command.keep), *values]


def alive_ids(stdout: str) -> tuple[str, ...]:
    """Run ids of the answer to `list`."""
    tags = (_TAG.match(line.strip()) for line in stdout.splitlines())
    return tuple(tag.group(1) for tag in tags if tag and tag.group(2) == "alive")


def left_pids(stdout: str) -> tuple[int, ...] | None:
    """Pids of the answer to `reap`; None if the guardian did not answer."""
    for line in stdout.splitlines():
        tag = _TAG.match(line.strip())
        if tag and tag.group(2) == "clean":
            return _left(tag.group(3))
    return None


def _left(fields: str) -> tuple[int, ...]:
    value = dict(_FIELD.findall(fields)).get("left", "")
    return tuple(int(pid) for pid in value.split(",") if pid)


def exited(fields: Mapping[str, str]) -> Exited:
    """How an engine ended, from its exit line. To a shell, and so to the guardian and to a start script between it and
    the engine, 128 + N is an end by signal N; 255 is a program's own -1, for there are 64 signals.
    """
    status, kills = int(fields["code"]), fields.get("oom")
    is_signal = 0 < status - 128 <= _SIGNALS
    oom_kills = None if kills is None else int(kills)
    return Exited(None, status - 128, oom_kills) if is_signal else Exited(status, None, oom_kills)


class GuardedProcess:
    """A running engine under its guardian; implements `domain.ports.EngineProcess`."""

    def __init__(
        self,
        argv: Sequence[str],
        run_id: str,
        env: dict[str, str] | None,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
        told: str | None = None,
    ) -> None:
        self._run_id = run_id
        self._on_line = on_line
        self._on_event = on_event
        self._cleaned = False
        self._taken = 0
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._stderr_drained = threading.Event()
        self._job = JobObject()
        try:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=env,
                **popen_flags(),
            )
        except OSError as error:
            raise ProblemError(problem("launch.not_started", program=argv[0], detail=str(error))) from error
        self._job.add(self._popen)
        if told is not None:
            self._send(f"{told}\n")
        pumps = [
            threading.Thread(target=self._pump, args=(stream, pipe), name=f"pump-{stream}-{run_id}", daemon=True)
            for stream, pipe in ((Stream.STDOUT, self._popen.stdout), (Stream.STDERR, self._popen.stderr))
            if pipe is not None
        ]
        for pump in pumps:
            pump.start()
        self._waiter = threading.Thread(target=self._wait, args=(pumps,), name=f"wait-{run_id}", daemon=True)
        self._waiter.start()

    def stop(self, grace_s: float) -> None:
        """TERM to the group, KILL after `grace_s` seconds."""
        self._send(f"stop {round(grace_s)}\n")

    def kill(self) -> None:
        """KILL to the group now."""
        self._send("kill\n")

    def abandon(self) -> None:
        """End the launching process; the guardian notices and ends the engine."""
        self._close_stdin()
        with contextlib.suppress(OSError):
            self._popen.kill()

    def join(self, timeout_s: float) -> bool:
        """Wait until everything of this process was reported; False if that took longer."""
        self._waiter.join(timeout_s)
        return not self._waiter.is_alive()

    def _send(self, line: str) -> None:
        # A closed pipe means that the launching process is gone; that is reported by the waiter.
        stdin = self._popen.stdin
        with contextlib.suppress(OSError, ValueError):
            if stdin is not None:
                stdin.write(line.encode())
                stdin.flush()

    def _close_stdin(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._popen.stdin is not None:
                self._popen.stdin.close()

    def _pump(self, stream: Stream, pipe: IO[bytes]) -> None:
        splitter = LineSplitter(stream)
        try:
            with pipe, contextlib.suppress(OSError):
                while chunk := pipe.read(_CHUNK):
                    for line in splitter.feed(chunk):
                        self._take(line)
            for line in splitter.finish():
                self._take(line)
        except BaseException:
            self.abandon()  # an engine whose log nobody reads is watched by nobody
            raise
        finally:
            if stream is Stream.STDERR:
                self._stderr_drained.set()

    def _take(self, line: LogLine) -> None:
        if line.text.startswith("@kotaro "):
            tag = _TAG.match(line.text)
            if tag and tag.group(1) == self._run_id:
                self._tagged(tag.group(2), tag.group(3))
                return
        self._taken += 1
        self._tail.append(line.text)
        self._on_line(line)

    def _tagged(self, word: str, rest: str) -> None:
        fields = dict(_FIELD.findall(rest))
        if word == "start":
            self._on_event(Started(int(fields["pid"])))
        elif word == "drained":
            self._stderr_drained.set()
        elif word == "exit":
            # The cause stands on stderr, which another thread reads: it must be known before the end is told.
            self._stderr_drained.wait(_DRAIN_S)
            self._on_event(exited(fields))
        elif word == "clean":
            self._cleaned = True
            self._on_event(Cleaned(_left(rest)))

    def _wait(self, pumps: list[threading.Thread]) -> None:
        """Reports the end. A child that inherited the pipes can keep them open for ever: the wait for the pumps is
        bounded once the launching process itself is gone (reference wsl-exe §3.3)."""
        code = self._popen.wait()
        taken = -1
        while any(pump.is_alive() for pump in pumps) and taken != self._taken:
            taken = self._taken
            for pump in pumps:
                pump.join(_DRAIN_S)
        self._close_stdin()
        try:
            self._job.close()
        finally:
            self._on_event(ChannelClosed(code, self._cleaned, tuple(self._tail)))


class LineSplitter:
    r"""Bytes of one stream → lines. Decodes UTF-8 incrementally, splits on `\n` and `\r` (progress bars), bounds a
    line.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._number = 0

    def feed(self, chunk: bytes) -> list[LogLine]:
        """Whole lines so far."""
        return self._split(self._decoder.decode(chunk))

    def finish(self) -> list[LogLine]:
        """What is left at end-of-file, as a last line."""
        lines = self._split(self._decoder.decode(b"", final=True))
        if self._rest.strip():
            lines += self._split("\n")
        return lines

    def _split(self, text: str) -> list[LogLine]:
        parts = (self._rest + text).replace("\r", "\n").split("\n")
        self._rest = parts.pop()
        if len(self._rest) > _LONGEST_LINE:
            parts.append(self._rest)
            self._rest = ""
        lines = []
        for part in parts:
            if part:
                self._number += 1
                lines.append(LogLine(self._stream, self._number, strip_wide(part) if "\0" in part else part))
        return lines
