"""The owner's lock and its control channel, between real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.ports import ChannelClosed, EngineCommand, ProcessEvent, Started
from kotaro_bridge.host.control import ControlServer, OwnerLock, _address, ask
from kotaro_bridge.host.launcher_local import LocalLauncher
from tests.helpers.simulated import alive, until

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and the guardian are POSIX")

# Processes of a run are known by its id: two runs of the tests on one machine must not have the same.
RUN = f"orphan-{os.getpid()}"


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"you said": request}


@contextmanager
def server(folder: Path, handler: Any = echo, patience_s: float = 0.2) -> Iterator[ControlServer]:
    made = ControlServer(folder, handler, patience_s)
    try:
        yield made
    finally:
        made.close()


OWNER = """
import sys, time
from pathlib import Path
from kotaro_bridge.host.control import ControlServer, OwnerLock
folder = Path(sys.argv[1])
lock = OwnerLock(folder)
if not lock.acquire():
    print("taken", flush=True)
    sys.exit()
server = ControlServer(folder, lambda request: {"pid": __import__("os").getpid(), **request})
print("owner", flush=True)
sys.stdin.read()
server.close()
lock.release()
"""


@contextmanager
def other_process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_one_process_at_a_time_is_the_owner(tmp_path: Path) -> None:
    lock = OwnerLock(tmp_path / "not" / "there")
    assert lock.acquire()
    assert lock.acquire(), "asking again changes nothing"
    with other_process(OWNER, tmp_path / "not" / "there") as second:
        assert first_line(second) == "taken"
    lock.release()
    lock.release()
    with other_process(OWNER, tmp_path / "not" / "there") as third:
        assert first_line(third) == "owner"
        assert not lock.acquire()


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_question_and_its_answer(tmp_path: Path) -> None:
    with server(tmp_path):
        assert ask(tmp_path, {"verb": "status", "words": "虎"}) == {"you said": {"verb": "status", "words": "虎"}}
        assert ask(tmp_path, {}) == {"you said": {}}


def test_a_long_answer_comes_whole(tmp_path: Path) -> None:
    lines = ["a line of a log " * 10] * 20_000
    with server(tmp_path, lambda _: {"logs": lines}):
        assert ask(tmp_path, {}) == {"logs": lines}


def test_without_an_owner_there_is_no_answer(tmp_path: Path) -> None:
    assert ask(tmp_path, {}) is None
    with server(tmp_path):
        pass
    assert ask(tmp_path, {}) is None
    assert list(tmp_path.iterdir()) == []


@posix
def test_the_key_is_for_this_user_alone(tmp_path: Path) -> None:
    with server(tmp_path):
        assert (tmp_path / "control.key").stat().st_mode & 0o777 == 0o600


def test_two_folders_are_two_channels(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    with server(one, lambda _: {"who": "one"}), server(other, lambda _: {"who": "other"}):
        assert ask(one, {}) == {"who": "one"}
        assert ask(other, {}) == {"who": "other"}


def test_a_slow_answer_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    """`stop` is answered when the engine has ended; `status` beside it must not wait for that."""
    asked, released = threading.Event(), threading.Event()

    def handler(request: dict[str, Any]) -> dict[str, Any]:
        if request["verb"] == "stop":
            asked.set()
            released.wait(10)
        return request

    answers: list[Any] = []
    with server(tmp_path, handler, patience_s=5):
        slow = threading.Thread(target=lambda: answers.append(ask(tmp_path, {"verb": "stop"})))
        slow.start()
        assert asked.wait(10)
        assert ask(tmp_path, {"verb": "status"}) == {"verb": "status"}
        assert answers == []
        released.set()
        slow.join(10)
    assert answers == [{"verb": "stop"}]


# --- strangers and those who fall silent ------------------------------------------------------------------------------


def test_a_wrong_key_is_refused(tmp_path: Path) -> None:
    handled: list[Any] = []

    def handler(request: dict[str, Any]) -> dict[str, Any]:
        handled.append(request)
        return {}

    with server(tmp_path, handler):
        key = (tmp_path / "control.key").read_bytes()
        (tmp_path / "control.key").write_bytes(b"another key, just as long as this")
        with pytest.raises(ProblemError) as caught:
            ask(tmp_path, {"verb": "stop"})
        assert caught.value.problem.code == "control.broken"
        (tmp_path / "control.key").write_bytes(key)
        assert ask(tmp_path, {}) == {}
        assert handled == [{}]


@pytest.mark.parametrize("words", [b"no JSON", b"[1, 2]", b"\xff\xfe", b"{" * 60_000, b" " * 70_000])
def test_a_request_that_is_none_ends_its_own_connection_only(tmp_path: Path, words: bytes) -> None:
    with server(tmp_path) as owner:
        with Client(_address(tmp_path), authkey=owner._key) as stranger:
            with contextlib.suppress(ConnectionError):  # one that is too long is not read to its end
                stranger.send_bytes(words)
            with pytest.raises((EOFError, ConnectionError)):
                stranger.recv_bytes()
        assert ask(tmp_path, {}) == {"you said": {}}


def test_a_client_that_says_nothing_keeps_nobody_waiting(tmp_path: Path) -> None:
    with server(tmp_path, patience_s=30) as owner:
        silent = [Client(_address(tmp_path)) for _ in range(3)]
        assert ask(tmp_path, {"verb": "status"}) == {"you said": {"verb": "status"}}
        known = Client(_address(tmp_path), authkey=owner._key)
        assert ask(tmp_path, {"verb": "status"}) == {"you said": {"verb": "status"}}
        for connection in (*silent, known):
            connection.close()


def test_a_client_that_says_nothing_does_not_keep_the_owner_from_ending(tmp_path: Path) -> None:
    owner = ControlServer(tmp_path, echo, patience_s=0.2)
    silent = Client(_address(tmp_path))
    begin = time.monotonic()
    owner.close()
    assert time.monotonic() - begin < 5
    silent.recv_bytes()  # the challenge
    with silent, pytest.raises((EOFError, ConnectionError)):
        silent.recv_bytes()


@posix
def test_half_a_word_keeps_neither_the_others_nor_the_end_waiting(tmp_path: Path) -> None:
    owner = ControlServer(tmp_path, echo, patience_s=0.2)
    with socket.socket(socket.AF_UNIX) as stalled:
        stalled.connect(_address(tmp_path))
        stalled.send(b"\0\0")
        assert ask(tmp_path, {}) == {"you said": {}}
        begin = time.monotonic()
        owner.close()
        assert time.monotonic() - begin < 5


def test_a_client_that_leaves_at_once_is_no_trouble(tmp_path: Path) -> None:
    with server(tmp_path):
        for _ in range(5):
            Client(_address(tmp_path)).close()
        assert ask(tmp_path, {}) == {"you said": {}}


def test_a_handler_that_fails_ends_its_own_connection_only(tmp_path: Path) -> None:
    def handler(request: dict[str, Any]) -> dict[str, Any]:
        return {"answer": 1 // request["by"]}

    with server(tmp_path, handler):
        assert ask(tmp_path, {"by": 0}) is None
        assert ask(tmp_path, {"by": 1}) == {"answer": 1}


def test_an_owner_that_is_closing_answers_nothing_new(tmp_path: Path) -> None:
    owner = ControlServer(tmp_path, echo)
    owner._closed.set()
    assert ask(tmp_path, {"verb": "stop"}) is None
    owner.close()


@posix
def test_an_owner_that_sleeps_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with other_process(OWNER, tmp_path) as owner:
        assert first_line(owner) == "owner"
        owner.send_signal(signal.SIGSTOP)
        with pytest.raises(ProblemError) as caught:
            ask(tmp_path, {}, patience_s=0.2)
        assert caught.value.problem.code == "control.broken"
        assert "TimeoutError" in caught.value.problem.evidence[0]
        owner.send_signal(signal.SIGCONT)
        assert ask(tmp_path, {}) == {"pid": owner.pid}


def test_an_answer_that_does_not_come_is_not_waited_for_without_end(tmp_path: Path) -> None:
    released = threading.Event()
    with server(tmp_path, lambda _: {"late": released.wait(10)}):
        with pytest.raises(ProblemError):
            ask(tmp_path, {}, answer_s=0.1)
        released.set()


def test_a_channel_without_descriptors_does_not_spin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`accept` fails at once then, again and again."""
    failures: list[float] = []
    owner = ControlServer(tmp_path, echo)
    accept = owner._listener.accept

    def fails() -> Any:
        if len(failures) < 2:
            failures.append(time.monotonic())
            raise OSError(24, "Too many open files")
        return accept()

    monkeypatch.setattr(owner._listener, "accept", fails)
    Client(_address(tmp_path)).close()  # ends the `accept` that was under way
    until(lambda: len(failures) == 2, what="two failures")
    assert failures[1] - failures[0] > 0.1
    assert ask(tmp_path, {}) == {"you said": {}}
    owner.close()


