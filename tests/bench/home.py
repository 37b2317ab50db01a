"""Where the measured programs live: a home folder of their own, so that no setting of this user has a say."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kotaro_bridge.app.product import Product
from kotaro_bridge.app.this_pc import simulated_setting
from kotaro_bridge.host.paths import Paths
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.simulator.pc import SimulatedPC
from kotaro_bridge.texts import Texts
from tools.console import BUILD, ROOT

SCENARIO = "rtx4070-12gb"
PYTHON = Path(sys.executable)
PROFILE_ID = "bench"
_PROFILE = """\
title = "Bench"
engine = "llama-server"
executable = "{executable}"
model = "{model}"
served_name = "bench"
context = {context}
target = "{target}"
port = {port}
"""


def environment(folder: Path) -> dict[str, str]:
    """The environment of a measured program.

    Compiled modules are kept, as they are for whoever has it installed: a machine that forbids writing them
    (PYTHONDONTWRITEBYTECODE) would measure Python's compiler.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    places = {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("STATE", "CONFIG", "CACHE", "DATA")}
    home = {"HOME": str(folder), "LANG": "C.UTF-8", "PYTHONPYCACHEPREFIX": str(BUILD / "bench" / "pycache")}
    return {**env, **places, **home, "PYTHONPATH": str(ROOT)}


@contextmanager
def at_home(folder: Path) -> Iterator[None]:
    """This process itself is the measured program meanwhile."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment(folder))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def simulated_product(
    folder: Path, *, change: Callable[[Machine], Machine] = lambda machine: machine, **switches: Any
) -> Iterator[tuple[Product, SimulatedPC]]:
    """The product on a simulated PC, in this process.

    Args:
        change: puts its own adapters into the machine, to see what goes through them.
        switches: of the simulated PC.
    """
    with at_home(folder):
        setting = simulated_setting(SCENARIO)
        pc = SimulatedPC.open(SCENARIO, Paths.of_user().simulated(SCENARIO) / "pc")
        pc.set(**switches)
        setting.machine = change(setting.machine)
        with Product(setting, Texts("en")) as product:
            product.own()
            yield product, pc


def write_profile(
    folder: Path,
    profile_id: str,
    *,
    executable: str = "~/llama.cpp/build/bin/llama-server",
    model: str = "~/models/Qwen2.5-14B-Instruct-Q4_K_M.gguf",
    context: int = 8192,
    target: str = "wsl:",
) -> None:
    """A profile of that product's user, on a port that is free: by default the simulated engine and its 14B model."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = _PROFILE.format(executable=executable, model=model, context=context, target=target, port=port)
    (simulated_paths(folder).profiles / f"{profile_id}.toml").write_text(text, encoding="utf-8")


def simulated_paths(folder: Path) -> Paths:
    """Where that product keeps what belongs to the simulated PC."""
    with at_home(folder):
        return Paths(Paths.of_user().simulated(SCENARIO))
