"""Editing a .wslconfig: what nobody touched stays, one edit changes one line, and strange files are asked about."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kotaro_bridge.domain.wsl.wslconfig import parse
from kotaro_bridge.domain.wsl.wslconfig_document import Caveat, Document, Encoding
from kotaro_bridge.domain.wsl.wslconfig_merge import key_changes, key_conflicts
from kotaro_bridge.domain.wsl.wslconfig_values import Value
from tests.helpers.wslconfig_files import edits, files, texts

USUAL = (
    b"# my settings\r\n[wsl2]\r\nMemory = 8GB   # half\r\n\r\n; old\r\nfoo=1\r\n"
    b"# about the other\r\n[experimental]\r\nnetworkingMode=nat"
)


@given(files)
def test_nothing_edited_is_the_same_bytes(data: bytes) -> None:
    document = Document(data)
    assert document.data == data
    assert document.with_text(document.text) is document
    # Round through the text as an editor does: one character more, and back.
    assert document.with_text(document.text + "x").with_text(document.text).data == data


@given(files, edits)
@example(b"[wsl2]\nkernel=a\\", ("wsl2.swap", 0))
@example(b"[wsl2]\nkernelCommandLine=\\\r\n", ("wsl2.memory", 8 << 30))
@example(b'[wsl2]\nswapFile="a\\\nmemory=4GB # "\\x\n', ("wsl2.swapFile", "C:\\x"))
@example(b"[wsl2]\nx\r", ("wsl2.swap", 0))
def test_an_edit_changes_what_it_names_and_nothing_else(data: bytes, edit: tuple[str, Value | None]) -> None:
    key, value = edit
    before = Document(data)
    after = before.edited(key, value)
    wanted = dict(before.reading.beyond)
    wanted.pop(key, None)
    if value is not None:
        wanted[key] = value
    assert after.reading.beyond == wanted
    assert after.edited(key, value).data == after.data
    assert parse(after.data).values == after.config.values


@given(texts, edits)
def test_one_edit_changes_one_line(text: str, edit: tuple[str, Value | None]) -> None:
    """Where the key is there once, on one line: the lines before and after it are the same, and in the same order."""
    key, value = edit
    before = Document(text.encode())
    entry = before.entry(key)
    if entry is None or "\r" in text or "\n" in text[entry.value_start : entry.value_end] or value is None:
        return
    after = before.edited(key, value)
    old, new = before.text.split("\n"), after.text.split("\n")
    differing = [number for number, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    assert len(differing) <= 1


@pytest.mark.parametrize(
    ("data", "key", "value", "expected"),
    [
        (b"", "wsl2.memory", 8 << 30, b"[wsl2]\r\nmemory=8GB\r\n"),
        (b"# c\n", "wsl2.memory", 8 << 30, b"# c\n\n[wsl2]\nmemory=8GB\n"),
        (b"\n\n", "wsl2.memory", 8 << 30, b"\n\n[wsl2]\nmemory=8GB\n"),
        (USUAL, "wsl2.memory", 8 << 30, USUAL),
        (USUAL, "wsl2.memory", 9 << 30, USUAL.replace(b"8GB", b"9GB")),
        (USUAL, "wsl2.swap", 0, USUAL.replace(b"foo=1\r\n", b"foo=1\r\nswap=0\r\n")),
        (USUAL, "wsl2.networkingMode", "Mirrored", USUAL.replace(b"=nat", b"=Mirrored")),
        (USUAL, "wsl2.networkingMode", None, USUAL.replace(b"networkingMode=nat", b"")),
        (USUAL, "experimental.sparseVhd", False, USUAL + b"\r\nsparseVhd=false"),
        (USUAL, "general.instanceIdleTimeout", -1, USUAL + b"\r\n\r\n[general]\r\ninstanceIdleTimeout=-1"),
        # The first of several counts; all of them go.
        (b"[wsl2]\nswap=1\nSWAP=2\nx=1\n", "wsl2.swap", 0, b"[wsl2]\nswap=0\nSWAP=2\nx=1\n"),
        (b"[wsl2]\nswap=1\nSWAP=2\nx=1\n", "wsl2.swap", None, b"[wsl2]\nx=1\n"),
        (b"[wsl2]\nswap=1\n", "wsl2.memory", None, b"[wsl2]\nswap=1\n"),
        # A line that WSL gives up is repaired, its comment stays.
        (b"[wsl2]\nswapFile=C:\\t\\x # c\n", "wsl2.swapFile", "C:\\t\\x", b"[wsl2]\nswapFile=C:\\\\t\\\\x # c\n"),
        (b'[wsl2]\nkernelCommandLine="a\n', "wsl2.kernelCommandLine", "b", b"[wsl2]\nkernelCommandLine=b\n"),
        (b"[wsl2]\nswap=#c\n", "wsl2.swap", 0, b"[wsl2]\nswap=0 #c\n"),
        (
            b"[wsl2]\nkernelCommandLine=a \\\n b # c\n",
            "wsl2.kernelCommandLine",
            "x",
            b"[wsl2]\nkernelCommandLine=x # c\n",
        ),
        # Comments at the end of a section belong to it, those right above a header to that one.
        (b"[wsl2]\nx=1\n#swap=1\n\n[general]\n", "wsl2.swap", 0, b"[wsl2]\nx=1\n#swap=1\nswap=0\n\n[general]\n"),
        (b"[wsl2]\nx=1\n# g\n[general]\n", "wsl2.swap", 0, b"[wsl2]\nx=1\nswap=0\n# g\n[general]\n"),
        (b"[wsl2]\n# c", "wsl2.swap", 0, b"[wsl2]\n# c\nswap=0"),
        (b"[wsl2]", "wsl2.swap", 0, b"[wsl2]\nswap=0".replace(b"\n", b"\r\n")),
        # Mixed line ends: that of the line before.
        (b"[wsl2]\r\nx=1\n[general]\r\ny=1\r\n", "wsl2.swap", 0, b"[wsl2]\r\nx=1\nswap=0\n[general]\r\ny=1\r\n"),
        # What comes at the end of the file must not continue a value.
        (b"[wsl2]\nkernel=a\\", "wsl2.swap", 0, b"[wsl2]\nswap=0\nkernel=a\\"),
        (
            b"[wsl2]\nkernel=a\\",
            "general.instanceIdleTimeout",
            0,
            b"[general]\ninstanceIdleTimeout=0\n[wsl2]\nkernel=a\\",
        ),
        (b"x=a\\", "wsl2.swap", 0, b"x=a\\\r\n\r\n[wsl2]\r\nswap=0"),
        (b"[wsl2]\nx=1\n\x1aold", "wsl2.swap", 0, b"[wsl2]\nx=1\nswap=0\n\x1aold"),
    ],
)
def test_edits(data: bytes, key: str, value: Value | None, expected: bytes) -> None:
    assert Document(data).edited(key, value).data == expected


def test_a_bom_and_utf_16_stay_what_they_are() -> None:
    with_bom = Document(b"\xef\xbb\xbf[wsl2]\nswap=1\n").edited("wsl2.swap", 0)
    assert (with_bom.data, with_bom.encoding) == (b"\xef\xbb\xbf[wsl2]\nswap=0\n", Encoding.UTF8_BOM)
    data = "[wsl2]\nswap=1\n# 日本語\n".encode("utf-16") + b"\0"
    wide = Document(data).edited("wsl2.swap", 0)
    assert wide.data == "[wsl2]\nswap=0\n# 日本語\n".encode("utf-16") + b"\0"
    assert wide.config.values == {"wsl2.swap": 0}


def test_bytes_of_another_encoding_survive() -> None:
    data = "[wsl2]\n# メモリ\nswap=1\n".encode("cp932")
    assert Document(data).edited("wsl2.swap", 0).data == "[wsl2]\n# メモリ\nswap=0\n".encode("cp932")


JUNK = b"".join(b"%d: something else\n" % number for number in range(30))


@pytest.mark.parametrize(
    ("data", "encoding", "caveats"),
    [
        (b"[wsl2]\n", Encoding.UTF8, ()),
        ("# 日本語\n".encode(), Encoding.UTF8, ()),
        ("# 日本語\n".encode("utf-8-sig"), Encoding.UTF8_BOM, ()),
        ("# 日本語\n".encode("utf-16"), Encoding.UTF16, (Caveat.UTF16,)),
        ("[wsl2]\n".encode("utf-16-le"), Encoding.UTF16_UNREAD, (Caveat.UTF16_UNREAD,)),
        ("[wsl2]\n".encode("utf-16-be"), Encoding.UTF16_UNREAD, (Caveat.UTF16_UNREAD,)),
        (b"\xfe\xff" + "[wsl2]\n".encode("utf-16-be"), Encoding.UTF16_UNREAD, (Caveat.UTF16_UNREAD,)),
        ("# 日本語\n".encode("cp932"), Encoding.OTHER, (Caveat.NOT_UTF8,)),
        (b"[wsl2]\nswap=1\0\n", Encoding.UTF8, (Caveat.NUL,)),
        (bytes(1000), Encoding.UTF8, (Caveat.NUL,)),
        (b"[wsl2]\n\x1aswap=1\n", Encoding.UTF8, (Caveat.CONTROL_Z,)),
        (JUNK, Encoding.UTF8, (Caveat.JUNK,)),
        (b"[wsl2]\n" + b"swap=1\n" * 40 + JUNK, Encoding.UTF8, ()),
    ],
)
def test_what_the_owner_is_asked_about(data: bytes, encoding: Encoding, caveats: tuple[Caveat, ...]) -> None:
    document = Document(data)
    assert (document.encoding, document.caveats) == (encoding, caveats)


@pytest.mark.parametrize("name", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "cp932"])
def test_conversion_to_utf_8(name: str) -> None:
    text = "[wsl2]\r\nmemory=8GB # メモリ\r\n"
    document = Document(text.encode(name), "F").converted()
    assert (document.data, document.file) == (text.encode(), "F")


def test_conversion_of_a_file_with_the_other_mark() -> None:
    assert Document(b"\xfe\xff" + "[wsl2]".encode("utf-16-be")).converted().data == b"[wsl2]"


@pytest.mark.parametrize("data", [b"[wsl2]\n", b"\xff\xfe\x00\xd8\x00", b"# \x81\n"])
def test_what_cannot_be_converted_stays(data: bytes) -> None:
    document = Document(data)
    assert document.converted() is document


@given(st.lists(edits, max_size=5), files)
def test_the_difference_of_two_documents_is_what_was_edited(steps: list[tuple[str, Value | None]], data: bytes) -> None:
    before = Document(data)
    after = before.with_edits(dict(steps))
    assert before.with_edits(key_changes(before, after)).reading.beyond == after.reading.beyond


def test_conflicts() -> None:
    base = Document(b"[wsl2]\nmemory=8GB\nswap=8gb\nprocessors=4\n")
    theirs = Document(b"[wsl2]\nmemory=9GB\nswap=9gb\nprocessors=4\nguiApplications=false\n")
    mine: dict[str, Value | None] = {
        "wsl2.memory": 10 << 30,
        "wsl2.swap": 0,
        "wsl2.processors": 6,
        "wsl2.guiApplications": False,
        "wsl2.telemetry": False,
    }
    found = [(each.key, each.before, each.mine, each.theirs) for each in key_conflicts(base, mine, theirs)]
    assert found == [("wsl2.memory", 8 << 30, 10 << 30, 9 << 30), ("wsl2.swap", None, 0, None)]


def test_a_value_that_is_given_up_keeps_its_line_end_when_it_is_set() -> None:
    document = Document(b'[wsl2]\r\nmemory=1GB"\\\r\n\x1a rest')
    assert document.edited("wsl2.memory", 4 << 30).data == b"[wsl2]\r\nmemory=4GB\r\n\x1a rest"
