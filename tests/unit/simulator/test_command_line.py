"""Cutting raw command lines: CommandLineToArgvW and the options of wsl.exe."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.simulator.wsl_command_line import Launch, Manage, WslFailure, command_line_to_argv, parse


def anything(name: str) -> None:
    """Every distro exists."""


def launched(line: str) -> Launch:
    request = parse(line, anything)
    assert isinstance(request, Launch)
    return request


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prog a b", ["prog", "a", "b"]),
        ('"my prog" a', ["my prog", "a"]),
        ('"open', ["open"]),
        ("pr\\og \\", ["pr\\og", "\\"]),
        ('x a\\\\b "c\\\\" d\\\\"e f"', ["x", "a\\\\b", "c\\", "d\\e f"]),
        ('x a\\"b', ["x", 'a"b']),
        ('x "" ""', ["x", "", ""]),
        ('x """a"""', ["x", '"a"']),
        ("x\ta  b\t", ["x", "a", "b"]),
    ],
)
def test_words_of_windows(line: str, words: list[str]) -> None:
    assert command_line_to_argv(line) == words


@given(st.lists(st.text(alphabet='ab "\\\t', max_size=8), max_size=5))
def test_what_list2cmdline_joins_is_cut_back(words: list[str]) -> None:
    assert command_line_to_argv(subprocess.list2cmdline(words), program_first=False) == words


def test_options_of_a_launch() -> None:
    launch = launched('~ --distribution Ubuntu  -u root --cd "C:\\a b" --shell-type login -- ls "x y"')
    assert (launch.distro, launch.user, launch.directory) == ("Ubuntu", "root", "C:\\a b")
    assert (launch.shell_type, launch.shell_line, launch.argv) == ("login", 'ls "x y"', None)
    assert launched('--cd "open').directory == "open"
    assert launched("").shell_line is None
    assert launched("--").shell_line is None


def test_a_tilde_later_on_is_a_command() -> None:
    assert launched("-u root ~").shell_line == "~"


def test_management_commands_keep_their_rest() -> None:
    request = parse("-l  -v --all", anything)
    assert isinstance(request, Manage)
    assert (request.verb, request.rest) == ("--list", "-v --all")


def test_the_distro_is_looked_up_when_its_option_is_read() -> None:
    """An unknown distro is reported before a wrong option behind it, as wsl.exe asks its service at once."""

    def nobody(name: str) -> None:
        raise WslFailure("MessageDistroNotFound", code="x")

    with pytest.raises(WslFailure) as failure:
        parse("-d Nope --odd", nobody)
    assert failure.value.text == "MessageDistroNotFound"
