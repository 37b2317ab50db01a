"""An engine executable that drops `--device NAME` behind our back and notes when what was said.

`python relay.py NOTES SERVER ARG…`: runs the server, passes its log on, and leaves in NOTES as JSON the monotonic
time of each of its lines and of the TERM that came. In a process group with the server, so that TERM reaches both.
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


def without_device(arguments: list[str]) -> list[str]:
    """The arguments less `--device` and its value."""
    if "--device" not in arguments:
        return arguments
    at = arguments.index("--device")
    return arguments[:at] + arguments[at + 2 :]


def main() -> int:
    """The server's exit code."""
    notes, server, *arguments = sys.argv[1:]
    lines: list[tuple[int, str]] = []
    child = subprocess.Popen([server, *without_device(arguments)], stderr=subprocess.PIPE, bufsize=0)
    assert child.stderr
    waited_for = {signal.SIGTERM, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    threading.Thread(target=_pass_on, args=(child.stderr, lines)).start()
    came = signal.sigwait(waited_for)  # USR1: the server has ended by itself
    at = time.monotonic_ns()
    code = child.wait()
    with open(f"{notes}.new", "w", encoding="utf-8") as file:
        json.dump({"term_ns": at if came is signal.SIGTERM else None, "lines": lines}, file)
    os.replace(f"{notes}.new", notes)
    return code if code >= 0 else 128 - code


def _pass_on(log: IO[bytes], lines: list[tuple[int, str]]) -> None:
    rest = b""
    while chunk := log.read(65536):
        now = time.monotonic_ns()
        os.write(2, chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        lines += [(now, line.decode(errors="replace")) for line in whole]
    os.kill(os.getpid(), signal.SIGUSR1)


if __name__ == "__main__":
    sys.exit(main())
