"""The loopback that both sides of a simulated PC share."""

from __future__ import annotations

import socket
import sys


def port_free(port: int) -> bool:
    """Whether nobody listens on 127.0.0.1:port; on Windows also whether nobody else has bound it."""
    with socket.socket() as probe:
        if sys.platform == "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed server's TIME_WAIT is no listener
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
