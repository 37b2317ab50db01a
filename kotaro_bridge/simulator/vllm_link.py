"""The line between the two processes of the simulated vLLM: a socket on the loopback, which Windows has as well.

The server hears the core's process id, that it is ready, and its end; the core hears how busy the card is and, where
there are no signals, that it should end. The core does not end when the line does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

from kotaro_bridge.simulator import procs, signals

READY, TERM = b"\xff", b"\xfe"  # shares of work are 0 to 100
PID_BYTES = 4
LOOK_S = 0.2


class CoreProcess:
    """The core as the API server sees it.

    Args:
        command: starts the core; the port of the line is put behind it. wake: called when `ready` changes.
    """

    def __init__(self, command: list[str], wake: Callable[[], None]) -> None:
        self.ready: bool | None = None
        """None while it loads, False when it ended before it was ready."""
        self._wake = wake
        self._line = socket.socket()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(LOOK_S)
            # Not our stdin: its words are for us alone. Output handed over, not inherited: Windows needs that.
            self._popen = subprocess.Popen(
                [*command, str(listener.getsockname()[1])], stdin=subprocess.DEVNULL, stdout=1, stderr=2
            )
            while self._popen.poll() is None:
                with contextlib.suppress(TimeoutError):
                    self._line, _ = listener.accept()
                    break
        self._line.settimeout(None)
        self.pid = int.from_bytes(self._receive(PID_BYTES), "big") or self._popen.pid
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        self.ready = self._receive(1) == READY
        self._wake()

    def _receive(self, size: int) -> bytes:
        """Bytes of the core; none when it has ended."""
        try:
            return self._line.recv(size, socket.MSG_WAITALL)
        except OSError:
            return b""

    def work(self, share: float) -> None:
        """Tell how busy the card is, 0 to 1."""
        self._send(bytes([round(share * 100)]))

    def terminate(self) -> None:
        """SIGTERM."""
        if sys.platform == "win32":
            self._send(TERM)
        else:
            procs.kill(self.pid)

    def kill(self) -> None:
        """SIGKILL."""
        procs.kill(self.pid, procs.KILL)

    def wait(self) -> int:
        """Wait for the end; the return code as `Popen` has it."""
        return self._popen.wait()

    def _send(self, data: bytes) -> None:
        try:
            self._line.sendall(data)
        except OSError:
            return  # it has ended, which `wait` tells


class CoreLine:
    """The line as the core sees it.

    Args:
        work: told how busy the card is, 0 to 1; 0 when the server is gone.
    """

    def __init__(self, port: int, work: Callable[[float], None]) -> None:
        self._line = socket.create_connection(("127.0.0.1", port))
        self._line.sendall(os.getpid().to_bytes(PID_BYTES, "big"))
        self._work = work
        threading.Thread(target=self._follow, daemon=True).start()

    def ready(self) -> None:
        """Loading went well."""
        self._line.sendall(READY)

    def _follow(self) -> None:
        word = b"\0"
        while word:
            if word == TERM:
                signals.deliver(signals.TERM)
            else:
                self._work(word[0] / 100)
            try:
                word = self._line.recv(1)
            except ConnectionError:
                word = b""
        self._work(0.0)
