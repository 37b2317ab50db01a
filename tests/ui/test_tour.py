"""The tour on a world that moves by itself: it leaves its pictures, and names the step that does not come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from kotaro_bridge.domain.model.download import DownloadState
from kotaro_bridge.domain.run.remedy import Remedy, RemedyKind
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.ui import tour
from kotaro_bridge.ui.tour import Chosen, choose, run_tour
from tests.ui.fake_desk import A7, A32, CPM, PROFILES, Q14, REMEDIES, FakeWorld, gate

STEP_MS = 60
STARTS = (Phase.CHECKING, Phase.LAUNCHING, Phase.LOADING, Phase.PROVING, Phase.READY)
MODELS = ("models-advice", "models-plan", "models-other-card", "models-download", "models-files")
SETTINGS = ("settings", "wsl-settings", "wsl-settings-text", "wsl-settings-change", "wsl-restart", "wsl-proof")
EDITOR = ("profile", "profile-too-long", "profile-forbidden")
ENDS = (Phase.STOPPING, Phase.STOPPED)


class LiveWorld:
    """A fake world whose runs go through their states when asked, with the card's memory after them."""

    def __init__(self) -> None:
        self.world = FakeWorld()
        self.starts: tuple[Phase, ...] = STARTS
        self.held_mib = 0
        self._live: str | None = None
        self._queue: list[tuple[str, Phase]] = []
        supervisor = self.world.supervisor
        supervisor.on_start = self._on_start
        supervisor.on_apply = self._on_apply
        supervisor.on_stop = lambda profile_id: self._queue.extend((profile_id, phase) for phase in ENDS)
        self._timer = QTimer()
        self._timer.timeout.connect(self._step)
        self._timer.start(STEP_MS)

    def _on_start(self, profile_id: str) -> None:
        need = next(p.stated_need for p in PROFILES if p.id == profile_id) or 0
        if self.held_mib:
            self.world.supervisor.refuse(profile_id, gate(round(need / 2**20), 4000), REMEDIES[0])
        elif self._live is not None:
            there = Remedy(RemedyKind.STOP_RUN, self._live, self._live)
            self.world.supervisor.refuse(profile_id, gate(round(need / 2**20), 1200), there)
        elif need > 11000 * 2**20:
            self.world.supervisor.refuse(profile_id, gate(round(need / 2**20)))
        else:
            self._queue.extend((profile_id, phase) for phase in self.starts)

    def _on_apply(self, profile_id: str, remedy: Remedy) -> None:
        self.held_mib = 0
        if remedy.kind is RemedyKind.STOP_RUN:
            self._queue.extend((remedy.value, phase) for phase in ENDS)
        self._queue.extend((profile_id, phase) for phase in self.starts)

    def _step(self) -> None:
        if self._queue:
            profile_id, phase = self._queue.pop(0)
            self._live = profile_id if phase is Phase.READY else None if phase in ENDS else self._live
            self.world.supervisor.move(profile_id, phase)
        for name, view in tuple(self.world.models.views.items()):
            if view.state is DownloadState.QUEUED:
                self.world.models.move(name, DownloadState.RUNNING, bytes=GIB, total=4 * GIB, speed=5e7, eta=64.0)
        self.world.telemetry.fill(4, self._live, 9800 if self._live else self.held_mib)
        self.world.telemetry.tick()

    def close(self) -> None:
        self._timer.stop()
        self.world.join()


@pytest.fixture
def live(qtbot: QtBot) -> Iterator[LiveWorld]:
    made = LiveWorld()
    yield made
    made.close()


