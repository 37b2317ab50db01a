"""The WSL2 virtual machine of a simulated PC: `python -m kotaro_bridge.simulator.vm`, started by the emulated wsl.exe.

Reads .wslconfig once, when it starts. Owns which distros run, the count of clients that keep each one running, and the
idle timers: a distro without clients stops after `general.instanceIdleTimeout`, the VM without distros after
`wsl2.vmIdleTimeout` (reference wsl-exe §4.2). Ends with its state folder, and when nobody has the PC open any more.
Waits in one poll; the processes of a distro belong to `vm_distro.Distro`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from kotaro_bridge.simulator import owners, vm_config, vm_distro, vm_shown, vm_socket
from kotaro_bridge.simulator.state import State, write_json

if TYPE_CHECKING and sys.platform == "win32":
    raise AssertionError  # the type checker reads no further: on Windows nobody calls what is here

LOOK_S = 1.0
"""How often the state folder and the PC's owners are looked at."""


class VirtualMachine:
    """The running VM: serves requests until a shutdown, an idle stop or the end of its PC."""

    def __init__(self, state: State, listener: socket.socket, config: vm_config.VmConfig) -> None:
        self.state = state
        self.config = config
        self.listener = listener
        self.poll = select.poll()
        self.poll.register(listener, select.POLLIN)
        self.connections: dict[int, socket.socket] = {}
        self.distros: dict[int, vm_distro.Distro] = {}
        self.idle_since = state.now()
        self.ending = False

    def serve(self) -> None:
        """Run until the end; nothing of the VM is left afterwards."""
        try:
            while not self.ending and owners.anybody(self.state):
                for fd, _ in self.poll.poll(self._wait_s() * 1000):
                    self._serve_one(fd)
                self._stop_idle()
        finally:
            for distro in list(self.distros.values()):
                self._stop(distro)

    def _serve_one(self, fd: int) -> None:
        if fd == self.listener.fileno():
            conn, _ = self.listener.accept()
            self.connections[conn.fileno()] = conn
            self.poll.register(conn, select.POLLIN)
        elif fd in self.distros:
            distro = self.distros[fd]
            if not distro.collect():
                self._forget(distro)
        elif fd in self.connections:
            conn = self.connections.pop(fd)
            self.poll.unregister(conn)
            with conn, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                data, fds, _, _ = socket.recv_fds(conn, vm_socket.PACKET, 3)
                if data:
                    self._answer(conn, json.loads(data), fds)
                for stream in fds:
                    os.close(stream)

    def _answer(self, conn: socket.socket, message: dict[str, Any], fds: list[int]) -> None:
        match message["op"]:
            case "launch":
                self._running(message["distro"]).launch(conn, message, fds)
                return
            case "boot":
                self._running(message["distro"]).held = True
            case "terminate":
                for distro in [each for each in self.distros.values() if each.name == message["distro"]]:
                    self._stop(distro)
            case "shutdown":
                for distro in list(self.distros.values()):
                    self._stop(distro)
                self.ending = True
                os.dup(conn.fileno())  # who asked sees the end of file when this process is gone
                return
        names = [distro.name for distro in self.distros.values()]
        conn.send(json.dumps({"running": names, "networking": self.config.networking}).encode())

    def _running(self, name: str) -> vm_distro.Distro:
        for distro in self.distros.values():
            if distro.name == name:
                return distro
        distro = vm_distro.Distro(self.state, name, self.config, self.state.now(), self._inherited())
        self.distros[distro.fileno()] = distro
        self.poll.register(distro.fileno(), select.POLLIN)
        self._note()
        return distro

    def _inherited(self) -> list[int]:
        """Descriptors that the first process of a distro must not keep open."""
        return [self.listener.fileno(), *self.connections, *self.distros]

    def _stop(self, distro: vm_distro.Distro) -> None:
        distro.stop()
        self._forget(distro)

    def _forget(self, distro: vm_distro.Distro) -> None:
        self.poll.unregister(distro.fileno())
        del self.distros[distro.fileno()]
        distro.close()
        if not self.distros:
            self.idle_since = self.state.now()
        self._note()

    def _note(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            inits = [distro.pid for distro in self.distros.values()]
            write_json(self.state.path("vm.json"), {"pid": os.getpid(), "inits": inits})

    def _deadlines(self) -> list[tuple[float, vm_distro.Distro | None]]:
        """When what will be stopped for idleness: (time on the PC's clock, distro or None for the VM)."""
        if not self.distros:
            limit = self.config.vm_idle_s
            return [] if limit < 0 else [(self.idle_since + limit, None)]
        limit = self.config.distro_idle_s
        return [] if limit < 0 else [(d.idle_since + limit, d) for d in self.distros.values() if d.idle]

    def _wait_s(self) -> float:
        left = min((at for at, _ in self._deadlines()), default=float("inf")) - self.state.now()
        return min(max(left, 0.0), LOOK_S)

    def _stop_idle(self) -> None:
        now = self.state.now()
        for at, distro in self._deadlines():
            if at <= now and distro is None:
                self.ending = True
            elif at <= now and distro is not None:
                self._stop(distro)


def main() -> int:
    if os.fork() > 0:
        os._exit(0)  # whoever starts a VM has no child to wait for
    state = State.from_environment()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    while not _bound(listener, state):
        if (other := vm_socket.connect(state)) is not None:
            other.close()
            _report({})  # another call has just started the VM and got the warnings
            return 0
        time.sleep(0.02)
    config = vm_config.read(state)
    time.sleep(state.scaled(state.scenario["vm_boot_s"]))
    if config.failure is not None:
        _report({"warnings": config.warnings, "failure": config.failure})
        return 1
    listener.listen(64)
    machine = VirtualMachine(state, listener, config)
    write_json(state.path("vm.json"), {"pid": os.getpid(), "inits": []})
    vm_shown.show(state, config.proc)
    _report({"warnings": config.warnings})
    machine.serve()
    return 0


def _bound(listener: socket.socket, state: State) -> bool:
    try:
        listener.bind(vm_socket.address(state.folder))
    except OSError:
        return False
    return True


def _report(value: dict[str, Any]) -> None:
    """Tell the starting wsl.exe, then let go of its pipe."""
    os.write(1, json.dumps(value).encode() + b"\n")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
