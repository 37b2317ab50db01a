"""Target `wsl:<distro>`: the engine runs inside WSL2, reached through wsl.exe.

Owns how wsl.exe is called. The launching wsl.exe is held open as long as the engine runs: WSL's idle timers count such
clients only (reference wsl-exe §4.2). Never kills wsl.exe to stop an engine.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.ports import Completed
from kotaro_bridge.host.launcher import SHORT_S, TargetLauncher
from kotaro_bridge.host.winproc import popen_flags
from kotaro_bridge.host.wsl_text import decode, failure


class WslLauncher(TargetLauncher):
    """Runs commands inside one distro.

    Args:
        wsl: wsl.exe as a command (a list, so that tests hand over the emulated one).
        distro: its name; None for the default distro.
        env: additions to the environment of wsl.exe.
        short_s: how long a short command may take.
    """

    def __init__(
        self, wsl: Sequence[str], distro: str | None, env: Mapping[str, str] | None = None, short_s: float = SHORT_S
    ) -> None:
        # WSL_UTF8: one encoding for all its text. Warnings of WSL itself are shown by the .wslconfig dialog, not in
        # logs.
        super().__init__({**os.environ, "WSL_UTF8": "1", **(env or {})}, short_s)
        self._wsl = tuple(wsl)
        self._distro = distro

    def command(self, argv: Sequence[str]) -> list[str]:
        """`--exec` passes arguments without a shell; `--cd ~` avoids warnings about untranslatable folders."""
        distro = ["-d", self._distro] if self._distro else []
        return [*self._wsl, *distro, "--cd", "~", "--exec", *argv]

    def failure(self, completed: Completed) -> Problem | None:
        """What wsl.exe says about itself."""
        return failure(completed, self._distro)

    def not_started(self, program: str, error: OSError) -> Problem:
        """wsl.exe itself is not there."""
        return problem("wsl.missing", program=program, detail=str(error))

    def reachable_now(self) -> bool:
        """True if the distro runs already: asking inside a stopped one would start it."""
        names = self.running()
        if self._distro is None:
            return bool(names)
        return self._distro.lower() in (name.lower() for name in names)

    def running(self) -> tuple[str, ...]:
        """Names of running distros."""
        return self._listed("--running")

    def installed(self) -> tuple[str, ...]:
        """Names of installed distros, the default first. Starts nothing.

        Raises:
            ProblemError: wsl.exe is missing, hangs, or WSL is not installed.
        """
        return self._listed()

    def ask_wsl(self, options: Sequence[str], timeout_s: float) -> tuple[int, bytes, bytes, bool]:
        """(exit code, stdout, stderr, timed out) of a question to wsl.exe. Raises ProblemError if it is missing."""
        return self.run_here([*self._wsl, *options], timeout_s=timeout_s)

    def shutdown(self, timeout_s: float) -> None:
        """Stop all distros of this user and the VM (`wsl --shutdown`), and wait for it.

        Raises:
            ProblemError: `wsl.hangs` after `timeout_s` seconds, or what wsl.exe says.
        """
        completed = self._asked_wsl("--shutdown", timeout_s=timeout_s)
        failed = failure(completed, None)
        if failed is None and completed.code != 0:
            failed = problem("wsl.failed", *completed.stdout.splitlines()[-5:], error=f"exit {completed.code}")
        if failed is not None:
            raise ProblemError(failed)

    @contextmanager
    def first_line(self, argv: Sequence[str], timeout_s: float) -> Iterator[str]:
        """The first line of a program of the Linux side, which goes on meanwhile and is ended with the context.

        An empty line where none comes within `timeout_s` seconds. Raises ProblemError if wsl.exe is missing.
        """
        command = self.command(argv)
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        try:
            popen = subprocess.Popen(command, stdin=null, stdout=pipe, stderr=null, env=self._env, **popen_flags())
        except OSError as error:
            raise ProblemError(self.not_started(command[0], error)) from error
        with popen:
            late = threading.Timer(timeout_s, popen.kill)
            late.start()
            try:
                yield decode(popen.stdout.readline() if popen.stdout else b"").strip()
            finally:
                late.cancel()
                late.join()
                popen.kill()

    def _asked_wsl(self, *question: str, timeout_s: float) -> Completed:
        return self.complete([*self._wsl, *question], " ".join(("wsl.exe", *question)), timeout_s=timeout_s)

    def _listed(self, *options: str) -> tuple[str, ...]:
        completed = self._asked_wsl("--list", "--quiet", *options, timeout_s=self._short_s)
        failed = failure(completed, self._distro)
        if failed is not None:
            raise ProblemError(failed)
        if completed.code != 0:
            raise ProblemError(problem("wsl.not_installed", *completed.stdout.splitlines()[-5:]))
        return tuple(name for line in completed.stdout.splitlines() if (name := line.strip("\0 \r")))
