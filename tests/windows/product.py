"""The product as a Windows program, at the command line: `py -m kotaro_bridge …`, or the program that
`KOTARO_WINLAB_PROGRAM` names (the frozen one).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from kotaro_bridge.simulator import card
from kotaro_bridge.simulator.state import State
from tests.helpers.cli import CommandLine, Running, listens
from tests.helpers.simulated import processes_of, until
from tests.windows.lab import Windows, words
from tests.windows.relay import Relay

PROGRAM = "KOTARO_WINLAB_PROGRAM"
LLAMA, VLLM = "qwen2.5-14b-q4_k_m", "qwen2.5-7b-awq"
"""Built-in profiles whose models the simulated PC has."""
END_S = 15.0
"""However a run ends, nothing of it may be left after that: the guardian's grace (10 s) and a little."""
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


class WindowsProduct(CommandLine):
    """A person at a terminal of a Windows.

    Args:
        windows: where; relay: what is behind its wsl.exe.
        folder: what stands for that user's local application data, and for the streams of the calls.
    """

    def __init__(self, windows: Windows, relay: Relay, folder: Path) -> None:
        super().__init__(folder)
        self.windows = windows
        self.relay = relay
        del self.env["PYTHONFAULTHANDLER"]  # a windowed Python has no stderr, and does not start with it
        self.env["WIN_PD_OVERRIDE_LOCAL_APPDATA"] = windows.path(folder / "local")

    @property
    def root(self) -> Path:
        """Where the product keeps its files."""
        return self.folder / "local" / "kotaro-bridge"

    @property
    def profiles(self) -> Path:
        """Where the user's profiles are."""
        return self.root / "profiles"

    def argv(self, *arguments: str) -> list[str]:
        """The whole command."""
        program = words(os.environ.get(PROGRAM, "py -m kotaro_bridge"))
        return self.windows.argv(*program, *arguments)

    def tray_argv(self) -> list[str]:
        """The tray application: the windowed program beside the one at the command line."""
        if PROGRAM not in os.environ:
            return [self.windows.windowed_python(), "-m", "kotaro_bridge"]
        return [word.replace("kotaro-bridge.exe", "KotaroBridge.exe") for word in words(os.environ[PROGRAM])]

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, stdout: int | None = None) -> Running:
        """Start a command and let it run."""
        return super().start(*arguments, env={**self.windows.env, **(env or {})}, stdout=stdout)

    def vram_used(self) -> int:
        """Bytes of the simulated card that are in use."""
        return self.relay.pc.gpu.snapshot()[0].used or 0

    def reports(self) -> list[str]:
        """What the crash handler wrote."""
        return [path.read_text(encoding="utf-8") for path in self.root.glob("Logs/crashes/crash-*")]

    def gone(self, profile: str, since: float) -> float:
        """Seconds from a moment until nothing of a run is left: no process, no VRAM, no run file, no listener."""
        until(lambda: not self.left(), what="the engine ends", deadline_s=END_S)
        seconds = time.time() - since
        assert not listens(self.port_of(profile))
        return seconds

    def left(self) -> list[str]:
        """Programs, claims of VRAM and run files that are there on the Linux side."""
        folder = self.relay.pc.folder
        machine = tuple(f"kotaro_bridge.simulator.{module}" for module in ("vm", "ollama", "hub"))
        found = [line for line in processes_of(folder) if not any(module in line for module in machine)]
        found += [f"VRAM claim of {claim['name']}" for claim in card.live_claims(State(str(folder)))]
        found += [str(run) for run in folder.glob("distros/*/home/*/.local/state/kotaro-bridge/runs/*")]
        return found
