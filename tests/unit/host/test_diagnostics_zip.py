"""The ZIP file of diagnostics is there whole, or not at all."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.diagnostics_zip import ZipArchive

FILES = [("README.txt", "虎"), ("logs/a.log", "x\n" * 1000)]


def code(error: pytest.ExceptionInfo[ProblemError]) -> str:
    return error.value.problem.code


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_all_files_are_in_it_with_their_text(tmp_path: Path) -> None:
    path = tmp_path / "診断 情報.zip"
    size = ZipArchive().write(path, FILES, replace=False)
    assert names(tmp_path) == [path.name]
    assert size == path.stat().st_size < 1000
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name).decode()) for name in archive.namelist()] == FILES


def test_a_file_that_is_there_stays_unless_it_is_to_go(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_text("mine")
    with pytest.raises(ProblemError) as error:
        ZipArchive().write(path, FILES, replace=False)
    assert (code(error), path.read_text()) == ("diagnostics.exists", "mine")
    ZipArchive().write(path, FILES, replace=True)
    assert zipfile.is_zipfile(path)
    assert names(tmp_path) == ["a.zip"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as error:
        ZipArchive().write(tmp_path, FILES, replace=True)
    assert code(error) == "diagnostics.is_folder"


def test_no_folder_and_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as error:
        ZipArchive().write(tmp_path / "none" / "a.zip", FILES, replace=False)
    assert code(error) == "diagnostics.not_written"
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is of POSIX")
def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path) -> None:
    """With a limit on the size of a file, where the system says EFBIG as it says ENOSPC for a full disk."""
    program = """
import os, resource, signal, sys
from pathlib import Path
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.diagnostics_zip import ZipArchive
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    ZipArchive().write(Path(sys.argv[1]) / "a.zip", [("a", os.urandom(100000).hex())], replace=False)
except ProblemError as error:
    print(error.problem)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("diagnostics.not_written"), done.stderr
    assert names(tmp_path) == []


def test_an_interrupt_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    class Interrupting(str):
        def encode(self, *_: object) -> bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ZipArchive().write(tmp_path / "a.zip", [*FILES, ("b", Interrupting("b"))], replace=False)
    assert names(tmp_path) == []
