"""WSL's virtual machine as a whole, through wsl.exe. Implements `domain.wsl_vm.WslVm`.

Owns the words of `vm_facts.sh` and `vm_port.sh`. Must not judge what they say.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Sequence

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.wsl.wsl_vm import VmFacts
from kotaro_bridge.host.guardian import target_script
from kotaro_bridge.host.launcher_wsl import WslLauncher

_KIB = 1024
_MODES = {
    "nat": "Nat",
    "bridged": "Bridged",
    "mirrored": "Mirrored",
    "virtioproxy": "VirtioProxy",
    "consomme": "Consomme",
    "none": "None",
}
"""What wslinfo says (reference wsl-exe §2.3) in the spelling of the file."""
_ANSWER_S, _PAUSE_S = 1.0, 0.2


def facts_argv(models: Sequence[str]) -> list[str]:
    """Command of the Linux side that tells the facts (see the script's head)."""
    return ["/bin/sh", "-c", target_script("vm_facts.sh"), "kotaro-vm", *models]


def port_argv(word: str) -> list[str]:
    """Command of the Linux side that opens a port (see the script's head)."""
    return ["/bin/sh", "-c", target_script("vm_port.sh"), "kotaro-port", word]


def parse_facts(stdout: str, stderr: str = "") -> VmFacts:
    """The facts; None for each that the script did not tell."""
    lines = [line.partition(" ")[::2] for line in stdout.splitlines()]
    said = dict(lines)
    sized = [value.partition(" ")[::2] for word, value in lines if word == "model"]
    return VmFacts(
        boot_id=said.get("boot"),
        began_at=_number(said.get("began")),
        memory_bytes=_number(said.get("memory"), _KIB),
        processors=_number(said.get("processors")) or None,
        swap_bytes=_number(said.get("swap"), _KIB),
        networking=_MODES.get(said.get("networking", "")),
        command_line=said.get("command"),
        release=said.get("release"),
        models=tuple((path, int(size)) for size, path in sized if size.isdecimal()),
        said=tuple(line.strip() for line in stderr.splitlines() if line.startswith("wsl: ")),
    )


def _number(text: str | None, unit: int = 1) -> int | None:
    return int(text) * unit if text is not None and text.isdecimal() else None


class WslExeVm:
    """The VM of this user.

    Args:
        launcher: the way into a distro by its name, into the default one for None.
    """

    def __init__(self, launcher: Callable[[str | None], WslLauncher]) -> None:
        self._launcher = launcher

    def running(self) -> tuple[str, ...]:
        """See `WslVm.running`."""
        return self._launcher(None).running()

    def shutdown(self, timeout_s: float) -> None:
        """See `WslVm.shutdown`."""
        self._launcher(None).shutdown(timeout_s)

    def facts(self, distro: str | None, models: Sequence[str], timeout_s: float) -> VmFacts:
        """See `WslVm.facts`."""
        done = self._launcher(distro).run(facts_argv(models), timeout_s=timeout_s)
        if done.code != 0:
            lines = (*done.stdout.splitlines(), *done.stderr.splitlines())
            raise ProblemError(problem("wsl.failed", *lines[-5:], error=f"exit {done.code}"))
        return parse_facts(done.stdout, done.stderr)

    def reaches(self, distro: str | None, timeout_s: float) -> bool | None:
        """See `WslVm.reaches`."""
        word = secrets.token_hex(8)
        deadline = time.monotonic() + timeout_s
        try:
            with self._launcher(distro).first_line(port_argv(word), timeout_s) as line:
                name, _, port = line.partition(" ")
                if name != "port" or not port.isdecimal():
                    return None
                return _answers(int(port), word, deadline)
        except ProblemError:
            return None


def _answers(port: int, word: str, deadline: float) -> bool:
    """True if our own word comes from 127.0.0.1: another program may have the port on this side. WSL forwards a new
    port within a second (reference wsl-exe §5)."""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), _ANSWER_S) as connection:
                connection.settimeout(_ANSWER_S)
                if connection.recv(64).decode("ascii", "replace").strip() == word:
                    return True
        except OSError:
            pass
        time.sleep(_PAUSE_S)
    return False
