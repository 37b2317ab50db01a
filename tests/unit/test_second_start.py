"""A start while another owner is there: shown, ending, without windows, silent, gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge.app.second_start import ANSWERS_WITHIN_S, ENDS_WITHIN_S, Doors, Window, start_or_show
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.host.control import ControlServer


class Start:
    """A start that finds the lock taken so many times. Time passes only while it waits."""

    def __init__(self, taken: int) -> None:
        self.taken = taken
        self.tried = 0
        self.now = 0.0
        self.on_wait: Callable[[], None] = lambda: None

    def __call__(self) -> int:
        self.tried += 1
        if self.tried <= self.taken:
            raise ProblemError(problem("owner.taken"))
        return 7

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_wait()

    def run(self, state: Path) -> int:
        return start_or_show(state, self, lambda: self.now, self.sleep)

    def fails(self, state: Path) -> str:
        with pytest.raises(ProblemError) as caught:
            self.run(state)
        return caught.value.problem.code


@contextmanager
def owner(state: Path, answer: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """An owner's channel that answers every request like this."""
    server = ControlServer(state, lambda _request: answer())
    try:
        yield
    finally:
        server.close()


def test_the_first_start_asks_nobody(tmp_path: Path) -> None:
    assert Start(0).run(tmp_path) == 7


def test_the_owners_window_comes_to_the_front(tmp_path: Path) -> None:
    start = Start(99)
    with owner(tmp_path, lambda: {"window": "shown"}):
        assert start.run(tmp_path) == 0
    assert start.tried == 1


def test_an_older_owner_that_says_nothing_of_its_window_has_shown_it(tmp_path: Path) -> None:
    with owner(tmp_path, dict):
        assert Start(99).run(tmp_path) == 0


def test_an_owner_that_is_ending_is_waited_for_and_replaced(tmp_path: Path) -> None:
    start = Start(3)
    with owner(tmp_path, lambda: {"window": "ending"}):
        assert start.run(tmp_path) == 7
    assert 0 < start.now < 2


def test_an_owner_that_is_gone_but_for_its_lock_is_waited_for(tmp_path: Path) -> None:
    assert Start(3).run(tmp_path) == 7


def test_an_owner_that_gave_its_end_up_shows_its_window_after_all(tmp_path: Path) -> None:
    start, answers = Start(99), iter(["ending", "ending", "shown"])
    with owner(tmp_path, lambda: {"window": next(answers)}):
        assert start.run(tmp_path) == 0


def test_an_owner_that_does_not_end_is_named_after_a_while(tmp_path: Path) -> None:
    start = Start(10_000)
    start.sleep = lambda _seconds: setattr(start, "now", start.now + 5)  # type: ignore[assignment,method-assign]
    with owner(tmp_path, lambda: {"window": "ending"}):
        assert start.fails(tmp_path) == "owner.stays"
    assert ENDS_WITHIN_S < start.now <= ENDS_WITHIN_S + 5


def test_a_run_in_a_terminal_has_no_window_to_show(tmp_path: Path) -> None:
    with owner(tmp_path, lambda: {"window": "none"}):
        assert Start(99).fails(tmp_path) == "owner.no_windows"


def test_an_owner_that_does_not_answer_is_given_some_time(tmp_path: Path) -> None:
    """The key is not the owner's: it answers nothing that could be understood."""
    start = Start(10_000)
    start.sleep = lambda _seconds: setattr(start, "now", start.now + 4)  # type: ignore[assignment,method-assign]
    with owner(tmp_path, lambda: {"window": "shown"}):
        (tmp_path / "control.key").write_bytes(b"x" * 32)
        assert start.fails(tmp_path) == "owner.hangs"
    assert ANSWERS_WITHIN_S < start.now <= ANSWERS_WITHIN_S + 4


def test_what_else_is_wrong_with_a_start_is_not_waited_for(tmp_path: Path) -> None:
    def broken() -> int:
        raise ProblemError(problem("storage.unusable", path="x", detail="full"))

    with pytest.raises(ProblemError) as caught:
        start_or_show(tmp_path, broken)
    assert caught.value.problem.code == "storage.unusable"


# --- the owner's side -------------------------------------------------------------------------------------------------


class Windows:
    """Windows that come to the front, unless they are about to go."""

    def __init__(self) -> None:
        self.shown = self.ended = 0
        self.leaving = False

    def show(self) -> bool:
        self.shown += not self.leaving
        return not self.leaving

    def end(self) -> None:
        self.ended += 1


def test_a_wish_before_the_windows_are_there_is_kept() -> None:
    doors, windows = Doors(), Windows()
    assert doors.open() is Window.SHOWN
    assert windows.shown == 0
    doors.ready(windows.show, windows.end)
    assert windows.shown == 1
    assert doors.open() is Window.SHOWN
    assert windows.shown == 2


def test_windows_that_go_are_not_shown_and_those_that_stay_after_all_are() -> None:
    doors, windows = Doors(), Windows()
    doors.ready(windows.show, windows.end)
    doors.quit()
    windows.leaving = True
    assert doors.open() is Window.ENDING
    windows.leaving = False  # something could not be stopped: the program asks
    assert doors.open() is Window.SHOWN
    doors.close()
    assert doors.open() is Window.ENDING
    assert (windows.shown, windows.ended) == (1, 1)


def test_an_end_before_the_windows_are_there_is_kept() -> None:
    doors, windows = Doors(), Windows()
    doors.quit()
    assert doors.open() is Window.ENDING
    doors.ready(windows.show, windows.end)
    assert (windows.shown, windows.ended) == (0, 1)


def test_many_starts_at_once_are_all_answered(tmp_path: Path) -> None:
    doors, windows = Doors(), Windows()
    doors.ready(windows.show, windows.end)
    codes: list[int] = []
    with owner(tmp_path, lambda: {"window": doors.open()}):
        threads = [threading.Thread(target=lambda: codes.append(Start(99).run(tmp_path))) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert codes == [0] * 5
    assert windows.shown == 5
