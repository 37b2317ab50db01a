"""One running distro inside the VM: its first process, and a Relay per launch (reference wsl-exe §4.1).

The VM forks the first process (`init`), which is the subreaper of everything in the distro and forks one Relay per
launch. A Relay starts the program as session leader of a new pty with its streams on pipes. When the launching wsl.exe
goes away, the Relay ends, the pty closes and the kernel sends SIGHUP; what survives belongs to `init` and is no longer
counted. After a normal end the Relay stays, and counts, while any descendant lives. A stop of the distro is SIGKILL for
everything in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from kotaro_bridge.simulator import procs
from kotaro_bridge.simulator.state import WSL_NVIDIA_SMI, WSLINFO, State, distro_environment
from kotaro_bridge.simulator.vm_config import VmConfig
from kotaro_bridge.simulator.vm_socket import PACKET
from kotaro_bridge.simulator.wakeup import Wakeup

if TYPE_CHECKING and sys.platform == "win32":
    raise AssertionError  # the type checker reads no further: on Windows nobody calls what is here


class Distro:
    """A running distro as the VM sees it.

    Args:
        inherited: descriptors of the VM that the distro's processes must not keep.
    """

    def __init__(self, state: State, name: str, config: VmConfig, now: float, inherited: list[int]) -> None:
        self.name = name
        self.clients = 0
        self.held = False
        self.idle_since = now
        time.sleep(state.scaled(state.scenario["distro_boot_s"]))
        self._socket, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            _in_child(lambda: _Init(state, name, config, inside).serve(), [*inherited, self._socket.fileno()])
        inside.close()

    def fileno(self) -> int:
        """Readable when a client has ended, or the distro."""
        return self._socket.fileno()

    @property
    def idle(self) -> bool:
        """No tracked client: the idle timer runs."""
        return self.clients == 0 and not self.held

    def launch(self, conn: socket.socket, message: dict[str, Any], streams: list[int]) -> None:
        """Hand a launch over; the Relay answers on `conn` itself."""
        self.clients += 1
        socket.send_fds(self._socket, [json.dumps(message).encode()], [conn.fileno(), *streams])

    def collect(self) -> bool:
        """Take note of an ended client; False when the distro itself has ended."""
        ended_at = self._socket.recv(PACKET)
        if not ended_at:
            return False
        self.clients -= 1
        self.idle_since = max(self.idle_since, float(ended_at))
        return True

    def stop(self) -> None:
        """End everything in the distro and wait for that."""
        with contextlib.suppress(BrokenPipeError):
            self._socket.send(b"stop")
            while self._socket.recv(PACKET):
                pass

    def close(self) -> None:
        self._socket.close()
        os.waitpid(self.pid, 0)


class _Init:
    """The first process of a distro."""

    def __init__(self, state: State, name: str, config: VmConfig, vm: socket.socket) -> None:
        self.state = state
        self.name = name
        self.config = config
        self.vm = vm

    def serve(self) -> None:
        """Until the VM says stop or is gone."""
        procs.become_subreaper()
        wakeup = Wakeup()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready = wakeup.wait(self.vm.fileno())
            while procs.reap_one(block=False) is not None:
                pass
            if self.vm.fileno() in ready:
                data, fds, _, _ = socket.recv_fds(self.vm, PACKET, 4)
                if not data or data == b"stop":
                    break
                self._relay(json.loads(data), fds, wakeup.fds)
        procs.kill_descendants(os.getpid())

    def _relay(self, message: dict[str, Any], fds: list[int], mine: list[int]) -> None:
        conn_fd, *streams = fds
        if os.fork() == 0:
            conn = socket.socket(fileno=conn_fd)
            _in_child(lambda: _Relay(self, message, conn, streams).serve(), mine)
        for fd in fds:
            os.close(fd)


class _Relay:
    """Stands for one wsl.exe inside the distro."""

    def __init__(self, init: _Init, message: dict[str, Any], conn: socket.socket, streams: list[int]) -> None:
        self.init = init
        self.message = message
        self.conn = conn
        self.streams = streams

    def serve(self) -> None:
        procs.become_subreaper()
        # The master gets the lower number and is closed first at exit: the hangup must find the slave's session.
        master, slave = os.openpty()
        wakeup = Wakeup()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        child = os.fork()
        if child == 0:
            self._program(slave)
        for fd in self.streams:
            os.close(fd)
        with contextlib.suppress(BrokenPipeError):
            self.conn.send(json.dumps({"pid": child}).encode())
        status = self._wait(child, wakeup)
        if status is None:
            self._tell_end()
            return  # wsl.exe is gone: so is the Relay, and with it the pty
        stays = procs.has_children()
        if not stays:
            self._tell_end()  # before the answer: whoever waits for wsl.exe finds the distro idle
        with contextlib.suppress(BrokenPipeError):
            self.conn.send(json.dumps({"status": status}).encode())
        self.conn.close()
        os.close(master)
        os.close(slave)
        if stays:
            while procs.reap_one(block=True) is not None:
                pass
            self._tell_end()

    def _tell_end(self) -> None:
        """Tell the VM since when this client no longer counts."""
        with contextlib.suppress(BrokenPipeError):
            self.init.vm.send(str(self.init.state.now()).encode())

    def _wait(self, child: int, wakeup: Wakeup) -> int | None:
        """The raw wait status of the program; None when wsl.exe went away first."""
        while True:
            ready = wakeup.wait(self.conn.fileno())
            pid = 1
            while pid:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == child:
                    return status
            if self.conn.fileno() in ready:
                return None

    def _program(self, slave: int) -> None:
        """In the child: become the program, or say in Linux's way why not."""
        import fcntl
        import termios

        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for target, fd in enumerate(self.streams):
            os.dup2(fd, target)
        os.closerange(3, 256)
        argv: list[str] = self.message["argv"]
        environment = distro_environment(self.init.state, self.message, gpu=self.init.config.gpu)
        directory = self.message["directory"]
        try:
            os.chdir(directory)
        except OSError as error:
            _complain(f"operator(): chdir({directory}) failed {error.errno}")
            os.chdir(environment["HOME"])
        program = self._mapped(argv[0], environment)
        try:
            os.execvpe(program, argv, environment)  # noqa: S606 - running what wsl.exe was asked to run is the point
        except OSError as error:
            _complain(f"CreateProcessCommon:798: execvpe({argv[0]}) failed: {error.strerror}")
        os._exit(1)

    def _mapped(self, program: str, environment: dict[str, str]) -> str:
        """Programs of a real distro that do not exist on this machine."""
        if program == WSL_NVIDIA_SMI:
            return environment["NVIDIA_SMI"] if self.init.config.gpu else program
        return self.init.state.path("bin", "wslinfo") if program in WSLINFO else program


def _complain(message: str) -> None:
    os.write(2, f"<3>WSL ({os.getpid()} - Relay) ERROR: {message}\n".encode())


def _in_child(serve: Any, close: list[int]) -> None:
    """Run a forked process's work and end it there, whatever happens."""
    code = 1
    try:
        for fd in close:
            os.close(fd)
        serve()
        code = 0
    finally:
        os._exit(code)
