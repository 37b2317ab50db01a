"""Lines, values and the `facts` object."""

from __future__ import annotations

import json
import re

import pytest

from kotaro_bridge.domain.engine.engine_log import (
    DeviceFacts,
    Event,
    EventKind,
    LineRule,
    LogFacts,
    LogLine,
    Stream,
    group_values,
    match_line,
)


def test_group_values_read_units_from_the_suffix() -> None:
    match = re.match(r"(?P<size_mib>\S+) (?P<all_gib>\S+) (?P<count_n>\S+) (?P<name>\S+)(?P<rest>!)?", "1.5 -2 1,024 x")
    assert match is not None
    assert group_values(match) == {"size_bytes": 3 * 2**19, "all_bytes": -(2**31), "count": 1024, "name": "x"}


def test_a_gate_that_opens_still_needs_its_pattern() -> None:
    rule = LineRule(EventKind.READY, re.compile(r"listening on (?P<url>\S+)"))
    gates = (("listening", (rule,)),)
    line = LogLine(Stream.STDERR, 1, "listening on http://x")
    assert match_line(gates, line) == Event(EventKind.READY, line, {"url": "http://x"})
    assert match_line(gates, LogLine(Stream.STDERR, 1, "he said: listening on http://x")) is None
    assert match_line(gates, LogLine(Stream.STDERR, 1, "nothing")) is None


def test_facts_as_json() -> None:
    facts = LogFacts(
        devices={"CUDA0": DeviceFacts(model=1, kv=2)},
        devices_used=("CUDA0",),
        host_model=3,
        layers=4,
        context_reduced=(8, 6),
        error_lines=("E",),
    )
    found = facts.to_json()
    assert json.loads(json.dumps(found)) == found
    assert found["devices"] == {"CUDA0": {"model": 1, "kv": 2, "compute": None}}
    assert (found["host_model"], found["layers"], found["context_reduced"]) == (3, 4, [8, 6])
    assert (found["devices_used"], found["error_lines"]) == (["CUDA0"], ["E"])


@pytest.mark.parametrize(
    "name",
    ["host_model", "layers", "layers_total", "splits", "n_ctx", "version", "weights", "available_kv", "kv_tokens"],
)
def test_unknown_facts_are_null_in_json(name: str) -> None:
    assert LogFacts().to_json()[name] is None
