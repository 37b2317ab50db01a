"""Who has a simulated PC open: one file per process, so that the PC ends with the last of them, however that ended."""

from __future__ import annotations

import os

from kotaro_bridge.simulator import procs
from kotaro_bridge.simulator.state import State


def attach(state: State) -> None:
    """Note that this process has the PC open."""
    os.makedirs(state.path("owners"), exist_ok=True)
    with open(state.path("owners", _name(os.getpid())), "w", encoding="ascii"):
        pass


def detach(state: State) -> None:
    """Take this process's note back."""
    path = state.path("owners", _name(os.getpid()))
    if os.path.exists(path):
        os.remove(path)


def anybody(state: State) -> bool:
    """Whether a process that lives has the PC open; False too when the state folder is gone."""
    try:
        names = os.listdir(state.path("owners"))
    except FileNotFoundError:
        return False
    return any(procs.is_alive(*map(int, name.split("-"))) for name in names)


def _name(pid: int) -> str:
    return f"{pid}-{procs.start_ticks(pid)}"
