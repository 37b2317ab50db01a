"""The simulated cards: what Windows holds, what the engines claim, and what the driver then reports.

A program that takes VRAM keeps a claim for each card, `gpu/claims/<pid>-<card>.json` in the state folder. It counts
while that very process lives. Standard library only: nvidia-smi and the engines read it often.
"""

from __future__ import annotations

import os
from typing import Any

from kotaro_bridge.simulator import procs
from kotaro_bridge.simulator.state import State, read_json, write_json

MIB = 1024 * 1024
OLLAMA_PID = 14020


def cards(state: State) -> list[dict[str, Any]]:
    """The cards of the PC, in the order of the PCI bus."""
    return [state.scenario["gpu"], *state.scenario["more_gpus"]]


def visible(state: State) -> list[int]:
    """Indices of the cards that CUDA_VISIBLE_DEVICES leaves this process, in its order."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return list(range(len(cards(state))))
    found = []
    for word in chosen.split(","):
        if not word.strip().isdigit() or int(word) >= len(cards(state)):
            break  # as CUDA does: what comes behind one that is not there is not there either
        found.append(int(word))
    return found


class Usage:
    """One card at one moment; sizes in bytes.

    Args:
        index: which of them.
        dedicated: VRAM of the desktop and of the engines. shared: system memory used as GPU memory, for both.
        engine_dedicated, engine_shared: the engines' part. busy: share of time with work, 0 to 1.
    """

    def __init__(self, state: State, index: int = 0) -> None:
        gpu = cards(state)[index]
        claims = [claim for claim in live_claims(state) if claim["card"] == index]
        programs = desktop_processes(state, index)
        desktop = sum(each["mib"] for each in programs) * MIB
        shared = gpu["shared_mib"] + sum(each.get("shared_mib", 0) for each in programs)
        claimed = sum(claim["bytes"] for claim in claims)
        self.total = gpu["total_mib"] * MIB
        self.reserved = gpu["reserved_mib"] * MIB
        room = max(0, self.total - self.reserved - desktop)
        limit = state.switches()["vram_limit_mib"]
        self.engine_dedicated = min(claimed, room if limit is None else min(room, limit * MIB))
        self.engine_shared = claimed - self.engine_dedicated
        self.dedicated = desktop + self.engine_dedicated
        self.shared = shared * MIB + self.engine_shared + sum(claim["pinned"] for claim in claims)
        self.free = self.total - self.reserved - self.dedicated
        self.busy = min(1.0, sum(claim["busy"] for claim in claims))


def cuda_total_mib(state: State, index: int = 0) -> int:
    """What CUDA says the card has: all but the driver's reserve (captures: 81,079 of 81,559 MiB)."""
    gpu = cards(state)[index]
    return int(gpu["total_mib"] - gpu["reserved_mib"])


def desktop_processes(state: State, index: int) -> list[dict[str, Any]]:
    """The Windows processes that hold VRAM of a card: name, pid, mib, and shared_mib where it is known. Ollama and what
    does not say which card it uses are on the first.
    """
    gpu = cards(state)[index]
    loaded = sum(model["mib"] for model in state.switches()["ollama"])
    ollama = [{"name": "ollama.exe", "pid": OLLAMA_PID, "mib": loaded}] if loaded and not index else []
    started = [each for each in state.switches()["programs"] if each.get("card", 0) == index]
    return [*gpu["desktop"], *gpu["more_desktop"], *ollama, *started]


def driver_version(state: State) -> str:
    """The driver that Windows runs now."""
    return str(state.switches()["driver"] or state.scenario["gpu"]["driver"])


def live_claims(state: State) -> list[dict[str, Any]]:
    """The claims of processes that live."""
    folder = state.path("gpu", "claims")
    found = [read_json(os.path.join(folder, name)) for name in sorted(os.listdir(folder)) if name.endswith(".json")]
    return [claim for claim in found if claim is not None and procs.is_alive(claim["pid"], claim["start"])]


class Claim:
    """What this process holds of a card. Ends with the process; nothing has to be given back."""

    def __init__(self, state: State, name: str, card: int = 0) -> None:
        pid = os.getpid()
        self._path = state.path("gpu", "claims", f"{pid}-{card}.json")
        self._state = state
        self._card = card
        self._value: dict[str, Any] = {
            "pid": pid,
            "start": procs.start_ticks(pid),
            "name": name,
            "card": card,
            "bytes": 0,
            "pinned": 0,
            "busy": 0.0,
        }

    @property
    def bytes(self) -> int:
        """What is held now."""
        return int(self._value["bytes"])

    def grow(self, size: int) -> bool:
        """Take `size` more bytes; False (and nothing taken) when the card has no room and the driver does not spill."""
        fits = size <= Usage(self._state, self._card).free or self._state.switches()["vram_limit_mib"] is not None
        if fits:
            self._write(bytes=self.bytes + size)
        return fits

    def pin(self, size: int) -> None:
        """Host memory pinned for the GPU; Windows counts it as shared GPU memory."""
        self._write(pinned=size)

    def work(self, busy: float) -> None:
        """How busy the card is with this process, 0 to 1."""
        if busy != self._value["busy"]:
            self._write(busy=busy)

    def _write(self, **changes: float) -> None:
        self._value.update(changes)
        write_json(self._path, self._value)
