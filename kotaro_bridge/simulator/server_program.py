"""A server of a simulated PC that is a program of its own: started in the background, found by a note, ended with it.

Owns the note `<name>.json` in the state folder. What is served is the business of `simulator/<name>.py`; whoever only
wants the address does not load a server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from kotaro_bridge.own_program import module_argv
from kotaro_bridge.simulator import owners, procs
from kotaro_bridge.simulator.state import State, python_environment, read_json, write_json

LOOK_S = 1.0


class ServerProgram:
    """One server.

    Args:
        name: of its module.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._argv = module_argv(f"kotaro_bridge.simulator.{name}")

    def address(self, state: State) -> str | None:
        """Base URL of the program that runs; None where none does."""
        noted = read_json(self._note(state))
        return noted["address"] if noted is not None and procs.is_alive(noted["pid"], noted["start"]) else None

    def start(self, state: State) -> str:
        """Its address, once it listens; started if it does not run.

        Raises:
            ConnectionError: the program is broken; its log is `<name>.log` in the state folder.
        """
        if (found := self.address(state)) is not None:
            return found
        with open(state.path(f"{self._name}.log"), "ab") as log:
            subprocess.run(  # ends when the server listens: that one is a child of what is started here
                [*self._argv, state.folder],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **python_environment(state.folder)},
                **procs.apart(),
                check=False,
            )
        if (found := self.address(state)) is None:
            raise ConnectionError(f"the simulated {self._name} did not start; see {self._name}.log in its state folder")
        return found

    def stop(self, state: State) -> None:
        """End it before nobody has the PC open."""
        if self.address(state) is not None:
            procs.kill(read_json(self._note(state))["pid"], procs.KILL)

    def main(self, serving: Callable[[State], AbstractContextManager[str]]) -> None:
        """The program: serve a PC, or (without the second word) start the server in the background and wait for it.

        Args:
            serving: serves in threads as long as it is open, at the base URL that it gives.
        """
        if len(sys.argv) == 2:
            child = subprocess.Popen(
                [*self._argv, sys.argv[1], "serve"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
            listening = child.stdout.readline() if child.stdout is not None else b""
            os._exit(0 if listening else 1)  # not through the end of the interpreter, which would ask after the child
        state = State(sys.argv[1])
        with serving(state) as address:
            noted = {"pid": os.getpid(), "start": procs.start_ticks(os.getpid()), "address": address}
            write_json(self._note(state), noted)
            print("listening", flush=True)
            while owners.anybody(state):
                time.sleep(LOOK_S)

    def _note(self, state: State) -> str:
        return state.path(f"{self._name}.json")


HUB = ServerProgram("hub")
OLLAMA = ServerProgram("ollama")
