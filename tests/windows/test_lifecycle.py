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
from tests.helpers.words import pattern, phase, sentence
from tests.windows.product import ACCESS_VIOLATION, CRASH, END_S, LLAMA, VLLM, WindowsProduct
from tests.windows.relay import Call, Relay


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
        measured(product.gone(profile, killed_at))
    assert product.vram_used() == idle
    assert engine_call(relay).killed, "the job object ends wsl.exe with its owner"
    said = product.call("stop").err
    assert pattern("app.killed_before").search(said)
    assert f"{profile}: ready" in said
    assert product.call("stop").err == "", "it is told once"


def test_terminated_while_it_loads(product: WindowsProduct, relay: Relay, measured: Callable[[float], None]) -> None:
    product.builtin(LLAMA)
    relay.pc.set(time_scale=3.0)
    idle = product.vram_used()
    with started(product, "run", LLAMA) as running:
        running.wait_for(phase("loading"))
        measured(product.gone(LLAMA, product.windows.kill(*own_pids(product))))
        assert phase("proving") not in running.out
    assert product.vram_used() == idle


def test_a_crash_in_our_process(product: WindowsProduct, relay: Relay, measured: Callable[[float], None]) -> None:
    product.builtin(LLAMA)
    idle, trigger = product.vram_used(), product.folder / "crash-now"
    argv = ["-c", CRASH, product.windows.path(trigger), "run", LLAMA]
    env = {**product.env, **relay.env}
    running = Running(product.windows.argv("py", *argv), env, product.folder, None, product.argv("stop"))
    with running.process:
        running.wait_for("/v1")
        trigger.touch()
        crashed_at = time.time()
        code = running.process.wait(END_S)
    measured(product.gone(LLAMA, crashed_at))
    assert code == ACCESS_VIOLATION & 0xFF
    assert product.vram_used() == idle
    assert pattern("app.crashed_before").search(product.call("stop").err)
    (report,) = product.reports()
    assert "access violation" in report


def test_a_killed_wsl_exe_ends_the_run_with_the_reason(
    product: WindowsProduct, relay: Relay, measured: Callable[[float], None]
) -> None:
    product.builtin(LLAMA)
    idle = product.vram_used()
    with started(product, "run", LLAMA) as running:
        running.wait_for("/v1")
        measured(product.gone(LLAMA, product.windows.kill(engine_call(relay).manners["pid"])))
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
