"""The state folder in which the programs of one simulated PC meet: paths, scenario, switches, clock.

Owns the files' names and formats. Read by programs that start often, so it imports the standard library only and hands
out plain values; the typed form of a scenario is in `scenario.py`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

VARIABLE = "KOTARO_SIM"

SWITCHES: dict[str, Any] = {
    "wsl": "normal",  # normal, stub, hang, e_unexpected
    "wsl_delay_s": 0.0,
    "nvidia_smi": "normal",  # normal, missing, blocked, hang
    "nvml": "normal",  # normal, missing, lost, failed
    "engine": "",  # words of `behaviour.py`, separated by commas
    "windows_ports_taken": [],
    "time_scale": 1.0,
    "vram_limit_mib": None,
}
"""What can be changed while the PC runs, with the values of a PC in order.

`vram_limit_mib`: the driver keeps at most this much of the engines' memory on the card and backs the rest with system
memory (None: all of it, and an allocation beyond the card fails).
"""


def source_root() -> str:
    """The folder that holds the `kotaro_bridge` package, for the module path of child programs."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def login_shell() -> str:
    """The login shell of the simulated user."""
    return "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"


def python_environment(folder: str) -> dict[str, str]:
    """Variables with which a child program finds this package and the state folder."""
    return {VARIABLE: folder, "PYTHONPATH": source_root()}


def write_json(path: str, value: object) -> None:
    """Replace a file atomically, so that a reader never sees half of it."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)
    os.replace(temporary, path)


def read_json(path: str) -> Any:
    """The value of a file, or None when it does not exist."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


class State:
    """One state folder, seen by one process."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.scenario: dict[str, Any] = read_json(self.path("scenario.json"))

    @classmethod
    def from_environment(cls) -> State:
        """The state folder that `KOTARO_SIM` names; ends the program when there is none."""
        folder = os.environ.get(VARIABLE, "")
        if not os.path.isfile(os.path.join(folder, "scenario.json")):
            sys.exit(f"{VARIABLE} does not name the folder of a simulated PC: {folder!r}")
        return cls(folder)

    def path(self, *parts: str) -> str:
        return os.path.join(self.folder, *parts)

    @property
    def wslconfig_path(self) -> str:
        return self.path("windows", "Users", self.windows_user, ".wslconfig")

    @property
    def windows_user(self) -> str:
        return str(self.scenario["windows_user"])

    def switches(self) -> dict[str, Any]:
        """The switches as they are now."""
        return {**SWITCHES, **(read_json(self.path("switches.json")) or {})}

    def change(self, **switches: Any) -> None:
        """Set some switches.

        Raises:
            KeyError: no such switch.
        """
        for name in switches:
            SWITCHES[name]
        write_json(self.path("switches.json"), {**self.switches(), **switches})

    def scaled(self, seconds: float) -> float:
        """`seconds` of the real PC in seconds here."""
        return seconds * float(self.switches()["time_scale"])

    def now(self) -> float:
        """The PC's clock in seconds: this machine's monotonic clock plus what tests have added."""
        return time.monotonic() + float((read_json(self.path("clock.json")) or {}).get("offset_s", 0.0))

    def advance(self, seconds: float) -> None:
        """Let the PC's clock jump; `vm_client.poke` wakes a VM that waits for it."""
        before = float((read_json(self.path("clock.json")) or {}).get("offset_s", 0.0))
        write_json(self.path("clock.json"), {"offset_s": before + seconds})

    def distro(self, name: str | None) -> dict[str, Any] | None:
        """The registered distro of that name (case ignored), or the default one for None."""
        for entry in self.scenario["distros"]:
            if (name is None and entry["default"]) or (name is not None and entry["name"].lower() == name.lower()):
                return dict(entry)
        return None

    def home(self, distro: dict[str, Any], user: str | None = None) -> str:
        """The home folder of a user of a distro."""
        name = user or distro["user"]
        inside = ("root",) if name == "root" else ("home", name)
        return self.path("distros", distro["name"], *inside)
