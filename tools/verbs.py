"""The verbs that use the environment: demo, test, lint, bench, screenshots."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools import coverage_limits, environment, llama_server, system_packages
from tools.console import BUILD, ROOT, WINDOWS, Stop, call, exit_code, own_command, say

TOUR = BUILD / "tour"
SCREENSHOTS = BUILD / "screenshots"
COVERAGE = BUILD / "coverage"
NO_LLAMA_SERVER = "KOTARO_NO_LLAMA_SERVER"
"""Set to 1 where the real llama-server is not built: tests that need it are skipped, with this as the reason."""

_OFFSCREEN = {"QT_QPA_PLATFORM": "offscreen"}
if WINDOWS:
    # Qt's offscreen platform does not ask Windows for fonts: without this every letter is a box, and Qt warns.
    _OFFSCREEN["QT_QPA_FONTDIR"] = os.path.join(os.environ["WINDIR"], "Fonts")


def demo(arguments: Sequence[str]) -> int:
    """The tray application on the simulated PC; without a display its tour on a virtual one."""
    environment.setup()
    command = [environment.program("kotaro-bridge"), "demo", *arguments]
    if _has_display():
        return exit_code(command)
    if "--tour" not in arguments:
        command += ["--tour", str(TOUR)]
        shutil.rmtree(TOUR, ignore_errors=True)
    with _virtual_display() as display:
        code = exit_code(command, {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb"})
    if "--tour" not in arguments:
        say(f"There is no display here, so the tour ran on a virtual one: {_pictures(TOUR)}")
    return code


def test(arguments: Sequence[str]) -> int:
    """Everything that must hold. With arguments (they go to pytest) lint and coverage limits are left out."""
    environment.setup()
    if not arguments:
        _lint()
    env = dict(_OFFSCREEN)
    if WINDOWS:
        say("Tests of the real llama-server are skipped: the product starts it on the Linux side alone.")
        env[NO_LLAMA_SERVER] = "1"
        env["PYTEST_TIMEOUT"] = "360"  # for the longer limits in time there (tests/helpers/simulated.py, PATIENCE)
    else:
        llama_server.ensure()
    system_packages.ensure_ssh_server()
    python = environment.program("python")
    if arguments:
        return exit_code([python, "-m", "pytest", *arguments], env)
    shutil.rmtree(COVERAGE, ignore_errors=True)
    COVERAGE.mkdir(parents=True)
    code = exit_code([python, "-m", "coverage", "run", "-m", "pytest", *_side_by_side()], env)
    return _coverage_code() or code


def _side_by_side() -> list[str]:
    """Files of tests at the same time, one more than there are cores: most of them wait for other processes.

    In the order of their folders: `e2e` first, which takes longest. By itself pytest-xdist begins with the files of
    most tests, and one that draws every window for minutes in two tests would come last, alone.
    """
    workers = str(min(8, (os.cpu_count() or 1) + 1))
    return ["--numprocesses", workers, "--dist", "loadfile", "--no-loadscope-reorder"]


def lint(_arguments: Sequence[str]) -> int:
    """Ruff and mypy; exit code 1 at the first that finds something."""
    environment.setup()
    _lint()
    return 0


def bench(arguments: Sequence[str]) -> int:
    """`tests/bench`, with the real llama-server at hand."""
    environment.setup()
    llama_server.ensure()
    return exit_code([environment.program("python"), "-m", "tests.bench", *arguments])


def screenshots(_arguments: Sequence[str]) -> int:
    """The tour in light and dark, English and Japanese, 100 % and 150 %."""
    environment.setup()
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    for theme, language, scale in itertools.product(("light", "dark"), ("en", "ja"), ("1.0", "1.5")):
        target = SCREENSHOTS / f"{theme}-{language}-{scale}"
        command = [environment.program("kotaro-bridge"), "demo", "--tour", str(target)]
        call([*command, "--theme", theme, "--lang", language, "--scale", scale], f"The tour {target.name}", _OFFSCREEN)
        say(_pictures(target))
    return 0


def _lint() -> None:
    python = environment.program("python")
    call([python, "-m", "ruff", "check"], "ruff check")
    call([python, "-m", "ruff", "format", "--check"], "ruff format --check")
    # What ships is checked for the other system as well: mypy skips what `sys.platform` rules out.
    for platform, paths in (("linux", ()), ("win32", ("kotaro_bridge", "tools", "dev.py"))):
        options = ["--platform", platform, "--cache-dir", f".mypy_cache/{platform}"]
        call([python, "-m", "mypy", *options, *paths], f"mypy for {platform}")


def _coverage_code() -> int:
    """Judge the coverage of the run that just ended; 0 when every limit is kept."""
    coverage = [environment.program("python"), "-m", "coverage"]
    call([*coverage, "combine", "--quiet"], "Combining the coverage data")
    call([*coverage, "json", "--quiet"], "Writing the coverage report")
    total, found = coverage_limits.shortfalls(COVERAGE / "coverage.json", everything=not WINDOWS)
    for sentence in found:
        say(f"coverage too low: {sentence}")
    say(f"coverage: {total:.1f} % of lines and branches{'' if found else ', every limit kept'}")
    return 1 if found else 0


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def _virtual_display() -> Iterator[str]:
    """An X server without a screen for as long as the block runs; yields its DISPLAY."""
    if not shutil.which("Xvfb"):
        raise Stop(f"there is no display and no Xvfb to stand in: install xvfb, then run `{own_command('demo')}`.")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout  # noqa: S101 - asked for with PIPE
        number = server.stdout.readline().strip()
        if not number:
            raise Stop("the virtual display Xvfb did not start: run `Xvfb :99` and look at what it says.")
        yield f":{number}"
    finally:
        server.terminate()
        server.communicate()


def _pictures(folder: Path) -> str:
    count = len(list(folder.glob("*.png")))
    return f"{count} pictures in {folder.relative_to(ROOT)}"
