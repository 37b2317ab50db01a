"""What diagnostics read: ends of files, tables, this PC, and wsl.exe's own words."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

import psutil
import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host import diagnostics_sources as sources
from kotaro_bridge.host.identity import this_person
from kotaro_bridge.host.launcher_wsl import WslLauncher


def test_a_long_file_is_read_from_its_end_and_from_the_beginning_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"password = half\n" + b"line\n" * 1000 + b"last")
    text = sources.file_text(path, 1000)
    assert text.startswith("[the last 1000 of 5020 bytes]\nline\n")
    assert text.endswith("last")
    assert sources.file_text(path) == path.read_bytes().decode()
    assert sources.file_text(tmp_path / "none") == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a"
    path.write_bytes("\ufeff虎 = 1\n".encode(encoding) if encoding == "utf-16-le" else "虎 = 1\n".encode(encoding))
    assert sources.file_text(path) == "虎 = 1\n"
    path.write_bytes("虎太郎\n".encode("utf-16") * 1000)
    assert "虎太郎" in sources.file_text(path, 100)


def test_bytes_that_are_no_text_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\x00\x81\n" * 10)
    assert sources.file_text(tmp_path / "a")


def test_the_newest_files(tmp_path: Path) -> None:
    for number in range(5):
        path = tmp_path / f"{number}.log"
        path.touch()
        os.utime(path, (number, number))
    assert [path.stem for path in sources.newest(tmp_path, "*.log", 2)] == ["4", "3"]
    assert sources.newest(tmp_path / "none", "*", 2) == []


def test_rows_of_all_tables(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite3"
    assert sources.table_rows(file) == ""
    store = sqlite3.connect(file)
    store.execute("CREATE TABLE speed (profile TEXT, tokens REAL)")
    store.executemany("INSERT INTO speed VALUES (?, ?)", [("a", 1.5), ("b", 2.5)])
    store.commit()
    store.close()
    assert sources.table_rows(file) == "# speed\nprofile\ttokens\nb\t2.5\na\t1.5"
    file.write_text("no database at all, and longer than a header of one would be " * 20)
    with pytest.raises(sqlite3.Error):
        sources.table_rows(file)


def test_one_question_that_fails_takes_no_other_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Seen: psutil raises RuntimeError for swap where Windows' performance counters are switched off."""

    def broken() -> None:
        raise RuntimeError("PdhAddEnglishCounterW failed. Performance counters may be disabled.")

    monkeypatch.setattr(psutil, "swap_memory", broken)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    lines = sources.system((tmp_path / "not" / "there",)).splitlines()
    assert lines[1].startswith("memory ")
    assert lines[2].startswith("RuntimeError: Pdh")
    assert any(line.startswith("disk of ") and "MiB free" in line for line in lines)
    assert "CUDA_VISIBLE_DEVICES=0,1" in lines


def test_packages_have_versions() -> None:
    assert f"psutil {psutil.__version__}" in sources.packages().splitlines()


def test_what_wsl_says_of_itself_in_either_encoding() -> None:
    program = "import sys; sys.stdout.buffer.write(('バージョン ' + sys.argv[1]).encode('utf-16-le'))"
    said = sources.wsl(WslLauncher([sys.executable, "-c", program], None))
    for option in ("--version", "--status", "--list"):
        assert f"バージョン {option}" in said
    assert said.count("exit code 0") == 3
    with pytest.raises(ProblemError):
        sources.wsl(WslLauncher(["no-such-program"], None))


def test_the_person_at_this_pc(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "USERPROFILE", "USERDOMAIN", "COMPUTERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USERNAME", "山田 太郎")
    monkeypatch.setenv("HOME", "/data/people/taro.corp")
    monkeypatch.setenv("HOSTNAME", "pc.example.com")
    monkeypatch.setenv("MY_API_KEY", "abc")
    found = this_person()
    assert {"山田 太郎", "taro.corp"} <= set(found.users)
    assert {"pc.example.com", "pc"} <= set(found.hosts)
    assert "abc" in found.secrets
