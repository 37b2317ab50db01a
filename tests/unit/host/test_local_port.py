"""Is a port free? Asked against real sockets."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from kotaro_bridge.host.local_port import local_port_free


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_that_nobody_uses_is_free_and_stays_so(port: int) -> None:
    assert local_port_free(port)
    assert local_port_free(port), "asking takes nothing"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - a listener on all addresses is the case
def test_a_listener_takes_the_port(port: int, host: str) -> None:
    with socket.create_server((host, port)):
        assert not local_port_free(port)
    assert local_port_free(port)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_a_listener_on_both_families_takes_the_port(port: int) -> None:
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True):
        assert not local_port_free(port)


def test_a_socket_that_is_bound_and_does_not_listen_takes_the_port(port: int) -> None:
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", port))
        assert not local_port_free(port)


def test_what_a_closed_server_leaves_behind_does_not(port: int) -> None:
    """Connections in TIME_WAIT: the engine that was just stopped."""
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    assert local_port_free(port)
