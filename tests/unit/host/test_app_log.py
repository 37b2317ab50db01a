"""The product's own log: one file for several processes, bounded, whole lines, nothing that must not be kept."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kotaro_bridge.domain.redaction import Identity, Redactor
from kotaro_bridge.host.app_log import NAME, AppLog, install

WRITER = """
import logging, sys
from pathlib import Path
from kotaro_bridge.host.app_log import AppLog, install
if sys.argv[3] == "windowed":
    sys.stdout = sys.stderr = None
install(AppLog(Path(sys.argv[1]), str.upper, 20_000))
log = logging.getLogger("kotaro_bridge.part")
for number in range(300):
    log.info("%s %03d 虎 %s", sys.argv[2], number, "x" * 20)
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[AppLog]:
    log = AppLog(tmp_path / "app", Redactor(Identity(("yamada",))).text, 2000)
    logger = logging.getLogger("kotaro_bridge.test")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    yield log
    logger.removeHandler(log)
    logger.setLevel(logging.NOTSET)


LOG = logging.getLogger("kotaro_bridge.test")


def test_a_line_says_when_who_and_what_and_holds_no_secret(made: AppLog) -> None:
    LOG.info("download with %s for %s of 5.2 GiB", "hf_AbCdEfGhIjKlMnOpQr", "/home/yamada/m.gguf")
    (line,) = made.path.read_text(encoding="utf-8").splitlines()
    at, process, level, name, said = line.split(" ", 4)
    assert (at[10], process, level, name) == ("T", str(os.getpid()), "INFO", "test:")
    assert said == "download with <secret> for /home/<user>/m.gguf of 5.2 GiB"
    assert made.tail() == (line,)


def test_no_part_of_a_record_passes_for_another_one(made: AppLog) -> None:
    try:
        raise ValueError("one\n2026-11-22T06:00:00 1 INFO x: forged")
    except ValueError:
        LOG.info("failed", exc_info=True)
    lines = made.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) > 3
    assert all(line.startswith("    ") for line in lines[1:])


def test_it_stays_within_its_bounds(made: AppLog) -> None:
    for number in range(200):
        LOG.info("line %d %s", number, "x" * 50)
    LOG.info("y" * (1 << 20))
    LOG.info("last")
    parts = sorted(made.path.parent.glob("*.log"))
    assert [part.name for part in parts] == ["kotaro-bridge.1.log", NAME]
    assert all(part.stat().st_size < 2000 + (1 << 17) for part in parts)
    assert made.path.read_text(encoding="utf-8").rstrip().endswith("last")


@pytest.mark.skipif(sys.platform == "win32", reason="access lists are not mode bits")
def test_only_the_user_can_read_it(made: AppLog) -> None:
    LOG.info("one")
    assert made.path.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_had_loses_the_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    log = AppLog(tmp_path / "file", str)
    log.emit(logging.makeLogRecord({"msg": "kept", "levelname": "INFO", "name": "part"}))
    assert "kept" in log.tail()[0]
    assert "lost" in log.tail()[1]


def test_what_cannot_be_cleaned_is_not_kept(tmp_path: Path) -> None:
    def broken(_: str) -> str:
        raise RuntimeError

    log = AppLog(tmp_path, broken)
    log.emit(logging.makeLogRecord({"msg": "a secret", "levelname": "INFO", "name": "part"}))
    assert log.tail() == ("a line of part was lost",)
    assert not log.path.exists()


def test_several_processes_write_whole_lines_and_lose_none(tmp_path: Path) -> None:
    """Also without any stream, as under pythonw; the rotation of one is that of all."""
    argv = [sys.executable, "-c", WRITER, str(tmp_path)]
    kinds = ("terminal", "windowed", "terminal")
    writers = [subprocess.Popen([*argv, f"writer{number}", kind]) for number, kind in enumerate(kinds)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = [line for path in tmp_path.glob("*.log") for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(line.endswith("虎 " + "X" * 20) for line in lines)
    kept = [line.split(" PART: ")[1] for line in lines]
    assert len(kept) == len(set(kept)) > 150


def test_warnings_of_a_program_with_a_terminal_still_come_there(tmp_path: Path) -> None:
    code = WRITER.split("log = ", maxsplit=1)[0] + "logging.getLogger('kotaro_bridge.x').warning('loud')\n"
    code += "logging.getLogger('other').info('quiet')\nlogging.getLogger('kotaro_bridge').info('soft')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "x", "y"], capture_output=True, text=True, check=True
    )
    assert done.stderr == "loud\n"
    said = (tmp_path / NAME).read_text(encoding="utf-8").splitlines()
    assert [line.rpartition(" ")[2] for line in said] == ["LOUD", "SOFT"]


def test_installing_adds_no_second_voice() -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    level = logging.getLogger("kotaro_bridge").level
    log = AppLog(Path("unused"), str)
    try:
        install(log)
        assert root.handlers == [*before, *[h for h in (logging.lastResort,) if h], log]
    finally:
        root.handlers[:] = before
        logging.getLogger("kotaro_bridge").setLevel(level)
