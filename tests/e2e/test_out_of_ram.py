"""A real kill by the kernel for want of RAM: a process that outgrows the limit of its control group."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kotaro_bridge.domain.ports import ChannelClosed, EngineCommand, Exited, ProcessEvent
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.service.engine_end import why_ended
from tests.helpers.machine import LLAMA
from tests.helpers.simulated import until

if sys.platform == "win32":
    pytest.skip("control groups are Linux'", allow_module_level=True)

pytestmark = pytest.mark.e2e

LIMIT_MIB = 64
DEADLINE_S = 20.0
TOO_MUCH = f"""
import time
held = bytearray({LIMIT_MIB * 4} << 20)
held[:] = b"x" * len(held)
time.sleep({DEADLINE_S})
"""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where memory is limited. `limit` and `swap`: files of a group, and what keeps it from swapping instead."""

    own: Path
    limit: str
    swap: tuple[str, str]


def hierarchy() -> Hierarchy | None:
    """Our own group, of the second version or of the first; None where there are none."""
    root = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Hierarchy(root / "memory" / path.lstrip("/"), "memory.limit_in_bytes", ("memory.swappiness", "0"))
        if number == "0" and (root / "cgroup.controllers").exists():
            return Hierarchy(root / path.lstrip("/"), "memory.max", ("memory.swap.max", "0"))
    return None


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of our own below the one that we are in, with little memory."""
    found = hierarchy()
    if found is None:
        pytest.skip("this kernel has no control group for memory here")
    made = found.own / f"kotaro-bridge-test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if not (made / found.limit).exists():
            pytest.skip("the memory controller is not handed on to groups below ours")
        (made / found.limit).write_text(str(LIMIT_MIB << 20))
        with contextlib.suppress(OSError):  # no swap at all
            (made / found.swap[0]).write_text(found.swap[1])
        yield made
    finally:
        until(lambda: _removed(made), what="the group is empty")


def _removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


@pytest.mark.parametrize("wrapped", [False, True], ids=["the engine itself", "behind a start script"])
def test_the_kernel_counts_the_engine_that_it_killed(group: Path, tmp_path: Path, wrapped: bool) -> None:
    events: queue.SimpleQueue[ProcessEvent] = queue.SimpleQueue()
    enter = f'echo $$ >"{group}/cgroup.procs"'
    program = f"{sys.executable} -c '{TOO_MUCH}'"
    script = f"( {enter}; exec {program} ); exit $?" if wrapped else f"{enter}; exec {program}"
    if wrapped:
        # The subshell's own pid: `$$` is that of the script.
        script = script.replace("$$", "$(exec sh -c 'echo $PPID')")
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    command = EngineCommand(("/bin/sh", "-c", script), {}, (), ())
    process = LocalLauncher(env=environment).launch(f"oom-{os.getpid()}", command, lambda _: None, events.put)
    seen = [events.get(timeout=DEADLINE_S)]
    while not isinstance(seen[-1], ChannelClosed):
        seen.append(events.get(timeout=DEADLINE_S))
    assert process.join(DEADLINE_S)
    (ended,) = (event for event in seen if isinstance(event, Exited))
    assert (ended.code, ended.signal) == (None, 9)
    assert ended.oom_kills is not None
    assert ended.oom_kills >= 1
    assert why_ended(ended, None, (), LLAMA, None, served=False).code == "engine.out_of_ram_unsized"
