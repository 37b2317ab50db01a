"""Pytest plugin: what no test may do unnoticed. Owns three guards, each on for every test.

- a log record of WARNING and above that the test did not announce with `allow_log(pattern, reason=...)` fails it;
- a thread that outlives its test fails it;
- a connection or a name look-up beyond this machine raises NetworkRefused where it is made.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

THREAD_GRACE_S = 2.0
"""How long a thread may take to end after its test: closing a pipe or a socket wakes its reader only soon."""


class NetworkRefused(Exception):
    """Tests talk to this machine only."""


def pytest_configure(config: pytest.Config) -> None:
    """Refuse the network for the whole process. The hook cannot be taken out again: it is set once."""
    if not getattr(sys, "_kotaro_network_guard", False):
        sys._kotaro_network_guard = True  # type: ignore[attr-defined]
        sys.addaudithook(_refuse_network)


@pytest.fixture(autouse=True)
def _no_unexpected_log(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    marks = [mark for mark in request.node.iter_markers("allow_log") if _has_reason(mark)]
    expected = [re.compile(mark.args[0]) for mark in marks]
    records = [record for phase in ("setup", "call", "teardown") for record in caplog.get_records(phase)]
    loud = [record for record in records if record.levelno >= logging.WARNING]
    surprises = [record for record in loud if not any(pattern.search(record.getMessage()) for pattern in expected)]
    if surprises:
        lines = "\n".join(f"{record.levelname} {record.name}: {record.getMessage()}" for record in surprises)
        pytest.fail(f"unexpected log records:\n{lines}", pytrace=False)


@pytest.fixture(autouse=True)
def _no_leaked_thread() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + THREAD_GRACE_S
    for thread in _own_threads(before):
        thread.join(max(0.0, deadline - time.monotonic()))
    leaked = _own_threads(before)
    if leaked:
        pytest.fail(f"threads outlive the test: {', '.join(sorted(thread.name for thread in leaked))}", pytrace=False)


def _has_reason(mark: pytest.Mark) -> bool:
    if not mark.kwargs.get("reason"):
        raise pytest.UsageError("allow_log needs a pattern and a reason: allow_log(r'...', reason='...')")
    return True


def _own_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    """New threads that Python started: a dummy stands for a thread of Qt or another library that called into Python."""
    new = set(threading.enumerate()) - before
    return [thread for thread in new if not isinstance(thread, threading._DummyThread)]


def _refuse_network(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" or event == "socket.sendto":
        address = args[1]
        if isinstance(address, tuple) and not _is_this_machine(address[0]):
            raise NetworkRefused(f"a test tried to reach {address[0]}")
    elif event == "socket.getaddrinfo" or event == "socket.gethostbyname":
        host = args[0]
        if host is not None and not _is_this_machine(host):
            raise NetworkRefused(f"a test asked for the address of {host}")


def _is_this_machine(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False
