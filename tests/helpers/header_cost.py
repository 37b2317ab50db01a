"""A program that reads one header under bounds: `python -m tests.helpers.header_cost KIND FILE SIZE`.

KIND is `gguf`, `part`, `safetensors`, `config` or `index`; SIZE is how long the file claims to be (zeros follow).
Prints the code of the problem, seconds of processor time, growth of this process in MiB, and bytes that were read.
"""

from __future__ import annotations

import gc
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.model.gguf_split import read_gguf_part
from kotaro_bridge.domain.model.hf_config import decode_hf_config
from kotaro_bridge.domain.model.safetensors import read_index, read_safetensors

_HEADERS: dict[str, Callable[[Callable[[int, int], bytes], int], object]] = {
    "gguf": read_gguf,
    "part": read_gguf_part,
    "safetensors": read_safetensors,
}
_TEXTS: dict[str, Callable[[bytes], object]] = {"config": decode_hf_config, "index": read_index}


def _peak_mib() -> float:
    """The most memory that this process had. (`ru_maxrss` would count what its parent had when it started this one.)"""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / (1 << 20)
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def main(kind: str, path: Path, size: int) -> None:
    read_bytes = 0
    with path.open("rb") as file:

        def read_at(offset: int, count: int) -> bytes:
            nonlocal read_bytes
            count = max(0, min(count, size - offset))
            file.seek(offset)
            data = file.read(count).ljust(count, b"\0")
            read_bytes += len(data)
            return data

        gc.collect()
        before, started = _peak_mib(), time.process_time()
        try:
            found = _HEADERS[kind](read_at, size) if kind in _HEADERS else _TEXTS[kind](path.read_bytes())
            code = type(found).__name__
        except ProblemError as error:
            code = f"{error.problem.code} {error.problem.params.get('what', '')}".strip()
        print(code, time.process_time() - started, _peak_mib() - before, read_bytes, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
