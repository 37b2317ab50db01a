"""A .wslconfig of 1 MB, as nobody should have one: how long until everything is said of it."""

from __future__ import annotations

import random
import statistics
import string
import time
from pathlib import Path

from kotaro_bridge.domain.units import GIB
from kotaro_bridge.domain.wsl.wslconfig_advice import lint
from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts
from tests.bench.measure import Result, spread

SIZE = 1 << 20
RUNS, WORST_RUNS = 21, 5
LIMIT_MS = 100.0
WORST_LIMIT_MS = 1000.0
"""For files that nothing but a test writes: a warning or a section for every two to nine bytes, half a million at most.
Making a message takes a fifth of a microsecond, so 100 ms cannot be had there."""
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
    "single backslashes": b"swapFile=C:\\temp\\wsl\\swap.vhdx\r\n",
    "open quotes": b'kernelCommandLine="panic=-1 quiet\r\n',
    "prose": b"these are no settings at all\r\n",
}
"""Lines of which a whole file is made, below `[wsl2]`."""

SHORTEST = (";", "a", "[", "[a_", 'a="', "a=\\x", "a=1", 'a="1"', "memory=1", "[a]\nb=", "swap=\\x", 'swap="')
"""The shortest line of each kind, and what follows each other most expensively."""


def measure(_: Path) -> list[Result]:
    """A file of settings and comments, random bytes and letters, files of one usual line again and again; and the
    slowest of the files of shortest lines, and of ever new headers."""
    chance = random.Random(1)  # noqa: S311 - no secrets
    block = "".join(chance.choice(LINES).format(chance.randint(1, 99)) for _ in range(1000)).encode()
    letters = string.printable.encode()
    contents = {"settings": block, "junk": chance.randbytes(SIZE), "letters": bytes(chance.choices(letters, k=SIZE))}
    contents |= {name: line * 100 for name, line in ALONE.items()}
    results = [_result(name, b"[wsl2]\r\n" + _filled(data)) for name, data in contents.items()]
    worst = {repr(line): b"[wsl2]\n" + _filled(f"{line}\n".encode()) for line in SHORTEST}
    worst["ever new headers"] = _filled("".join(f"[a{number}]\n" for number in range(100_000)).encode())
    taken = {name: [_taken_ms(data) for _ in range(WORST_RUNS)] for name, data in worst.items()}
    name = max(taken, key=lambda each: statistics.median(taken[each]))
    what = f".wslconfig of 1.0 MB, the slowest of {len(worst)} made of shortest lines ({name}; {WORST_RUNS} runs)"
    found = taken[name]
    return [*results, Result("wslconfig worst", what, statistics.median(found), "ms", WORST_LIMIT_MS, spread(found))]


def _filled(data: bytes) -> bytes:
    return (data * (SIZE // len(data) + 1))[:SIZE]


def _result(name: str, data: bytes) -> Result:
    found = [_taken_ms(data) for _ in range(RUNS)]
    what = f".wslconfig of {len(data) / SIZE:.1f} MB ({name}): parsed and linted ({RUNS} runs)"
    return Result(f"wslconfig {name}", what, statistics.median(found), "ms", LIMIT_MS, spread(found))


def _taken_ms(data: bytes) -> float:
    facts = HostFacts(32 * GIB, 16, 100 * GIB)
    begin = time.perf_counter()
    lint(Document(data), facts)
    return (time.perf_counter() - begin) * 1000
