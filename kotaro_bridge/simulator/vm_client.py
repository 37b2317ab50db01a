"""Talking to the VM of a simulated PC: the real one behind a socket, or what stands in for it on Windows.

Owns the choice between the two; what is said is the same.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

from kotaro_bridge.simulator.state import State


class Link(Protocol):
    """A way into the VM that runs."""

    def run(self, message: dict[str, Any]) -> int | None:
        """Run a program; the raw wait status, None when the VM or the distro died under it.

        Raises:
            ConnectionResetError: the VM went away before it took the launch.
        """

    def close(self) -> None:
        """Let go."""


class Vm(Protocol):
    """The module that knows the VM."""

    def start(self, state: State) -> tuple[Link | None, dict[str, Any]]: ...

    def request(self, state: State, message: dict[str, Any]) -> dict[str, Any] | None: ...


def start(state: State) -> tuple[Link | None, dict[str, Any]]:
    """A way into the VM, started if needed, and what its start reported.

    The report has `warnings` and, with no way in, `failure`; it is empty where the VM ran already.
    """
    return _vm(state).start(state)


def request(state: State, message: dict[str, Any]) -> dict[str, Any] | None:
    """Send one message to the running VM and wait for the answer.

    None when no VM runs or it goes away, which is the only answer to `shutdown`.
    """
    return _vm(state).request(state, message)


def running_distros(state: State) -> list[str]:
    """Names of the distros that run; starts nothing."""
    answer = request(state, {"op": "list"})
    return [] if answer is None else list(answer["running"])


def poke(state: State) -> None:
    """Let the VM look at the clock and the switches now, and wait until it has."""
    request(state, {"op": "list"})


def _vm(state: State) -> Vm:
    if sys.platform == "win32" or state.switches()["linux_side"] == "stand-in":
        from kotaro_bridge.simulator import vm_stand_in

        return vm_stand_in
    from kotaro_bridge.simulator import vm_socket

    return vm_socket
