"""Start at login: what is written into the registry, and what a person did there; under Windows in the real one."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.settings import LoginStart
from kotaro_bridge.host.autostart import APPROVED, RUN, VALUE, Autostart, command_line, forget, is_listed
from kotaro_bridge.own_program import gui_argv
from tests.helpers import registry

ON_WINDOWS = sys.platform == "win32"
PROGRAM = r"C:\Users\山田 太郎\AppData\Local\Programs\Kotaro Bridge\KotaroBridge.exe"
ARGV = (PROGRAM,)
FROM_SOURCE = (r"C:\Python 3.12\pythonw.exe", "-m", "kotaro_bridge")
OFF = b"\x03\x00\x00\x00" + bytes(range(8))
ON = b"\x02\x00\x00\x00" + bytes(8)

windows_only = pytest.mark.skipif(not ON_WINDOWS, reason="the Run key is Windows'")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """This user's own entry is not there during a test, and as it was after it."""
    if not ON_WINDOWS:
        yield
        return
    with registry.values(RUN, **{VALUE: None}), registry.values(APPROVED, **{VALUE: None}):
        yield


@pytest.fixture
def autostart() -> Autostart:
    return Autostart(ARGV)


def taken_apart(command: str) -> list[str]:
    """The arguments as Windows itself hands them to a program."""
    if sys.platform == "win32":
        count = ctypes.c_int()
        split = ctypes.windll.shell32.CommandLineToArgvW
        split.restype = ctypes.POINTER(ctypes.c_wchar_p)
        words = split(ctypes.c_wchar_p(command), ctypes.byref(count))
        return [words[number] for number in range(count.value)]
    raise OSError("no Windows")


def test_the_program_stands_in_quotes() -> None:
    assert command_line(ARGV) == f'"{PROGRAM}"'
    assert command_line(FROM_SOURCE) == r'"C:\Python 3.12\pythonw.exe" -m kotaro_bridge'
    assert command_line(("C:\\x.exe", "--profile", "a b")) == '"C:\\x.exe" --profile "a b"'


@pytest.mark.skipif(ON_WINDOWS, reason="Windows has it")
def test_elsewhere_there_is_no_such_thing(autostart: Autostart) -> None:
    assert autostart.enabled() is None
    assert not is_listed()
    for enabled in (True, False):
        with pytest.raises(ProblemError) as caught:
            autostart.set_enabled(enabled)
        assert caught.value.problem.code == "autostart.not_windows"


@windows_only
def test_on_and_off(autostart: Autostart) -> None:
    assert autostart.status() == LoginStart(False)
    autostart.set_enabled(True)
    assert autostart.status() == LoginStart(True)
    assert registry.read(RUN, VALUE) == f'"{PROGRAM}"'
    assert autostart.enabled() is True
    autostart.set_enabled(True)
    autostart.set_enabled(False)
    assert autostart.status() == LoginStart(False)
    assert registry.read(RUN, VALUE) is None
    autostart.set_enabled(False)


@windows_only
@pytest.mark.parametrize("argv", [ARGV, FROM_SOURCE, tuple(gui_argv()), ("C:\\a.exe", "x y", 'q"q', "end\\")])
def test_windows_takes_the_command_apart_again(argv: tuple[str, ...]) -> None:
    Autostart(argv).set_enabled(True)
    command = registry.read(RUN, VALUE)
    assert isinstance(command, str)
    assert taken_apart(command) == list(argv)


@windows_only
@pytest.mark.parametrize("first", [3, 7, 1, 9])
def test_a_person_switched_it_off_in_task_manager(autostart: Autostart, first: int) -> None:
    autostart.set_enabled(True)
    registry.write(APPROVED, VALUE, bytes([first]) + OFF[1:])
    assert autostart.status() == LoginStart(False, switched_off=True)
    autostart.set_enabled(True)
    assert autostart.status() == LoginStart(True)
    assert registry.read(APPROVED, VALUE) is None


@windows_only
@pytest.mark.parametrize("approved", [ON, b"\x06" + bytes(11), b"", None])
def test_an_entry_that_is_approved(autostart: Autostart, approved: bytes | None) -> None:
    autostart.set_enabled(True)
    registry.write(APPROVED, VALUE, approved)
    assert autostart.status() == LoginStart(True)


@windows_only
def test_an_off_without_an_entry_is_no_entry(autostart: Autostart) -> None:
    registry.write(APPROVED, VALUE, OFF)
    assert autostart.status() == LoginStart(False)
    assert is_listed()
    autostart.set_enabled(True)
    assert autostart.status() == LoginStart(True)


@windows_only
@pytest.mark.parametrize(
    "command",
    [
        r'"D:\elsewhere\KotaroBridge.exe"',
        r"D:\elsewhere\KotaroBridge.exe",
        f'"{PROGRAM}" --open',
        r'"C:\Python 3.12\pythonw.exe" -m kotaro_bridge',
    ],
)
def test_an_entry_of_another_copy_is_told_and_put_right(autostart: Autostart, command: str) -> None:
    registry.write(RUN, VALUE, command)
    assert autostart.status() == LoginStart(True, elsewhere=command)
    autostart.set_enabled(True)
    assert autostart.status() == LoginStart(True)


@windows_only
@pytest.mark.parametrize(
    "command", [f'"{PROGRAM.upper()}"', f'  "{PROGRAM}"  ', f'"{PROGRAM}"'.replace("\\", "/"), f'"{PROGRAM}" ']
)
def test_the_same_program_however_it_is_written(autostart: Autostart, command: str) -> None:
    registry.write(RUN, VALUE, command)
    assert autostart.status() == LoginStart(True)


@windows_only
@pytest.mark.parametrize("value", ["", "  ", 7, b"x"])
def test_a_value_that_is_no_command_starts_nothing(autostart: Autostart, value: str | int | bytes) -> None:
    registry.write(RUN, VALUE, value)
    assert autostart.status() == LoginStart(False)


@windows_only
def test_a_path_that_windows_would_cut_off() -> None:
    with pytest.raises(ProblemError) as caught:
        Autostart(("C:\\" + "x" * 260 + ".exe",)).set_enabled(True)
    assert caught.value.problem.code == "autostart.too_long"
    assert not is_listed()


@windows_only
def test_nothing_stays(autostart: Autostart) -> None:
    autostart.set_enabled(True)
    registry.write(APPROVED, VALUE, OFF)
    forget()
    assert not is_listed()
    forget()


@windows_only
def test_from_source_no_console_window_is_opened() -> None:
    program = gui_argv()[0]
    assert os.path.basename(program).lower() == "pythonw.exe"
    assert os.path.exists(program)
