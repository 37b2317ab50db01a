"""The product as a Windows program, at the command line: `py -m kotaro_bridge …`, or the program that
`KOTARO_WINLAB_PROGRAM` names (the frozen one).
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from tests.helpers.cli import CommandLine, Running
from tests.windows.lab import Windows

PROGRAM = "KOTARO_WINLAB_PROGRAM"


class WindowsProduct(CommandLine):
    """A person at a terminal of a Windows.

    Args:
        windows: where; folder: what stands for that user's AppData\\Local, and for the calls' streams.
    """

    def __init__(self, windows: Windows, folder: Path) -> None:
        super().__init__(folder)
        self.windows = windows
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

    def start(self, *arguments: str, env: dict[str, str] | None = None, stdout: int | None = None) -> Running:  # type: ignore[override]
        """Start a command and let it run."""
        return super().start(*arguments, env={**self.windows.env, **(env or {})}, stdout=stdout)
