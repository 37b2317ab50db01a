"""A stand-in of the hub with small models, and a Linux user who has the real client."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.model_files import TargetModels
from kotaro_bridge.simulator.hub import MIB, HubContent, HubModel

SIZE = 12 * MIB
SAFETENSORS = HubModel(
    "org/model",
    (
        HubContent("config.json", 700, large=False),
        HubContent("model.safetensors", SIZE),
        HubContent("sub/a.txt", 3, False),
    ),
)
GGUF = HubModel("org/gguf", (HubContent("m-q4_k_m.gguf", SIZE), HubContent("m-q8_0.gguf", SIZE)))
GATED = HubModel(
    "org/gated", (HubContent("config.json", 700, False), HubContent("model.safetensors", 5 * MIB)), gated=True
)
MODELS = (SAFETENSORS, GGUF, GATED)


def user(home: Path, endpoint: str, *, client: bool = True) -> dict[str, str]:
    """Environment of a Linux user; `client`: the real `hf` is where pipx puts it."""
    if client:
        place = home / ".local" / "bin"
        place.mkdir(parents=True, exist_ok=True)
        # What pipx leaves there: a link to a script whose first line names the Python that has the client.
        (place / "hf").write_text(f"#!{sys.executable}\n", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    return {**kept, "HOME": str(home), "PATH": "/usr/bin:/bin", "HF_ENDPOINT": endpoint}


def target(environment: dict[str, str]) -> TargetModels:
    """Model files of that user."""
    return TargetModels(LocalLauncher(environment))
