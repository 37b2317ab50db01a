"""The hand-over into the windows' thread: everything in order, telemetry only the newest."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from PySide6.QtCore import QThread
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import PhaseChanged, RunView, Sample
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.ui.bridge import Bridge

SAMPLE = Sample(0.0, 0.0, (), None, ())


def change(profile: str, generation: int) -> PhaseChanged:
    return PhaseChanged(Phase.IDLE, RunView(profile, Phase.CHECKING, generation, 0.0))


def in_threads(*works: object) -> None:
    threads = [threading.Thread(target=work) for work in works]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)


def test_state_changes_of_several_threads_all_arrive_in_each_threads_order(qtbot: QtBot) -> None:
    bus = Bus()
    bridge = Bridge(bus)
    heard: list[tuple[str, int]] = []
    bridge.phase_changed.connect(lambda c: heard.append((c.view.profile_id, c.view.generation)))
    names = ("a", "b", "c", "d")

    def tell(name: str) -> None:
        for number in range(250):
            bus.publish(change(name, number))
            bus.publish(replace(SAMPLE, at=number))

    in_threads(*[lambda name=name: tell(name) for name in names])
    qtbot.waitUntil(lambda: len(heard) == 1000)
    for name in names:
        assert [number for who, number in heard if who == name] == list(range(250))
    bridge.close()


def test_of_many_samples_only_the_newest_is_delivered(qtbot: QtBot) -> None:
    bus = Bus()
    bridge = Bridge(bus)
    heard: list[float] = []
    bridge.sampled.connect(lambda sample: heard.append(sample.at))

    def tell() -> None:
        for number in range(500):
            bus.publish(replace(SAMPLE, at=float(number)))

    in_threads(tell)
    qtbot.waitUntil(lambda: bool(heard))
    assert heard == [499.0]
    bridge.close()


def test_calls_run_on_the_windows_thread(qtbot: QtBot) -> None:
    bridge = Bridge(Bus())
    ran: list[bool] = []
    in_threads(lambda: bridge.post(lambda: ran.append(QThread.currentThread() is bridge.thread())))
    qtbot.waitUntil(lambda: ran == [True])
    bridge.close()


@pytest.mark.allow_log("a call into the windows failed", reason="the test makes one fail")
def test_a_call_that_fails_does_not_keep_the_next_from_running(qtbot: QtBot) -> None:
    bridge = Bridge(Bus())
    ran: list[int] = []
    bridge.post(lambda: ran.append(1 // 0))
    bridge.post(lambda: ran.append(2))
    qtbot.waitUntil(lambda: ran == [2])
    bridge.close()


def test_a_closed_bridge_delivers_nothing(qtbot: QtBot) -> None:
    bus = Bus()
    bridge = Bridge(bus)
    heard: list[object] = []
    bridge.phase_changed.connect(heard.append)
    bridge.sampled.connect(heard.append)
    bus.publish(change("a", 1))
    bridge.close()
    bus.publish(change("a", 2))
    bus.publish(SAMPLE)
    bridge.post(lambda: heard.append("late"))
    qtbot.wait(20)
    assert heard == []
