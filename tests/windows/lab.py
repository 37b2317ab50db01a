"""A Windows to run programs on: the command line of `KOTARO_WINLAB`, put before a Windows program.

Owns starting programs there, paths, and the stand-ins (built with mingw, put into System32 for as long as a session
lasts). What such a lab must offer is in README.md; nothing here knows one by name.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kotaro_bridge.simulator import procs
from tests.windows import inside

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "windows"
VARIABLE = "KOTARO_WINLAB"
COMPILER = "x86_64-w64-mingw32-gcc"
STAND_INS = {"wsl.exe": ("-municode",), "nvml.dll": ("-shared",), "pdh.dll": ("-shared",)}
PROGRAM_S = 90.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A Windows program that has ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Stdout, line ends normalised."""
        return self.out.decode("utf-8", "replace").replace("\r\n", "\n")


class Windows:
    """Programs on a Windows.

    Args:
        command: what comes before a program: `py` (Python's launcher), `pyw`, or a path of that Windows.
        env: variables that every program gets, in addition to those of this process.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._installed: set[str] = set()
        self.env: dict[str, str] = {}

    def argv(self, program: str, *arguments: str) -> list[str]:
        """A program of that Windows as a command of this machine."""
        return [*self._command, program, *arguments]

    def path(self, here: Path) -> str:
        r"""A path of this machine as that Windows sees it: `Z:\…`."""
        return "Z:" + str(here.absolute()).replace("/", "\\")

    def start(self, program: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program, its streams on pipes; the caller ends it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.argv(program, *arguments),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={**os.environ, **self.env, **(env or {})},
            cwd=ROOT,
        )

    def run(
        self,
        program: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout_s: float = PROGRAM_S,
    ) -> Ended:
        """Run a program to its end."""
        with self.start(program, *arguments, env=env) as process:
            try:
                out, err = process.communicate(stdin, timeout=timeout_s)
            except BaseException:
                process.kill()
                raise
        return Ended(process.returncode, out, err)

    def python(self, code: str, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
        """What a piece of Python prints there. Fails the test where it raises."""
        ended = self.run("py", "-c", code, *arguments, env=env, stdin=stdin)
        assert ended.code == 0, ended.err.decode("utf-8", "replace")
        return ended.text

    def windowed_python(self) -> str:
        """Path of the windowed Python there, for programs that start programs."""
        return self.python("import sys; print(sys.executable)").strip().replace("python.exe", "pythonw.exe")

    def inside(self, verb: str, *arguments: str) -> str:
        """A verb of `inside.py`."""
        ended = self.run("py", self.path(HERE / "inside.py"), verb, *arguments)
        assert ended.code == 0, ended.err.decode("utf-8", "replace")
        return ended.text

    def processes(self, *texts: str) -> dict[int, str]:
        """Windows processes with all texts in their command line: pid -> command line."""
        lines = (line.split(" ", 1) for line in self.inside("processes", *texts).splitlines())
        return {int(pid): line for pid, line in lines}

    def kill(self, *pids: int) -> float:
        """TerminateProcess; the moment (`time.time`) at which it was done."""
        return float(self.inside("kill", *map(str, pids)))

    def install(self, *names: str) -> None:
        """Put stand-ins into System32, unless they are there."""
        missing = [name for name in names if name not in self._installed]
        if missing:
            self.inside("install", *(self.path(built(name)) for name in missing))
            self._installed.update(missing)

    def remove(self, *names: str) -> None:
        """Take stand-ins away (all of them without names)."""
        present = [name for name in names or tuple(self._installed) if name in self._installed]
        if present:
            self.inside("remove", *present)
            self._installed.difference_update(present)

    @contextlib.contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """A Windows that has not got these stand-ins."""
        present = [name for name in names if name in self._installed]
        self.remove(*present)
        try:
            yield
        finally:
            self.install(*present)


def words(command: str) -> list[str]:
    r"""A Windows command line as words: quotes keep blanks together, and backslashes are what they are."""
    return [word.strip('"') for word in shlex.split(command, posix=False)]


def missing_reason() -> str | None:
    """Why no Windows program can be run here; None where one can."""
    if not os.environ.get(VARIABLE):
        return f"no Windows lab: {VARIABLE} does not say how to run a Windows program (tests/windows/README.md)"
    if shutil.which(COMPILER) is None:
        return f"no {COMPILER}: the stand-ins of the Windows tests cannot be built"
    return None


def windows() -> Windows:
    """The Windows of `KOTARO_WINLAB`."""
    return Windows(shlex.split(os.environ[VARIABLE]))


def built(name: str) -> Path:
    """A stand-in, built unless it is newer than its sources."""
    source, target = HERE / "stand_ins" / f"{Path(name).stem}.c", BUILD / "stand-ins" / name
    newest = max(file.stat().st_mtime for file in (HERE / "stand_ins").iterdir())
    if not target.exists() or target.stat().st_mtime < newest:
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = ("-Wall", "-Wextra", "-Werror", "-O2", "-s", *STAND_INS[name])
        subprocess.run([COMPILER, *flags, "-o", str(target), str(source), "-lws2_32"], check=True)
    return target


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder that both sides see, gone afterwards."""
    BUILD.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-{os.getpid()}-", dir=BUILD))
    folder.chmod(0o777)  # the user of that Windows may be another one than ours
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear(windows: Windows) -> None:
    """Remove what sessions left that were ended hard: scratch folders, and the programs that name them."""
    there = [tuple(map(int, line.split())) for line in windows.inside("makers").splitlines() if line]
    windows.kill(*(pid for pid, maker in there if not _runs(maker)))
    for pid, maker in inside.makers():
        with contextlib.suppress(ProcessLookupError):
            if not _runs(maker):
                os.kill(pid, signal.SIGKILL)
    for folder in BUILD.glob("*"):
        made = inside.SCRATCH.search(str(folder))
        if made and not _runs(int(made[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(maker: int) -> bool:
    return procs.start_ticks(maker) is not None
