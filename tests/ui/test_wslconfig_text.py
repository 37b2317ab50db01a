"""The raw view's rules: every text comes back unharmed, and what WSL makes nothing of is known by line."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kotaro_bridge.domain.wsl.wslconfig_document import Document
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.theme import Theme
from kotaro_bridge.ui.view_models.wslconfig_text import Kind, ignored_lines, merged, parts_of, shown, units
from kotaro_bridge.ui.widgets.raw_editor import RawEditor
from tests.helpers.wslconfig_files import files, texts

STRANGE = "\ufeffa\ufeffb\ufffe\n\ud800a\r\nb\udc83\udc5f\n\0\x1ac\rd\u2028e\u2029f\xa0g\ufdd0\r\n😀 日本語\n"


def test_untouched_lines_stay_as_they_are() -> None:
    before = shown(STRANGE)
    assert merged(STRANGE, before, before) == STRANGE
    assert merged(STRANGE, before, before.replace("b", "B", 1)) == STRANGE.replace("b", "B", 1)


def test_an_edited_line_keeps_its_end_and_what_cannot_be_shown() -> None:
    raw = "x=1\r\ny=2\nz\udc83=3"
    before = shown(raw)
    assert merged(raw, before, before.replace("x=1", "x=9")) == "x=9\r\ny=2\nz\udc83=3"
    assert merged(raw, before, before.replace("y=2", "y=9")) == "x=1\r\ny=9\nz\udc83=3"
    assert merged(raw, before, before.replace("=3", "=9")) == "x=1\r\ny=2\nz\udc83=9"


def test_a_character_that_stands_for_another_only_by_chance_is_kept() -> None:
    private = "# \U00100005 \ue005\n"
    assert merged(private, shown(private), shown(private) + "x") == private + "x"
    assert merged(private, shown(private), "y" + shown(private)) == "y" + private
    assert merged("a", "a", "a\udb0f") == "a\ufffd"


def test_new_lines_end_as_the_others_do() -> None:
    assert merged("x=1\r\n", "x=1\n", "x=1\ny=2\n") == "x=1\r\ny=2\r\n"
    assert merged("x=1\n", "x=1\n", "x=1\ny=2") == "x=1\ny=2"
    assert merged("", "", "[wsl2]\nmemory=8GB\n") == "[wsl2]\r\nmemory=8GB\r\n"
    assert merged("a\r\nb\r\nc\r\n", "a\nb\nc\n", "c\n") == "c\r\n"
    assert merged("a\r\n", "a\n", "") == ""


@given(raw=texts, after=texts)
def test_what_is_shown_afterwards_is_what_was_typed(raw: str, after: str) -> None:
    assert shown(merged(raw, shown(raw), shown(after))) == shown(after)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=files)
def test_a_widget_changes_nothing_in_any_file(theme: Theme, data: bytes) -> None:
    raw = Document(data).text
    editor = RawEditor(theme, Texts("en"))
    editor.show_text(shown(raw))
    assert editor.shown_text() == shown(raw)
    editor.show_text(shown("[wsl2]\n"))
    editor.show_text(shown(raw))
    assert merged(raw, shown(raw), editor.shown_text()) == raw
    editor.show_findings({}, ignored_lines(Document(data)))
    editor.grab()
    editor.deleteLater()


def test_strange_characters_survive_the_widget(theme: Theme) -> None:
    editor = RawEditor(theme, Texts("en"))
    editor.show_text(shown(STRANGE))
    assert editor.shown_text() == shown(STRANGE)
    assert editor.blockCount() == STRANGE.count("\n") + 1
    editor.deleteLater()


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("[wsl2]\nmemory=8GB\n", set()),
        ("# x\n\n[wsl2]\nswap=8gb\nmemroy=1\n", {4, 5}),
        ("memory=8GB\n[wsl2]\nmemory=8GB\nmemory=9GB\n", {1, 4}),
        ("[ws12]\nmemory=8GB\n[wsl2]\nswap=0\n", {1, 2}),
        ("[general]\n[wsl2 ]\nswap=1GB\n[wsl2]\nswap=0\n", {2, 3}),
        ("[wsl2]\nkernelCommandLine=a\\\nb\nswap=0\n", set()),
        ("[wsl2]\nswap=0\n\x1a\nmemory=8GB\n", {3, 4}),
        ("[wsl2]\nmemory=8GB\n[WSL2]\nswap=0", set()),
    ],
)
def test_lines_that_wsl_makes_nothing_of(text: str, ignored: set[int]) -> None:
    assert ignored_lines(Document(text.encode())) == ignored


def test_parts_of_a_line() -> None:
    def kinds(line: str, ignored: bool = False) -> list[tuple[str, Kind]]:
        return [(line[part.start : part.start + part.length], part.kind) for part in parts_of(line, ignored)]

    assert kinds("[wsl2] # x") == [("[wsl2]", Kind.SECTION), ("# x", Kind.COMMENT)]
    assert kinds(" memory = 8GB # x") == [("memory", Kind.KEY), ("8GB ", Kind.VALUE), ("# x", Kind.COMMENT)]
    assert kinds('a="b # c" # d') == [("a", Kind.KEY), ('"b # c" ', Kind.VALUE), ("# d", Kind.COMMENT)]
    assert kinds("goes on") == [("goes on", Kind.VALUE)]
    assert kinds("swap=8gb", ignored=True) == [("swap=8gb", Kind.IGNORED)]
    assert kinds("  ") == []


def test_lengths_count_as_qt_counts() -> None:
    assert units("a😀b") == 4


@given(st.text())
def test_parts_lie_within_the_line(line: str) -> None:
    assert all(part.start >= 0 and part.start + part.length <= units(line) for part in parts_of(line, False))
