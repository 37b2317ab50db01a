"""Simulated PCs for tests: opening and closing them, calling the emulated wsl.exe, looking for leftovers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from kotaro_bridge.simulator import procs
from kotaro_bridge.simulator.pc import SimulatedPC

TIME_SCALE = 0.02
PATIENCE = 3.0 if sys.platform == "win32" else 1.0
"""By how much the limits in time are longer: there a Python takes about 1 s to start, and a command starts a dozen."""
FAILED = 255
"""Exit code -1 of wsl.exe, as Linux has it."""


@contextmanager
def simulated_pc(folder: Path, scenario: str = "rtx4070-12gb", **switches: Any) -> Iterator[SimulatedPC]:
    """An open PC that loads fast; nothing of it may be left afterwards."""
    pc = SimulatedPC.open(scenario, folder)
    try:
        pc.set(**{"time_scale": TIME_SCALE, **switches})
        yield pc
    finally:
        pc.close()
    until(lambda: not processes_of(pc.folder), what="processes of the PC end")


def wsl(
    pc: SimulatedPC,
    *arguments: str,
    raw: str | None = None,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    timeout_s: float = 20.0,
) -> subprocess.CompletedProcess[bytes]:
    """Run the emulated wsl.exe to its end; `raw` is a Windows command line tail instead of arguments."""
    more = {"KOTARO_SIM_RAW_COMMAND_LINE": raw} if raw is not None else {}
    return subprocess.run(
        [*pc.wsl_argv, *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, **pc.env, **more, **(env or {})},
        timeout=timeout_s,
        check=False,
    )


@contextmanager
def running(
    pc: SimulatedPC, command: Sequence[str], env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program with pipes, killed and reaped at the end."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **pc.env, **(env or {})},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], Any], *, what: str, deadline_s: float = 10.0) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + deadline_s * PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s * PATIENCE} s: {what}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    return procs.start_ticks(pid) is not None


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name the folder in their arguments or their environment."""
    found = []
    if sys.platform == "win32":
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line, values = " ".join(process.cmdline()), process.environ().values()
                own = process.pid != os.getpid() and process.name() != "conhost.exe"  # a console, which Windows ends
                if own and any(str(folder) in text for text in (line, *values)):
                    found.append(line)
        return found
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid() or not alive(int(entry.name)):
            continue
        try:
            line, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if str(folder).encode() in line + environment:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found
