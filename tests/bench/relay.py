"""An engine executable that drops `--device NAME` behind our back and notes when what was said.

`python relay.py NOTES SERVER ARG…`: runs the server, passes its log on, and leaves in NOTES as JSON the monotonic
time of each of its lines and of the TERM that came. In a process group with the server, so that TERM reaches both.
Asked for its devices it names one, or the gate would refuse what this is to be measured with.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO

DEVICES = "Available devices:\n  CUDA0: NVIDIA GeForce RTX 4070 (12281 MiB, 11000 MiB free)"
LATE_S = 1.0
"""The server may be gone before its TERM is seen here as well."""


def without_device(arguments: list[str]) -> list[str]:
    """The arguments less `--device` and its value."""
    if "--device" not in arguments:
        return arguments
    at = arguments.index("--device")
    return arguments[:at] + arguments[at + 2 :]


def main() -> int:
    """The server's exit code."""
    notes, server, *arguments = sys.argv[1:]
    if "--list-devices" in arguments:
        print(DEVICES)
        return 0
    lines: list[tuple[int, str]] = []
    child = subprocess.Popen([server, *without_device(arguments)], stderr=subprocess.PIPE, bufsize=0)
    assert child.stderr
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    came: list[int] = []
    waiting = threading.Thread(target=_wait_for_term, args=(came,), daemon=True)
    waiting.start()
    _pass_on(child.stderr, lines)
    code = child.wait()
    waiting.join(LATE_S)
    with open(f"{notes}.new", "w", encoding="utf-8") as file:
        json.dump({"term_ns": came[0] if came else None, "lines": lines}, file)
    os.replace(f"{notes}.new", notes)
    return code if code >= 0 else 128 - code


def _pass_on(log: IO[bytes], lines: list[tuple[int, str]]) -> None:
    rest = b""
    while chunk := log.read(65536):
        now = time.monotonic_ns()
        os.write(2, chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        lines += [(now, line.decode(errors="replace")) for line in whole]


def _wait_for_term(came: list[int]) -> None:
    signal.sigwait({signal.SIGTERM})
    came.append(time.monotonic_ns())


if __name__ == "__main__":
    sys.exit(main())