# --- an owner that is killed ------------------------------------------------------------------------------------------


@posix
def test_a_killed_owner_leaves_the_lock_and_the_channel_free(tmp_path: Path) -> None:
    with other_process(OWNER, tmp_path) as owner:
        assert first_line(owner) == "owner"
        assert ask(tmp_path, {"verb": "status"}) == {"pid": owner.pid, "verb": "status"}
        owner.kill()
        owner.wait()
    assert (tmp_path / "control.key").exists(), "what a killed process leaves"
    assert ask(tmp_path, {"verb": "status"}) is None
    lock = OwnerLock(tmp_path)
    assert lock.acquire()
    with server(tmp_path):
        assert ask(tmp_path, {}) == {"you said": {}}
    lock.release()


KILLED_WHILE_ASKED = """
import os, signal, sys, time
from pathlib import Path
from kotaro_bridge.host.control import ControlServer
server = ControlServer(Path(sys.argv[1]), lambda _: os.kill(os.getpid(), signal.SIGKILL))
print("owner", flush=True)
time.sleep(60)
"""


@posix
def test_an_owner_that_dies_while_it_is_asked_is_no_owner(tmp_path: Path) -> None:
    with other_process(KILLED_WHILE_ASKED, tmp_path) as owner:
        assert first_line(owner) == "owner"
        assert ask(tmp_path, {"verb": "status"}) is None


