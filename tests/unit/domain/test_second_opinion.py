"""llama-fit-params: how it is asked, what it answers, and whether the plan agrees with what it said on an H100."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.planning.plan import GgufPlanned, PlanRequest, plan
from kotaro_bridge.domain.planning.second_opinion import Opinion, decode_opinion, question
from kotaro_bridge.domain.profile import KvType, Profile
from kotaro_bridge.domain.units import MIB
from tests.helpers.captures import FOLDER
from tests.helpers.plan_rows import MEASURED, gguf

PROFILE = Profile(
    title="t", engine=Engine.LLAMA_SERVER, executable="~/llama.cpp/build/bin/llama-server", model="~/m.gguf",
    served_name="m", context=8192, port=8080,
)  # fmt: skip
ROWS: list[dict[str, Any]] = [json.loads(line) for line in MEASURED.read_text(encoding="utf-8").splitlines()]


def test_the_captured_answer() -> None:
    text = (FOLDER / "llama-server" / "fit14p.txt").read_text(encoding="utf-8")
    opinion = decode_opinion(text)
    assert opinion == Opinion(8148 * MIB, 1536 * MIB, 345 * MIB)
    found = plan(GgufPlanned(gguf("q14")), PlanRequest(Engine.LLAMA_SERVER, 8192), None)
    assert opinion.more_than(found, 0) == 0


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["fit"] and "-fa" not in row["extra"]], ids=lambda r: r["model"]
)
def test_the_plan_agrees_with_every_answer_on_an_h100(row: dict[str, Any]) -> None:
    opinion = decode_opinion("\n".join(row["fit"]))
    assert opinion is not None
    request = PlanRequest(
        Engine.LLAMA_SERVER, row["context"], row["parallel"], KvType(row["kv"]), row["ubatch"]
    )  # fmt: skip
    found = plan(GgufPlanned(gguf(row["model"])), request, None)
    assert opinion.more_than(found, 0) == 0
    assert found.weights.bytes + found.kv.bytes - opinion.weights - opinion.kv < 3 * MIB


def test_more_than_the_plan_knows_is_told() -> None:
    found = plan(GgufPlanned(gguf("q7"), 800 * MIB), PlanRequest(Engine.LLAMA_SERVER, 8192), None)
    assert Opinion(4168 * MIB, 448 * MIB, 0).more_than(found, 800 * MIB) == 0
    more = Opinion(4168 * MIB, 548 * MIB, 0).more_than(found, 800 * MIB)
    assert round(more / MIB) == 100


def test_two_cards_are_added_and_the_host_is_not() -> None:
    assert decode_opinion("CUDA0 10 20 30 \r\nCUDA1 1 2 3\nHost 417 0 28 ") == Opinion(11 * MIB, 22 * MIB, 33 * MIB)


@pytest.mark.parametrize(
    "text", ["", "Host 417 0 28 \n", "CUDA0 8148 1536", "CUDA0 a b c", "-c 8192 -ngl -1", "\0" * 99]
)
def test_what_is_no_answer(text: str) -> None:
    assert decode_opinion(text) is None


def test_the_question() -> None:
    asked = question(PROFILE)
    assert asked is not None
    assert asked[:3] == ("~/llama.cpp/build/bin/llama-fit-params", "-m", "~/m.gguf")
    assert " ".join(asked[3:]) == "--fit-print on -ngl all -c 8192 -np 1 -ub 512"
    other = msgspec.structs.replace(
        PROFILE, executable="llama-server.exe", parallel=3, kv_type=KvType.Q8_0, extra_args=("--swa-full", "-ub", "64")
    )
    asked = question(other)
    assert asked is not None
    assert asked[0] == "llama-fit-params.exe"
    assert " ".join(asked[3:]) == "--fit-print on -ngl all -c 24576 -np 3 -ub 64 -ctk q8_0 -ctv q8_0 --swa-full"
    assert question(msgspec.structs.replace(PROFILE, executable="~/start-llama.sh")) is None
