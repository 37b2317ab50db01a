"""The real llama-server on the CPU: what its log says of a model, and the header of that model."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kotaro_bridge.domain.model.gguf import GgufModel, read_gguf
from tests.helpers.gguf_header import reader

_QUIET = ("--device", "none", "--fit", "off", "--no-warmup", "-t", "1", "-lv", "4")


def log_until_listening(server: Path, model: Path, *arguments: str) -> str:
    """Start it, and end it once it listens; an end before that is in the log."""
    argv = [str(server), "-m", str(model), "--host", "127.0.0.1", "--port", "0", *_QUIET, *arguments]
    lines = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.decode(errors="replace"))
            if "listening on" in lines[-1]:
                process.kill()
    return "".join(lines)


def header(path: Path) -> GgufModel:
    """A model's header, from its file."""
    data = path.read_bytes()
    return read_gguf(reader(data), len(data))
