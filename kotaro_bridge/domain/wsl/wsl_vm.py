"""WSL's virtual machine as a whole: what it shows of itself, and the protocol that `host/wsl_vm.py` implements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

DOCKER = "docker-desktop"
"""How the names of Docker Desktop's own distros begin."""


@dataclass(frozen=True, slots=True)
class VmFacts:
    """What Linux shows inside the VM that runs. None: it does not tell.

    Args:
        boot_id: another one after each start of the VM.
        began_at: when the VM started by its own clock, in whole seconds since the epoch.
        memory_bytes, swap_bytes: `MemTotal` and `SwapTotal`.
        networking: mode in canonical spelling, as `wslinfo` names it.
        command_line: of the kernel; release: its version.
        models: bytes of the model files that were asked for, by path; those that are not there are not in it.
        said: lines that wsl.exe printed on stderr: its warnings, where this call started the VM.
    """

    boot_id: str | None = None
    began_at: int | None = None
    memory_bytes: int | None = None
    processors: int | None = None
    swap_bytes: int | None = None
    networking: str | None = None
    command_line: str | None = None
    release: str | None = None
    models: tuple[tuple[str, int], ...] = ()
    said: tuple[str, ...] = ()


class WslVm(Protocol):
    """The VM and its distros. Every method blocks in bounded time."""

    def running(self) -> tuple[str, ...]:
        """Names of the distros that run, the default one first. Starts nothing.

        Raises:
            ProblemError: wsl.exe is missing, hangs, or WSL is not installed.
        """

    def shutdown(self, timeout_s: float) -> None:
        """Stop all distros and the VM, and wait for it.

        Raises:
            ProblemError: `wsl.hangs` after `timeout_s` seconds, or what wsl.exe says.
        """

    def facts(self, distro: str | None, models: Sequence[str], timeout_s: float) -> VmFacts:
        """What a distro shows, the default one for None. STARTS it where it does not run.

        Args:
            models: paths of model files inside it to be measured.

        Raises:
            ProblemError: it does not start or does not answer.
        """

    def reaches(self, distro: str | None, timeout_s: float) -> bool | None:
        """Whether this side gets an answer from a port that is opened in a distro for the question.

        None where nothing inside can open one. Starts the distro where it does not run. Never raises.
        """
