"""Remedies: what the figures say will help is offered, the best first, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.profile import KvType, Profile, VramNeed
from kotaro_bridge.domain.run.gate import Check, CheckId, GateReport, Status
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.run.remedy import Remedy, RemedyKind, after_failure, at_gate, changed, changes, parse
from kotaro_bridge.domain.units import MIB
from tests.helpers.machine import LLAMA, VLLM

OTHER = Holder(HolderKind.RUN, "7B", 5000 * MIB, "other")
OLLAMA = Holder(HolderKind.OLLAMA, "qwen3:8b", 6000 * MIB, "qwen3:8b")
GAME = Holder(HolderKind.PROCESS, "game.exe", 9000 * MIB)
STOP, UNLOAD = Remedy(RemedyKind.STOP_RUN, "other", "7B"), Remedy(RemedyKind.UNLOAD, "qwen3:8b", "qwen3:8b")


def plain_need(profile: Profile) -> tuple[int, ...]:
    """What one card has to have free."""
    return (plain_bytes(profile),)


def plain_bytes(profile: Profile) -> int:
    """8,000 MiB, and per request 1 MiB for 10 tokens; half of that with q8_0. A stated need counts if it is more."""
    cache = profile.context * profile.parallel * MIB // 10 // (2 if profile.kv_type is KvType.Q8_0 else 1)
    return max(profile.stated_need or 0, 8000 * MIB + cache)


def refused(need: int, free: int, *holders: Holder, status: Status = Status.FAILED, also: tuple[Any, ...] = ()) -> Any:
    sizes = {"need_bytes": need, "free_bytes": free, "missing_bytes": need - free}
    vram = Check(CheckId.VRAM, status, problem("gate.vram.failed", **sizes))
    others = tuple(Check(check, Status.FAILED, problem("x")) for check in also)
    return GateReport((*others, vram), holders=holders, free=(free,))


def offered(
    profile: Profile,
    free_mib: int,
    *holders: Holder,
    need: Callable[[Profile], tuple[int, ...]] = plain_need,
    same_port: tuple[str, ...] = (),
    **more: Any,
) -> tuple[str, ...]:
    report = refused(plain_bytes(profile), free_mib * MIB, *holders, **more)
    return tuple(remedy.word for remedy in at_gate(profile, report, need, same_port))


def test_the_longest_context_that_fits_and_a_smaller_kv_type() -> None:
    # 8,192 tokens want 8,819.2 MiB; 6,912 want 8,691.2, 7,168 want 8,716.8.
    assert offered(LLAMA, 8700) == ("context=6912", "kv_type=q8_0")
    assert offered(LLAMA, 8717) == ("context=7168", "kv_type=q8_0")


def test_too_little_for_a_useful_context_offers_none() -> None:
    assert offered(LLAMA, 8205) == ("context=2048",)
    assert offered(LLAMA, 8204) == ()


def test_one_request_at_a_time() -> None:
    four = msgspec.structs.replace(LLAMA, parallel=4)
    assert offered(four, 8820) == ("context=2048", "parallel=1")
    assert offered(four, 8819) == ()
    assert offered(four, 10_000) == ("context=4864", "kv_type=q8_0", "parallel=1")


@pytest.mark.parametrize("kv_type", [KvType.Q8_0, KvType.Q4_0])
def test_a_small_kv_type_is_not_made_larger(kv_type: KvType) -> None:
    assert offered(msgspec.structs.replace(LLAMA, kv_type=kv_type), 8350)[1:] == ()


def test_what_is_in_the_way_goes_before_what_makes_the_profile_smaller() -> None:
    assert offered(LLAMA, 8700, GAME, OLLAMA, OTHER) == (
        "unload=qwen3:8b",
        "stop=other",
        "context=6912",
        "kv_type=q8_0",
    )
    report = refused(8819 * MIB, 8700 * MIB, OTHER, OLLAMA)
    assert at_gate(LLAMA, report, plain_need, ())[:2] == (UNLOAD, STOP)


def test_at_most_four_are_offered() -> None:
    four = msgspec.structs.replace(LLAMA, parallel=4)
    assert len(offered(four, 10_000, OTHER, OLLAMA)) == 4


def test_only_what_frees_enough_is_ended() -> None:
    assert offered(LLAMA, 3500, OLLAMA, OTHER) == ("unload=qwen3:8b",)
    assert offered(LLAMA, 2000, OTHER) == ()


def test_where_one_is_not_enough_the_largest_comes_first() -> None:
    assert offered(LLAMA, 1000, OLLAMA, OTHER) == ("unload=qwen3:8b",)
    run = Holder(HolderKind.RUN, "14B", 7000 * MIB, "big")
    assert offered(LLAMA, 1000, run, OLLAMA) == ("stop=big",)
    assert offered(LLAMA, -3000, OLLAMA, OTHER) == ()


def test_programs_and_unknown_sizes_are_left_alone() -> None:
    unknown = Holder(HolderKind.RUN, "7B", None, "other")
    assert offered(LLAMA, 1000, GAME, unknown, Holder(HolderKind.DISTRO, "WSL (Debian)", None)) == ()


def test_a_stated_need_keeps_its_margin_over_the_header() -> None:
    stated = msgspec.structs.replace(LLAMA, need=VramNeed(vram_mib=9819, source="measured"))
    assert offered(stated, 9700) == ("context=6912", "kv_type=q8_0")
    smaller = msgspec.structs.replace(LLAMA, need=VramNeed(vram_mib=8000, source="measured"))
    assert offered(smaller, 8700) == ("context=6912", "kv_type=q8_0")


def test_without_figures_nothing_is_offered() -> None:
    assert offered(LLAMA, 8700, need=lambda _: ()) == ()
    assert offered(LLAMA, 8700, need=lambda p: () if p.context < 8192 or p.kv_type is KvType.Q8_0 else (1,)) == ()
    assert offered(LLAMA, 8700, OTHER, status=Status.UNKNOWN) == ()


def test_vllm_has_a_budget_that_no_context_changes() -> None:
    report = refused(24_000 * MIB, 20_000 * MIB, OTHER)
    assert at_gate(VLLM, report, lambda p: (p.stated_need or 0,), ()) == (STOP,)


def test_where_more_is_wrong_memory_does_not_help() -> None:
    assert offered(LLAMA, 8700, OTHER, also=(CheckId.ENGINE,)) == ()
    assert at_gate(LLAMA, GateReport(()), plain_need, ()) == ()


@pytest.mark.parametrize("port", [CheckId.PORT_WINDOWS, CheckId.PORT_TARGET])
def test_our_run_on_the_same_port_is_offered_to_be_stopped(port: CheckId) -> None:
    assert offered(LLAMA, 8700, OTHER, also=(port,), same_port=("other",)) == ("stop=other",)
    assert offered(LLAMA, 8700, OTHER, OLLAMA, also=(port,)) == ()
    assert offered(LLAMA, 1000, OTHER, also=(port,), same_port=("other",)) == ()
    unknown = Holder(HolderKind.RUN, "7B", None, "other")
    alone = GateReport((Check(port, Status.FAILED, problem("gate.port_windows.failed")),), holders=(unknown,))
    assert [remedy.word for remedy in at_gate(LLAMA, alone, plain_need, ("other",))] == ["stop=other"]


@given(st.integers(256, 200_000), st.integers(1, 8), st.sampled_from(KvType), st.integers(0, 40_000))
def test_every_change_that_is_offered_fits(context: int, parallel: int, kv_type: KvType, free_mib: int) -> None:
    profile = msgspec.structs.replace(LLAMA, context=context, parallel=parallel, kv_type=kv_type)
    need = plain_bytes(profile)
    if need > free_mib * MIB:
        for remedy in at_gate(profile, refused(need, free_mib * MIB), plain_need, ()):
            smaller = changed(profile, remedy)
            assert plain_bytes(smaller) <= free_mib * MIB
            assert 2048 <= smaller.context <= context or smaller.context == context
            if remedy.kind is RemedyKind.CONTEXT:
                longer = msgspec.structs.replace(profile, context=smaller.context + 256)
                assert longer.context >= context or plain_bytes(longer) > free_mib * MIB


# --- after a start that failed ----------------------------------------------------------------------------------------


def short(code: str, **params: int) -> partial[tuple[Remedy, ...]]:
    return partial(after_failure, why=problem(code, **params), need=plain_need, free=(20_000 * MIB,))


@pytest.mark.parametrize(
    ("code", "longest", "words"),
    [
        ("proof.kv_cache_too_small", 5003, ["context=4992"]),
        ("proof.context_too_long", 4096, ["context=4096"]),
        ("proof.kv_cache_too_small", 1024, ["context=1024"]),
        ("proof.kv_cache_too_small", 1023, []),
        ("proof.context_too_long", 8192, []),
        ("proof.no_kv_cache_memory", 4096, []),
    ],
)
def test_vllm_names_the_length_that_works(code: str, longest: int, words: list[str]) -> None:
    assert [remedy.word for remedy in short(code, max_len=longest)(VLLM)] == words


def test_a_message_of_vllm_without_a_length_offers_nothing() -> None:
    assert short("proof.kv_cache_too_small", needed_bytes=1)(VLLM) == ()


@pytest.mark.parametrize(
    "why",
    [
        problem("proof.out_of_gpu_memory", wanted_bytes=9000 * MIB),
        problem("proof.out_of_gpu_memory"),
        problem("engine.out_of_vram"),
    ],
)
def test_memory_that_another_took_meanwhile(why: Problem) -> None:
    assert [r.word for r in after_failure(LLAMA, why, plain_need, (8700 * MIB,))] == ["context=6912", "kv_type=q8_0"]


@pytest.mark.parametrize("code", ["proof.out_of_gpu_memory", "engine.out_of_vram"])
def test_a_need_that_was_counted_short_by_less_than_what_failed(code: str) -> None:
    why = problem(code, wanted_bytes=300 * MIB)
    assert [r.word for r in after_failure(LLAMA, why, plain_need, (20_000 * MIB,))] == ["context=5120", "kv_type=q8_0"]
    weights = problem("proof.out_of_gpu_memory", wanted_bytes=7000 * MIB)
    assert after_failure(LLAMA, weights, plain_need, (20_000 * MIB,)) == ()


def test_a_failure_without_figures_offers_nothing() -> None:
    why = problem("proof.out_of_gpu_memory", wanted_bytes=300 * MIB)
    assert after_failure(LLAMA, problem("proof.out_of_gpu_memory"), plain_need, (20_000 * MIB,)) == ()
    assert after_failure(LLAMA, problem("proof.port_in_use", wanted_bytes=1), plain_need, (20_000 * MIB,)) == ()
    assert after_failure(LLAMA, why, lambda _: (), (20_000 * MIB,)) == ()
    assert after_failure(LLAMA, why, plain_need, ()) == ()


# --- words and changes ------------------------------------------------------------------------------------------------


def test_words_and_what_they_change() -> None:
    stated = msgspec.structs.replace(LLAMA, need=VramNeed(vram_mib=9000, source="measured"))
    context = parse("context=6144", stated)
    assert context == Remedy(RemedyKind.CONTEXT, "6144", "6144")
    assert (context.word, context.changes_profile) == ("context=6144", True)
    assert changes(stated, context) == {"context": 6144, "need": None}
    assert changed(stated, context) == msgspec.structs.replace(LLAMA, context=6144)
    assert changed(LLAMA, parse("kv_type=q8_0", LLAMA)).kv_type is KvType.Q8_0
    assert changes(LLAMA, parse("parallel=1", LLAMA)) == {"parallel": 1}
    assert changed(VLLM, parse("context=4096", VLLM)).need == VLLM.need
    for word in ("stop=other", "unload=qwen3:8b", "unload=a=b"):
        remedy = parse(word, LLAMA)
        assert (remedy.word, remedy.changes_profile) == (word, False)
        assert changed(LLAMA, remedy) == LLAMA


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("context", "remedy.unknown"),
        ("context=", "remedy.unknown"),
        ("cpu=1", "remedy.unknown"),
        ("", "remedy.unknown"),
        ("context=long", "remedy.no_number"),
        ("context=4096.5", "remedy.no_number"),
        ("context=\uff14\uff10\uff19\uff16", "remedy.no_number"),
        ("context=" + 5000 * "9", "remedy.no_number"),
        ("context=255", "remedy.value"),
        ("context=-4096", "remedy.value"),
        ("context=10000001", "remedy.value"),
        ("parallel=0", "remedy.value"),
        ("kv_type=q5_1", "remedy.value"),
        ("kv_type=fp8", "remedy.value"),
    ],
)
def test_nonsense_is_refused(word: str, code: str) -> None:
    with pytest.raises(ProblemError) as raised:
        parse(word, LLAMA)
    assert raised.value.problem.code == code
    assert raised.value.problem.params["word"] == word


def test_each_engine_has_its_kv_types() -> None:
    assert parse("kv_type=fp8", VLLM).value == "fp8"
    with pytest.raises(ProblemError) as raised:
        parse("kv_type=q8_0", VLLM)
    assert raised.value.problem.params["allowed"] == "auto, fp8"


@pytest.mark.parametrize(("word", "allowed"), [("context=255", ">= 256"), ("parallel=0", ">= 1")])
def test_a_refused_number_comes_with_what_is_allowed(word: str, allowed: str) -> None:
    with pytest.raises(ProblemError) as raised:
        parse(word, LLAMA)
    assert raised.value.problem.params["allowed"] == allowed


def test_a_word_that_is_no_remedy_comes_with_those_that_are() -> None:
    with pytest.raises(ProblemError) as raised:
        parse("forget=everything", LLAMA)
    known = str(raised.value.problem.params["known"]).split(", ")
    assert known[-1] == "forget=speed"
    assert [form.partition("=")[0] for form in known] == list(RemedyKind)


@pytest.mark.parametrize("profile", [LLAMA, VLLM], ids=["llama-server", "vllm"])
def test_a_drop_of_speed_can_be_the_new_usual_one(profile: Profile) -> None:
    why = problem("proof.speed_drop", tokens_per_s=20.0, baseline=45.0)
    (remedy,) = after_failure(profile, why, lambda _: (), ())
    assert (remedy.word, remedy.changes_profile, changes(profile, remedy)) == ("forget=speed", False, {})
    assert parse("forget=speed", profile) == remedy
    with pytest.raises(ProblemError) as raised:
        parse("forget=everything", profile)
    assert raised.value.problem.code == "remedy.unknown"
