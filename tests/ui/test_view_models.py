"""What windows show, without windows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from kotaro_bridge.domain.engine.engine_log import LogFacts
from kotaro_bridge.domain.engine.reasons import Judgement, Verdict
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView, Speed
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.texts import Texts
from kotaro_bridge.ui.view_models.look import Look
from kotaro_bridge.ui.view_models.memory import shares
from kotaro_bridge.ui.view_models.proof import proof_table
from kotaro_bridge.ui.view_models.series import curves, nice_ceiling, window_s
from kotaro_bridge.ui.view_models.status import clock, leading, look_of, state_line, status_line
from tests.ui.fake_desk import BAD, CARD, GOOD, Q14, FakeTelemetry, FakeWorld

EN = Texts("en")


def view(phase: Phase, since: float = 0.0, profile_id: str = "a") -> RunView:
    return RunView(profile_id, phase, 1, since)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-3, "0:00"), (0, "0:00"), (7.9, "0:07"), (723, "12:03"), (3723, "1:02:03")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_every_phase_has_a_look_and_refusal_never_looks_ready() -> None:
    assert {look_of(phase) for phase in Phase} == set(Look)
    assert [phase for phase in Phase if look_of(phase) is Look.READY] == [Phase.READY]


def test_the_tray_speaks_of_the_most_urgent_live_run_then_of_the_last_that_came_to_rest() -> None:
    ready, loading = view(Phase.READY, 5), view(Phase.LOADING, 1)
    failed, stopped = view(Phase.FAILED, 9), view(Phase.STOPPED, 12)
    assert leading([ready, loading, failed, stopped]) is loading
    assert leading([ready, failed, stopped]) is ready
    assert leading([failed, stopped]) is stopped
    assert leading([view(Phase.ORPHANED), loading]) == view(Phase.ORPHANED)
    assert leading([view(Phase.IDLE)]) is None


def test_ready_says_for_how_long() -> None:
    assert state_line(EN, view(Phase.READY, 100.0), 823.4) == "Ready for 12:03"


def test_status_line_has_model_state_speed_and_memory() -> None:
    telemetry = FakeTelemetry(FakeWorld().bus)
    telemetry.fill(3, Q14.id, 9000)
    line = status_line(EN, Q14, view(Phase.READY, profile_id=Q14.id), telemetry.latest())
    assert line.startswith("Qwen2.5 14B Q4_K_M · Ready · ")
    assert "tok/s" in line
    assert line.endswith("9.8 of 12.0 GiB")


def test_status_line_without_numbers_invents_none() -> None:
    assert status_line(EN, Q14, view(Phase.READY), None) == "Qwen2.5 14B Q4_K_M · Ready"
    assert status_line(EN, None, None, None) == "No model is running"


def test_curves_leave_a_gap_for_unknown_and_keep_zero() -> None:
    telemetry = FakeTelemetry(FakeWorld().bus)
    telemetry.fill(30, Q14.id, 8000, gap=(10, 14))
    made = curves(telemetry.history(), Q14.id, (0,), telemetry.samples[-1].at, 120)
    assert len(made.x) == 30
    assert made.x[-1] == 0
    assert all(math.isnan(made.used[n]) and math.isnan(made.generation[n]) for n in range(10, 14))
    assert not any(math.isnan(made.used[n]) for n in (9, 14))
    assert 0.0 in made.generation
    assert max(value for value in made.used if not math.isnan(value)) == pytest.approx((1062 + 8000) / 1024)


def test_curves_of_another_profile_are_a_gap_not_zero() -> None:
    telemetry = FakeTelemetry(FakeWorld().bus)
    telemetry.fill(5, Q14.id)
    made = curves(telemetry.history(), "other", (0,), telemetry.samples[-1].at, 120)
    assert all(math.isnan(value) for value in made.generation)


def test_a_pause_between_samples_breaks_the_line_and_old_samples_fall_out() -> None:
    telemetry = FakeTelemetry(FakeWorld().bus)
    telemetry.fill(3)
    late = replace(telemetry.samples[-1], at=telemetry.samples[-1].at + 60)
    telemetry.samples.append(late)
    made = curves(telemetry.history(), Q14.id, (0,), late.at, 120)
    assert len(made.x) == 5
    assert math.isnan(made.used[3])
    assert len(curves(telemetry.history(), Q14.id, (0,), late.at, 10).x) == 1


def test_the_time_axis_is_no_wider_than_what_there_is_to_see() -> None:
    telemetry = FakeTelemetry(FakeWorld().bus)
    assert window_s((), 120) == 40
    for seconds, wide in ((30, 40), (30, 80), (200, 120)):
        telemetry.fill(seconds)
        assert window_s(telemetry.history(), 120) == wide
    assert window_s(telemetry.history(), 600) == 300


@pytest.mark.parametrize(
    ("values", "least", "top"),
    [
        ([], 10, 10),
        ([math.nan], 10, 10),
        ([9], 10, 10),
        ([38], 10, 50),
        ([99], 10, 200),
        ([1450], 10, 2000),
        ([2.2], 1, 2.5),
    ],
)
def test_nice_ceiling(values: list[float], least: float, top: float) -> None:
    assert nice_ceiling(values, least) == top


def test_shares_divide_the_card() -> None:
    card = replace(CARD, used=9 * GIB, free=2 * GIB)
    parts = shares(card, [replace(view(Phase.READY), vram_taken=8 * GIB), view(Phase.STOPPED)])
    assert parts is not None
    assert (parts.ours, parts.others, parts.free) == (8 * GIB, 1 * GIB, 2 * GIB)
    assert parts.reserved == card.total - 11 * GIB


def test_unknown_shares_stay_unknown() -> None:
    assert shares(None, []) is None
    assert shares(replace(CARD, used=None), []) is None
    parts = shares(CARD, [view(Phase.LOADING)])
    assert parts is not None
    assert parts.ours is None
    assert parts.others is None


def test_proof_table_tells_what_was_proved() -> None:
    ready = replace(view(Phase.READY), judgement=GOOD, speed=Speed(38.2, 0.63), vram_taken=10405 * MIB)
    table = proof_table(EN, ready)
    rows = {row.name: row.value for row in table.rows}
    assert table.tone == "good"
    assert rows["Weights"] == "8.0 GiB on the card"
    assert rows["KV cache"] == "1.5 GiB on the card"
    assert rows["Layers on the card"] == "49 of 49"
    assert rows["Speed of the first answer"] == "38 tok/s · 63 % of what this card can do"
    assert rows["Video memory taken"] == "10,405 MiB"


def test_proof_of_vllm_uses_its_own_figures() -> None:
    facts = LogFacts(weights=18 * GIB, available_kv=2 * GIB, kv_tokens=11296, version="0.25.0")
    rows = {
        row.name: row.value
        for row in proof_table(EN, replace(view(Phase.READY), judgement=Judgement(Verdict.GPU, (), facts))).rows
    }
    assert rows["Weights"] == "18.0 GiB on the card"
    assert rows["Room in the KV cache"] == "11,296 tokens"
    assert "Layers on the card" not in rows


def test_a_verdict_is_no_proof_before_the_run_is_ready_and_a_bad_one_is_bad() -> None:
    assert proof_table(EN, view(Phase.LOADING)).rows == ()
    assert proof_table(EN, replace(view(Phase.PROVING), judgement=GOOD)).tone == ""
    assert proof_table(EN, replace(view(Phase.FAILED), judgement=BAD)).tone == "bad"
