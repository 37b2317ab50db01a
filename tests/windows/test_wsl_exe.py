"""wsl.exe as a Windows program meets it: found, started, decoded, and nothing flashing up."""

from __future__ import annotations

from tests.windows.lab import Windows
from tests.windows.product import WindowsProduct
from tests.windows.relay import Relay


def test_a_command_runs_in_linux_with_its_streams_and_its_exit_code(windows_lab: Windows, relay: Relay) -> None:
    ended = windows_lab.run("wsl.exe", "--exec", "/bin/sh", "-c", "cat; echo 虎 >&2; exit 7", stdin=b"hello\0\r\n")
    assert (ended.code, ended.out, ended.err.decode()) == (7, b"hello\0\r\n", "虎\n")
    assert relay.calls[-1].code == 7


def test_check_sees_the_card_through_nvml(product: WindowsProduct) -> None:
    done = product.call("check", "--json")
    assert done.code == 0, done.err
    (card,) = done.json["gpus"]
    assert card["name"] == "NVIDIA GeForce RTX 4070"
