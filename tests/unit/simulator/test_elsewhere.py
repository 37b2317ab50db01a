"""The simulated PC on Windows itself: what is imported there, and who answers for the missing Linux side."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from kotaro_bridge.simulator import vm_client, vm_stand_in
from kotaro_bridge.simulator.scenario import load
from kotaro_bridge.simulator.state import State, write_json

ROOT = Path(__file__).resolve().parents[3]

# Takes away what Python on Windows lacks, then imports every module of the package.
IMPORT_ALL = """
import importlib, os, pkgutil, select, signal, socket, sys
import http.server, msgspec, subprocess, tomllib, ctypes, contextlib, argparse, secrets, shlex
for module, names in {
    os: "fork openpty pread register_at_fork setsid killpg getuid".split(),
    signal: "SIGKILL SIGHUP SIGCHLD pause set_wakeup_fd".split(),
    socket: "AF_UNIX send_fds recv_fds socketpair SOCK_SEQPACKET".split(),
    select: ["poll"],
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "termios", "pty"):
    sys.modules[name] = None
import kotaro_bridge.simulator as package
names = [module.name for module in pkgutil.iter_modules(package.__path__)]
for name in names:
    importlib.import_module(f"kotaro_bridge.simulator.{name}")
print(len(names))
"""


def test_every_module_imports_without_what_windows_lacks() -> None:
    result = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 20


def test_on_windows_the_linux_side_is_stood_in_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm_client, "sys", SimpleNamespace(platform="win32"))
    write_json(str(tmp_path / "scenario.json"), {**msgspec.to_builtins(load("rtx4070-12gb")), "vm_boot_s": 0})
    state = State(str(tmp_path))
    assert vm_client.running_distros(state) == []
    link, report = vm_client.start(state)
    assert isinstance(link, vm_stand_in.StandInLink)
    assert report == {"warnings": []}


def test_only_the_simulated_pc_reaches_the_stand_in() -> None:
    folder = ROOT / "kotaro_bridge"
    named = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if re.search(r"import (.*|\([^)]*)stand_in", path.read_text(encoding="utf-8")) and "stand_in" not in path.name
    }
    assert named == {"simulator/pc.py", "simulator/vm_client.py"}


def test_the_emulated_wsl_imports_little() -> None:
    code = "import sys, kotaro_bridge.simulator.wsl; print(*sorted(sys.modules))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, check=True)
    heavy = {"msgspec", "tomllib", "pathlib", "dataclasses", "http.server", "ctypes", "asyncio", "logging"}
    assert heavy & set(result.stdout.split()) == set()
