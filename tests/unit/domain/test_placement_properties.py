"""Over random logs: nothing makes the watch raise, and nothing that is missing or wrong leaves the verdict `gpu`."""

from __future__ import annotations

import re
from itertools import zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kotaro_bridge.domain.engine.engine_log import Engine, LogLine, Stream
from kotaro_bridge.domain.engine.log_judge import judge_rows
from kotaro_bridge.domain.engine.placement import Expectation, Judgement, PlacementWatch, Verdict
from kotaro_bridge.domain.model.context_shape import ContextShape
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.model.kv_cache import cache_bytes
from tests.helpers.captures import llama_text, vllm_text
from tests.helpers.gguf_header import Q7, Q14, qwen2_shape, reader
from tests.unit.domain.test_log_judge import WRAPPERS
from tests.unit.domain.test_placement import DISQUALIFYING, NEEDED, READY
from tests.unit.domain.test_placement_vllm import DISQUALIFYING as VLLM_DISQUALIFYING
from tests.unit.domain.test_placement_vllm import READY as VLLM_READY
from tests.unit.domain.test_placement_vllm import V033

LV4 = llama_text("full14-lv4").split("\n")
# The lines of the model and its context; behind them the recording goes on with 750 lines of tokens.
FULL14 = [row for row in llama_text("full14").split("\n") if " D " not in row]
LOGS = {"full14-lv4": LV4, "full14": FULL14, "full7-8k": llama_text("full7-8k").split("\n")}
FAILED = [row for name in ("kvsmall", "lowfree") for row in (vllm_text(name, Stream.STDOUT) or "").split("\n")[28:]]
V025 = (vllm_text("q14", Stream.STDOUT) or "").split("\n")
REAL = [*LV4, *V025, *V033.values(), *(row for row, _verdict, _code in DISQUALIFYING), *FAILED]
NEEDED_V033 = ("config", "weights", "available", "tokens")
NEEDED_V025 = (
    "device_config=cuda",
    "Model loading took",
    "Available KV cache memory",
    "GPU KV cache size",
    "Starting vLLM server",
)
# What a run knows from the header of the model need not be in the log as well.
KNOWN = {"print_info: file size", "print_info: n_vocab", "print_info: n_embd  ", "- type q4_K"}


def expectation(of: tuple[int, int, int, int, int]) -> Expectation:
    """As a run has it, for a model of the recordings."""
    header = qwen2_shape(*of)
    model = read_gguf(reader(header, 1 << 40), 1 << 40)
    return Expectation(
        weights_on_gpu_bytes=model.weights_on_gpu,
        kv_bytes=cache_bytes(model, ContextShape(8192)),
        n_ctx=8192,
        parallel=4,
        host_allowed_bytes=model.input_span,
    )


EXPECTED = {"full14-lv4": expectation(Q14), "full14": expectation(Q14), "full7-8k": expectation(Q7)}

logs = st.sampled_from(sorted(LOGS))
positions = st.floats(0, 1, exclude_max=True)
# Text of any kind, text that is close to real lines, and real lines cut short.
WORDS = st.sampled_from(
    [
        "load_tensors:",
        "CUDA0",
        "CPU",
        "model buffer size =",
        "12.5 MiB",
        "offloaded",
        "49/49",
        "layers to GPU",
        "splits = ",
        "0.00.100.000 I ",
        "W",
        "KV buffer size =",
        "listening on",
        "fitting params to",
        "device_info:",
        "print_info: ",
        "n_ctx",
        "- CPU : x (1 MiB, 1 MiB free)",
        "size",
        "using device",
        "CLIP using",
        "cannot ",
        "'",
    ]
)
close_to_real = st.lists(WORDS, max_size=8).map(" ".join)
cut_short = st.tuples(st.sampled_from(LV4 + V025), st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])
junk = st.one_of(st.text(), close_to_real, cut_short)


@pytest.mark.parametrize("figure", ["9" * 400, "9" * 5000, "1.2.3", "-1", "\u0663", "1,,2", ""])
def test_figures_that_no_engine_prints_never_raise(figure: str) -> None:
    """One figure of a real line at a time; "9" * 400 overflows a float, "9" * 5000 is no int that Python reads."""
    for row in REAL:
        for match in re.finditer(r"\d+(?:\.\d+)?", row):
            odd = row[: match.start()] + figure + row[match.end() :]
            for engine in Engine:
                assert judge(engine, [odd]).verdict is not Verdict.GPU


