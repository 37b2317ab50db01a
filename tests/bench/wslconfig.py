"""A .wslconfig of 1 MB, as nobody should have one: how long until everything is said of it."""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

from kotaro_bridge.domain.units import GIB
from kotaro_bridge.domain.wslconfig_advice import lint
from kotaro_bridge.domain.wslconfig_document import Document
from kotaro_bridge.domain.wslconfig_recommend import HostFacts
from tests.bench.measure import Result, spread

SIZE = 1 << 20
RUNS = 21
LIMIT_MS = 100.0
LINES = (
    "# a comment about what follows\r\n",
    "\r\n",
    "[wsl2]\r\n",
    "memory={}GB # why\r\n",
    "swap={}\r\n",
    "processors={}\r\n",
    "setting{}=true\r\n",
)

ALONE = {
    "headers": b"[wsl2]\r\n",
    "comments of INI": b"; a comment as WSL has none\r\n",
}
"""Lines of which a whole file is made."""


def measure(_: Path) -> list[Result]:
    """A file of settings and comments, one of random bytes, and files of one line again and again."""
    chance = random.Random(1)  # noqa: S311 - no secrets
    block = "".join(chance.choice(LINES).format(chance.randint(1, 99)) for _ in range(1000)).encode()
    contents = {"settings": block * (SIZE // len(block) + 1), "junk": chance.randbytes(SIZE)}
    contents |= {name: line * (SIZE // len(line) + 1) for name, line in ALONE.items()}
    return [_result(name, data) for name, data in contents.items()]


def _result(name: str, data: bytes) -> Result:
    facts = HostFacts(32 * GIB, 16, 100 * GIB)
    found: list[float] = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        lint(Document(data), facts)
        found.append((time.perf_counter() - begin) * 1000)
    what = f".wslconfig of {len(data) / SIZE:.1f} MB ({name}): parsed and linted ({RUNS} runs)"
    return Result(f"wslconfig {name}", what, statistics.median(found), "ms", LIMIT_MS, spread(found))
