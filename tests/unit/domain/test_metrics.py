"""Token rates: recorded pages of the real engines, and an engine model that generates while it is polled."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.run.metrics import LlamaRates, Rates, RatesSample, VllmRates, Work, parse_prometheus, work_of

CAPTURES = Path(__file__).parents[2] / "data" / "captures"


def section(text: str, title: str) -> str:
    """Body of one answer of a recorded file, without its headers."""
    answer = text.split(f"=== {title}\n", 1)[1].split("\n=== ", 1)[0]
    return answer.split("\n\n", 1)[1]


def slots_json(*tasks: tuple[int, int, int]) -> str:
    """`/slots` with one busy slot for each (slot, task, tokens so far), and an idle one."""
    busy = [
        {"id": slot, "is_processing": True, "id_task": task, "next_token": [{"n_decoded": count}]}
        for slot, task, count in tasks
    ]
    return json.dumps([*busy, {"id": 99, "is_processing": False}])


def llama_metrics(predicted: int = 0, prompt: int = 0) -> str:
    return f"llamacpp:prompt_tokens_total {prompt}\nllamacpp:tokens_predicted_total {predicted}\n"


def vllm_metrics(generated: float, prompt: float = 0, running: int = 0) -> str:
    labels = '{engine="0",model_name="qwen"}'
    return (
        f"vllm:generation_tokens_total{labels} {generated}\nvllm:prompt_tokens_total{labels} {prompt}\n"
        f"vllm:num_requests_running{labels} {running}\n"
    )


# --- the text format


def test_the_page_of_vllm() -> None:
    page = section((CAPTURES / "vllm/http.txt").read_text(), "/metrics")
    values = parse_prometheus(page)
    assert values["vllm:generation_tokens_total"] == 512
    assert values["vllm:prompt_tokens_total"] == 44
    assert values["vllm:num_requests_running"] == 0
    assert values["vllm:request_success_total"] == 2  # summed over the reasons
    wanted = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
    assert parse_prometheus(page, wanted) == {name: values[name] for name in wanted}


def test_the_page_of_llama_server() -> None:
    page = section((CAPTURES / "llama-server/llama-http.txt").read_text(), "/metrics")
    values = parse_prometheus(page)
    assert values["llamacpp:tokens_predicted_total"] == 128
    assert parse_prometheus(page, ["llamacpp:prompt_tokens_total"]) == {"llamacpp:prompt_tokens_total": 22}


def test_values_that_are_no_numbers_are_left_out() -> None:
    assert parse_prometheus('a{x="1"} 2\na{x="2"} NaN\nb +Inf\n') == {"a": 2}


@pytest.mark.parametrize("text", ["x{", 'x{l="', "a b c d", "<html>"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_prometheus(text)


NAMES = st.from_regex(r"[a-z_:][a-z0-9_:]{0,8}", fullmatch=True)
LABELS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.text(alphabet='ä{}="\\,# 1\n', max_size=8), max_size=3
)
SAMPLES = st.tuples(NAMES, LABELS, st.floats(allow_nan=False), st.none() | st.integers(0, 2**40))


@settings(max_examples=200)
@given(st.lists(SAMPLES, max_size=5))
def test_pages_are_read_as_the_official_parser_reads_them(
    samples: list[tuple[str, dict[str, str], float, int | None]],
) -> None:
    lines = ["# HELP a b"]
    for name, labels, value, milliseconds in samples:
        inner = ",".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value!r}" + (f" {milliseconds}" if milliseconds is not None else ""))
    page = "\n".join(lines) + "\n"
    expected: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if math.isfinite(sample.value):
                expected[sample.name] = expected.get(sample.name, 0.0) + sample.value
    assert parse_prometheus(page) == pytest.approx(expected)


@settings(max_examples=200)
@given(st.text(alphabet='a{}="\\,# 1.e\n\x00', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert readable(text) in (True, False)


def readable(text: str) -> bool:
    try:
        parse_prometheus(text)
    except ValueError:
        return False
    return True


# --- llama-server


def recorded_polls() -> list[RatesSample]:
    """The polls of slots-live.txt: one 300-token answer."""
    polls = []
    for part in (CAPTURES / "llama-server/slots-live.txt").read_text().split("=== t=")[1:]:
        head, slots, _, metrics = part.split("\n", 3)
        counters = "\n".join(re.findall(r"^llamacpp:\S+ \S+$", metrics, re.MULTILINE)[:7])
        polls.append(RatesSample(float(head.split()[0]), counters, slots))
    return polls


def test_the_recorded_answer_is_seen_while_it_runs() -> None:
    meter, polls = LlamaRates(), recorded_polls()
    rates = [meter.feed(sample) for sample in polls]
    assert rates[0] == Rates(None, None, 1)
    assert all(rate.generation_tps is not None and 15 < rate.generation_tps < 25 for rate in rates[1:])
    tokens = sum(
        (rate.generation_tps or 0) * (now.at_s - before.at_s)
        for rate, now, before in zip(rates[1:], polls[1:], polls, strict=False)
    )
    assert tokens == pytest.approx(270 - 3)


def test_the_end_of_an_answer_between_two_polls_is_not_lost() -> None:
    meter = LlamaRates()
    meter.feed(RatesSample(0, llama_metrics(0), slots_json((1, 0, 270))))
    assert meter.feed(RatesSample(1, llama_metrics(300), slots_json())).generation_tps == 30
    assert meter.feed(RatesSample(2, llama_metrics(300), slots_json())) == Rates(0, 0, 0)


def test_an_answer_wholly_between_two_polls_is_not_lost() -> None:
    meter = LlamaRates()
    meter.feed(RatesSample(0, llama_metrics(0), slots_json()))
    assert meter.feed(RatesSample(2, llama_metrics(64, 20), slots_json())) == Rates(32, 10, 0)


def test_an_answer_that_ends_between_metrics_and_slots_is_not_counted_twice() -> None:
    meter = LlamaRates()
    meter.feed(RatesSample(0, llama_metrics(0), slots_json((1, 0, 270))))
    assert meter.feed(RatesSample(1, llama_metrics(0), slots_json())).generation_tps == 0
    assert meter.feed(RatesSample(2, llama_metrics(300), slots_json())).generation_tps == 30


def test_a_slot_that_starts_its_next_task() -> None:
    meter = LlamaRates()
    meter.feed(RatesSample(0, llama_metrics(0), slots_json((0, 1, 90), (1, 2, 10))))
    rates = meter.feed(RatesSample(1, llama_metrics(100), slots_json((0, 3, 5), (1, 2, 20))))
    assert rates == Rates(10 + 5 + 10, 0, 2)


def test_without_metrics_the_slots_still_tell_the_generation() -> None:
    meter = LlamaRates()
    meter.feed(RatesSample(0, None, slots_json((0, 1, 5))))
    assert meter.feed(RatesSample(1, None, slots_json((0, 1, 25)))) == Rates(20, None, 1)


@pytest.mark.parametrize(
    "slots",
    [None, "", "{}", "[1]", "null", '{"error": 1}', '[{"is_processing": true}]', "[" * 100_000, '[{"id": 1e999}]'],
)
def test_without_slots_there_is_a_gap_not_a_flat_line(slots: str | None) -> None:
    meter = LlamaRates()
    meter.feed(RatesSample(0, llama_metrics(0), slots_json((0, 1, 5))))
    rates = meter.feed(RatesSample(1, llama_metrics(0, 7), slots))
    assert rates.generation_tps is None
    assert rates.prompt_tps == 7
    assert meter.feed(RatesSample(2, llama_metrics(0), slots_json((0, 1, 9)))).generation_tps is None
    assert meter.feed(RatesSample(3, llama_metrics(0), slots_json((0, 1, 19)))).generation_tps == 10


def test_a_restarted_engine_leaves_a_gap() -> None:
    meter = LlamaRates()
    meter.feed(RatesSample(0, llama_metrics(500, 100), slots_json()))
    assert meter.feed(RatesSample(1, llama_metrics(10, 5), slots_json())) == Rates(None, None, 0)
    assert meter.feed(RatesSample(2, llama_metrics(30, 5), slots_json())) == Rates(20, 0, 0)


def test_a_restart_that_only_the_slots_show_leaves_a_gap() -> None:
    meter = LlamaRates()
    meter.feed(RatesSample(0, llama_metrics(0), slots_json((0, 0, 50))))
    assert meter.feed(RatesSample(1, llama_metrics(0), slots_json((0, 0, 3)))).generation_tps is None


def steady_llama(before: tuple[str, str], now: tuple[str, str]) -> float:
    meter = LlamaRates()
    meter.feed(RatesSample(0, *before))
    return meter.feed(RatesSample(2, *now)).steady_s


@pytest.mark.parametrize(
    ("before", "now", "steady_s"),
    [
        ((llama_metrics(), slots_json((0, 1, 5), (1, 2, 9))), (llama_metrics(), slots_json((0, 1, 8), (1, 2, 10))), 2),
        ((llama_metrics(), slots_json((0, 1, 5))), (llama_metrics(), slots_json((0, 2, 8))), 0),  # another request
        ((llama_metrics(), slots_json((0, 1, 5))), (llama_metrics(), slots_json((0, 1, 8), (1, 2, 1))), 0),  # one more
        ((llama_metrics(), slots_json((0, 1, 5), (1, 2, 0))), (llama_metrics(), slots_json((0, 1, 6), (1, 2, 0))), 0),
        ((llama_metrics(), slots_json((0, 1, 5))), (llama_metrics(prompt=7), slots_json((0, 1, 8))), 0),
        ((llama_metrics(), slots_json((0, 1, 5))), (llama_metrics(), slots_json()), 0),
        ((llama_metrics(), slots_json()), (llama_metrics(), slots_json()), 0),
        ((llama_metrics(), slots_json((0, 1, 5))), (llama_metrics(), "no slots"), 0),
        (("", slots_json((0, 1, 5))), ("", slots_json((0, 1, 8))), 0),  # prompts cannot be told
    ],
)
def test_only_an_interval_of_nothing_but_generation_tells_a_speed(
    before: tuple[str, str], now: tuple[str, str], steady_s: float
) -> None:
    """A second request whose prompt is being read (no token yet) slows the first one, and so does any new prompt."""
    assert steady_llama(before, now) == steady_s


# --- vLLM


def test_vllm_rates() -> None:
    meter = VllmRates()
    assert meter.feed(RatesSample(10, vllm_metrics(100, 40, 1))) == Rates(None, None, 1)
    assert meter.feed(RatesSample(12, vllm_metrics(260, 60, 2))) == Rates(80, 10, 2)
    assert meter.feed(RatesSample(13, vllm_metrics(260, 60))) == Rates(0, 0, 0)


def test_vllm_restarted() -> None:
    meter = VllmRates()
    meter.feed(RatesSample(0, vllm_metrics(100)))
    assert meter.feed(RatesSample(1, vllm_metrics(10))) == Rates(None, None, 0)
    assert meter.feed(RatesSample(2, vllm_metrics(15))) == Rates(5, 0, 0)


def test_a_vllm_prompt_that_is_still_being_read_makes_no_interval_steady() -> None:
    """Its counter moves only when the prompt is done; the requests beside it are slow until then."""
    meter = VllmRates()

    def steady(at_s: float, *counts: float) -> bool:
        generated, prompt, running = counts
        return meter.feed(RatesSample(at_s, vllm_metrics(generated, prompt, int(running)))).steady_s > 0

    assert not steady(0, 100, 40, 1), "what was going on before is not known"
    assert not steady(1, 140, 40, 1)
    assert not steady(2, 180, 60, 1)
    assert steady(3, 220, 60, 1)
    assert not steady(4, 230, 60, 2), "one more"
    assert not steady(5, 235, 60, 2), "its prompt is not counted yet"
    assert not steady(6, 240, 90, 2)
    assert steady(7, 300, 90, 2)
    assert not steady(8, 300, 90, 2), "no token"
    assert not steady(9, 340, 90, 1), "one less"
    assert steady(10, 380, 90, 1)
    assert not steady(11, 380, 90, 0)


# --- both


@pytest.mark.parametrize("kind", [LlamaRates, VllmRates])
@pytest.mark.parametrize("page", [None, "", "other 1", "llamacpp:n_decode_total x\nvllm:prompt_tokens_total{ 1"])
def test_no_data_is_a_gap(kind: type[LlamaRates | VllmRates], page: str | None) -> None:
    meter = kind()
    for at in (0.0, 1.0):
        assert meter.feed(RatesSample(at, page)) == Rates(None, None, None)


@pytest.mark.parametrize("kind", [LlamaRates, VllmRates])
@pytest.mark.parametrize("later", [5.1, 0.0, -1.0])
def test_a_pause_is_a_gap(kind: type[LlamaRates | VllmRates], later: float) -> None:
    meter = kind()
    page = vllm_metrics(1) + llama_metrics(1)
    meter.feed(RatesSample(0, page, slots_json()))
    assert meter.feed(RatesSample(later, page, slots_json())) == Rates(None, None, 0)
    assert meter.feed(RatesSample(later + 5.0, page, slots_json())) == Rates(0, 0, 0)


@dataclass
class ModelEngine:
    """Counts like llama-server: a running task's tokens stand in its slot, those of ended ones in the counter."""

    predicted: int = 0
    total: int = 0
    tasks: dict[int, list[int]] = field(default_factory=dict)  # slot -> [task, tokens]
    next_task: int = 0

    def act(self, slot: int, action: str, count: int) -> None:
        if slot not in self.tasks:
            self.tasks[slot] = [self.next_task, 0]
            self.next_task += 1
        elif action == "end":
            self.predicted += self.tasks.pop(slot)[1]
            return
        self.tasks[slot][1] += count
        self.total += count

    def slots(self) -> str:
        return slots_json(*((slot, task, tokens) for slot, (task, tokens) in self.tasks.items()))


