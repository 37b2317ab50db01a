"""The command line as real processes: `python -m kotaro_bridge …` with folders of its own, and what it may leave.

Owns starting, reading and ending those processes, and profiles for them. Must not know what a command should say.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kotaro_bridge.resources import resource
from kotaro_bridge.simulator import card
from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.simulator.state import State
from tests.helpers.own_folders import own_folders
from tests.helpers.simulated import PATIENCE, TIME_SCALE, processes_of, until

ROOT = Path(__file__).parents[2]
COMMAND_S = 45.0
"""No command may take longer: the longest limit of the product that a test meets is 20 s (a wsl.exe that hangs)."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended. `seconds`: how long it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        """Stdout as the one document that it must be."""
        document: dict[str, Any] = json.loads(self.out)
        return document


class Running:
    """A command that goes on, its streams in files (but for a stdout that the test holds).

    Args:
        stop: the command that stops a run.
    """

    def __init__(self, argv: list[str], env: dict[str, str], folder: Path, stdout: int | None, stop: list[str]) -> None:
        self._stop, self._env = stop, env
        self._files = folder / "out", folder / "err"
        self._begin = time.monotonic()
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self.process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=stdout or out, stderr=err)

    @property
    def out(self) -> str:
        """Stdout so far."""
        return self._files[0].read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """Stderr so far."""
        return self._files[1].read_text(encoding="utf-8")

    def wait_for(self, text: str, deadline_s: float = COMMAND_S) -> None:
        """Wait for a text on stdout; a command that ends without it fails the test."""
        until(lambda: text in self.out or self.process.poll() is not None, what=f"{text!r}", deadline_s=deadline_s)
        assert text in self.out, f"ended with {self.process.returncode}\n{self.out}\n{self.err}"

    def signal(self, number: int) -> None:
        """Send a signal. Windows has none: there a run is stopped by the command, and nothing else is asked first."""
        if sys.platform != "win32":
            self.process.send_signal(number)
        elif number == signal.SIGINT:
            subprocess.run(self._stop, env=self._env, capture_output=True, check=False)
        else:
            self.process.kill()

    def end(self, number: int | None = None, deadline_s: float = COMMAND_S) -> Done:
        """Send a signal, where one is named, and wait for the end."""
        if number is not None:
            self.signal(number)
        code = self.process.wait(deadline_s * PATIENCE)
        return Done(code, self.out, self.err, time.monotonic() - self._begin)


class CommandLine:
    """A person at a terminal.

    Args:
        folder: home folder and all other folders of that person.
        scenario: the simulated PC that every command names; None for this machine.
    """

    def __init__(self, folder: Path, scenario: str | None = None) -> None:
        self.folder = folder
        self.scenario = scenario
        self._count = 0
        self.env = {
            **os.environ,
            **own_folders(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "PYTHONFAULTHANDLER": "1",
        }
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def root(self) -> Path:
        """Where the product keeps this scenario's files."""
        state = self.folder / ("local" if sys.platform == "win32" else "state") / "kotaro-bridge"
        return state / "simulated" / self.scenario if self.scenario else state

    @property
    def own_log(self) -> Path:
        """Where the product keeps its own log and its crash reports, whatever it works on."""
        windows = sys.platform == "win32"
        return self.folder / ("local/kotaro-bridge/Logs" if windows else "state/kotaro-bridge/log")

    @property
    def profiles(self) -> Path:
        """Where the user's profiles are."""
        own = "local" if sys.platform == "win32" else "config"
        config = self.root / "config" if self.scenario else self.folder / own / "kotaro-bridge"
        return config / "profiles"

    def argv(self, *arguments: str) -> list[str]:
        """The whole command; `--simulate` comes last, where a test does not put it itself."""
        given = any(word.startswith("--simulate") for word in arguments)
        simulate = ["--simulate", self.scenario] if self.scenario and not given else []
        return [sys.executable, "-m", "kotaro_bridge", *arguments, *simulate]

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, stdout: int | None = None) -> Running:
        """Start a command and let it run."""
        self._count += 1
        files = self.folder / "calls" / str(self._count)
        files.mkdir(parents=True)
        return Running(self.argv(*arguments), {**self.env, **(env or {})}, files, stdout, self.argv("stop"))

    def call(self, *arguments: str, env: Mapping[str, str] | None = None, deadline_s: float = COMMAND_S) -> Done:
        """Run a command to its end."""
        running = self.start(*arguments, env=env)
        try:
            return running.end(deadline_s=deadline_s)
        except subprocess.TimeoutExpired:
            beside = "\n".join(processes_of(self.folder))
            running.signal(signal.SIGABRT)  # tells where each thread was
            running.process.wait()
            raise AssertionError(f"{arguments} hangs\n{running.out}\n{running.err}\n{beside}") from None

    def profile(self, profile_id: str, **keys: Any) -> str:
        """Write a profile of the user; a key that is None is left out. Returns the id."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
        self.write_profile(profile_id, "\n".join(lines) + "\n")
        return profile_id

    def builtin(self, profile_id: str, **keys: Any) -> str:
        """A built-in profile in the user's own folder, on a port that nothing else uses, with other values for some
        keys (None: without it). Returns the id.
        """
        data = tomllib.loads(resource(f"profiles/{profile_id}.toml").read_text(encoding="utf-8"))
        data = {key: value for key, value in (data | {"port": free_port(), **keys}).items() if value is not None}
        plain = {key: value for key, value in data.items() if not isinstance(value, dict)}
        tables = {key: value for key, value in data.items() if isinstance(value, dict)}
        lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        self.write_profile(profile_id, "\n".join(lines) + "\n")
        return profile_id

    def write_profile(self, profile_id: str, text: str) -> Path:
        """The text of a profile, whatever it is."""
        self.profiles.mkdir(parents=True, exist_ok=True)
        path = self.profiles / f"{profile_id}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def port_of(self, profile_id: str) -> int:
        """The port that a profile of the user names."""
        text = (self.profiles / f"{profile_id}.toml").read_text(encoding="utf-8")
        return int(tomllib.loads(text)["port"])

    @contextmanager
    def pc(self, **switches: Any) -> Iterator[SimulatedPC]:
        """The simulated PC that the commands use, held open, so that it does not end with each of them."""
        assert self.scenario is not None
        pc = SimulatedPC.open(self.scenario, self.root / "pc")
        try:
            pc.set(**{"time_scale": TIME_SCALE, **switches})
            yield pc
        finally:
            pc.close()

    def assert_quiet(self, deadline_s: float = 10.0) -> None:
        """Only the simulated VM, Ollama and hub run; no VRAM is claimed, no owner is there, no run is on file."""
        until(lambda: not self.left(), what=f"nothing is left of {self.left()}", deadline_s=deadline_s)

    def left(self) -> list[str]:
        """What a finished command should not have left behind."""
        own = tuple(f"kotaro_bridge.simulator.{module}" for module in ("vm", "ollama", "hub"))
        found = [line for line in processes_of(self.folder) if not any(module in line for module in own)]
        pc = self.root / "pc"
        if (pc / "gpu" / "claims").exists():
            found += [f"VRAM claim of {claim['name']}" for claim in card.live_claims(State(str(pc)))]
        states = [self.folder / "state", *pc.glob("distros/*/home/*/.local/state")]
        found += [str(run) for state in states for run in (state / "kotaro-bridge" / "runs").glob("*")]
        found += [str(key) for key in (self.root / "control.key", self.root / "state" / "control.key") if key.exists()]
        return found


@contextmanager
def started(line: CommandLine, *arguments: str, stdout: int | None = None) -> Iterator[Running]:
    """A command that runs during the block; one that still runs after it is interrupted, in the end killed."""
    running = line.start(*arguments, stdout=stdout)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.signal(signal.SIGINT)
            try:
                running.process.wait(COMMAND_S)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    """Whether anything answers at 127.0.0.1:port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
