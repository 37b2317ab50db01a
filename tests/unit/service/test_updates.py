"""Newer versions: who is asked when, and that nobody is without the setting or a click."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.run.run_view import Notice
from kotaro_bridge.domain.update import DAY_S, Package, Release, UpdateState, UpdateView
from kotaro_bridge.service.updates import UpdatePorts, Updates

NEW = Release("0.2.0", "https://example.invalid/", "https://example.invalid/x", 5 << 20, "ab" * 32)
NEWER = Release("0.3.0", "https://example.invalid/", "https://example.invalid/y", 5 << 20, "cd" * 32)
ZIPPED = Release("0.2.0", NEW.page, "https://example.invalid/z", 5 << 20, "ef" * 32, Package.PORTABLE)
FILE = Path("KotaroBridge-0.2.0-setup.exe")
PATIENCE_S = 10.0
MIB = 1 << 20
S = UpdateState


class Source:
    """A feed that says what the test wants; `asked` is what was wanted of it."""

    def __init__(self) -> None:
        self.package = Package.INSTALLER
        self.release: Release | None = NEW
        self.error: str = ""
        self.asked: list[str] = []
        self.kept: list[Release | None] = []
        self.sizes: list[int] = [MIB // 2, MIB, 2 * MIB, NEW.size]
        self.waits: threading.Event | None = None
        self.changed = threading.Condition()

    def latest(self, current: str) -> Release | None:
        self._note(f"latest {current}")
        self._fail()
        return self.release

    def fetch(self, release: Release, progress: Callable[[int], None], stopped: threading.Event) -> Path | None:
        self._note(f"fetch {release.version}")
        for size in self.sizes:
            progress(size)
        if self.waits is not None:
            self.waits.set()
            assert stopped.wait(PATIENCE_S)
            return None
        self._fail()
        return FILE

    @contextmanager
    def verified(self, release: Release) -> Iterator[BufferedReader]:
        self._note(f"verified {release.version}")
        self._fail()
        with open(__file__, "rb") as file:
            yield file

    def tidy(self, keep: Release | None) -> None:
        self.kept.append(keep)

    def wait_asked(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked) >= count, PATIENCE_S)

    def _note(self, word: str) -> None:
        with self.changed:
            self.asked.append(word)
            self.changed.notify_all()

    def _fail(self) -> None:
        if self.error == "bug":
            raise RuntimeError("a bug")
        if self.error:
            raise ProblemError(problem(self.error))


class Memory:
    """What is remembered."""

    def __init__(self) -> None:
        self.kept: tuple[float | None, Release | None] = None, None

    def load(self) -> tuple[float | None, Release | None]:
        return self.kept

    def save(self, checked_at: float, release: Release | None) -> None:
        self.kept = checked_at, release


class Lab:
    """Updates with a clock that the test sets, and looks that follow at once."""

    def __init__(self) -> None:
        self.source, self.memory = Source(), Memory()
        self.enabled = True
        self.looks = 0
        self.looked = threading.Condition()
        self.now = 1_000_000_000.0
        self.told: list[UpdateView | Notice] = []
        self.started: list[bytes] = []
        self.shown: list[bytes] = []
        self.updates = self.make()

    def make(self, source: Source | None = None) -> Updates:
        def taken(into: list[bytes]) -> Callable[[BufferedReader], None]:
            return lambda file: into.append(file.read(3))  # open, and of the file that was checked

        start, show = taken(self.started), taken(self.shown)
        ports = UpdatePorts(source or self.source, self.memory, self._is_enabled, start, show)
        return Updates("0.1.0", ports, self.told.append, clock=self._clock, look_s=0.001)

    def _is_enabled(self) -> bool:
        self._count()
        return self.enabled

    def _clock(self) -> float:
        self._count()
        return self.now

    def _count(self) -> None:
        with self.looked:
            self.looks += 1
            self.looked.notify_all()

    def look(self) -> None:
        """Until setting or clock have been looked at often enough for some looks of the watch."""
        with self.looked:
            wanted = self.looks + 20
            assert self.looked.wait_for(lambda: self.looks >= wanted, PATIENCE_S)

    @property
    def states(self) -> list[UpdateState]:
        return [each.state for each in self.told if isinstance(each, UpdateView)]

    @property
    def notices(self) -> list[str]:
        return [str(each.problem.params["version"]) for each in self.told if isinstance(each, Notice)]


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.updates.close()


def test_nobody_is_asked_without_the_setting_or_a_click(lab: Lab) -> None:
    lab.enabled = False
    lab.updates.start()
    lab.look()
    assert lab.source.asked == []
    assert lab.updates.state() == UpdateView(S.IDLE, "0.1.0", has_feed=True)


def test_nobody_is_asked_before_a_start(lab: Lab) -> None:
    assert lab.updates.state().state is S.IDLE
    assert lab.source.asked == []


def test_once_a_day_with_the_setting(lab: Lab) -> None:
    lab.updates.start()
    lab.source.wait_asked(1)
    view = lab.updates.wait(PATIENCE_S)
    assert (view.state, view.release, view.checked_at) == (S.AVAILABLE, NEW, lab.now)
    assert lab.notices == ["0.2.0"]
    lab.now += DAY_S - 1
    lab.look()
    assert lab.source.asked == ["latest 0.1.0"]
    lab.now += 2
    lab.source.wait_asked(2)
    lab.updates.wait(PATIENCE_S)
    assert lab.notices == ["0.2.0"]


def test_the_setting_counts_from_when_it_is_set(lab: Lab) -> None:
    lab.enabled = False
    lab.updates.start()
    lab.look()
    lab.enabled = True
    lab.source.wait_asked(1)


def test_a_clock_that_was_set_back_does_not_stop_the_search(lab: Lab) -> None:
    lab.memory.kept = lab.now + 5 * DAY_S, None
    lab.updates.start()
    lab.source.wait_asked(1)


def test_the_last_answer_is_remembered_across_starts(lab: Lab) -> None:
    lab.memory.kept = lab.now - 60, NEW
    lab.updates.start()
    view = lab.updates.state()
    assert (view.state, view.release, view.checked_at) == (S.AVAILABLE, NEW, lab.now - 60)
    assert lab.source.kept == [NEW]
    assert lab.source.asked == []
    assert lab.notices == []


def test_what_was_installed_since_is_no_news(lab: Lab) -> None:
    lab.memory.kept = lab.now - 60, Release("0.1.0", "", "", 1, "ab" * 32)
    lab.updates.start()
    assert (lab.updates.state().state, lab.updates.state().release) == (S.IDLE, None)
    assert lab.source.kept == [None]


def test_a_newer_one_is_told_again(lab: Lab) -> None:
    lab.memory.kept = lab.now - 2 * DAY_S, NEW
    lab.source.release = NEWER
    lab.updates.start()
    lab.source.wait_asked(1)
    assert lab.updates.wait(PATIENCE_S).release == NEWER
    assert lab.notices == ["0.3.0"]


def test_a_feed_that_fails_is_asked_again_after_an_hour(lab: Lab) -> None:
    lab.source.error = "update.unreachable"
    lab.updates.start()
    lab.source.wait_asked(1)
    view = lab.updates.wait(PATIENCE_S)
    assert (view.state, view.checked_at) == (S.FAILED, None)
    assert view.problem is not None
    assert view.problem.code == "update.unreachable"
    lab.look()
    assert len(lab.source.asked) == 1
    lab.now += 3601
    lab.source.wait_asked(2)
    assert lab.notices == []


def test_a_click_asks_whatever_the_setting(lab: Lab) -> None:
    lab.enabled = False
    lab.source.release = None
    lab.updates.check()
    view = lab.updates.wait(PATIENCE_S)
    assert (view.state, view.release) == (S.CURRENT, None)
    assert lab.states == [S.CHECKING, S.CURRENT]
    assert lab.memory.kept == (lab.now, None)
    assert lab.notices == []


def test_from_the_question_to_the_installer(lab: Lab) -> None:
    lab.updates.download()
    lab.updates.install()
    assert lab.source.asked == []
    lab.updates.check()
    assert lab.updates.wait(PATIENCE_S).state is S.AVAILABLE
    lab.updates.install()
    assert lab.updates.wait(PATIENCE_S).state is S.AVAILABLE
    lab.updates.download()
    view = lab.updates.wait(PATIENCE_S)
    assert (view.state, view.bytes) == (S.READY, NEW.size)
    assert lab.started == []
    lab.updates.install()
    assert lab.updates.wait(PATIENCE_S).state is S.INSTALLING
    assert (lab.started, lab.shown) == ([b'"""'], [])
    assert lab.source.asked == ["latest 0.1.0", "fetch 0.2.0", "verified 0.2.0"]