ACTIONS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["generate", "end"]), st.integers(0, 40)), max_size=4)


@settings(max_examples=300)
@given(st.lists(st.tuples(ACTIONS, ACTIONS), max_size=12))
def test_every_token_is_counted_once_whenever_tasks_end(polls: list[tuple[list[tuple[int, str, int]], ...]]) -> None:
    engine, meter = ModelEngine(), LlamaRates()
    meter.feed(RatesSample(0, llama_metrics(0), slots_json()))
    counted = 0.0
    for second, (before_metrics, before_slots) in enumerate([*polls, ([], []), ([], [])], start=1):
        for action in before_metrics:
            engine.act(*action)
        metrics = llama_metrics(engine.predicted)
        for action in before_slots:
            engine.act(*action)
        rate = meter.feed(RatesSample(second, metrics, engine.slots())).generation_tps
        assert rate is not None
        assert rate >= 0
        counted += rate
        assert counted <= engine.total
    assert counted == engine.total


# --- work -------------------------------------------------------------------------------------------------------------


def test_the_work_of_recorded_engines() -> None:
    """`n_decode_total` moves with every step while an answer runs (captures slots-live)."""
    live = (CAPTURES / "llama-server/slots-live.txt").read_text()
    polls = [poll.split("rate lines)\n")[1] for poll in live.split("=== ") if "rate lines)" in poll]
    works = [work_of(Engine.LLAMA_SERVER, RatesSample(0.0, poll)) for poll in polls]
    steps = [work.steps for work in works if work.requests]
    assert steps[:3] == [8, 35, 58]
    assert len(steps) > 10
    assert all(later is not None and now is not None and later > now for now, later in itertools.pairwise(steps))
    page = section((CAPTURES / "vllm/http.txt").read_text(), "/metrics")
    vllm = work_of(Engine.VLLM, RatesSample(0.0, page))
    assert vllm.requests == 0
    assert vllm.steps is not None
    assert vllm.steps > 512


@pytest.mark.parametrize("page", [None, "", "llamacpp:n_decode_total\n", "nothing 1\n"])
@pytest.mark.parametrize("engine", list(Engine))
def test_work_that_is_not_told_is_not_known(engine: Engine, page: str | None) -> None:
    assert work_of(engine, RatesSample(0.0, page)) == Work(None, None)
