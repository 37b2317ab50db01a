"""The projector's own header: read at the gate, held against the engine's log in the proof."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import pytest

from kotaro_bridge.domain.run.gate import CheckId, Status
from kotaro_bridge.service.gatekeeper import Gatekeeper, GateResult
from kotaro_bridge.service.prover import expectation
from tests.helpers.machine import FACTS, LLAMA, PROJECTOR, PROJECTOR_HEADER, VLLM, Machine

SEEING = msgspec.structs.replace(LLAMA, projector=PROJECTOR)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def check(pool: ThreadPoolExecutor, header: bytes) -> GateResult:
    machine = Machine()
    machine.target.projector = header
    machine.target.facts = replace(FACTS, projector=len(header))
    return Gatekeeper(machine.ports, pool).check(SEEING)


def test_its_size_reaches_the_proof(pool: ThreadPoolExecutor) -> None:
    clearance = check(pool, PROJECTOR_HEADER).clearance
    assert clearance is not None
    assert clearance.projector == 512
    expected = expectation(SEEING, clearance)
    assert (expected.vision, expected.projector_bytes) == (True, 512)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (PROJECTOR_HEADER[:-1], "model.truncated"),
        (b"junk" * 64, "model.not_gguf"),
        (PROJECTOR_HEADER.replace(b"clip", b"bert"), "model.not_projector"),
    ],
)
def test_a_file_that_is_none_is_refused(pool: ThreadPoolExecutor, header: bytes, code: str) -> None:
    result = check(pool, header)
    (found,) = [one for one in result.report.checks if one.id is CheckId.MODEL]
    assert (found.status, found.message.code) == (Status.FAILED, code)
    assert result.clearance is None


def test_without_one_there_is_nothing_to_expect(pool: ThreadPoolExecutor) -> None:
    for profile in (LLAMA, VLLM):
        clearance = Gatekeeper(Machine().ports, pool).check(profile).clearance
        assert clearance is not None
        assert clearance.projector is None
        assert expectation(profile, clearance).projector_bytes is None
