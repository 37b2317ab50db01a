"""The emulated wslinfo inside a distro: `--networking-mode`, `--version`, `-n` (reference wsl-exe §2.3)."""

from __future__ import annotations

import sys

from kotaro_bridge.simulator import vm_client
from kotaro_bridge.simulator.state import State

USAGE = "Usage: wslinfo --networking-mode | --version | --vm-id [-n]\n"


def main(arguments: list[str]) -> int:
    state = State.from_environment()
    words = [word for word in arguments if word != "-n"]
    if words == ["--networking-mode"]:
        answer = networking(state)
    elif words in (["--version"], ["--wsl-version"]):
        answer = state.scenario["versions"]["wsl"]
    else:
        sys.stderr.write(USAGE)
        return 1
    sys.stdout.write(answer + ("" if "-n" in arguments else "\n"))
    return 0


def networking(state: State) -> str:
    """The mode of the VM that runs."""
    return str((vm_client.request(state, {"op": "list"}) or {}).get("networking", "wsl1"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
