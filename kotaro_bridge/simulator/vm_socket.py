"""The socket of the VM: starting it, short requests, and launching with the relay of the streams. Linux only.

Protocol: one JSON message per SOCK_SEQPACKET packet on an abstract address that the state folder's path gives.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from kotaro_bridge.own_program import module_argv
from kotaro_bridge.simulator import procs
from kotaro_bridge.simulator.state import State, python_environment

if TYPE_CHECKING and sys.platform == "win32":
    raise AssertionError  # the type checker reads no further: on Windows nobody calls what is here

PACKET = 200_000
CHUNK = 65536


def address(folder: str) -> str:
    """The VM's address; abstract, since paths of sockets are short and must not outlive the VM."""
    return "\0kotaro-sim-" + hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:32]


def connect(state: State) -> socket.socket | None:
    """A connection to the running VM; None when no VM runs."""
    conn = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        conn.connect(address(state.folder))
    except ConnectionRefusedError:
        conn.close()
        return None
    return conn


class VmLink:
    """A connection to the VM that runs."""

    def __init__(self, conn: socket.socket) -> None:
        self._conn = conn

    def run(self, message: dict[str, Any]) -> int | None:
        """Run a program; the raw wait status, None when the VM or the distro died under it.

        Raises:
            ConnectionResetError: the VM went away before it took the launch.
        """
        return Launched(self._conn, message).wait()

    def close(self) -> None:
        """Let go."""
        self._conn.close()


def start(state: State) -> tuple[VmLink | None, dict[str, Any]]:
    """A connection to the VM, started if needed, and what its start reported; see `vm_client.start`.

    Raises:
        ConnectionError: the VM's program is broken; its log is `vm.log` in the state folder.
    """
    conn = connect(state)
    if conn is not None:
        return VmLink(conn), {}
    command = [*module_argv("kotaro_bridge.simulator.vm"), state.folder]
    with open(state.path("vm.log"), "ab") as log:
        report = subprocess.run(  # ends when the VM has reported: the VM itself is a child of what is started here
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env={**os.environ, **python_environment(state.folder)},
            **procs.apart(),
            check=False,
        ).stdout
    conn = connect(state)
    started: dict[str, Any] = json.loads(report) if report else {}
    if conn is None and "failure" not in started:
        raise ConnectionError("the simulated VM did not start; see vm.log in its state folder")
    return None if conn is None else VmLink(conn), started


def request(state: State, message: dict[str, Any]) -> dict[str, Any] | None:
    """Send one message to the running VM and wait for the answer.

    None when no VM runs or it goes away, which is the only answer to `shutdown`.
    """
    conn = connect(state)
    if conn is None:
        return None
    with conn:
        try:
            conn.send(json.dumps(message).encode())
            answer = conn.recv(PACKET)
        except (BrokenPipeError, ConnectionResetError):
            return None
        return json.loads(answer) if answer else None


class Launched:
    """A program that runs on the Linux side, with this process's streams relayed to it.

    Raises:
        ConnectionResetError: the VM went away before it took the launch.
    """

    def __init__(self, conn: socket.socket, message: dict[str, Any]) -> None:
        in_read, self._stdin = os.pipe()
        self._stdout, out_write = os.pipe()
        self._stderr, err_write = os.pipe()
        self._conn = conn
        self._ended, self._end = os.pipe()
        linux_side = [in_read, out_write, err_write]
        try:
            socket.send_fds(conn, [json.dumps(message).encode()], linux_side)
            taken = conn.recv(PACKET)
        except BrokenPipeError:
            taken = b""
        for fd in linux_side:
            os.close(fd)
        if not taken:
            raise ConnectionResetError

    def wait(self) -> int | None:
        """Relay until the program ends; its raw wait status, None when the VM or the distro went away."""
        threading.Thread(target=self._pump_stdin, daemon=True).start()
        outputs = [
            threading.Thread(target=self._pump, args=pair, daemon=True)
            for pair in ((self._stdout, 1), (self._stderr, 2))
        ]
        for thread in outputs:
            thread.start()
        try:
            answer = self._conn.recv(PACKET)
        except ConnectionResetError:
            answer = b""
        os.close(self._end)
        for thread in outputs:
            thread.join()
        return int(json.loads(answer)["status"]) if answer else None

    def _pump_stdin(self) -> None:
        try:
            while data := os.read(0, CHUNK):
                _write_all(self._stdin, data)
        except OSError:
            pass  # no stdin here, or the program closed its own
        os.close(self._stdin)

    def _pump(self, source: int, target: int) -> None:
        """Copy until end of file, or until the program has ended and the pipe is empty; descendants may hold it."""
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if source not in ready:
                return
            data = os.read(source, CHUNK)
            if not data:
                return
            try:
                _write_all(target, data)
            except OSError:
                os.close(source)
                return


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
