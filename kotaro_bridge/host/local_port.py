"""Is a TCP port of this side free?"""

from __future__ import annotations

import socket
import sys


def local_port_free(port: int) -> bool:
    """True if 127.0.0.1:port can be bound. Finds listeners and, on Windows, reserved ranges as well.

    An exclusive bind on Windows: a shared one would succeed beside another listener.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform == "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed server's TIME_WAIT is no listener
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
