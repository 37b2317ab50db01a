"""Stands in for `resources/guardian/probe.sh` on the simulated PC of a Windows machine, which has no Linux side.

NOT the product's probe: it keeps the lines of the script for the simulated PC alone, where every program is one of our
modules. On Linux memory is that of the machine that simulates, as the script finds it there.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys

from kotaro_bridge.own_program import module_argv
from kotaro_bridge.simulator import engine_question, loopback, vm_shown
from kotaro_bridge.simulator.behaviour import Behaviour
from kotaro_bridge.simulator.guardian_stand_in import in_home, scrubbed
from kotaro_bridge.simulator.state import State, python_environment

ASK_S = 10.0
TIMED_OUT = 124
SAID_LINES, CONFIG_LINES = 40, 20
PART = re.compile(r':\s*"([A-Za-z0-9_.=-]*\.safetensors)"\s*[,}]')
MODULE = re.compile(r"-m (kotaro_bridge\.simulator\.\w+)(.*) \"\$@\"")


def lines(state: State, arguments: list[str], environment: dict[str, str]) -> list[str]:
    """What the script prints."""
    kind, model, projector, port, unset, keep, *rest = arguments
    split = rest.index("--")
    home = environment["HOME"]
    told = _memory(state)
    told += [
        f"{name} {_size(in_home(path, home))}" for name, path in (("model", model), ("projector", projector)) if path
    ]
    if kind != "llama-server" and model:
        told += _parts(in_home(model, home))
    told.append("port free" if loopback.port_free(int(port, 16)) else "port taken")
    if kind == "llama-server":
        own = environment.get("XDG_CONFIG_HOME") or f"{home}/.config"
        told.append("configs looked")
        told += [*_config("system", "/etc/llama.cpp/config.ini"), *_config("user", f"{own}/llama.cpp/config.ini")]
    assigned = dict(pair.split("=", 1) for pair in rest[:split])
    inside = {
        **scrubbed(environment, unset.split(","), keep.split(",")),
        **assigned,
        **python_environment(state.folder),
    }
    engine = in_home(rest[split + 1], home)
    found = shutil.which(engine, path=environment["PATH"])
    if found is None or not _runs(found):
        return [*told, "engine unusable" if os.path.exists(engine) else "engine missing"]
    told.append("engine ok")
    if kind == "llama-server":
        links = engine_question.links(Behaviour.read(state)) if engine_question.is_llama_server(found) else None
        return [*told, *_linked(links), *_asked(found, rest[split + 2 :], inside)]
    python = f"{os.path.dirname(os.path.realpath(found))}/python"
    return [*told, *(_asked(python, rest[split + 2 :], inside) if os.path.isfile(python) else ["devices.code none"])]


def _memory(state: State) -> list[str]:
    """On Windows the VM's: psutil asks there for the swap in performance counters, which may be switched off."""
    if sys.platform == "win32":
        sizes = vm_shown.sizes(vm_shown.shown(state))
        return [f"memory {sizes['MemTotal']}", f"swap {sizes['SwapTotal']}"]
    import psutil

    return [f"memory {psutil.virtual_memory().total // 1024}", f"swap {psutil.swap_memory().total // 1024}"]


def _size(path: str) -> str:
    if os.path.isfile(path) and os.access(path, os.R_OK):
        return str(os.path.getsize(path))
    return "0" if os.path.isdir(path) else "missing"


def _parts(folder: str) -> list[str]:
    """What the index of a folder names and is not there; of files `consolidated*`, where there are any."""
    alone = {os.path.basename(path) for path in glob.glob(f"{glob.escape(folder)}/consolidated*.safetensors")}
    index = f"{folder}/{'consolidated' if alone else 'model'}.safetensors.index.json"
    named = alone
    if os.path.isfile(index):
        with open(index, encoding="utf-8", errors="replace") as file:
            named = set(PART.findall(file.read()))
    missing = (name for name in sorted(named) if _size(f"{folder}/{name}") in ("0", "missing"))
    return [f"model.missing {name}" for name in missing]


def _config(whose: str, path: str) -> list[str]:
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [f"config {whose} {path}", *(f"config.line {line}" for line in file.read().splitlines()[:CONFIG_LINES])]


def _runs(program: str) -> bool:
    """Windows has no permission for it: there only what names its module is a program."""
    if sys.platform != "win32":
        return True
    with open(program, encoding="utf-8", errors="replace") as file:
        return MODULE.search(file.read()) is not None


def _asked(program: str, arguments: list[str], environment: dict[str, str]) -> list[str]:
    """Run a program file of the simulated PC, which names the module that it is."""
    with open(program, encoding="utf-8") as file:
        module = MODULE.search(file.read())
    if module is None:
        raise AssertionError(f"{program} is no program of a simulated PC")
    command = [*module_argv(module.group(1)), *module.group(2).split(), *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=ASK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"devices.code {TIMED_OUT}", "devices.said "]
    said = done.stdout.decode(errors="replace").rstrip("\n").split("\n")
    return [f"devices.code {done.returncode}", *(f"devices.said {line.rstrip(chr(13))}" for line in said[-SAID_LINES:])]


def _linked(links: list[str] | None) -> list[str]:
    if links is None:
        return []
    return ["links told", *(f"link {line}" for line in links if "libcud" in line or "libggml-cuda" in line)]
