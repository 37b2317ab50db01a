"""What the simulated engines say of their devices before a start: `--list-devices`, the loader's view, vLLM's packages.

`python -m kotaro_bridge.simulator.engine_question devices` is `llama-server --list-devices` without the rest of the
simulated server; `… python ANYTHING` is the Python beside the simulated vLLM and answers as `vllm_probe.py` would.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys

from kotaro_bridge.simulator import behaviour as words
from kotaro_bridge.simulator.behaviour import Behaviour
from kotaro_bridge.simulator.card import Usage, cards, cuda_total_mib, visible
from kotaro_bridge.simulator.state import ENGINES, State

MIB = 1024 * 1024
CUDA_MAJOR = 13
TORCH, TORCH_CUDA = "2.11.0", "13.0"
OLD_CUDA = "12.7"
DRIVER_TOO_OLD = "CUDA driver version is insufficient for CUDA runtime version"
NO_DEVICE = "no CUDA-capable device is detected"
LLAMA_SERVER = next(iter(ENGINES))
LINKED_OTHERWISE = ("cpu-build", "vulkan-build", "cuda-missing")
CLIENT = "huggingface_hub"
NO_CLIENT = b'@fetch {"error": {"kind": "no_client"}}\n'
REAL_LDD = "/usr/bin/ldd"
NO_SUCH_FILE = "cannot open shared object file: No such file or directory"


def tell_devices(state: State, behaviour: Behaviour) -> int:
    """Be `llama-server --list-devices`; the exit code."""
    complaint = cuda_complaint(state, behaviour)
    if complaint is not None:
        os.write(2, f"ggml_cuda_init: failed to initialize CUDA: {complaint}\n".encode())
    os.write(1, list_devices(state, behaviour).encode())
    return 0


def list_devices(state: State, behaviour: Behaviour) -> str:
    """Stdout of `llama-server --list-devices`."""
    backend = "Vulkan" if "vulkan-build" in behaviour else "CUDA"
    seen = llama_devices(state, behaviour) if backend == "CUDA" else visible(state)
    lines = []
    for position, index in enumerate(seen):
        gpu = cards(state)[index]
        free = max(Usage(state, index).free // MIB - gpu["cuda_context_mib"], 0)
        lines.append(f"  {backend}{position}: {gpu['name']} ({cuda_total_mib(state, index)} MiB, {free} MiB free)\n")
    return "Available devices:\n" + ("".join(lines) or "  (none)\n")


def llama_devices(state: State, behaviour: Behaviour) -> list[int]:
    """Indices of the cards that the simulated llama-server sees as CUDA0, CUDA1 and so on."""
    return visible(state) if llama_sees_gpu(state, behaviour) else []


def llama_sees_gpu(state: State, behaviour: Behaviour) -> bool:
    """Whether the simulated llama-server has a CUDA device."""
    return "vulkan-build" not in behaviour and words.gpu_visible(state, behaviour)


def cuda_complaint(state: State, behaviour: Behaviour) -> str | None:
    """Why CUDA could not begin, in its own words; None where a llama-server would be silent."""
    silent = ("cpu-build", "cuda-missing", "vulkan-build")
    if any(word in behaviour for word in silent) or words.gpu_visible(state, behaviour):
        return None
    return DRIVER_TOO_OLD if "driver-old" in behaviour else NO_DEVICE


def links(behaviour: Behaviour) -> list[str]:
    """Lines of ldd for the simulated llama-server, which has its backends linked in."""
    if "cpu-build" in behaviour or "vulkan-build" in behaviour:
        return ["libggml-cpu.so.0 => /usr/local/lib/libggml-cpu.so.0 (0x00007f0000000000)"]
    runtime = f"libcudart.so.{CUDA_MAJOR}"
    where = "not found" if "cuda-missing" in behaviour else f"/usr/local/cuda/lib64/{runtime} (0x00007f0000200000)"
    return ["libggml-cuda.so.0 => /usr/local/lib/libggml-cuda.so.0 (0x00007f0000100000)", f"{runtime} => {where}"]


def vllm_facts(state: State, behaviour: Behaviour) -> list[str]:
    """Lines of `vllm_probe.py`."""
    found = [cards(state)[index] for index in visible(state)]
    wheel = "+cpu" if "cpu-build" in behaviour else ""
    plain = "torch-cpu" in behaviour or bool(wheel)
    lines = [f"vllm {state.scenario['engines']['vllm_version']}{wheel}"]
    lines += [f"torch {TORCH}+cpu", "cuda None"] if plain else [f"torch {TORCH}+cu130", f"cuda {TORCH_CUDA}"]
    if not plain:
        lines.append(f"library libcudart.so.13: {NO_SUCH_FILE}" if "cuda-missing" in behaviour else "library ok")
    seen = words.card_reachable(state)
    cuda = state.scenario["gpu"]["cuda"]
    major, minor = map(int, (OLD_CUDA if "driver-old" in behaviour else cuda).split("."))
    lines += ["driver ok", f"init {0 if seen else 100}", f"driver_cuda {major * 1000 + minor * 10}"]
    if not seen:
        return lines
    return [*lines, f"count {len(found)}", *(f"device {gpu['compute_cap']} {gpu['name']}" for gpu in found)]


def is_llama_server(path: str) -> bool:
    """Whether a program file is that of the simulated llama-server."""
    return os.path.realpath(path).replace(os.sep, "/").endswith(f"/{LLAMA_SERVER}")


def ldd_script(state: State) -> str:
    """A program that is the loader's view of the simulated llama-server, and the real ldd for every other program. In
    sh: it runs at every start, and a Python of its own would take a tenth of the time that the gate takes.
    """
    cases = [f"*{word}*) printf '\\t%s\\n' {shlex.join(links(Behaviour(word)))} ;;" for word in LINKED_OTHERWISE]
    usual = f"*) printf '\\t%s\\n' {shlex.join(links(Behaviour('')))} ;;"
    return "\n".join(
        (
            "#!/bin/sh",
            f'case $(readlink -f "$1") in */{LLAMA_SERVER}) ;; *) exec {REAL_LDD} "$@" ;; esac',
            f"case ${{KOTARO_SIM_ENGINE:-$(cat {shlex.quote(state.path('switches.json'))})}} in",
            *(*cases, usual),
            "esac\n",
        )
    )


def main(arguments: list[str]) -> int:
    state = State.from_environment()
    behaviour = Behaviour.read(state)
    if arguments[0] == "devices":
        return tell_devices(state, behaviour)
    code = arguments[2] if arguments[1:2] == ["-c"] else ""
    if CLIENT in code:
        return _client(state, code)
    os.write(1, "".join(f"{line}\n" for line in vllm_facts(state, behaviour)).encode())
    return 0


def _client(state: State, code: str) -> int:
    """Run code that wants the official Hugging Face client, which comes with vLLM: the one of this Python, against the
    simulated hub; does not return. Where this Python has none it is missing in the distro as well: a simulated PC never
    asks the real hub.
    """
    only_asks = code.startswith("import ")
    if importlib.util.find_spec(CLIENT) is None:
        os.write(1, b"" if only_asks else NO_CLIENT)
        return 0 if only_asks else 3
    if "HF_ENDPOINT" not in os.environ and not only_asks:
        from kotaro_bridge.simulator.server_program import HUB  # nothing for the question before each start

        os.environ["HF_ENDPOINT"] = HUB.start(state)
    os.execv(sys.executable, [sys.executable, "-c", code])  # noqa: S606 - the code that the product sends to a target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
