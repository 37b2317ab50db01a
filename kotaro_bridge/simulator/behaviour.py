"""How an engine misbehaves on command: the words of the switch `engine`, or of `KOTARO_SIM_ENGINE` before it.

Words are separated by commas; a value follows a colon. Words that only one engine knows are ignored by the other.
"""

from __future__ import annotations

import os
import sys

from kotaro_bridge.simulator.state import State

WORDS = {
    "never-ready": "loads and then never answers that it is ready",
    "exit-at-once": "ends with code 1 before it prints anything",
    "half-utf8": "prints a line that ends in the middle of a UTF-8 character",
    "ignore-term": "ignores SIGTERM",
    "fork-child-keeps-pipe": "leaves a child in its session that keeps stdout and stderr open",
    "flood": "prints that many filler lines while it loads (default 100000)",
    "counters-go-back": "counters fall between two reads",
    "partial": "llama-server: 20 of 49 layers on the GPU (in proportion); vLLM: weights offloaded to the CPU",
    "kv-in-ram": "llama-server: KV cache in host memory; vLLM: KV cache offloaded to the CPU",
    "cpu": "llama-server: everything on the CPU, and healthy",
    "cpu-build": "an engine built without CUDA",
    "cuda-missing": "the CUDA runtime library is missing",
    "driver-old": "the driver is too old for the engine's CUDA",
    "vulkan-build": "llama-server: built for Vulkan instead of CUDA",
    "old-build": "llama-server: knows no --list-devices",
    "torch-cpu": "vLLM: a torch without CUDA",
    "oom": "no VRAM is given to it, whatever is free",
    "host-oom": "Linux kills it while it loads",
    "crash": "dies of a CUDA error that many seconds after it is ready (default 1)",
}


class Behaviour:
    """The words that are in force."""

    def __init__(self, text: str) -> None:
        pairs = [word.strip().partition(":") for word in text.split(",") if word.strip()]
        self._words = {name: value for name, _, value in pairs}
        unknown = set(self._words) - set(WORDS)
        if unknown:
            raise SystemExit(f"simulated engine: unknown behaviour {', '.join(sorted(unknown))}")

    @classmethod
    def read(cls, state: State) -> Behaviour:
        """Those of this process."""
        return cls(os.environ.get("KOTARO_SIM_ENGINE") or state.switches()["engine"])

    def __contains__(self, word: str) -> bool:
        return word in self._words

    def value(self, word: str, default: float) -> float:
        """The number behind a word."""
        return float(self._words[word] or default)


def card_reachable(state: State) -> bool:
    """Whether the driver lets this process have the card."""
    switches = state.switches()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    return not hidden and switches["nvml"] == "normal" and switches["nvidia_smi"] in ("normal", "hang")


def gpu_visible(state: State, behaviour: Behaviour) -> bool:
    """Whether an engine's CUDA finds the card in this process."""
    blind = ("cpu-build", "cuda-missing", "driver-old")
    return card_reachable(state) and not any(word in behaviour for word in blind)


def before_start(behaviour: Behaviour) -> None:
    """What a misbehaving engine does before its first line."""
    if "exit-at-once" in behaviour:
        os._exit(1)
    if "fork-child-keeps-pipe" in behaviour:
        import subprocess

        idle = [sys.executable, "-c", "import threading; threading.Event().wait()"]
        subprocess.Popen(idle, stdin=subprocess.DEVNULL, stdout=1, stderr=2)


def while_loading(behaviour: Behaviour, stream: int, filler: str) -> None:
    """What it prints in the middle of loading, on `stream`."""
    if "half-utf8" in behaviour:
        os.write(stream, b"half a character: \xe3\x83\n")
    if "flood" in behaviour:
        block = (filler + "\n").encode() * 100
        for _ in range(int(behaviour.value("flood", 100_000)) // 100):
            view = memoryview(block)
            while view:
                view = view[os.write(stream, view) :]
