"""Child processes: their own session on POSIX, a job on Windows, and the search for wsl.exe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kotaro_bridge.host.winproc import JobObject, find_wsl, popen_flags

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX'")
def test_a_child_has_its_own_session() -> None:
    ask = [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"]
    with subprocess.Popen(ask, stdout=subprocess.PIPE, text=True, **popen_flags()) as child:
        assert child.communicate(timeout=30)[0].strip() == "True"


def test_closing_the_job_ends_the_child_on_windows_only() -> None:
    job = JobObject()
    with subprocess.Popen(SLEEP, **popen_flags()) as child:
        job.add(child)
        assert child.poll() is None
        job.close()
        if sys.platform == "win32":
            child.wait(timeout=10)
        else:
            assert child.poll() is None
            child.kill()
        job.close()


def test_an_ended_child_is_left_alone() -> None:
    job = JobObject()
    with subprocess.Popen([sys.executable, "-c", ""], **popen_flags()) as child:
        child.wait(timeout=30)
        job.add(child)
    job.close()


def place(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "wsl.exe").write_bytes(b"MZ")
    return str(folder / "wsl.exe")


def test_wsl_is_found_in_the_windows_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDIR", str(tmp_path))
    assert find_wsl() is None
    system = place(tmp_path / "System32")
    assert find_wsl() == system
    native = place(tmp_path / "Sysnative")  # what a 32-bit process sees
    assert find_wsl() == native


@pytest.mark.skipif("WINDIR" in os.environ, reason="this is Windows")
def test_no_wsl_elsewhere() -> None:
    assert find_wsl() is None
