"""A session that is killed leaves programs, stand-ins and folders: the next one removes them, and no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.simulated import processes_of, until
from tests.windows import lab
from tests.windows.lab import Windows

SESSION = """
import sys
from tests.helpers.simulated import simulated_pc
from tests.windows import lab
HOLD = "import ctypes, time; ctypes.CDLL('pdh.dll'); print('held', flush=True); time.sleep(600)"
windows = lab.windows()
with lab.scratch("test") as folder, simulated_pc(folder / "pc") as pc:
    pc.boot("Ubuntu")
    windows.install("pdh.dll")
    holder = windows.start("py", "-c", HOLD, env={"WIN_PD_OVERRIDE_LOCAL_APPDATA": windows.path(folder)})
    holder.stdout.readline()
    print(folder, flush=True)
    sys.stdin.read()
"""
"""With a program that holds a stand-in: such a file cannot be deleted."""


def test_what_a_killed_session_left_is_removed(windows: Windows, scratch: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SESSION], cwd=lab.ROOT, stdin=pipe, stdout=pipe) as session:
        assert session.stdout is not None
        folder = Path(session.stdout.readline().decode().strip())
        lab.clear(windows)
        of_linux, of_both = processes_of(folder), processes_of(Path(folder.name))
        assert 0 < len(of_linux) < len(of_both), "nothing of a session that is there is touched"
        session.kill()
    lab.clear(windows)
    until(lambda: not processes_of(Path(folder.name)), what="its programs end")
    assert not folder.exists()
    assert scratch.is_dir()
    windows.inside("remove", "pdh.dll")