def judge(
    engine: Engine,
    rows: list[str],
    stream: Stream = Stream.STDERR,
    *,
    ended: bool = False,
    expected: Expectation | None = None,
) -> Judgement:
    watch = PlacementWatch(engine, expected)
    for number, row in enumerate(rows, start=1):
        watch.feed(LogLine(stream, number, row))
    return watch.judge(ended=ended)


def inserted(rows: list[str], row: str, position: float) -> list[str]:
    at = round(position * len(rows))
    return [*rows[:at], row, *rows[at:]]


@given(st.sampled_from(list(Engine)), st.lists(junk), st.booleans())
def test_junk_alone_never_raises_and_never_proves(engine: Engine, rows: list[str], ended: bool) -> None:
    assert judge(engine, rows, ended=ended).verdict is not Verdict.GPU


@settings(max_examples=60)
@given(logs, st.lists(st.tuples(junk, positions), max_size=5))
def test_junk_in_a_good_log_never_raises(name: str, extra: list[tuple[str, float]]) -> None:
    rows = LOGS[name]
    for row, position in extra:
        rows = inserted(rows, row, position)
    assert judge(Engine.LLAMA_SERVER, rows).verdict in Verdict


@settings(max_examples=40)
@given(logs, st.text(alphabet="abc xyz[]{}%|.,-", max_size=150), positions)
def test_lines_that_say_nothing_change_nothing(name: str, row: str, position: float) -> None:
    assert judge(Engine.LLAMA_SERVER, inserted(LOGS[name], row, position)).verdict is Verdict.GPU


@settings(max_examples=60)
@given(logs, st.sampled_from(sorted(NEEDED)), st.lists(positions, max_size=3))
def test_without_a_needed_line_no_log_proves(name: str, part: str, others: list[float]) -> None:
    """Whatever else is missing: taking lines away never makes a proof."""
    rows = LOGS[name]
    kept = [row for row in rows if part not in row]
    for position in others:
        kept.pop(round(position * (len(kept) - 1)))
    if len(kept) + len(others) < len(rows):  # only full14-lv4 has a dry run to end
        assert judge(Engine.LLAMA_SERVER, kept).verdict is not Verdict.GPU


def in_dry_run(rows: list[str], at: int) -> bool:
    begun = any("fitting params to device" in row for row in rows[:at])
    return begun and any("free memory took" in row for row in rows[at:])


DISQUALIFIERS = st.lists(
    st.tuples(st.sampled_from([row for row, _v, _c in DISQUALIFYING]), positions), min_size=1, max_size=8
)


@settings(max_examples=200)
@given(logs, DISQUALIFIERS, st.booleans())
def test_any_disqualifying_lines_anywhere_decide(name: str, extra: list[tuple[str, float]], is_run: bool) -> None:
    """Inside the dry run they say nothing, which test_placement holds line by line."""
    rows, outside = LOGS[name], False
    for row, position in extra:
        at = round(position * len(rows))
        outside = outside or not in_dry_run(rows, at)
        rows = [*rows[:at], row, *rows[at:]]
    judgement = judge(Engine.LLAMA_SERVER, rows, expected=EXPECTED[name] if is_run else None)
    assert (judgement.verdict is Verdict.GPU) is not outside
    assert (judgement.verdict is Verdict.GPU) is (not judgement.reasons)


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("is_run", [False, True])
def test_the_recordings_are_whole(name: str, is_run: bool) -> None:
    judgement = judge(Engine.LLAMA_SERVER, LOGS[name], expected=EXPECTED[name] if is_run else None)
    assert (judgement.verdict, judgement.reasons) == (Verdict.GPU, ())


@settings(max_examples=150)
@given(logs, st.sets(st.sampled_from(sorted(NEEDED)), min_size=1), st.lists(positions, max_size=6), st.booleans())
def test_without_any_of_the_needed_lines_no_log_proves(
    name: str, parts: set[str], others: list[float], is_run: bool
) -> None:
    """Whatever else is missing: taking lines away never makes a proof."""
    rows = LOGS[name]
    wanted = parts - KNOWN if is_run else parts
    missed = [row for row in rows if any(part in row for part in wanted)]
    if not missed:  # what is left out is known, or only full14-lv4 has it: a dry run to end
        return
    kept = [row for row in rows if not any(part in row for part in parts)]
    for position in others:
        kept.pop(round(position * (len(kept) - 1)))
    judgement = judge(Engine.LLAMA_SERVER, kept, expected=EXPECTED[name] if is_run else None)
    assert judgement.verdict is not Verdict.GPU


