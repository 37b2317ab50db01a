"""Running programs and telling about it. Owns the words' way out (stderr, so that stdout carries results only)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
WINDOWS = sys.platform == "win32"


class Stop(Exception):
    """The verb cannot go on; the text is one sentence that says what to do."""


def say(text: str) -> None:
    """Print one line for the person."""
    print(text, file=sys.stderr, flush=True)


def call(command: Sequence[str], what: str, env: Mapping[str, str] | None = None) -> None:
    """Run a program in the checkout and wait for it, its output going where ours goes.

    `env` is added to the environment. Raises Stop, naming `what`, when the exit code is not 0, and when the program
    is missing.
    """
    code = exit_code(command, env)
    if code != 0:
        raise Stop(f"{what} failed with exit code {code}: the lines above say why.")


def exit_code(command: Sequence[str], env: Mapping[str, str] | None = None, *, quiet: bool = False) -> int:
    """Like `call`, but hands the exit code back. `quiet` drops stdout; errors are still seen."""
    try:
        out = subprocess.DEVNULL if quiet else None
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=out, check=False).returncode
    except FileNotFoundError:
        raise Stop(f"{command[0]} is not on this machine: install it, or run `{own_command('setup')}`.") from None


def own_command(verb: str) -> str:
    """How a person starts a verb here."""
    return f"{'py' if WINDOWS else 'python3'} dev.py {verb}"


@contextlib.contextmanager
def one_at_a_time(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; a second process waits and says for what. The system frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if not _try_lock(file.fileno()):
            say(f"Waiting for another {what} to finish (lock: {path}).")
            _wait_lock(file.fileno())
        yield


if sys.platform == "win32":
    import msvcrt
    import time

    def _try_lock(fd: int) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _wait_lock(fd: int) -> None:
        while not _try_lock(fd):
            time.sleep(1)
else:
    import fcntl

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)
