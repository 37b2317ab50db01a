"""What Windows keeps for this user: secrets, ports, the control channel and the owner's lock."""

from __future__ import annotations

import secrets
import socket

from tests.helpers.cli import started
from tests.helpers.words import sentence
from tests.windows.lab import Windows
from tests.windows.product import LLAMA, WindowsProduct
from tests.windows.relay import Relay

KEEPER = """
import sys
import keyring
from kotaro_bridge.host.secrets import KeyringToken
token = KeyringToken("windows-tests")
print(type(keyring.get_keyring()).__name__)
{}
"""
PORT = """
import socket, sys
from kotaro_bridge.host.local_port import local_port_free
print(local_port_free(int(sys.argv[1])))
with socket.socket() as beside:
    beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    beside.bind(("127.0.0.1", 0))
    print(local_port_free(beside.getsockname()[1]))
"""


def test_the_credential_manager_keeps_a_token_for_the_next_process(windows: Windows) -> None:
    secret = f"hf_{secrets.token_hex(20)}虎"
    keeper, *_ = windows.python(KEEPER.format("token.set(sys.argv[1])"), secret).split()
    _, kept = windows.python(KEEPER.format("sys.stdout.buffer.write(token.get().encode())")).split()
    _, forgot, nothing, again = windows.python(
        KEEPER.format("print(token.forget()); print(token.get()); print(token.forget())")
    ).split()
    assert (keeper, kept) == ("WinVaultKeyring", secret)
    assert (forgot, nothing, again) == ("True", "None", "False")


def test_a_port_is_free_or_not(windows: Windows) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert windows.python(PORT, str(port)).split() == ["False", "False"]
    assert windows.python(PORT, str(port)).split() == ["True", "False"]


def test_a_taken_port_refuses_the_start(product: WindowsProduct, relay: Relay) -> None:
    product.builtin(LLAMA)
    with socket.create_server(("127.0.0.1", product.port_of(LLAMA))):
        done = product.call("check", "--profile", LLAMA)
    assert done.code == 1
    assert sentence("gate.port_windows.failed", port=product.port_of(LLAMA)).what in done.err


def test_the_lock_goes_with_its_owner(product: WindowsProduct) -> None:
    """After a kill neither the lock file nor the key of the dead owner keeps anybody out."""
    product.builtin(LLAMA)
    with started(product, "run", LLAMA) as running:
        running.wait_for("/v1")
        running.process.kill()
        running.process.wait()
    assert (product.root / "owner.lock").exists()
    assert (product.root / "control.key").exists()
    status = product.call("status", "--json")
    assert (status.code, status.json["owner"], status.json["runs"]) == (0, False, [])
    with started(product, "run", LLAMA) as running:
        running.wait_for("/v1")
        assert product.call("status", "--json").json["owner"] is True
        assert product.call("stop").code == 0
        running.end()
