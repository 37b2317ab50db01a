"""The Ollama of a simulated Windows: `python -m kotaro_bridge.simulator.ollama FOLDER`, real HTTP on a port of its own.

What it has loaded, and so holds of the card, is the switch `ollama`. Answers the two questions that the product asks
(`GET /api/ps`, `POST /api/generate` that unloads; docs/api.md of ollama/ollama). Ends when nobody has the PC open.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, ClassVar

from kotaro_bridge.own_program import module_argv
from kotaro_bridge.simulator import owners, procs
from kotaro_bridge.simulator.http_base import Handler, Server
from kotaro_bridge.simulator.state import State, python_environment, read_json, write_json

MIB = 1024 * 1024
LOOK_S = 1.0
FREEING_S = 0.3
"""The answer comes before the memory is free; in seconds of the real PC."""


def address(state: State) -> str | None:
    """Base URL of the program that runs; None where none does."""
    noted = read_json(state.path("ollama.json"))
    if noted is None or not procs.is_alive(noted["pid"], noted["start"]):
        return None
    return f"http://127.0.0.1:{noted['port']}"


def start(state: State) -> None:
    """Start it, if the PC has one and it does not run; it listens when this returns.

    Raises:
        ConnectionError: the program is broken; its log is `ollama.log` in the state folder.
    """
    if not state.switches()["ollama"] or address(state) is not None:
        return
    with open(state.path("ollama.log"), "ab") as log:
        subprocess.run(  # ends when the server listens: that one is a child of what is started here
            [*module_argv("kotaro_bridge.simulator.ollama"), state.folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, **python_environment(state.folder)},
            **procs.apart(),
            check=False,
        )
    if address(state) is None:
        raise ConnectionError("the simulated Ollama did not start; see ollama.log in its state folder")


def stop(state: State) -> None:
    """End it with its PC."""
    if address(state) is not None:
        procs.kill(read_json(state.path("ollama.json"))["pid"], procs.KILL)


class Api(Handler):
    """The part of Ollama's API that the product uses."""

    state: ClassVar[State]

    def route(self, method: str, path: str) -> None:
        """Answer one request."""
        if (method, path) == ("GET", "/api/ps"):
            sizes = [(each["name"], each["mib"] * MIB) for each in self.state.switches()["ollama"]]
            models = [{"name": name, "model": name, "size": size, "size_vram": size} for name, size in sizes]
            self.json(200, {"models": models})
        elif (method, path) == ("POST", "/api/generate"):
            self._generate(json.loads(self.body()))
        else:
            self.json(404, {"error": "not found"})

    def _generate(self, wanted: dict[str, Any]) -> None:
        name = wanted["model"]
        loaded = self.state.switches()["ollama"]
        if wanted.get("prompt") or wanted.get("keep_alive") != 0 or all(each["name"] != name for each in loaded):
            self.json(404, {"error": f"model '{name}' not found"})
            return
        self.json(200, {"model": name, "response": "", "done": True, "done_reason": "unload"})
        time.sleep(self.state.scaled(FREEING_S))
        self.state.change(ollama=[each for each in self.state.switches()["ollama"] if each["name"] != name])


def main() -> None:
    """Serve a PC, or (without the second word) start the server in the background and wait until it listens."""
    if len(sys.argv) == 2:
        command = [*module_argv("kotaro_bridge.simulator.ollama"), sys.argv[1], "serve"]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        listening = child.stdout.readline() if child.stdout is not None else b""
        os._exit(0 if listening else 1)  # not through the end of the interpreter, which would ask after the child
    state = State(sys.argv[1])
    Api.state = state
    with Server(("127.0.0.1", 0), Api) as server:
        noted = {"pid": os.getpid(), "start": procs.start_ticks(os.getpid()), "port": server.server_address[1]}
        write_json(state.path("ollama.json"), noted)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("listening", flush=True)
        while owners.anybody(state):
            time.sleep(LOOK_S)
        server.shutdown()


if __name__ == "__main__":
    main()
