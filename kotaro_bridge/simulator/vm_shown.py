"""What Linux shows of the running VM in /proc: written when it starts, read by whoever answers for the Linux side."""

from __future__ import annotations

import os
import re

from kotaro_bridge.simulator.state import State


def show(state: State, proc: dict[str, str]) -> None:
    """Let the Linux side see the VM that has just started, by file name."""
    for name, content in proc.items():
        path = os.path.join(state.proc_path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)


def shown(state: State) -> dict[str, str]:
    """What the Linux side sees of the VM that runs, by file name."""
    found = {}
    for folder, _, names in os.walk(state.proc_path):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8") as file:
                found[os.path.relpath(path, state.proc_path).replace(os.sep, "/")] = file.read()
    return found


def sizes(proc: dict[str, str]) -> dict[str, str]:
    """KiB of memory and swap, by their names in `meminfo`, of what `shown` gives."""
    return dict(re.findall(r"^(\w+): *(\d+) kB$", proc["meminfo"], re.MULTILINE))
