"""The Linux side of a Windows program under test: runs the emulated wsl.exe for it, and tells it of the simulated card.

Owns the frames (`stand_ins/relay.h`) and one emulated wsl.exe for each call. The emulator does everything else: it cuts
the raw command line, writes UTF-16 or UTF-8, and is to the simulated Linux what wsl.exe is. So a wsl.exe that vanishes
on Windows is an emulator that is killed here, and Linux sees end-of-file and a hangup, nothing else (reference wsl-exe
§4.1). `python -m tests.windows.relay SCENARIO FOLDER` serves one simulated PC until its stdin ends.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.simulator.state import State

VARIABLE = "KOTARO_RELAY"
FAILED = 255
"""Exit code of the emulator where wsl.exe itself fails with -1; a Linux status has 8 bits (reference wsl-exe §10)."""
LUID = "luid_0x00000000_0x0000C3D2_phys_0"
CHUNK = 1 << 16
_HEAD = struct.Struct("<cI")


@dataclass(slots=True)
class Call:
    """One wsl.exe as Windows started it.

    Args:
        line: its raw command line; env: the variables it handed over.
        manners: how it was started, as it saw it itself: `pid`, `window` and `visible` of its console, `show` of its
            start-up information.
        code: its exit code; None while it runs, and where it was killed.
        killed: it went away before its program ended.
    """

    line: str = ""
    env: dict[str, str] = field(default_factory=dict)
    manners: dict[str, int] = field(default_factory=dict)
    code: int | None = None
    killed: bool = False

    @property
    def tail(self) -> str:
        """The command line without the program's name, as `GetCommandLineW` gives it."""
        if self.line.startswith('"'):
            return self.line[1:].partition('"')[2].lstrip(" \t")
        return self.line.partition(" ")[2].lstrip(" \t")


class Relay:
    """Serves the stand-ins of one Windows. Use as a context manager.

    Args:
        pc: the simulated PC behind it.
        calls: every wsl.exe so far, the newest last.
    """

    def __init__(self, pc: SimulatedPC) -> None:
        self.pc = pc
        self.calls: list[Call] = []
        self._state = State(str(pc.folder))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._guests: list[threading.Thread] = []
        self._links: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="relay", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where the stand-ins find it."""
        return int(self._server.getsockname()[1])

    @property
    def env(self) -> dict[str, str]:
        """What a Windows program needs in its environment."""
        return {VARIABLE: str(self.port)}

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for link in tuple(self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in (self._thread, *self._guests):
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            guest = threading.Thread(target=self._serve, args=(link,), name="relay-guest", daemon=True)
            self._guests = [*(thread for thread in self._guests if thread.is_alive()), guest]
            guest.start()

    def _serve(self, link: socket.socket) -> None:
        self._links.add(link)
        with link, contextlib.suppress(OSError, EOFError):
            call = Call()
            while (frame := receive(link))[0] != b"G":
                kind, data = frame
                text = data.decode("utf-8", "replace")
                if kind == b"N":
                    return send(link, b"N", card_lines(self.pc, self._state).encode())
                if kind == b"R":
                    call.line = text
                elif kind == b"V":
                    call.env.__setitem__(*text.split("=", 1))
                elif kind == b"M":
                    call.manners = {name: int(value) for name, value in (word.split("=") for word in text.split())}
            self.calls.append(call)
            _Emulated(link, call, self._environment(call)).relay()
        self._links.discard(link)

    def _environment(self, call: Call) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("WSL")}
        return {**own, **self.pc.env, **call.env, "KOTARO_SIM_RAW_COMMAND_LINE": call.tail}


class _Emulated:
    """The emulated wsl.exe of one call."""

    def __init__(self, link: socket.socket, call: Call, environment: dict[str, str]) -> None:
        self._link = link
        self._call = call
        self._sending = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kotaro_bridge.simulator.wsl"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )

    def relay(self) -> None:
        """Until either end is gone."""
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        pumps = [
            threading.Thread(target=work, args=arguments, name="relay-pump", daemon=True)
            for work, arguments in (
                (self._to_windows, (process.stdout, b"O")),
                (self._to_windows, (process.stderr, b"E")),
                (self._from_windows, ()),
            )
        ]
        for pump in pumps:
            pump.start()
        code = process.wait()
        for pump in pumps[:2]:
            pump.join()
        if not self._call.killed:
            self._call.code = -1 if code == FAILED else code
            with contextlib.suppress(OSError):
                self._send(b"X", struct.pack("<i", self._call.code))
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        pumps[2].join()

    def _send(self, kind: bytes, data: bytes) -> None:
        with self._sending:
            send(self._link, kind, data)

    def _to_windows(self, stream: IO[bytes], kind: bytes) -> None:
        with stream:
            while data := os.read(stream.fileno(), CHUNK):
                with contextlib.suppress(OSError):  # read on: a Windows that is gone must not block the program
                    self._send(kind, data)

    def _from_windows(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            while True:
                kind, data = receive(self._link)
                with contextlib.suppress(OSError):  # the program closed its stdin
                    if kind == b"I":
                        stdin.write(data)
                        stdin.flush()
                    else:
                        stdin.close()
        except (OSError, EOFError):
            if self._process.poll() is None:
                self._call.killed = True
                self._process.kill()
        with contextlib.suppress(OSError):
            stdin.close()


def receive(link: socket.socket) -> tuple[bytes, bytes]:
    """Kind and payload of the next frame. Raises EOFError at the end."""
    kind, size = _HEAD.unpack(_exactly(link, _HEAD.size))
    return kind, _exactly(link, size)


def send(link: socket.socket, kind: bytes, data: bytes) -> None:
    """Send one frame."""
    link.sendall(_HEAD.pack(kind, len(data)) + data)


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def card_lines(pc: SimulatedPC, state: State) -> str:
    """What nvml.dll and pdh.dll tell now (`stand_ins/card.h`)."""
    switches = state.switches()
    lines = [["nvml", switches["nvml"]], ["counters", switches["counters"]]]
    with contextlib.suppress(ProblemError):
        for card in pc.gpu.snapshot():
            assert card.free is not None
            assert card.used is not None
            sizes = (card.total, card.free, card.used, card.total - card.free - card.used)
            busy, watts = card.utilization or 0, card.power_w or 0
            rates = (round(busy * 100), card.temperature_c, round(watts * 1000))
            capability = (card.compute_cap or "0.0").split(".")
            clocks = (card.memory_clock_max_mhz, card.bus_width_bits)
            lines.append(["driver", card.driver or ""])
            lines.append(["card", card.uuid, card.name, *map(str, (*sizes, *capability, *rates, *clocks))])
    counters = pc.counters.read()
    if counters is not None:
        lines.append(["item", "0", LUID, str(counters.shared)])
        for holder in counters.processes:
            instance = f"pid_{holder.pid}_{LUID}"
            lines.append(["item", "1", instance, str(holder.dedicated)])
            lines.append(["item", "2", instance, str(holder.shared)])
    return "".join("\t".join(line) + "\n" for line in lines)


def main(arguments: list[str], until: Callable[[], object] = sys.stdin.read) -> int:
    """Serve one simulated PC, for Windows programs that a person starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--time-scale", type=float, default=1.0, help="how long a load takes, 1 for as long as usual")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the simulated Linux would be deaf to wsl.exe's end
    pc = SimulatedPC.open(options.scenario, options.folder)
    try:
        pc.set(**{**pc.scenario.switches, "time_scale": options.time_scale})
        with Relay(pc) as relay:
            print(f"{VARIABLE}={relay.port}", flush=True)
            until()
    finally:
        pc.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
