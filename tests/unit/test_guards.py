"""The guards of `tests/helpers/guards.py` catch what they are for: a guard that never fires would hide everything."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from tests.helpers.guards import NetworkRefused

ROOT = Path(__file__).resolve().parents[2]


def test_guards_fail_the_tests_that_break_the_rules(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """One inner run: each test that breaks a rule fails or errs, and the announced warning passes."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers =\n    allow_log(pattern, reason): announced\n")
    pytester.makepyfile(
        """
        import logging, threading
        import pytest

        def test_warns():
            logging.getLogger("product").warning("disk full")

        @pytest.mark.allow_log(r"disk \\w+", reason="the disk is full in this test")
        def test_announced():
            logging.getLogger("product").warning("disk full")

        @pytest.fixture
        def closing():
            yield
            logging.getLogger("product").warning("late word")

        def test_warns_at_the_end(closing):
            pass

        @pytest.mark.allow_log(r"disk \\w+", reason="another warning than the announced one")
        def test_other():
            logging.getLogger("product").error("card lost")

        def test_leaks():
            threading.Thread(target=threading.Event().wait, name="left-over", daemon=True).start()
        """
    )
    result = pytester.runpytest_subprocess("-p", "tests.helpers.guards", "-p", "no:pytestqt", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=5, errors=4)
    result.stdout.fnmatch_lines_random(
        [
            "*WARNING product: disk full",
            "*ERROR product: card lost",
            "*WARNING product: late word",
            "*threads outlive the test: left-over",
        ]
    )


def test_network_beyond_this_machine_is_refused() -> None:
    """192.0.2.0/24 is the documentation network (RFC 5737): nothing answers there, and nothing may try."""
    with socket.socket() as outside, pytest.raises(NetworkRefused, match=r"192\.0\.2\.1"):
        outside.connect(("192.0.2.1", 80))
    with pytest.raises(NetworkRefused, match=r"example\.invalid"):
        socket.getaddrinfo("example.invalid", 80)


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


@pytest.mark.allow_log("announced", reason="shows that the mark works in this suite as well")
def test_announced_record_passes() -> None:
    logging.getLogger(__name__).warning("announced")