OWNER_WITH_ENGINE = """
import json, os, sys, time
from pathlib import Path
from kotaro_bridge.domain.ports import EngineCommand, Started
from kotaro_bridge.host.control import OwnerLock
from kotaro_bridge.host.launcher_local import LocalLauncher
folder = Path(sys.argv[1])
assert OwnerLock(folder).acquire()
launcher = LocalLauncher(env={**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")})
script = 'trap "" TERM HUP; echo "$$" >"$1"; while :; do sleep 1; done'
command = EngineCommand(("/bin/sh", "-c", script, "engine", str(folder / "engine.pid")), {}, (), ())
engine = launcher.launch(sys.argv[2], command, print, lambda event: None)
print(engine._popen.pid, flush=True)
time.sleep(60)
"""


@posix
def test_the_next_owner_ends_the_engine_of_a_killed_one(tmp_path: Path) -> None:
    """Owner and guardian die at once (the worst case); the engine lives on and ignores TERM."""
    launcher = LocalLauncher(env={**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")})
    with other_process(OWNER_WITH_ENGINE, tmp_path, RUN) as owner:
        guardian = int(first_line(owner))
        until(lambda: (tmp_path / "engine.pid").exists() and (tmp_path / "engine.pid").read_text(), what="the engine")
        engine = int((tmp_path / "engine.pid").read_text())
        owner.kill()
        os.killpg(guardian, signal.SIGKILL)
        owner.wait()
    assert alive(engine)
    lock = OwnerLock(tmp_path)
    assert lock.acquire()
    assert launcher.leftovers() == (RUN,)
    assert launcher.reap(RUN, 0) == ()
    assert not alive(engine)
    assert launcher.leftovers() == ()
    lock.release()


@posix
def test_a_run_that_its_guardian_is_ending_gets_no_second_term(tmp_path: Path) -> None:
    """The launching process is cut off; the guardian's helper sends TERM and waits. The look from outside that follows
    waits too: a second TERM makes llama-server leave without cleaning up.
    """
    launcher = LocalLauncher(env={**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")})
    script = (
        'trap "echo term >>\\"$1\\"; n=$((n+1))" TERM; : >"$1"; while [ "${n:-0}" -lt 1 ]; do sleep 0.1; done; sleep 1'
    )
    terms = tmp_path / "terms"
    command = EngineCommand(("/bin/sh", "-c", script, "engine", str(terms)), {}, (), ())
    events: list[ProcessEvent] = []
    process = launcher.launch(RUN, command, lambda _: None, events.append)
    until(terms.exists, what="the engine")
    process.abandon()
    until(lambda: terms.read_text(), what="the first TERM")
    assert launcher.reap(RUN, 5) == ()
    assert terms.read_text() == "term\n"
    assert process.join(20)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], ChannelClosed)


def test_documents_are_json(tmp_path: Path) -> None:
    with server(tmp_path, lambda request: {"raw": json.dumps(request)}):
        assert ask(tmp_path, {"a": [1, None, 2.5]}) == {"raw": '{"a": [1, null, 2.5]}'}


def test_a_folder_that_holds_no_lock_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "owner.lock").mkdir()
    with pytest.raises(ProblemError) as caught:
        OwnerLock(tmp_path).acquire()
    assert caught.value.problem.code == "storage.unusable"
