"""What carries news: the bus, the ring of log lines, and the log of one run."""

from __future__ import annotations

import logging
import threading

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine, LogLine, Stream
from kotaro_bridge.domain.engine.placement import Expectation, Verdict
from kotaro_bridge.domain.engine.reasons import Reason, ReasonCode
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import PhaseChanged, RunView
from kotaro_bridge.service.bus import Bus, Message
from kotaro_bridge.service.log_ring import LogPage, LogRing
from kotaro_bridge.service.run_log import RunLog
from tests.helpers.captures import llama_lines
from tests.helpers.machine import LogPart

NEWS = PhaseChanged(Phase.IDLE, RunView("a", Phase.CHECKING, 1, 0.0))


# --- the bus ----------------------------------------------------------------------------------------------------------


def test_everybody_hears_until_they_leave() -> None:
    bus = Bus()
    one: list[Message] = []
    other: list[Message] = []
    leave = bus.subscribe(one.append)
    bus.subscribe(other.append)
    bus.publish(NEWS)
    leave()
    leave()
    bus.publish(NEWS)
    assert (one, other) == ([NEWS], [NEWS, NEWS])


def test_a_listener_may_leave_while_it_hears() -> None:
    bus = Bus()
    heard: list[Message] = []

    def once(message: Message) -> None:
        heard.append(message)
        leave()

    leave = bus.subscribe(once)
    bus.subscribe(heard.append)
    bus.publish(NEWS)
    bus.publish(NEWS)
    assert heard == [NEWS] * 3


@pytest.mark.allow_log("a listener failed on PhaseChanged", reason="a listener that fails is the test")
def test_a_listener_that_fails_keeps_nobody_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    heard: list[Message] = []

    def fails(_: Message) -> None:
        raise ValueError("a defect")

    bus.subscribe(fails)
    bus.subscribe(heard.append)
    bus.publish(NEWS)
    assert heard == [NEWS]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


# --- the ring ---------------------------------------------------------------------------------------------------------


def line(number: int) -> LogLine:
    return LogLine(Stream.STDOUT, number, f"line {number}")


def filled(count: int, capacity: int = 5) -> LogRing:
    ring = LogRing(capacity)
    for number in range(1, count + 1):
        ring.append(line(number))
    return ring


def test_the_ring_gives_what_came_after_a_cursor() -> None:
    ring = filled(3)
    page = ring.since(0)
    assert page == LogPage(3, (line(1), line(2), line(3)), 0)
    assert ring.since(page.cursor) == LogPage(3, (), 0)
    ring.append(line(4))
    assert ring.since(page.cursor) == LogPage(4, (line(4),), 0)


def test_the_ring_counts_what_a_slow_reader_missed() -> None:
    assert filled(12).since(3) == LogPage(12, tuple(line(n) for n in range(8, 13)), 4)
    assert filled(12).since(0, limit=2) == LogPage(12, (line(11), line(12)), 10)
    assert filled(12).since(0, limit=0) == LogPage(12, (), 12)


def test_the_ring_survives_a_cursor_of_the_future() -> None:
    assert filled(2).since(99) == LogPage(2, (), 0)


def test_the_tail_of_the_ring() -> None:
    assert filled(9).tail(2) == (line(8), line(9))
    assert filled(1).tail(8) == (line(1),)
    assert filled(3).tail(0) == filled(3).tail(-5) == ()


def test_no_line_is_lost_between_writers() -> None:
    ring = LogRing(100_000)

    def write() -> None:
        for number in range(5000):
            ring.append(line(number))

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert ring.since(0, 100_000).cursor == len(ring.tail(100_000)) == 20_000


# --- the log of one run -----------------------------------------------------------------------------------------------


class Kept:
    """A run's log with everything it told."""

    def __init__(self, file: LogPart | None = None, expectation: Expectation | None = None) -> None:
        self.ring = LogRing()
        self.reasons: list[Reason] = []
        self.ready: list[int] = []
        self.log = RunLog(
            Engine.LLAMA_SERVER,
            expectation or Expectation(),
            self.ring,
            file,
            self.reasons.append,
            lambda: self.ready.append(self.log.lines),
        )

    def take(self, lines: list[LogLine]) -> None:
        for each in lines:
            self.log.take(each)


def test_lines_are_kept_written_and_judged() -> None:
    file = LogPart()
    kept = Kept(file)
    lines = llama_lines("full14-np1")
    kept.take(lines)
    assert kept.log.lines == len(lines) == kept.ring.since(0).cursor
    assert file.lines == [each.text for each in lines]
    assert kept.log.judge(ended=False).verdict is Verdict.GPU
    assert (kept.reasons, kept.log.failure) == ([], None)
    kept.log.flush()
    kept.log.close()
    kept.log.close()
    kept.log.flush()
    kept.take([line(1)])
    assert (file.flushed, file.closed, len(file.lines)) == (1, 1, len(lines))


def test_the_ready_line_is_told_once_and_ends_the_waiting() -> None:
    kept = Kept()
    lines = llama_lines("full14-np1")
    at = next(i for i, each in enumerate(lines, 1) if "listening on" in each.text)
    kept.take(lines[: at - 1])
    assert not kept.log.wait_ready(0.0)
    kept.take([*lines[at - 1 :], lines[at - 1]])
    assert kept.ready == [at]
    assert kept.log.wait_ready(0.0)


def test_the_first_disqualifying_line_is_told_once() -> None:
    kept = Kept()
    kept.take(llama_lines("partial20"))
    assert [reason.code for reason in kept.reasons] == [ReasonCode.LAYERS_ON_CPU]
    assert kept.log.judge(ended=False).verdict is Verdict.PARTIAL


def test_the_cause_of_a_death_is_known() -> None:
    kept = Kept()
    kept.take(llama_lines("missing-file"))
    assert kept.log.failure is not None
    assert kept.log.failure.code is ReasonCode.MODEL_MISSING
    assert kept.log.judge(ended=True).verdict is Verdict.FAILED