def test_the_tour_walks_through_everything_and_leaves_pictures(
    live: LiveWorld, qapp: QApplication, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tour(qapp, live.world.desk, tmp_path / "tour", "light") == 0, capsys.readouterr().err
    names = [path.stem for path in sorted((tmp_path / "tour").glob("*.png"))]
    assert [int(name[:2]) for name in names] == list(range(1, len(names) + 1))
    wanted = [
        "tray-icons",
        "tray-menu",
        "dashboard-idle",
        "checking",
        "loading",
        "ready",
        "answer-streaming",
        "answer-done",
        "proof",
        "log",
        "tray-menu-running",
        "refused-remedies",
        "remedy-under-way",
        "remedy-loading",
        "stopping",
        "stopped-memory-free",
        "picture-streaming",
        "refused",
        "refused-all-checks",
        *EDITOR,
        "profile-tried",
        *MODELS,
        *SETTINGS,
        "dashboard-dark",
    ]
    assert [name for name in wanted if not any(shot[3:] == name for shot in names)] == []
    assert all(not QImage(str(path)).isNull() for path in (tmp_path / "tour").glob("*.png"))
    asked = live.world.supervisor.asked
    taken = [("start", Q14.id), ("start", A7.id), (f"stop={Q14.id}", A7.id), ("stop", A7.id)]
    assert asked == [*taken, ("start", CPM.id), ("stop", CPM.id), ("start", A32.id)]
    assert live.world.connect.images == [False, False, True]
    assert live.world.wslconfig.store.read().data == b"[wsl2]\r\nmemory=24GB\r\n"
    assert live.world.wslconfig.restarts == 1


def test_where_another_program_holds_the_card_the_tour_frees_it(
    live: LiveWorld, qapp: QApplication, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live.held_mib = 7168
    assert run_tour(qapp, live.world.desk, tmp_path, "light") == 0, capsys.readouterr().err
    names = [path.stem[3:] for path in sorted(tmp_path.glob("*.png"))]
    assert names[3:-1] == [
        "refused-remedies",
        "remedy-under-way",
        "remedy-loading",
        "remedy-ready",
        "stopping",
        "stopped-memory-free",
        *(name for name in EDITOR if name != "profile-forbidden"),
        "profile-forbidden",
        *MODELS,
        *SETTINGS,
    ]
    assert live.world.supervisor.asked == [("start", Q14.id), ("unload=qwen3:8b", Q14.id), ("stop", Q14.id)]


def test_a_remedy_that_leads_to_no_start_is_named(
    live: LiveWorld,
    qapp: QApplication,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kotaro_bridge.ui.tour.WHOLE_S", 2)
    live.held_mib = 7168
    live.world.supervisor.on_apply = None
    assert run_tour(qapp, live.world.desk, tmp_path, "light") == 1
    assert "this did not come: a new start of Qwen2.5 14B Q4_K_M" in capsys.readouterr().err


def test_a_step_that_does_not_come_is_named_and_the_model_stopped(
    live: LiveWorld,
    qapp: QApplication,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kotaro_bridge.ui.tour.WHOLE_S", 1.5)
    live.starts = STARTS[:3]
    assert run_tour(qapp, live.world.desk, tmp_path, "light") == 1
    assert "this did not come: Qwen2.5 14B Q4_K_M ready" in capsys.readouterr().err
    assert live.world.supervisor.asked == [("start", Q14.id), ("stop", Q14.id)]


def test_a_slow_machine_sees_less_and_is_told_what_is_left_out(
    live: LiveWorld,
    qapp: QApplication,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for part in tour.BEFORE_S:
        monkeypatch.setitem(tour.BEFORE_S, part, 0.0)
    assert run_tour(qapp, live.world.desk, tmp_path, "light") == 0
    told = capsys.readouterr().err.splitlines()
    assert "tour: no time for the models" in told
    assert "tour: no time for the settings of WSL" in told
    names = {path.stem[3:] for path in tmp_path.glob("*.png")}
    assert "dashboard-dark" in names
    assert not names & {*MODELS, *SETTINGS, *EDITOR}


def test_a_model_that_fails_is_shown_and_ends_the_tour_at_once(
    live: LiveWorld, qapp: QApplication, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live.world.supervisor.on_start = live.world.supervisor.fail
    assert run_tour(qapp, live.world.desk, tmp_path, "light") == 1
    assert "Only 20 of 49 layers" in capsys.readouterr().err
    assert [path.stem[3:] for path in sorted(tmp_path.glob("*.png"))][-1] == "not-ready"


def test_it_chooses_what_fits_what_sees_and_what_does_not_fit() -> None:
    world = FakeWorld()
    world.telemetry.fill(1)
    assert choose(world.desk) == Chosen(Q14, CPM, A7, A32)
    assert choose(FakeWorld().desk) == Chosen(None, None, None, A32)
    roomy = FakeWorld(profiles=(Q14,))
    roomy.telemetry.fill(1)
    assert choose(roomy.desk) == Chosen(Q14, None, None, None)


def test_what_only_others_keep_from_fitting_is_refused_before_what_never_fits() -> None:
    world = FakeWorld()
    world.telemetry.fill(1, taken_mib=7000)
    chosen = choose(world.desk)
    assert chosen.good is None
    assert chosen.refused == Q14


def test_without_any_model_there_is_no_tour(
    qapp: QApplication, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = FakeWorld(profiles=())
    world.telemetry.fill(1)
    assert run_tour(qapp, world.desk, tmp_path, "light") == 1
    assert "this did not come: a model to start" in capsys.readouterr().err


def test_nothing_of_a_tour_that_is_over_ends_a_later_loop(
    qapp: QApplication,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An exit outside the application's own loop makes every loop after it return at once, deaf to all events."""
    kept: list[tour.Tour] = []

    class Kept(tour.Tour):
        def start(self) -> None:
            kept.append(self)
            super().start()

    monkeypatch.setattr(tour, "STOP_S", 0.2)
    monkeypatch.setattr(tour, "Tour", Kept)
    world = FakeWorld(profiles=())
    assert run_tour(qapp, world.desk, tmp_path, "light") == 1
    assert kept
    with qtbot.waitSignal(kept[0].done):
        pass  # the bound on the last stop
    later = QEventLoop()
    QTimer.singleShot(20, later.quit)
    assert later.exec() == 0
    capsys.readouterr()