def test_a_zip_is_shown_and_this_copy_goes_on(lab: Lab) -> None:
    lab.source.package, lab.source.release = Package.PORTABLE, ZIPPED
    lab.updates.check()
    lab.updates.wait(PATIENCE_S)
    lab.updates.download()
    lab.updates.wait(PATIENCE_S)
    assert lab.shown == [], "never without a click"
    for _ in range(2):
        lab.updates.install()
        assert lab.updates.wait(PATIENCE_S).state is S.READY
    assert (lab.started, lab.shown) == ([], [b'"""'] * 2)
    assert S.INSTALLING not in lab.states


def test_what_another_copy_of_this_user_looked_for_is_not_offered(lab: Lab) -> None:
    """The installed program and one that was unpacked remember in the same place."""
    lab.memory.kept = lab.now, ZIPPED
    lab.updates.start()
    assert lab.updates.state().release is None
    assert lab.source.kept == [None]


def test_progress_is_told_by_the_mebibyte(lab: Lab) -> None:
    lab.updates.check()
    lab.updates.wait(PATIENCE_S)
    lab.updates.download()
    lab.updates.wait(PATIENCE_S)
    told = [each.bytes for each in lab.told if isinstance(each, UpdateView) and each.state is S.DOWNLOADING]
    assert told == [0, MIB, 2 * MIB, NEW.size]


