"""The state folder in which the programs of one simulated PC meet: paths, scenario, switches, clock.

Owns the files' names and formats. Read by programs that start often, so it imports the standard library only and hands
out plain values; the typed form of a scenario is in `scenario.py`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

VARIABLE = "KOTARO_SIM"
VMSTAT = "KOTARO_VMSTAT"
"""Names the file that the guardian reads instead of /proc/vmstat: no simulated engine is really short of RAM."""
PROC = "KOTARO_PROC"
"""Names the folder that is read instead of /proc where somebody asks for the VM: it is no machine of its own."""
PATIENCE_S = 2.0

WSL_NVIDIA_SMI = "/usr/lib/wsl/lib/nvidia-smi"
WSLINFO = ("/usr/bin/wslinfo", "/bin/wslinfo")
PLAIN_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
ENGINES = {"llama.cpp/build/bin/llama-server": "engine_llama", "vllm/bin/vllm": "engine_vllm"}
"""Engines in the home folder of the default distro's user, with the module that each one is."""
VLLM_PYTHON = "vllm/bin/python"

SWITCHES: dict[str, Any] = {
    "wsl": "normal",  # normal, stub, hang, e_unexpected
    "wsl_delay_s": 0.0,
    "nvidia_smi": "normal",  # normal, missing, blocked, hang
    "nvml": "normal",  # normal, missing, lost, failed; hang (only the library of tests/windows does)
    "engine": "",  # words of `behaviour.py`, separated by commas
    "windows_ports_taken": [],
    "linux_side": "real",  # real, stand-in; always stood in for on Windows
    "time_scale": 1.0,
    "vram_limit_mib": None,
    "driver": None,  # version of a driver that was installed since
    "counters": "normal",  # normal, missing
    "programs": [],  # Windows programs started since: name, pid, mib, shared_mib, card (of several)
    "ollama": [],  # models that Ollama has loaded: name, mib
    "shutdown": "normal",  # normal, hang
    "docker_returns": False,  # Docker Desktop starts its distro again as soon as it is stopped
    "policy": [],  # keys of .wslconfig that a policy of the computer overrules
    "mirrored": "works",  # works, refused: then the VM falls back to NAT
    "drive_free_mib": None,  # free on the Windows drive with the distros' disks
    "memory_cap_mib": None,  # the VM gets no more than this, whatever .wslconfig says
}
"""What can be changed while the PC runs, with the values of a PC in order.

`vram_limit_mib`: the driver keeps at most this much of the engines' memory on the card and backs the rest with system
memory (None: all of it, and an allocation beyond the card fails).
`programs`: what they take of a full card is taken from the engines, whose part goes to system memory.
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
    _patiently(lambda: os.replace(temporary, path))


def read_json(path: str) -> Any:
    """The value of a file, or None when it does not exist."""
    try:
        with _patiently(lambda: open(path, encoding="utf-8")) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def _patiently(action: Callable[[], T]) -> T:
    """On Windows a file that is open for reading cannot be replaced, and one that is being replaced not be opened."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return action()
        except PermissionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.002)


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

    @property
    def proc_path(self) -> str:
        """What stands for /proc of the VM; see `PROC`."""
        return self.path("proc")

    @property
    def vmstat_path(self) -> str:
        return self.path("vmstat")

    def oom_kill(self) -> None:
        """Linux counts one more process that it has killed for want of RAM."""
        with open(self.vmstat_path, "r+", encoding="ascii") as file:
            kills = int(file.read().split()[1])
            file.seek(0)
            file.write(f"oom_kill {kills + 1}\n")

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


def distro_environment(state: State, message: dict[str, Any], *, gpu: bool) -> dict[str, str]:
    """What WSL gives a program: its own set, and the variables that WSLENV names.

    Args:
        message: a launch, with `distro`, `user` and `env`. gpu: whether the VM has the card.
    """
    distro = state.distro(message["distro"])
    if distro is None:
        raise AssertionError("a running distro is registered")
    user = message["user"] or distro["user"]
    card = [state.path("wsl-lib")] if gpu else []
    return {
        "HOME": state.home(distro, user),
        "USER": user,
        "LOGNAME": user,
        "SHELL": login_shell(),
        "PATH": os.pathsep.join([state.path("bin"), *card, *PLAIN_PATH]),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "NAME": "SIMULATED-PC",
        "WSL_DISTRO_NAME": distro["name"],
        # The machine that this PC is simulated on may have a card of its own, which is not meant.
        "NVIDIA_SMI": state.path("wsl-lib" if gpu else "no-lib", "nvidia-smi"),
        VMSTAT: state.vmstat_path,
        PROC: state.proc_path,
        **message["env"],
    }
