"""Stands in for `resources/guardian/guardian.sh` on the simulated PC of a Windows machine, which has no Linux side.

NOT the product's guardian. The real one is the shell script, which the product sends to every real target; this one
keeps its protocol, line by line, for the simulated engines and downloads alone, so that the demo works on Windows. Only
the emulated wsl.exe starts it. `run` and `tell` are a program of their own, `python -m
kotaro_bridge.simulator.guardian_stand_in LAUNCH`, whose stdin ends with the wsl.exe that started it; LAUNCH is a JSON
object with `arguments` (those of the script), `environment`, `directory` and `distro`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fnmatch import fnmatchcase

from kotaro_bridge.own_program import module_argv
from kotaro_bridge.simulator import process_tree, procs, signals, vm_stand_in
from kotaro_bridge.simulator.state import ENGINES, VMSTAT, State, python_environment

TICK_S = 0.1
KILL_S = 5.0
LAST_GRACE_S = 2.0
NOT_FOUND, NOT_EXECUTABLE = 127, 126
CLIENT = "kotaro_bridge.simulator.fetch_stand_in"
FETCH = "kotaro-fetch"
"""The name under which the client for downloads is started, behind `/bin/sh -c SCRIPT`."""


class Run:
    """A run's file and its processes."""

    def __init__(self, environment: dict[str, str], run_id: str) -> None:
        self.run_id = run_id
        self.folder = runs_folder(environment)
        self.path = os.path.join(self.folder, run_id)
        self.find: Callable[[], list[int]] = list
        self.left: list[int] = []

    def say(self, what: str, stream: int = 1) -> None:
        """A tagged line, on a line of its own whatever the engine has printed; nobody may be left to read it."""
        with contextlib.suppress(OSError):
            os.write(stream, f"\n@kotaro {self.run_id} {what}\n".encode())

    def note(self, leader: int) -> None:
        """Write the run file: pid, boot id and start time."""
        with open(f"{self.path}.new", "w", encoding="ascii") as file:
            file.write(f"{leader} {process_tree.boot_id()} {procs.start_ticks(leader)}\n")
        os.replace(f"{self.path}.new", self.path)

    def load(self) -> bool:
        """Find the run's processes from its file; a file without any is removed."""
        try:
            with open(self.path, encoding="ascii") as file:
                leader, boot, ticks, *_ = [*file.read().split(), "", "", ""]
        except OSError:
            return False
        if leader and boot == process_tree.boot_id():
            now = procs.start_ticks(int(leader))
            # The leader may be gone while its session lives on; one with another start time is a stranger.
            self.find = process_tree.finder(self.run_id, int(leader) if now in (None, int(ticks)) else None)
            self.left = self.find()
        if not self.left:
            self.forget()
        return bool(self.left)

    def forget(self) -> None:
        """The run is none any more. A guardian that was killed while it ended the run has left its mark behind."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path)
        with contextlib.suppress(OSError):
            os.rmdir(f"{self.path}.ending")

    def end_once(self, terminate: Callable[[], None], grace_s: float) -> bool:
        """Whoever comes first ends the run; False for the others."""
        try:
            os.mkdir(f"{self.path}.ending")
        except FileExistsError:
            return False
        terminate()
        self.wait(grace_s)
        return True

    def wait(self, grace_s: float) -> None:
        """Wait up to the grace, then kill, up to 5 s; `left` holds what is left."""
        until = time.monotonic() + grace_s
        self.left = self.find()
        while self.left and time.monotonic() < until:
            time.sleep(TICK_S)
            self.left = self.find()
        until = time.monotonic() + KILL_S
        while self.left and time.monotonic() < until:
            self.kill()
            time.sleep(TICK_S)
            self.left = self.find()

    def kill(self) -> None:
        """Kill what is alive."""
        for pid in self.find():
            procs.kill(pid, procs.KILL)

    def report_clean(self) -> None:
        """Say what is left; nothing left is a run no more."""
        self.say(f"clean left={','.join(map(str, self.left))}")
        if not self.left:
            self.forget()
        with contextlib.suppress(OSError):
            os.rmdir(f"{self.path}.ending")


def runs_folder(environment: dict[str, str]) -> str:
    """Where the run files are."""
    state = environment.get("XDG_STATE_HOME") or os.path.join(environment["HOME"], ".local", "state")
    return os.path.join(state, "kotaro-bridge", "runs")


def list_runs(environment: dict[str, str]) -> None:
    """`list`: one line for each run that lives."""
    folder = runs_folder(environment)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        run = Run(environment, name)
        if os.path.isfile(run.path) and run.load():
            run.say("alive")


def reap(environment: dict[str, str], run_id: str, grace_s: float) -> None:
    """`reap`: end a run that lost its guardian."""
    run = Run(environment, run_id)

    def terminate() -> None:
        for pid in run.left:
            procs.kill(pid)

    if run.load() and not run.end_once(terminate, grace_s):
        run.wait(grace_s)
    run.report_clean()


class Guardian:
    """`run`: one engine, from its start until nothing of it is left.

    Args:
        arguments: run|tell RUN_ID GRACE_S UNSET KEEP [NAME=VALUE...] -- PROGRAM [ARG...].
    """

    def __init__(self, state: State, environment: dict[str, str], directory: str, arguments: list[str]) -> None:
        verb, run_id, grace, unset, keep, *rest = arguments
        self._tells = verb == "tell"
        split = rest.index("--")
        kept = scrubbed(environment, unset.split(","), keep.split(","))
        assigned = dict(pair.split("=", 1) for pair in rest[:split])
        own = {process_tree.RUN_VARIABLE: run_id, signals.VARIABLE: "stdin", **python_environment(state.folder)}
        self._environment = {**kept, **assigned, **own}
        self._directory = directory
        self._grace_s = float(grace)
        self._argv = [in_home(word, environment["HOME"]) for word in rest[split + 1 :]]
        self._run = Run(environment, run_id)
        self._engine: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        """Until the end."""
        told = _first_line() if self._tells else b""
        os.makedirs(self._run.folder, exist_ok=True)
        job = process_tree.Job()
        before = oom_kills(self._environment)
        code = self._start(job, told)
        signal = procs.ended_by(code)
        kills = oom_kills(self._environment) - before
        self._run.say("drained", 2)
        self._run.say(f"exit code={code if signal is None else 128 + signal} oom={kills}")
        for pid in self._run.find():
            procs.kill(pid)
        self._run.wait(LAST_GRACE_S)
        self._run.report_clean()

    def _start(self, job: process_tree.Job, told: bytes) -> int:
        """Start the engine and wait for it: its return code, or what a shell gives for a program that is none.

        Args:
            told: what it finds on its stdin before any word that stands for a signal.
        """
        program = self._argv[0]
        command = self._command(program)
        if command is None:
            found = os.path.exists(program)
            self._run.say(f"start pid={os.getpid()}")
            os.write(2, f"engine: exec: {program}: {'Permission denied' if found else 'not found'}\n".encode())
            return NOT_EXECUTABLE if found else NOT_FOUND
        engine = process_tree.start(command, self._environment, self._directory)
        self._engine = engine
        if engine.stdin is not None and told:
            with contextlib.suppress(OSError):
                engine.stdin.write(told)
                engine.stdin.flush()
        others = process_tree.finder(self._run.run_id, engine.pid)
        self._run.find = lambda: job.find(others)
        self._run.note(engine.pid)
        self._run.say(f"start pid={engine.pid}")
        threading.Thread(target=self._read, daemon=True).start()
        return engine.wait()

    def _command(self, program: str) -> list[str] | None:
        """What runs the simulated engine that is installed there, or the client for downloads; None for all else."""
        if self._argv[3:4] == [FETCH]:
            return [*module_argv(CLIENT), *self._argv[4:]]
        for place, module in ENGINES.items():
            installed = os.path.join(self._environment["HOME"], place)
            if os.path.normpath(program) == os.path.normpath(installed) and os.access(installed, os.X_OK):
                return [*module_argv(f"kotaro_bridge.simulator.{module}"), *self._argv[1:]]
        return None

    def _read(self) -> None:
        """Commands from the owner; end-of-file means that the owner is gone."""
        grace_s = self._grace_s
        with open(0, "rb", buffering=0, closefd=False) as commands:
            for line in commands:
                word, _, value = line.decode(errors="replace").strip().partition(" ")
                if word == "stop":
                    grace_s = float(value or self._grace_s)
                    break
                if word == "kill":
                    grace_s = 0.0
                    break
            threading.Thread(target=self._run.end_once, args=(self._terminate, grace_s), daemon=True).start()
            for line in commands:
                if line.strip() == b"kill":
                    self._run.kill()

    def _terminate(self) -> None:
        """TERM to the engine, once, as a word on its stdin: Windows has no signals."""
        with contextlib.suppress(OSError):
            if self._engine is not None and self._engine.stdin is not None:
                self._engine.stdin.write(signals.WORD)
                self._engine.stdin.flush()


def _first_line() -> bytes:
    """The first line of stdin, and nothing after it."""
    with open(0, "rb", buffering=0, closefd=False) as commands:
        return commands.readline()


def oom_kills(environment: dict[str, str]) -> int:
    """What the kernel's counter says, which here is always a file of the simulated PC."""
    with open(environment[VMSTAT], encoding="ascii") as file:
        return int(file.read().split()[1])


def scrubbed(environment: dict[str, str], unset: list[str], keep: list[str]) -> dict[str, str]:
    """Without inherited variables that could move a model off the GPU; a pattern may end in `*`."""
    return {
        name: value
        for name, value in environment.items()
        if name in keep or not any(fnmatchcase(name, pattern) for pattern in unset)
    }


def in_home(word: str, home: str) -> str:
    """A leading `~/` is the home folder here."""
    return f"{home}/{word[2:]}" if word.startswith("~/") else word


def main(arguments: list[str]) -> int:
    """Be the guardian of one run."""
    launch = json.loads(arguments[0])
    state = State.from_environment()
    with vm_stand_in.client(state, launch["distro"]):
        Guardian(state, launch["environment"], launch["directory"], launch["arguments"]).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
