"""A person at the command line of a machine with an NVIDIA GPU, and what its card says. For `tests/gpu`.

Owns starting, watching and ending real runs, wrappers around the engine, and a program that takes video memory. Must
not need Qt, nor anything beyond the core's own libraries.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pynvml
import pytest

from tests.helpers.own_folders import own_folders
from tests.helpers.words import pattern, phase

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
CONTEXT = 8192
PORT = 18080
COMMAND_S = 60.0
READY_S = 90.0
BACK_TO_NORMAL = 64 * MIB
"""What a driver may keep of a process that has ended, or another program take meanwhile."""

# The engine's questions (`--list-devices`, `--version`) are answered honestly: only a start is tampered with.
HONEST_ANSWERS = 'case " $* " in *" -m "*) ;; *) exec "$server" "$@" ;; esac\n'


def marks_start(mark: Path) -> str:
    """A line of a wrapper's script: the file `mark` is there once the engine was started and not only asked."""
    return f'case " $* " in *" -m "*) touch "{mark}" ;; esac\n'


def cards() -> int:
    """How many cards the driver shows; 0 without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def vram_used(card: int = 0) -> int:
    """Bytes in use on a card."""
    return int(_memory(card).used)


def vram_used_each() -> list[int]:
    """Bytes in use on each card."""
    return [vram_used(card) for card in range(cards())]


def vram_total(card: int = 0) -> int:
    """Bytes of a card."""
    return int(_memory(card).total)


def ram_available() -> int:
    """Bytes of system memory that programs can have now."""
    return psutil.virtual_memory().available


def _memory(card: int) -> Any:
    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(card)
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    finally:
        pynvml.nvmlShutdown()


def assert_vram_is_back(before: int, deadline_s: float = 10.0, card: int = 0) -> None:
    """As much is in use as was before, give or take what a driver keeps."""
    end = time.monotonic() + deadline_s
    while (used := vram_used(card)) - before > BACK_TO_NORMAL:
        assert time.monotonic() < end, f"card {card}: {used - before:,} bytes more are in use than before"
        time.sleep(0.1)


def assert_vram_is_back_on_each(before: list[int], deadline_s: float = 10.0) -> None:
    """The same for all cards."""
    for card, used in enumerate(before):
        assert_vram_is_back(used, deadline_s, card)


@contextmanager
def vram_taken(leave_mib: int, card: int = 0) -> Iterator[None]:
    """Another program holds all video memory of a card but so much."""
    env = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(card)}
    program = [sys.executable, str(Path(__file__).with_name("take_vram.py")), str(leave_mib)]
    with subprocess.Popen(program, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout is not None
        try:
            assert taker.stdout.readline() == "taken\n"
            yield
        finally:
            taker.kill()


def takes_vram(leave_mib: int, folder: Path) -> str:
    """Shell lines after which another program of the engine's own group holds all video memory but so much."""
    taker, mark = Path(__file__).with_name("take_vram.py"), folder / "taken"
    return f"""\
"{sys.executable}" "{taker}" {leave_mib} "{mark}" </dev/null >/dev/null &
tries=0
while [ ! -e "{mark}" ] && [ "$tries" -lt 200 ]; do sleep 0.1; tries=$((tries + 1)); done
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has ended: the states it went through, and all that it said."""

    code: int
    said: str

    @property
    def states(self) -> list[str]:
        """Names of the states that `run` printed, in order."""
        names = {phase(name): name for name in ("checking", "launching", "loading", "proving", "ready", "failed")}
        names |= {phase(name): name for name in ("refused", "stopping", "killing", "stopped", "orphaned")}
        return [names[line] for line in self.said.splitlines() if line in names]

    def names(self, *codes: str) -> bool:
        """Whether one of the problems was said, in its sentence."""
        return any(pattern(code).search(self.said) for code in codes)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


class Product:
    """The command line as a person would use it, in folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.env = {
            **os.environ,
            **own_folders(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")]))),
        }
        self.folder = folder
        self.log = folder / "run.log"
        self.running: subprocess.Popen[bytes] | None = None

    def profile(self, executable: Path, model: Path, **keys: Any) -> None:
        """Write the profile `gpu-test`."""
        profiles = self.folder / "config" / "kotaro-bridge" / "profiles"
        profiles.mkdir(parents=True, exist_ok=True)
        values = {
            "title": "GPU test",
            "engine": "llama-server",
            "executable": str(executable),
            "target": "local",
            "model": str(model),
            "served_name": "gpu-test",
            "context": CONTEXT,
            "port": PORT,
            **keys,
        }
        text = "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
        (profiles / "gpu-test.toml").write_text(text, encoding="utf-8")

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        argv = [sys.executable, "-m", "kotaro_bridge", *arguments]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=COMMAND_S, check=False)

    def json(self, *arguments: str) -> dict[str, Any]:
        """The document that a command prints."""
        done = self.call(*arguments, "--json")
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def start(self, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start `run gpu-test` and let it run."""
        argv = [sys.executable, "-m", "kotaro_bridge", "run", "gpu-test"]
        with self.log.open("wb") as log:
            full = {**self.env, **(env or {})}
            self.running = subprocess.Popen(argv, env=full, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self.running

    @property
    def said(self) -> str:
        """What the run printed so far."""
        return self.log.read_text(encoding="utf-8")

    def run(self, env: Mapping[str, str] | None = None) -> Ended:
        """A run that ends by itself; the address must never have been offered."""
        before = vram_used_each()
        running = self.start(env)
        try:
            code = running.wait(READY_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the run goes on: {self.state()}\n{self.said}")
        ended = Ended(code, self.said)
        print(ended.said)
        assert ended.code == 1
        assert "ready" not in ended.states
        assert f"127.0.0.1:{PORT}/v1" not in ended.said
        assert_vram_is_back_on_each(before)
        return ended

    def state(self) -> dict[str, Any]:
        """What `status` says of the run."""
        runs = self.json("status")["runs"]
        return dict(runs[0]) if runs else {"state": "none"}

    def ready(self, env: Mapping[str, str] | None = None, ready_s: float = READY_S) -> dict[str, Any]:
        """Start, and come to READY; its status."""
        running = self.start(env)
        deadline = time.monotonic() + ready_s
        seen: dict[str, Any] = {}
        while time.monotonic() < deadline:
            assert running.poll() is None, self.said
            seen = self.state()
            if seen["state"] == "ready":
                return seen
            time.sleep(0.2)
        pytest.fail(f"{seen}\n{self.said}")

    def close(self) -> None:
        """End what a failed test left."""
        if self.running is not None and self.running.poll() is None:
            self.running.kill()
            self.running.wait()
            self.call("stop")
