"""The tray application clicked through as a Windows program: icon, menu, start, dashboard, stop, quit.

    KOTARO_WINLAB=… KOTARO_WINLAB_DISPLAY=:9 python -m tests.windows.click_through PICTURES [--program …]

Each step is seen by a second Windows process (`kotaro-bridge status --json`) and by the simulated card, and leaves a
numbered picture of the whole screen. Prints a line for each step; exit code 1 at the first that does not hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.helpers.cli import listens
from tests.helpers.simulated import simulated_pc, until
from tests.windows import desktop, lab
from tests.windows.desktop import Desktop
from tests.windows.product import LLAMA, PROGRAM, WindowsProduct
from tests.windows.relay import Relay

SCENARIO = "rtx4070-12gb"
TIME_SCALE = 1.0
"""Loading takes its usual three seconds, so that it can be seen."""
LOADED = 4 << 30
STEP_S = 45.0
DASHBOARD_PX = 800
"""No other window, menu or box of ours is as wide."""
SETTLE_S = 1.0
"""For what a picture shows to be drawn."""


def walk(desk: Desktop, argv: Sequence[str], pictures: Path, say: Callable[[str], None]) -> None:
    """Click through.

    Args:
        argv: the tray application as a Windows command.
        pictures: folder for the pictures; say: takes a line for each step.

    Raises:
        AssertionError: a step does not hold.
    """
    product, begun = desk.product, time.monotonic()
    idle = product.vram_used()

    def step(number: int, name: str, what: str) -> None:
        time.sleep(SETTLE_S)
        desk.picture(pictures / f"{number:02d}-{name}.png")
        assert not product.reports(), "\n".join(product.reports())
        say(f"{time.monotonic() - begun:6.1f} s  {number:02d} {name}: {what}")

    def status() -> dict[str, Any]:
        return product.call("status", "--json").json

    def state() -> str:
        return str(next(run["state"] for run in status()["runs"] if run["profile"] == LLAMA))

    product.builtin(LLAMA)
    with desk.program(argv, pictures / "failed.png"):
        assert status()["owner"] is True
        step(1, "icon", "the tray application owns the runs; nothing runs")
        desk.menu()
        step(2, "menu", "a right click opens the menu")
        desk.choose("Escape")
        desk.start_or_stop(LLAMA)
        until(lambda: product.vram_used() > idle + LOADED, what="video memory fills", deadline_s=STEP_S)
        step(3, "loading", f"{product.vram_used() >> 20} MiB of the card are in use, {idle >> 20} MiB before")
        until(lambda: state() == "ready", what="the model is ready", deadline_s=STEP_S)
        step(4, "ready", "status of a second process: ready")
        desk.dashboard()
        until(lambda: desk.widest() > DASHBOARD_PX, what="the dashboard opens", deadline_s=STEP_S)
        step(5, "dashboard", "a left click opens the window")
        desk.keys("alt+s")  # the button Stop
        until(lambda: state() == "stopped", what="the model is stopped", deadline_s=STEP_S)
        assert product.vram_used() == idle
        step(6, "stopped", f"status: stopped; {idle >> 20} MiB are in use again")
        desk.start_or_stop(LLAMA)
        until(lambda: state() == "ready", what="the model is ready again", deadline_s=STEP_S)
        step(7, "ready-again", "started from the menu, with the window open")
        desk.menu()
        desk.choose("q")
        until(lambda: not (product.root / "control.key").exists(), what="the owner is gone", deadline_s=STEP_S)
        until(lambda: not desk.pids(), what="the program ends", deadline_s=STEP_S)
        ended = status()
        assert (ended["owner"], ended["runs"]) == (False, [])
        assert product.left() == []
        assert not listens(product.port_of(LLAMA))
        assert product.vram_used() == idle
        step(8, "quit", "the program has ended and stopped its model; nothing is left in Linux")
    shown = [call for call in product.relay.calls if call.manners["visible"]]
    assert not shown, f"{len(shown)} consoles flashed up"
    say(f"{len(product.relay.calls)} times wsl.exe was started, none with a console window")


def main(arguments: list[str]) -> int:
    """Click through once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--program", help="the tray application as a Windows command; beside the console without it")
    parser.add_argument("--console", help="the command line as a Windows command; from source without it")
    options = parser.parse_args(arguments)
    for reason in (lab.missing_reason(), desktop.missing_reason()):
        if reason is not None:
            parser.error(reason)
    if options.console:
        os.environ[PROGRAM] = options.console
    windows = lab.windows()
    try:
        lab.clear(windows)
        windows.install(*lab.STAND_INS)
        with (
            lab.scratch("click") as folder,
            simulated_pc(folder / "pc", SCENARIO, time_scale=TIME_SCALE) as pc,
            Relay(pc) as relay,
        ):
            windows.env = relay.env
            product = WindowsProduct(windows, relay, folder)
            argv = lab.words(options.program) if options.program else product.tray_argv()
            desk = Desktop(product, os.environ[desktop.VARIABLE])
            walk(desk, argv, options.pictures, lambda line: print(line, flush=True))
    except AssertionError as error:
        print(f"does not hold: {str(error) or traceback.format_exc()}", file=sys.stderr)
        return 1
    finally:
        windows.env = {}
        windows.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
