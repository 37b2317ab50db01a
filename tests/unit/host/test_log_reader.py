"""Log files as other programs wrote them: encodings, row ends, sizes, and what is no file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.engine.log_judge import judge_log, judge_rows
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.log_reader import read_rows
from tests.helpers.captures import llama_text

TEXT = "first\nsecond, 日本語\n\nlast"
FORMS = {
    "utf-8": TEXT.encode(),
    "utf-8 with a mark": TEXT.encode("utf-8-sig"),
    "utf-16 little": b"\xff\xfe" + TEXT.encode("utf-16-le"),
    "utf-16 big": b"\xfe\xff" + TEXT.encode("utf-16-be"),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_encodings(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "log").write_bytes(data)
    assert list(read_rows(tmp_path / "log")) == TEXT.split("\n")


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(tmp_path: Path, name: str) -> None:
    (tmp_path / "log").write_bytes("plain words\n日本\n".encode(name))
    assert list(read_rows(tmp_path / "log")) == ["plain words", "日本", ""]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_recording_from_powershell(tmp_path: Path, encoding: str) -> None:
    text = llama_text("nokvoffload")
    (tmp_path / "log").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    judged = judge_rows(Engine.LLAMA_SERVER, read_rows(tmp_path / "log"))
    assert judged.judgement == judge_log(Engine.LLAMA_SERVER, text)


@pytest.mark.parametrize("size", [0, 1, 2, 4095, 4096, 4097, 1 << 20, (1 << 20) + 4095, 3_000_000])
def test_rows_across_blocks(tmp_path: Path, size: int) -> None:
    text = ("あa\n" * (size // 5 + 1)).encode()[:size].decode(errors="ignore")
    (tmp_path / "log").write_bytes(text.encode())
    assert list(read_rows(tmp_path / "log")) == text.split("\n")


def test_a_row_that_never_ends_is_cut(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 40_000_000 + b"\nend\n" + b"y" * 3_000_000 + b"\n")
    tracemalloc.start()
    rows = [len(row) for row in read_rows(tmp_path / "log")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == [1 << 18, 3, 1 << 18, 0]
    assert peak < 16_000_000


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff\xfeab"[2:] + bytes(range(256)) + b"\nload\n\xe3\x81")
    *_, last = rows = list(read_rows(tmp_path / "log"))
    assert "load" in rows
    assert last == "\ufffd"


def test_what_is_no_file(tmp_path: Path) -> None:
    for path, code in ((tmp_path, "cli.is_folder"), (tmp_path / "none", "cli.file_unreadable")):
        with pytest.raises(ProblemError) as caught:
            list(read_rows(path))
        assert caught.value.problem.code == code
        assert caught.value.problem.params["path"] == str(path)
