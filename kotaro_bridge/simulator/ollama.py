"""The Ollama of a simulated Windows: `python -m kotaro_bridge.simulator.ollama FOLDER`, real HTTP on a port of its own.

What it has loaded, and so holds of the card, is the switch `ollama`. Answers the two questions that the product asks
(`GET /api/ps`, `POST /api/generate` that unloads; docs/api.md of ollama/ollama). Ends when nobody has the PC open.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from kotaro_bridge.simulator.http_base import Handler, Server
from kotaro_bridge.simulator.server_program import OLLAMA
from kotaro_bridge.simulator.state import State

MIB = 1024 * 1024
FREEING_S = 0.3
"""The answer comes before the memory is free; in seconds of the real PC."""


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


@contextmanager
def serving(state: State) -> Iterator[str]:
    """Its base URL, while it serves."""
    Api.state = state
    with Server(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


if __name__ == "__main__":
    OLLAMA.main(serving)
