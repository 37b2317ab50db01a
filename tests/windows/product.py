"""The product as a Windows program, at the command line: `py -m kotaro_bridge …`, or the program that
`KOTARO_WINLAB_PROGRAM` names (the frozen one).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from kotaro_bridge.simulator import card
from kotaro_bridge.simulator.state import State
from tests.helpers.cli import CommandLine, Running
from tests.helpers.simulated import processes_of
from tests.windows.lab import Windows
from tests.windows.relay import Relay

PROGRAM = "KOTARO_WINLAB_PROGRAM"
LLAMA, VLLM = "qwen2.5-14b-q4_k_m", "qwen2.5-7b-awq"
"""Built-in profiles whose models the simulated PC has."""


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
        program = shlex.split(os.environ.get(PROGRAM, "py -m kotaro_bridge"))
        return self.windows.argv(*program, *arguments)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, stdout: int | None = None) -> Running:
        """Start a command and let it run."""
        return super().start(*arguments, env={**self.windows.env, **(env or {})}, stdout=stdout)

    def vram_used(self) -> int:
        """Bytes of the simulated card that are in use."""
        return self.relay.pc.gpu.snapshot()[0].used or 0

    def left(self) -> list[str]:
        """Programs, claims of VRAM and run files that are there on the Linux side."""
        folder = self.relay.pc.folder
        machine = tuple(f"kotaro_bridge.simulator.{module}" for module in ("vm", "ollama", "hub"))
        found = [line for line in processes_of(folder) if not any(module in line for module in machine)]
        found += [f"VRAM claim of {claim['name']}" for claim in card.live_claims(State(str(folder)))]
        found += [str(run) for run in folder.glob("distros/*/home/*/.local/state/kotaro-bridge/runs/*")]
        return found
