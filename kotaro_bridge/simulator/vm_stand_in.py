"""Stands in for the VM (`vm.py`) where there is no Linux side: on the simulated PC of a Windows machine.

No process: which distros run is what files in the state folder say, looked at when somebody asks. A distro runs while a
program in it lives, while somebody else uses it, and for its idle time after that; .wslconfig is read when the first
one starts. Two calls that start the VM at the same moment both report its warnings.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kotaro_bridge.simulator import procs, vm_shown
from kotaro_bridge.simulator.state import State, read_json, write_json

FOLDER = "vm-stand-in"


class StandInLink:
    """The way into the stood-in VM, as `vm_socket.VmLink` is into the real one."""

    def __init__(self, state: State) -> None:
        self._state = state

    def run(self, message: dict[str, Any]) -> int | None:
        """Run a program; the raw wait status, None when the distro was stopped under it."""
        from kotaro_bridge.simulator import linux_stand_in

        return linux_stand_in.run(self._state, message)

    def close(self) -> None:
        """Nothing to let go of."""


def start(state: State) -> tuple[StandInLink | None, dict[str, Any]]:
    """A way into the VM, started if needed, and what its start reported; see `vm_client.start`."""
    if _vm(state) is not None:
        return StandInLink(state), {}
    from kotaro_bridge.simulator import vm_config  # not for calls into a VM that runs: it knows all of .wslconfig

    config = vm_config.read(state)
    report = {"warnings": config.warnings}
    time.sleep(state.scaled(state.scenario["vm_boot_s"]))
    if config.failure is not None:
        return None, {**report, "failure": config.failure}
    os.makedirs(state.path(FOLDER), exist_ok=True)
    vm_shown.show(state, config.proc)
    settings = {name: getattr(config, name) for name in ("networking", "gpu", "distro_idle_s", "vm_idle_s")}
    write_json(state.path(FOLDER, "vm.json"), {**settings, "idle_since": state.now()})
    return StandInLink(state), report


def request(state: State, message: dict[str, Any]) -> dict[str, Any] | None:
    """Answer as the VM does; None when it does not run, which is the answer to `shutdown` too."""
    vm = _vm(state)
    if vm is None:
        return None
    match message["op"]:
        case "boot":
            _starting(state, message["distro"])
            write_json(_path(state, message["distro"], "held.json"), True)
        case "terminate":
            _stop(state, message["distro"])
        case "shutdown":
            for name in _running(state, vm):
                _stop(state, name)
            forget(state)
            return None
    return {"running": _running(state, vm), "networking": vm["networking"]}


@contextmanager
def client(state: State, distro: str) -> Iterator[None]:
    """This process is a program of the distro, which runs as long as that."""
    _starting(state, distro)
    mark = _path(state, distro, f"client-{os.getpid()}-{procs.start_ticks(os.getpid())}")
    with open(mark, "w", encoding="ascii"):
        pass
    try:
        yield
    finally:
        # The distro may have been stopped under us, with its folder.
        with contextlib.suppress(OSError):
            write_json(_path(state, distro, "idle.json"), state.now())
            os.remove(mark)


def forget(state: State) -> None:
    """Nothing has run on this PC."""
    shutil.rmtree(state.path(FOLDER), ignore_errors=True)


def gpu_inside(state: State) -> bool:
    """Whether .wslconfig lets the VM have the card."""
    vm = read_json(state.path(FOLDER, "vm.json"))
    return vm is None or bool(vm["gpu"])


def _vm(state: State) -> dict[str, Any] | None:
    """The settings of the VM that runs; None when none does."""
    vm = read_json(state.path(FOLDER, "vm.json"))
    if vm is None or _running(state, vm):
        return dict(vm) if vm else None
    ended = [read_json(_path(state, name, "idle.json")) for name in _distros(state)]
    since = max([vm["idle_since"], *(at + vm["distro_idle_s"] for at in ended if at is not None)])
    if 0 <= vm["vm_idle_s"] <= state.now() - since:
        forget(state)
        return None
    return dict(vm)


def _running(state: State, vm: dict[str, Any]) -> list[str]:
    return [name for name in _distros(state) if _runs(state, vm, name)]


def _runs(state: State, vm: dict[str, Any], name: str) -> bool:
    if read_json(_path(state, name, "held.json")) or _clients(state, name):
        return True
    since = read_json(_path(state, name, "idle.json"))
    return since is not None and (vm["distro_idle_s"] < 0 or state.now() - since < vm["distro_idle_s"])


def _clients(state: State, name: str) -> list[int]:
    """Process ids of the programs that live in a distro."""
    found = [entry.split("-")[1:] for entry in os.listdir(_path(state, name)) if entry.startswith("client-")]
    return [int(pid) for pid, ticks in found if procs.is_alive(int(pid), int(ticks))]


def _distros(state: State) -> list[str]:
    """Distros that have run since the VM was started."""
    try:
        with os.scandir(state.path(FOLDER)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []


def _starting(state: State, name: str) -> None:
    vm = _vm(state)
    if vm is None or name not in _running(state, vm):
        time.sleep(state.scaled(state.scenario["distro_boot_s"]))
    os.makedirs(_path(state, name), exist_ok=True)


def _stop(state: State, name: str) -> None:
    """End everything in a distro."""
    for pid in _clients(state, name):
        if pid != os.getpid():
            procs.kill_tree(pid)
    shutil.rmtree(_path(state, name), ignore_errors=True)


def _path(state: State, *parts: str) -> str:
    return state.path(FOLDER, *parts)
