"""How the program starts itself, from source and in a frozen build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kotaro_bridge import own_program

ROOT = Path(__file__).resolve().parents[2]
WSL = "kotaro_bridge.simulator.wsl"
FROZEN = """\
import sys
sys.frozen = True
sys.argv = ["kotaro-bridge.exe", "-m", *sys.argv[1:]]
from kotaro_bridge.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As in a frozen build whose programs lie in this folder."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "KotaroBridge.exe"))
    return tmp_path


def test_from_source_it_is_python() -> None:
    assert own_program.module_argv(WSL) == [sys.executable, "-m", WSL]
    assert own_program.console_argv() == [sys.executable, "-m", "kotaro_bridge"]
    assert own_program.module_asked_for(["-m", WSL]) is None


@pytest.mark.parametrize("there", [True, False])
def test_the_tray_starts_without_a_console(there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python.exe"))
    windowed = tmp_path / "pythonw.exe"
    if there:
        windowed.touch()
    assert own_program.gui_argv() == [str(windowed) if there else sys.executable, "-m", "kotaro_bridge"]


def test_a_frozen_build_is_two_programs(frozen: Path) -> None:
    assert own_program.gui_argv() == [str(frozen / "KotaroBridge.exe")]
    assert own_program.module_argv(WSL) == [str(frozen / "kotaro-bridge.exe"), "-m", WSL]


@pytest.mark.parametrize(
    ("line", "module"),
    [
        (["-m", WSL, "-l"], WSL),
        (["-m", "this"], None),
        (["-m"], None),
        ([], None),
        (["status", "-m", WSL], None),
    ],
)
def test_only_the_simulator_is_run_in_its_place(line: list[str], module: str | None, frozen: Path) -> None:
    assert own_program.module_asked_for(line) == module


def test_a_module_gets_its_arguments_and_gives_its_exit_code() -> None:
    """It says itself that its state folder does not exist; our command line would complain of `-m`."""
    command = [sys.executable, "-c", FROZEN, "kotaro_bridge.simulator.ollama", "no-such-folder", "serve"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no-such-folder" in done.stderr
    assert "simulator" in done.stderr