@settings(max_examples=40)
@given(logs, st.sampled_from(sorted(WRAPPERS)), DISQUALIFIERS | st.just([]))
def test_what_stands_in_front_of_a_line_changes_no_verdict(
    name: str, prefix: str, extra: list[tuple[str, float]]
) -> None:
    rows = LOGS[name]
    for row, position in extra:
        rows = inserted(rows, row, position)
    wrapped = [WRAPPERS[prefix] + row for row in rows]
    assert judge_rows(Engine.LLAMA_SERVER, wrapped) == judge_rows(Engine.LLAMA_SERVER, rows)


@settings(max_examples=60)
@given(logs, positions, positions)
def test_a_log_that_was_cut_proves_only_when_it_was_ready(name: str, start: float, end: float) -> None:
    rows = LOGS[name]
    kept = rows[round(start * len(rows)) : round(end * len(rows))]
    whole = any("listening on http" in row for row in kept) and any("using device CUDA0" in row for row in kept)
    assert whole or judge(Engine.LLAMA_SERVER, kept).verdict is not Verdict.GPU


@settings(max_examples=60)
@given(
    st.sampled_from([[*V033.values(), VLLM_READY], V025]),
    st.lists(st.tuples(st.sampled_from(VLLM_DISQUALIFYING), positions), min_size=1, max_size=6),
    st.booleans(),
)
def test_vllm_any_disqualifying_lines_anywhere_decide(
    rows: list[str], extra: list[tuple[tuple[str, Verdict, object], float]], is_run: bool
) -> None:
    for case, position in extra:
        rows = inserted(rows, case[0], position)
    expected = Expectation(n_ctx=8192) if is_run else None
    judgement = judge(Engine.VLLM, rows, Stream.STDOUT, expected=expected)
    assert judgement.verdict is not Verdict.GPU
    if len(extra) == 1:
        assert judgement.verdict is extra[0][0][1]


@settings(max_examples=60)
@given(st.sets(st.sampled_from(NEEDED_V025), min_size=1), st.lists(positions, max_size=6))
def test_vllm_025_without_a_needed_line_no_log_proves(parts: set[str], others: list[float]) -> None:
    assert judge(Engine.VLLM, V025, Stream.STDOUT).verdict is Verdict.GPU
    kept = [row for row in V025 if not any(part in row for part in parts)]
    assert len(kept) < len(V025)
    for position in others:
        kept.pop(round(position * (len(kept) - 1)))
    assert judge(Engine.VLLM, kept, Stream.STDOUT).verdict is not Verdict.GPU


@given(st.sampled_from(NEEDED_V033), st.sets(st.sampled_from(sorted(V033))))
def test_vllm_without_a_needed_line_no_log_proves(name: str, others: set[str]) -> None:
    rows = [row for key, row in V033.items() if key != name and key not in others]
    assert judge(Engine.VLLM, [*rows, VLLM_READY]).verdict is not Verdict.GPU


@given(st.lists(st.sampled_from(V025), unique=True, max_size=30), st.lists(junk, max_size=10))
def test_vllm_junk_never_raises(rows: list[str], extra: list[str]) -> None:
    mixed = [row for pair in zip_longest(rows, extra, fillvalue="") for row in pair]
    assert judge(Engine.VLLM, mixed, Stream.STDOUT).verdict in Verdict


@settings(max_examples=40)
@given(st.randoms(use_true_random=False))
def test_two_streams_interleave_as_they_like(random: object) -> None:
    """Stdout and stderr of vLLM reach the watch in any order; each keeps its own."""
    import random as module

    assert isinstance(random, module.Random)
    out = [LogLine(Stream.STDOUT, n, row) for n, row in enumerate(V033.values(), start=1)]
    err = [LogLine(Stream.STDERR, n, row) for n, row in enumerate(["bar 1%", "bar 2%", VLLM_READY], start=1)]
    watch = PlacementWatch(Engine.VLLM)
    while out or err:
        source = out if out and (not err or random.random() < 0.5) else err
        assert watch.feed(source.pop(0)) is None
    assert watch.judge(ended=False).verdict is Verdict.GPU
    assert watch.ready


def test_the_ready_line_is_that_of_the_recordings() -> None:
    assert READY.partition(" I ")[2] in {row.partition(" I ")[2] for row in LV4}