def test_an_installer_that_is_not_right_is_never_started(lab: Lab) -> None:
    lab.updates.check()
    lab.updates.wait(PATIENCE_S)
    lab.updates.download()
    lab.updates.wait(PATIENCE_S)
    lab.source.error = "update.checksum"
    lab.updates.install()
    view = lab.updates.wait(PATIENCE_S)
    assert view.state is S.FAILED
    assert lab.started == []
    lab.source.error = ""
    lab.updates.download()
    assert lab.updates.wait(PATIENCE_S).state is S.READY


def test_what_is_ready_is_left_alone_by_the_daily_question(lab: Lab) -> None:
    lab.updates.check()
    lab.updates.wait(PATIENCE_S)
    lab.updates.download()
    lab.updates.wait(PATIENCE_S)
    lab.updates.start()
    lab.updates.check()
    lab.updates.wait(PATIENCE_S)
    lab.updates.download()
    assert lab.updates.wait(PATIENCE_S).state is S.READY
    lab.now += 5 * DAY_S
    asked = len(lab.source.asked)
    lab.look()
    assert len(lab.source.asked) == asked


def test_a_download_is_cancelled_and_can_be_asked_for_again(lab: Lab) -> None:
    lab.updates.check()
    lab.updates.wait(PATIENCE_S)
    lab.source.waits = threading.Event()
    lab.updates.download()
    assert lab.source.waits.wait(PATIENCE_S)
    lab.updates.check()  # one thing at a time
    lab.updates.cancel()
    view = lab.updates.wait(PATIENCE_S)
    assert (view.state, view.release, view.bytes) == (S.AVAILABLE, NEW, 0)
    lab.source.waits = None
    lab.updates.download()
    assert lab.updates.wait(PATIENCE_S).state is S.READY
    assert lab.source.asked == ["latest 0.1.0", "fetch 0.2.0", "fetch 0.2.0"]


def test_the_end_of_the_program_stops_a_download(lab: Lab) -> None:
    lab.updates.check()
    lab.updates.wait(PATIENCE_S)
    lab.source.waits = threading.Event()
    lab.updates.download()
    assert lab.source.waits.wait(PATIENCE_S)
    lab.updates.close()
    lab.updates.check()
    assert lab.source.asked == ["latest 0.1.0", "fetch 0.2.0"]


@pytest.mark.allow_log("update", reason="a bug is logged with its trace")
def test_a_bug_is_told_too(lab: Lab) -> None:
    lab.source.error = "bug"
    lab.updates.check()
    view = lab.updates.wait(PATIENCE_S)
    assert view.state is S.FAILED
    assert view.problem is not None
    assert view.problem.code == "run.internal"


def test_without_a_feed_nothing_is_done() -> None:
    told: list[UpdateView | Notice] = []
    ports = UpdatePorts(None, Memory(), lambda: True, lambda _: None, lambda _: None)
    updates = Updates("0.1.0", ports, told.append, look_s=0.001)
    updates.start()
    updates.check()
    updates.download()
    updates.install()
    assert updates.wait(PATIENCE_S) == UpdateView(S.IDLE, "0.1.0", has_feed=False)
    assert told == []
    updates.close()
