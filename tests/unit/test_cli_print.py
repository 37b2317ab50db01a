"""What a run prints when it serves: its address, its speed, what a slow one is told, and what the watch warns of."""

from __future__ import annotations

import threading

import msgspec
import pytest

from kotaro_bridge.cli.print import RunPrinter, explain, print_report, print_run
from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.run.gate import UNASKED, Check, CheckId, GateReport, Status
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import Endpoint, Notice, PhaseChanged, RunView, Sample, Speed, Throughput
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.service.owner_desk import view_document
from kotaro_bridge.texts import Texts
from tests.helpers.machine import LLAMA

PROFILE = msgspec.structs.replace(LLAMA, id="p", gpus=(0, 1))
CARDS = (
    GpuSnapshot(0, "GPU-1", "RTX", 12 * GIB, used=10 * GIB),
    GpuSnapshot(1, "GPU-2", "RTX", 12 * GIB, used=9 * GIB),
)
ADDRESS = Endpoint("http://127.0.0.1:8080/v1", "q14", None, False)


def printed(speed: Speed, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    view = RunView("p", Phase.READY, 1, 0.0, endpoint=ADDRESS, speed=speed)
    RunPrinter(Texts("en"), PROFILE, threading.Event())(PhaseChanged(Phase.PROVING, view))
    out, err = capsys.readouterr()
    return out, err


def test_a_run_at_full_speed_says_how_fast_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(Speed(38.04, 0.63), capsys)
    assert "38.0" in out
    assert "63 %" in out
    assert err == ""


def test_a_slow_run_says_that_and_what_to_do_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(Speed(4.6, 0.08, slow=True), capsys)
    assert ADDRESS.base_url in out
    assert "not proved" in err
    assert "8 %" in err
    assert len(err.splitlines()) == 2


def test_the_usual_speed_stands_beside_that_of_this_start(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = printed(Speed(38.04, 0.63, 40.2), capsys)
    assert "38.0 tokens per second, 63 % of what this card can do, usually 40.2" in out


def test_a_run_that_is_warned_of_is_not_called_ready(capsys: pytest.CaptureFixture[str]) -> None:
    warned = RunView("p", Phase.READY, 1, 0.0, endpoint=ADDRESS, warning=problem("watch.driver_lost"))
    RunPrinter(Texts("en"), PROFILE, threading.Event())(PhaseChanged(Phase.READY, warned))
    assert capsys.readouterr().out.splitlines() == ["Not proved"]


def test_a_row_of_the_proof_that_says_nothing_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    explain(Texts("en"), problem("engine.exited", "last words", "", code=1))
    assert capsys.readouterr().err.splitlines()[1:-1] == ["  last words"]


def test_the_memory_beside_a_speed_is_that_of_all_cards_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    def said(cards: tuple[GpuSnapshot, ...]) -> str:
        sample = Sample(0.0, 0.0, cards, None, (Throughput("p", 38.0, 0.0, 1),))
        RunPrinter(Texts("en"), PROFILE, threading.Event())(sample)
        return capsys.readouterr().out

    assert "19.0 GiB / 24.0 GiB" in said(CARDS)
    assert "?" in said(CARDS[:1])


def test_a_notice_is_told_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()
    RunPrinter(Texts("en"), PROFILE, ended)(Notice(problem("stop.leftover_ended", run="q-1")))
    assert "q-1" in capsys.readouterr().err
    assert not ended.is_set()


@pytest.mark.parametrize(
    ("view", "lines"),
    [
        (RunView("p", Phase.READY, 1, 0.0, endpoint=ADDRESS, speed=Speed(38, 0.6)), ["p: Ready  ADDRESS  q14"]),
        (
            RunView("p", Phase.READY, 1, 0.0, endpoint=ADDRESS, speed=Speed(4, 0.1, slow=True)),
            ["p: Ready  ADDRESS  q14  slow, not proved"],
        ),
        (
            RunView("p", Phase.READY, 1, 0.0, endpoint=ADDRESS, warning=problem("watch.driver_lost")),
            ["p: Not proved  ADDRESS  q14", "  The NVIDIA driver stopped answering", "  Wait until Windows"],
        ),
        (RunView("p", Phase.STOPPED, 1, 0.0, speed=Speed(4, 0.1, slow=True)), ["p: Stopped"]),
    ],
    ids=["ready", "slow", "warned", "stopped"],
)
def test_status_says_what_is_not_proved(view: RunView, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    print_run(Texts("en"), view_document(view))
    shown = capsys.readouterr().out.replace(ADDRESS.base_url, "ADDRESS").splitlines()
    assert len(shown) == len(lines)
    assert all(line.startswith(start) for line, start in zip(shown, lines, strict=True))


@pytest.mark.parametrize(
    ("language", "marks"),
    [("en", ("ok       ", "FAILED   ", "UNKNOWN  ")), ("ja", ("正常     ", "不可     ", "不明     "))],
)
def test_a_cause_that_blocks_several_checks_is_told_once(
    language: str, marks: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One distro that cannot be reached leaves seven questions open."""
    texts = Texts(language)
    checks = (
        Check(CheckId.DRIVER, Status.PASSED, problem("gate.driver.passed", name="RTX", driver="580")),
        Check(CheckId.WSL, Status.FAILED, problem("wsl.missing")),
        Check(CheckId.ENGINE, Status.UNKNOWN, UNASKED),
        Check(CheckId.MODEL, Status.UNKNOWN, UNASKED),
    )
    print_report(texts, GateReport(checks))
    out, err = capsys.readouterr()
    passed, failed, unknown = marks
    assert out.startswith(passed)
    lines = err.splitlines()
    assert lines[0].startswith(failed)
    (told,) = [line for line in lines if texts.message(UNASKED).what in line]
    assert told.startswith(f"{unknown}{texts.text('ui.check.engine')}, {texts.text('ui.check.model')}:")
