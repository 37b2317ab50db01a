"""Token rates from what the engines publish.

Owns the arithmetic from successive samples to tokens per second. Must not fetch or read a clock. The rule of the graph:
no requests is zero, no data is a gap (None), and nothing is ever negative.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kotaro_bridge.domain.engine.engine_log import Engine

MAX_PAUSE_S = 5.0
"""Longer between two samples (sleep, a hung engine), and a mean over the pause would draw a line that nobody saw."""

_LLAMA_PROMPT = "llamacpp:prompt_tokens_total"
_LLAMA_PREDICTED = "llamacpp:tokens_predicted_total"
_LLAMA_COUNTERS = (_LLAMA_PROMPT, _LLAMA_PREDICTED, "llamacpp:n_decode_total")
_VLLM_PROMPT = "vllm:prompt_tokens_total"
_VLLM_GENERATED = "vllm:generation_tokens_total"
_VLLM_RUNNING = "vllm:num_requests_running"

# What counts up with every step of the engine, also while a long prompt is read: decode calls of llama-server
# (reference llama-server §4), steps of vLLM's engine core (captures vllm/http.txt).
_LLAMA_WORK = ("llamacpp:requests_processing", ("llamacpp:n_decode_total",))
_VLLM_WORK = (_VLLM_RUNNING, ("vllm:iteration_tokens_total_count", _VLLM_GENERATED, _VLLM_PROMPT))

# A line of the Prometheus text format, version 0.0.4: name, labels, value, milliseconds. Not prometheus_client, whose
# parser comes with servers for every protocol: 2 MiB and 0.1 s (measured).
_SAMPLE = re.compile(
    r'([a-zA-Z_:][\w:]*)\s*(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?\s*(?<=[\s}])(\S+)(?:\s+-?\d+)?\s*', re.ASCII
)

_Task: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RatesSample:
    """Raw texts of one poll, None where an answer is missing. `metrics` must have been fetched before `slots`.

    Args:
        at_s: when it was taken, in monotonic seconds.
    """

    at_s: float
    metrics: str | None
    slots: str | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second since the sample before, and requests running now. None: not known, draw a gap.

    Args:
        steady_s: length of the interval if nothing but generation went on in it: the same requests from its begin to
            its end, tokens generated, no prompt processed. Else 0. Only then a rate tells how fast the engine is.
    """

    generation_tps: float | None = None
    prompt_tps: float | None = None
    requests: int | None = None
    steady_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine has to do and how far it has come; None where its page does not tell.

    Args:
        requests: being processed now.
        steps: a number that grows while it computes.
    """

    requests: int | None
    steps: float | None


def work_of(engine: Engine, sample: RatesSample) -> Work:
    """The work of an engine at one poll."""
    running, counters = _LLAMA_WORK if engine is Engine.LLAMA_SERVER else _VLLM_WORK
    now = _counters(sample.metrics, (running, *counters))
    steps = [now[name] for name in counters if name in now]
    return Work(round(now[running]) if running in now else None, sum(steps) if steps else None)


def parse_prometheus(text: str, names: Collection[str] | None = None) -> dict[str, float]:
    """Value of each sample of a Prometheus text, summed over its labels; values that are not finite are left out.

    Args:
        names: the samples wanted; other lines are not looked at (the page of vLLM has 400 and is read every second).

    Raises:
        ValueError: the text is not in the Prometheus format.
    """
    sums: dict[str, float] = {}
    for line in text.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        if names is not None and line.partition("{")[0].partition(" ")[0] not in names:
            continue
        found = _SAMPLE.fullmatch(line)
        if found is None:
            raise ValueError(f"no sample: {line[:80]!r}")
        name, value = found[1], float(found[2])
        if math.isfinite(value):
            sums[name] = sums.get(name, 0.0) + value
    return sums


class VllmRates:
    """Rates of vLLM: its counters advance with every engine step (reference vllm §4).

    The prompt counter moves when a prompt is done, and other requests generate slowly until then: a request that came
    and has not been counted yet makes no interval steady.
    """

    def __init__(self) -> None:
        self._before: tuple[float, Mapping[str, float]] | None = None
        self._prompt_pending = False

    def feed(self, sample: RatesSample) -> Rates:
        """The rates between the sample before and this one."""
        now = _counters(sample.metrics, (_VLLM_PROMPT, _VLLM_GENERATED, _VLLM_RUNNING))
        before, self._before = self._before, (sample.at_s, now)
        running = now.get(_VLLM_RUNNING)
        requests = None if running is None else round(running)
        span_s = _span_s(before, sample.at_s)
        if before is None or span_s is None or _went_back(before[1], now, (_VLLM_PROMPT, _VLLM_GENERATED)):
            self._prompt_pending = True
            return Rates(requests=requests)
        generated, prompt = _growth(before[1], now, _VLLM_GENERATED), _growth(before[1], now, _VLLM_PROMPT)
        joined = _growth(before[1], now, _VLLM_RUNNING)
        self._prompt_pending = bool(running) and not prompt and (self._prompt_pending or joined is None or joined > 0)
        steady = bool(running and generated) and joined == 0 and prompt == 0 and not self._prompt_pending
        return Rates(_per_second(generated, span_s), _per_second(prompt, span_s), requests, span_s if steady else 0.0)


class LlamaRates:
    """Rates of llama-server: `tokens_predicted_total` moves only when a request ends, `/slots` while it runs.

    What a task has generated stands in its slot until it ends, and is added to the counter at that moment
    (`callback_on_reset` in server-context.cpp of v0.5.0-dev). So the tokens between two polls are: growth of the tasks
    seen in both, all of those seen only now, and growth of the counter less what was already counted of the tasks that
    ended. The counter is asked before the slots, so a task may be gone from its slot and not be in the counter yet:
    what was counted of it stays owed until the next poll.
    """

    def __init__(self) -> None:
        self._before: tuple[float, Mapping[str, float]] | None = None
        self._tasks: Mapping[_Task, int] | None = None
        self._owed = 0.0

    def feed(self, sample: RatesSample) -> Rates:
        """The rates between the sample before and this one."""
        now, tasks = _counters(sample.metrics, _LLAMA_COUNTERS), _running_tasks(sample.slots)
        before, self._before = self._before, (sample.at_s, now)
        tasks_before, self._tasks = self._tasks, tasks
        owed, self._owed = self._owed, 0.0
        requests = None if tasks is None else len(tasks)
        span_s = _span_s(before, sample.at_s)
        if before is None or span_s is None or _went_back(before[1], now, _LLAMA_COUNTERS):
            return Rates(requests=requests)
        generation = None
        if tasks is not None and tasks_before is not None:
            generation = self._generated(tasks_before, tasks, owed, _growth(before[1], now, _LLAMA_PREDICTED))
        prompt = _growth(before[1], now, _LLAMA_PROMPT)
        steady = prompt == 0 and _all_generated(tasks_before, tasks)
        return Rates(_per_second(generation, span_s), _per_second(prompt, span_s), requests, span_s if steady else 0.0)

    def _generated(
        self, before: Mapping[_Task, int], now: Mapping[_Task, int], owed: float, finished: float | None
    ) -> float | None:
        """Tokens between two polls; `finished` is the growth of the counter, None without an answer of `/metrics`."""
        if any(now[task] < count for task, count in before.items() if task in now):
            return None  # task numbers started again: another engine
        running = sum(count - before.get(task, 0) for task, count in now.items())
        if finished is None:
            return running
        ended = sum(count for task, count in before.items() if task not in now)
        finished = max(0.0, finished - owed)
        self._owed = max(0.0, ended - finished)
        return running + max(0.0, finished - ended)


def rates_of(engine: Engine) -> LlamaRates | VllmRates:
    """What turns the pages of this engine into rates; one for each run."""
    return LlamaRates() if engine is Engine.LLAMA_SERVER else VllmRates()


def _all_generated(before: Mapping[_Task, int] | None, now: Mapping[_Task, int] | None) -> bool:
    """True if there were requests, the same at both polls, and each of them generated in between."""
    if not before or now is None or before.keys() != now.keys():
        return False
    return all(now[task] > before[task] for task in now)


def _running_tasks(slots: str | None) -> dict[_Task, int] | None:
    """(slot, task) -> tokens generated so far, for slots at work; None if the text is no list of slots."""
    try:
        listed = json.loads(slots or "")
        if not isinstance(listed, list):
            return None
        return {
            (int(slot["id"]), int(slot["id_task"])): int(slot["next_token"][0]["n_decoded"])
            for slot in listed
            if slot["is_processing"]
        }
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError):
        return None


def _counters(metrics: str | None, names: Collection[str]) -> dict[str, float]:
    try:
        return parse_prometheus(metrics or "", names)
    except ValueError:
        return {}


def _span_s(before: tuple[float, object] | None, at_s: float) -> float | None:
    span_s = 0.0 if before is None else at_s - before[0]
    return span_s if 0.0 < span_s <= MAX_PAUSE_S else None


def _went_back(before: Mapping[str, float], now: Mapping[str, float], names: Collection[str]) -> bool:
    """True after a restart of the engine."""
    return any(now[name] < before[name] for name in names if name in before and name in now)


def _growth(before: Mapping[str, float], now: Mapping[str, float], name: str) -> float | None:
    return now[name] - before[name] if name in before and name in now else None


def _per_second(count: float | None, span_s: float) -> float | None:
    return None if count is None else count / span_s
