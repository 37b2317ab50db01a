"""The watch over one run, sample by sample."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kotaro_bridge.domain.engine.engine_log import DeviceFacts, LogFacts
from kotaro_bridge.domain.engine.reasons import Judgement, Verdict
from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess, GpuSnapshot
from kotaro_bridge.domain.ports import EngineCommand
from kotaro_bridge.domain.profile import WatchPolicy
from kotaro_bridge.domain.run.metrics import Rates
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import RunView, Speed
from kotaro_bridge.domain.run.speed import gguf_read_bytes
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.service.gatekeeper import Clearance
from kotaro_bridge.service.watch import COUNTERS_S, NOTHING, Found, RunWatch, Seen, Terms, speed_floor, terms
from tests.helpers.machine import LLAMA, MODEL, VLLM

CARD = GpuSnapshot(0, "GPU-1", "RTX", 12 * GIB, 1 * GIB, 11 * GIB, "580.88")
BEFORE = 190 * MIB
ALLOWED = 300 * MIB
LOST = problem("gpu.driver_lost")


def held(dedicated: int, shared: int = 0, name: str = "game.exe") -> tuple[GpuProcess, ...]:
    """One program; sizes in MiB."""
    return (GpuProcess(77, name, dedicated * MIB, shared * MIB),)


QUIET = GpuCounters(BEFORE, held(100, 40))


class Watched:
    """A watch and the samples of a quiet run, one second apart."""

    def __init__(
        self, policy: WatchPolicy = WatchPolicy.STOP, floor: float | None = None, before: GpuCounters | None = QUIET
    ) -> None:
        self.told: set[str] = set()
        self.terms = Terms(policy, before, ALLOWED, floor)
        self.watch = RunWatch(self.terms, self.told)
        self.seen = Seen(100.0, (CARD,), None, QUIET, Rates())

    def sample(self, **changes: object) -> Found:
        self.seen = replace(self.seen, at_s=self.seen.at_s + 1.0)
        return self.watch.judge(replace(self.seen, **changes))  # type: ignore[arg-type]

    def samples(self, count: int, **changes: object) -> list[Found]:
        return [self.sample(**changes) for _ in range(count)]


def spilled(rise_mib: int, dedicated: int = 100, shared: int = 40) -> GpuCounters:
    return GpuCounters(BEFORE + rise_mib * MIB, held(dedicated, shared))


def code(found: Problem | None) -> str | None:
    return found.code if found else None


# --- spill ------------------------------------------------------------------------------------------------------------


def test_a_rise_within_the_allowance_is_none() -> None:
    assert Watched().samples(5, counters=spilled(300)) == [NOTHING] * 5


def test_a_spill_over_three_samples_stops() -> None:
    watched = Watched()
    watched.sample()
    assert watched.samples(2, counters=spilled(301)) == [NOTHING] * 2
    found = watched.sample(counters=spilled(301))
    assert found == Found(stop=problem("watch.spill", rise_bytes=301 * MIB, allowed_bytes=ALLOWED))


def test_samples_in_a_burst_are_one() -> None:
    """Another model starts: its changes call for samples at once, and what they see has had no time to pass."""
    run = Watched()
    burst = [run.watch.judge(replace(run.seen, counters=spilled(900), at_s=100.0 + at * 0.1)) for at in range(5)]
    assert burst == [NOTHING] * 5
    assert run.watch.judge(replace(run.seen, counters=spilled(900), at_s=101.0)) == NOTHING
    assert code(run.watch.judge(replace(run.seen, counters=spilled(900), at_s=101.5)).stop) == "watch.spill"


def test_a_spill_that_passes_begins_anew() -> None:
    watched = Watched()
    for rise in (900, 900, 0, 900, 900):
        assert watched.sample(counters=spilled(rise)) == NOTHING


def test_a_program_that_took_the_memory_is_named() -> None:
    watched = Watched()
    watched.sample()
    found = watched.samples(3, counters=spilled(900, dedicated=356))[-1]
    assert found.stop == problem(
        "watch.squeezed", rise_bytes=900 * MIB, allowed_bytes=ALLOWED, program="game.exe", grown_bytes=256 * MIB
    )


@pytest.mark.parametrize(
    "processes", [held(355), held(9999, name="vmmemWSL"), held(9999, name="pid 77"), held(9999, name="wslhost.exe")]
)
def test_a_program_that_grew_little_and_what_may_be_wsl_is_no_culprit(processes: tuple[GpuProcess, ...]) -> None:
    watched = Watched()
    watched.sample()
    found = watched.samples(3, counters=GpuCounters(BEFORE + 900 * MIB, processes))[-1]
    assert code(found.stop) == "watch.spill"


def test_growth_from_before_the_run_was_ready_accuses_nobody() -> None:
    """While the model loaded, a game may have started: the proof that followed held beside it."""
    watched = Watched(before=GpuCounters(BEFORE, held(0, 40)))
    watched.sample(counters=GpuCounters(BEFORE, held(5000, 40)))
    assert code(watched.samples(3, counters=spilled(900, dedicated=5000))[-1].stop) == "watch.spill"


def test_what_other_programs_took_of_the_shared_memory_is_no_spill_and_said_once() -> None:
    watched = Watched()
    found = watched.sample(counters=spilled(900, shared=640))
    assert found == Found(
        notices=(problem("watch.shared_by_others", rise_bytes=900 * MIB, programs="game.exe (600 MiB)"),)
    )
    assert watched.samples(5, counters=spilled(900, shared=640)) == [NOTHING] * 5


def test_what_others_took_does_not_hide_a_spill_beside_it() -> None:
    watched = Watched()
    assert code(watched.samples(3, counters=spilled(901, shared=640))[-1].stop) == "watch.spill"


@pytest.mark.parametrize("before", [None, GpuCounters(None, ())])
def test_without_a_level_before_the_start_there_is_nothing_to_hold_against(before: GpuCounters | None) -> None:
    assert Watched(before=before).samples(5, counters=spilled(9000)) == [NOTHING] * 5


# --- early warning ----------------------------------------------------------------------------------------------------


def test_a_card_that_fills_up_is_told_early_once_per_program() -> None:
    watched = Watched()
    watched.sample()
    full = replace(CARD, free=299 * MIB)
    grown = GpuCounters(BEFORE, held(164, 40))
    told = problem("watch.tight", program="game.exe", grown_bytes=64 * MIB, free_bytes=299 * MIB)
    assert watched.sample(cards=(full,), counters=grown) == Found(notices=(told,))
    assert watched.sample(cards=(full,), counters=grown) == NOTHING
    both = GpuCounters(BEFORE, (*grown.processes, *held(500, name="msedge.exe")))
    assert [each.params["program"] for each in watched.sample(cards=(full,), counters=both).notices] == ["msedge.exe"]
    again = RunWatch(watched.terms, watched.told)
    again.judge(watched.seen)
    assert again.judge(replace(watched.seen, cards=(full,), counters=grown)) == NOTHING, "also after a new proof"


@pytest.mark.parametrize(("free", "dedicated"), [(300, 900), (100, 163), (None, 900)])
def test_room_or_no_growth_is_not_told(free: int | None, dedicated: int) -> None:
    watched = Watched()
    watched.sample()
    card = replace(CARD, free=None if free is None else free * MIB)
    assert watched.sample(cards=(card,), counters=GpuCounters(BEFORE, held(dedicated, 40))) == NOTHING


def test_without_counters_nobody_is_named() -> None:
    watched = Watched(before=None)
    assert watched.samples(3, cards=(replace(CARD, free=0),), counters=None) == [NOTHING] * 3


# --- speed ------------------------------------------------------------------------------------------------------------


def generating(tps: float | None, steady_s: float = 1.0) -> Rates:
    return Rates(tps, 0.0, 1, steady_s)


def test_the_floor_lets_a_full_cache_slow_a_request() -> None:
    assert speed_floor(40.0, 8 * GIB, 0) == 20.0
    assert speed_floor(40.0, 8 * GIB, 8 * GIB) == 10.0


def test_a_speed_below_the_floor_over_thirty_seconds_stops() -> None:
    watched = Watched(floor=20.0)
    assert watched.samples(29, rates=generating(19.0)) == [NOTHING] * 29
    assert watched.sample(rates=generating(19.0)).stop == problem("watch.slow", tokens_per_s=19.0, floor=20.0)


def test_the_mean_over_the_window_counts() -> None:
    watched = Watched(floor=20.0)
    watched.samples(15, rates=generating(10.0))
    assert watched.samples(15, rates=generating(30.0)) == [NOTHING] * 15
    assert watched.samples(30, rates=generating(19.9))[-1].stop is not None


@pytest.mark.parametrize("rates", [Rates(), Rates(5.0, 0.0, 1), Rates(0.0, 0.0, 0)])
def test_a_break_in_the_load_begins_a_new_window(rates: Rates) -> None:
    watched = Watched(floor=20.0)
    for _ in range(3):
        assert watched.samples(29, rates=generating(1.0)) == [NOTHING] * 29
        assert watched.sample(rates=rates) == NOTHING


def test_samples_far_apart_make_a_window_as_well() -> None:
    watched = Watched(floor=20.0)
    assert [bool(found.stop) for found in watched.samples(10, rates=generating(1.0, 3.0))] == [False] * 9 + [True]


def test_a_speed_beside_another_model_is_not_held_against_a_run() -> None:
    run = Watched(floor=10.0)
    slow = Rates(9.0, 0.0, 1, 1.0)
    assert {run.sample(rates=slow, alone=False).stop for _ in range(60)} == {None}
    assert {run.sample(rates=slow).stop for _ in range(29)} == {None}
    assert code(run.sample(rates=slow).stop) == "watch.slow"


def test_without_a_floor_no_speed_is_too_low() -> None:
    assert Watched().samples(60, rates=generating(0.1)) == [NOTHING] * 60


# --- counters and driver ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [None, GpuCounters(None, ())])
def test_counters_that_stay_away_end_what_can_be_proved(gone: GpuCounters | None) -> None:
    watched = Watched()
    watched.sample()
    assert watched.samples(30, counters=gone) == [NOTHING] * 30
    assert watched.sample(counters=gone).stop == problem("watch.counters_lost", seconds=COUNTERS_S)


def test_counters_that_come_back_in_time_are_not_lost() -> None:
    watched = Watched()
    for _ in range(3):
        assert watched.samples(30, counters=None) == [NOTHING] * 30
        assert watched.sample() == NOTHING


def test_one_late_sample_is_no_thirty_seconds_without_counters() -> None:
    watched = Watched()
    watched.sample()
    watched.seen = replace(watched.seen, at_s=watched.seen.at_s + 60.0)
    assert watched.sample(counters=None) == NOTHING


def test_a_machine_without_counters_loses_none() -> None:
    assert Watched(before=None).samples(60, counters=None) == [NOTHING] * 60


def test_a_driver_lost_over_three_samples_stops_whatever_the_policy() -> None:
    for policy in WatchPolicy:
        watched = Watched(policy)
        assert watched.samples(2, cards=(), lost=LOST) == [NOTHING] * 2
        assert watched.sample(cards=(), lost=LOST) == Found(stop=LOST)


def test_a_card_that_the_driver_no_longer_shows_is_lost() -> None:
    assert code(Watched().samples(3, cards=())[-1].stop) == "gpu.driver_lost"


@pytest.mark.parametrize("count", [1, 2])
def test_a_driver_that_comes_back_has_to_be_proved_anew(count: int) -> None:
    watched = Watched()
    watched.sample()
    watched.samples(count, cards=(), lost=LOST)
    assert watched.sample() == Found(prove_again=True)
    assert watched.sample() == NOTHING


def test_another_driver_has_to_be_proved_anew() -> None:
    watched = Watched()
    watched.sample()
    assert watched.sample(cards=(replace(CARD, driver=None),)) == NOTHING
    assert watched.sample(cards=(replace(CARD, driver="581.15"),)) == Found(prove_again=True)
    assert watched.sample(cards=(replace(CARD, driver="581.15"),)) == NOTHING


# --- the policy -------------------------------------------------------------------------------------------------------


def test_under_warn_a_finding_is_shown_and_told_once() -> None:
    watched = Watched(WatchPolicy.WARN, floor=20.0)
    watched.sample()
    spill = problem("watch.spill", rise_bytes=900 * MIB, allowed_bytes=ALLOWED)
    assert watched.samples(3, counters=spilled(900))[-1] == Found(warning=spill, notices=(spill,))
    assert watched.samples(3, counters=spilled(950)) == [NOTHING] * 3
    slow = watched.samples(30, counters=spilled(950), rates=generating(1.0))[-1]
    assert (code(slow.warning), [each.code for each in slow.notices], slow.stop) == ("watch.slow", ["watch.slow"], None)
    lost = watched.samples(31, counters=None)[-1]
    assert (code(lost.warning), lost.stop) == ("watch.counters_lost", None)


def test_after_a_new_proof_a_warning_may_come_again() -> None:
    watched = Watched(WatchPolicy.WARN)
    watched.samples(3, counters=spilled(900))
    watched.watch = RunWatch(watched.terms, watched.told)
    assert code(watched.samples(3, counters=spilled(900))[-1].warning) == "watch.spill"


# --- terms ------------------------------------------------------------------------------------------------------------

CLEARANCE = Clearance(EngineCommand(("engine",), {}, (), ()), (), BEFORE, MODEL, counters_before=QUIET)
VIEW = RunView(
    "llama",
    Phase.READY,
    1,
    0.0,
    judgement=Judgement(Verdict.GPU, (), LogFacts(devices={"CUDA0": DeviceFacts(kv=2 * GIB)}, pinned_host=30 * MIB)),
    speed=Speed(40.0, 0.6, 40.0),
)
VLLM_FACTS = LogFacts(weights=8 * GIB, available_kv=8 * GIB)


def test_a_proved_run_is_held_to_its_own_log_and_baseline() -> None:
    found = terms(LLAMA, CLEARANCE, VIEW)
    read = gguf_read_bytes(MODEL)
    assert read is not None
    assert found == Terms(WatchPolicy.STOP, QUIET, 286 * MIB, speed_floor(40.0, read, 2 * GIB))


def test_vllm_says_its_weights_itself() -> None:
    view = replace(VIEW, judgement=Judgement(Verdict.GPU, (), VLLM_FACTS))
    found = terms(VLLM, replace(CLEARANCE, model=None), view)
    assert found is not None
    assert found.floor == 10.0


def test_a_run_without_a_judgement_is_held_to_nothing() -> None:
    assert terms(LLAMA, CLEARANCE, replace(VIEW, judgement=None)) is None


@pytest.mark.parametrize(
    "view",
    [
        replace(VIEW, speed=None),
        replace(VIEW, speed=Speed(40.0, 0.6)),
        replace(VIEW, speed=Speed(40.0, None, 40.0)),
        replace(VIEW, judgement=Judgement(Verdict.GPU, (), LogFacts())),
    ],
)
def test_without_a_baseline_or_the_bytes_of_a_token_there_is_no_floor(view: RunView) -> None:
    found = terms(LLAMA, CLEARANCE, view)
    assert found is not None
    assert found.floor is None
