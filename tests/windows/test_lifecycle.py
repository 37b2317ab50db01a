"""However our process ends on Windows, the engine ends in Linux and gives the card back; the next start says so.

The times are those of this machine; what counts is that they are bounded: the guardian's grace (10 s) and a little.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.cli import Running, listens, started
from tests.helpers.simulated import until
from tests.helpers.words import pattern, phase, sentence
from tests.windows.product import LLAMA, VLLM, WindowsProduct
from tests.windows.relay import Call, Relay

END_S = 15.0
ACCESS_VIOLATION = 0xC0000005
CRASH = """
import ctypes, pathlib, sys, threading, time
trigger = pathlib.Path(sys.argv[1])
def crash():
    while not trigger.exists():
        time.sleep(0.05)
    ctypes.windll.kernel32.CreateThread(None, 0, ctypes.c_void_p(16), None, 0, None)  # runs at an address without code
threading.Thread(target=crash, daemon=True).start()
sys.argv = ["kotaro-bridge", *sys.argv[2:]]
from kotaro_bridge.__main__ import main
sys.exit(main())
"""
"""The product with an access violation in a thread that Python knows nothing of, once a file is there."""


def own_pids(product: WindowsProduct) -> list[int]:
    """Windows process ids of `kotaro-bridge run`."""
    found = product.windows.processes("kotaro", " run ").items()
    return [pid for pid, line in found if "wsl.exe" not in line]


def guardians(relay: Relay) -> list[int]:
    """Process ids of the guardians on the Linux side."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # gone, or somebody else's
            line, mark = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            if b"kotaro-guardian" in line and str(relay.pc.folder).encode() in mark:
                found.append(int(entry.name))
    return found


def engine_call(relay: Relay) -> Call:
    """The wsl.exe that holds the engine."""
    return next(call for call in reversed(relay.calls) if " kotaro-guardian run " in call.line)


def gone(product: WindowsProduct, profile: str, since: float) -> float:
    """Seconds from a moment until nothing of the run is left: no process, no VRAM, no run file, no listener."""
    until(lambda: not product.left(), what=f"the engine ends: {product.left()}", deadline_s=END_S)
    seconds = time.time() - since
    assert not listens(product.port_of(profile))
    return seconds


@pytest.fixture
def measured(
    record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> Callable[[float], None]:
    """Puts the seconds until the card was free into the test's report, and on the screen."""

    def note(seconds: float) -> None:
        record_property("seconds_until_the_card_is_free", round(seconds, 2))
        with capsys.disabled():
            print(f" {seconds:.2f} s", end="")

    return note


@pytest.mark.parametrize("profile", [LLAMA, VLLM])
def test_a_terminated_process_takes_the_engine_along(
    product: WindowsProduct, relay: Relay, measured: Callable[[float], None], profile: str
) -> None:
    product.builtin(profile)
    idle = product.vram_used()
    with started(product, "run", profile) as running:
        running.wait_for("/v1")
        assert product.vram_used() > idle + (7 << 30)
        killed_at = product.windows.kill(*own_pids(product))
        running.process.wait(END_S)
        measured(gone(product, profile, killed_at))
    assert product.vram_used() == idle
    assert engine_call(relay).killed, "the job object ends wsl.exe with its owner"


def test_terminated_while_it_loads(product: WindowsProduct, relay: Relay, measured: Callable[[float], None]) -> None:
    product.builtin(LLAMA)
    relay.pc.set(time_scale=3.0)
    idle = product.vram_used()
    with started(product, "run", LLAMA) as running:
        running.wait_for(phase("loading"))
        measured(gone(product, LLAMA, product.windows.kill(*own_pids(product))))
        assert phase("proving") not in running.out
    assert product.vram_used() == idle


def test_a_crash_in_our_process(product: WindowsProduct, relay: Relay, measured: Callable[[float], None]) -> None:
    product.builtin(LLAMA)
    idle, trigger = product.vram_used(), product.folder / "crash-now"
    argv = ["-c", CRASH, product.windows.path(trigger), "run", LLAMA]
    running = Running(product.windows.argv("py", *argv), {**product.env, **relay.env}, product.folder, None)
    with running.process:
        running.wait_for("/v1")
        trigger.touch()
        crashed_at = time.time()
        code = running.process.wait(END_S)
    measured(gone(product, LLAMA, crashed_at))
    assert code == ACCESS_VIOLATION & 0xFF
    assert product.vram_used() == idle


def test_a_killed_wsl_exe_ends_the_run_with_the_reason(
    product: WindowsProduct, relay: Relay, measured: Callable[[float], None]
) -> None:
    product.builtin(LLAMA)
    idle = product.vram_used()
    with started(product, "run", LLAMA) as running:
        running.wait_for("/v1")
        measured(gone(product, LLAMA, product.windows.kill(engine_call(relay).manners["pid"])))
        ended = running.end()
    assert (ended.code, ended.out.splitlines()[-1]) == (1, phase("failed"))
    assert pattern("launch.channel_lost").match(ended.err)
    assert product.vram_used() == idle


def test_the_next_start_finds_what_was_left_and_says_so(product: WindowsProduct, relay: Relay) -> None:
    """The guardian is killed with its owner, the worst case: nothing of WSL does that alone."""
    product.builtin(LLAMA)
    with started(product, "run", LLAMA) as running:
        running.wait_for("/v1")
        for pid in guardians(relay):
            os.kill(pid, signal.SIGKILL)
        running.process.kill()  # at once, before it has ended the engine itself
        running.process.wait(END_S)
    assert listens(product.port_of(LLAMA))
    with started(product, "run", LLAMA) as running:
        running.wait_for("/v1")
        assert product.call("stop").code == 0
        ended = running.end()
    said = sentence("stop.leftover_ended", run=LLAMA).what.partition(LLAMA)
    assert said[0] + LLAMA in ended.err
