"""wsl.exe as a Windows program meets it: found, started, decoded, and nothing flashing up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.words import sentence
from tests.windows import lab
from tests.windows.lab import Windows
from tests.windows.product import LLAMA, WindowsProduct
from tests.windows.relay import Relay

FIND = """
import os, sys
os.environ["WINDIR"] = sys.argv[1] if len(sys.argv) > 1 else os.environ["WINDIR"]
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.winproc import find_wsl
print(find_wsl())
if find_wsl():
    print(WslLauncher([find_wsl()], None).installed())
"""
ECHO = """
import json, sys
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.winproc import find_wsl
words = json.loads(sys.argv[1])
done = WslLauncher([find_wsl()], None).run(["/usr/bin/printf", "%s\\\\n@", *words], timeout_s=20)
sys.stdout.buffer.write(json.dumps(done.stdout.split("\\n@")[:-1]).encode())
"""
HANG = """
import sys
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.winproc import find_wsl
try:
    WslLauncher([find_wsl()], None, short_s=2.0).installed()
except ProblemError as error:
    print(error.problem.code)
"""
HELD = """
import sys, time
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.launcher_wsl import WslLauncher
slow = "import time; time.sleep(60)"
stub = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {slow!r}])"
begin = time.monotonic()
try:
    WslLauncher([sys.executable, "-c", stub], None, short_s=2.0).installed()
except ProblemError as error:
    print(error.problem.code, time.monotonic() - begin < 20)
"""
UNKNOWN = """
import sys
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.winproc import find_wsl
try:
    WslLauncher([find_wsl()], "Debian").run(["/bin/true"], timeout_s=20)
except ProblemError as error:
    sys.stdout.buffer.write("\\n".join([error.problem.code, error.problem.evidence[0]]).encode())
"""
BARE = """
import subprocess
subprocess.run(["wsl.exe", "--status"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
"""


def test_a_command_runs_in_linux_with_its_streams_and_its_exit_code(windows_lab: Windows, relay: Relay) -> None:
    ended = windows_lab.run("wsl.exe", "--exec", "/bin/sh", "-c", "cat; echo 虎 >&2; exit 7", stdin=b"hello\0\r\n")
    assert (ended.code, ended.out, ended.err.decode()) == (7, b"hello\0\r\n", "虎\n")
    assert relay.calls[-1].code == 7


def test_found_in_system32(windows_lab: Windows, relay: Relay) -> None:
    path, names = windows_lab.python(FIND).splitlines()
    assert path.lower() == r"c:\windows\system32\wsl.exe"
    assert names == "('Ubuntu', 'docker-desktop')"


def test_sysnative_comes_first(windows_lab: Windows, relay: Relay, scratch: Path) -> None:
    """What a 32-bit process sees: another wsl.exe, or none, behind the name System32."""
    for folder in ("Sysnative", "System32"):
        (scratch / "Windows" / folder).mkdir(parents=True)
    (scratch / "Windows" / "Sysnative" / "wsl.exe").write_bytes(lab.built("wsl.exe").read_bytes())
    path, names = windows_lab.python(FIND, windows_lab.path(scratch / "Windows")).splitlines()
    assert path.endswith(r"\Windows\Sysnative\wsl.exe")
    assert names == "('Ubuntu', 'docker-desktop')"


def test_missing(product: WindowsProduct) -> None:
    product.builtin(LLAMA)
    with product.windows.without("wsl.exe"):
        assert product.windows.python(FIND).split() == ["None"]
        done = product.call("check", "--profile", LLAMA, "--json")
    assert done.code == 1
    assert sentence("wsl.missing").what in done.err
    assert {check["id"]: check["status"] for check in done.json["checks"]}["wsl"] == "failed"


def test_every_call_asks_for_utf8(product: WindowsProduct, relay: Relay) -> None:
    product.builtin(LLAMA)
    assert product.call("check", "--profile", LLAMA).code == 0
    assert len(relay.calls) > 3
    assert {call.env.get("WSL_UTF8") for call in relay.calls} == {"1"}


def test_utf16_of_a_wsl_that_is_older_than_the_variable(product: WindowsProduct, relay: Relay) -> None:
    product.builtin(LLAMA)
    relay.pc.set(wsl="stub")
    done = product.call("check", "--profile", LLAMA)
    assert done.code == 1
    assert sentence("wsl.not_installed").what in done.err
    assert "Linux 用 Windows サブシステムがインストールされていません" in done.err
    assert "\0" not in done.out + done.err


def test_japanese_errors_in_utf8(windows_lab: Windows, relay: Relay) -> None:
    code, evidence = windows_lab.python(UNKNOWN).splitlines()
    assert code == "wsl.distro_not_found"
    assert evidence == "指定された名前のディストリビューションはありません。"
    assert relay.calls[-1].code == -1


@pytest.mark.parametrize(
    "words",
    [
        ["plain", "", "two  blanks", "\ttab", "a\nline"],
        ['"', '\\"', "\\\\", "C:\\x\\", 'a"b"c\\', '""', "'"],
        ["$HOME", "`id`", "%PATH%", "^&|<>", "*", "!x", "~"],
        ["虎太郎", "ブリッジ　全角", "🐯", "é"],
    ],
)
def test_arguments_arrive_as_they_are(windows_lab: Windows, relay: Relay, words: list[str]) -> None:
    """Through list2cmdline, CreateProcess, GetCommandLineW, and the cutting of the emulated wsl.exe."""
    assert json.loads(windows_lab.python(ECHO, json.dumps(words))) == words


def test_one_that_hangs_is_given_up_and_ended(windows_lab: Windows, relay: Relay) -> None:
    relay.pc.set(wsl="hang")
    assert windows_lab.python(HANG).split() == ["wsl.hangs"]
    assert [call.killed for call in relay.calls] == [True]


def test_a_windowed_program_flashes_no_console(product: WindowsProduct, relay: Relay) -> None:
    product.windows.run("pyw", "-c", BARE, env=relay.env)
    (bare,) = relay.calls
    assert bare.manners["visible"] == 1, "a windowed program that takes no care does flash one up"
    relay.calls.clear()
    product.builtin(LLAMA)
    command = ("-m", "kotaro_bridge", "check", "--profile", LLAMA)
    assert product.windows.run("pyw", *command, env={**product.env, **relay.env}).code == 0
    assert len(relay.calls) > 3
    assert {(call.manners["window"], call.manners["show"]) for call in relay.calls} == {(0, 0)}


def test_one_that_only_waits_for_another_is_given_up_as_well(windows_lab: Windows) -> None:
    """Windows' own wsl.exe starts the installed one, which holds the pipes: a pipe is closed when both are gone."""
    assert windows_lab.python(HELD).split() == ["wsl.hangs", "True"]
