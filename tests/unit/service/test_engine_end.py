"""Why an engine ended: the kernel's word before the log's, the log's before the bare status."""

from __future__ import annotations

import msgspec
import pytest

from kotaro_bridge.domain.engine.reasons import Reason, ReasonCode
from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.ports import EngineCommand, Exited
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.service.engine_end import why_ended
from kotaro_bridge.service.gatekeeper import Clearance
from tests.helpers.machine import LLAMA, MODEL, MODEL_BYTES, VLLM

COMMAND = EngineCommand(("engine",), {}, (), ())
CLEARANCE = Clearance(COMMAND, (), None, MODEL, memory=8 * GIB, swap=2 * GIB)
CORE_KILLED = Reason(ReasonCode.ENGINE_KILLED, line="Failed core proc(s): {'EngineCore_DP0': -9}", params={"signal": 9})
OOM = Exited(None, 9, 1)


def test_want_of_ram_is_said_with_what_the_distro_has_and_what_the_model_takes() -> None:
    assert why_ended(OOM, None, ("last",), LLAMA, CLEARANCE, served=False) == problem(
        "engine.out_of_ram",
        "last",
        memory_bytes=8 * GIB,
        swap_bytes=2 * GIB,
        model_bytes=MODEL_BYTES,
        wanted_bytes=MODEL_BYTES + 2 * GIB,
    )


@pytest.mark.parametrize(
    "clearance",
    [
        None,
        Clearance(COMMAND, (), None, None, memory=8 * GIB, swap=0),
        Clearance(COMMAND, (), None, MODEL, memory=None, swap=0),
        Clearance(COMMAND, (), None, MODEL, memory=8 * GIB, swap=None),
    ],
)
def test_figures_that_are_not_known_are_not_made_up(clearance: Clearance | None) -> None:
    found = why_ended(OOM, None, (), LLAMA, clearance, served=False)
    assert found == problem("engine.out_of_ram_unsized")


def test_on_this_machine_itself_there_is_no_wslconfig() -> None:
    local = msgspec.structs.replace(LLAMA, target="local")
    assert why_ended(OOM, None, (), local, CLEARANCE, served=True) == problem("engine.out_of_ram_local")


@pytest.mark.parametrize(
    ("kills", "code"), [(1, "engine.out_of_ram_unsized"), (0, "proof.engine_killed"), (None, "proof.engine_killed")]
)
def test_the_process_that_vllm_lost_counts_like_the_engine(kills: int | None, code: str) -> None:
    """The kernel picks the one that holds the memory; its parent reports it and exits 1."""
    found = why_ended(Exited(1, None, kills), CORE_KILLED, ("tail",), VLLM, None, served=False)
    assert (found.code, found.evidence) == (code, (CORE_KILLED.line, "tail"))


def test_a_kill_elsewhere_in_the_vm_excuses_no_engine_that_ended_otherwise() -> None:
    crashed = Reason(ReasonCode.ENGINE_CRASHED, line="GGML_ASSERT(x)", params={"cause": "GGML_ASSERT(x)"})
    assert why_ended(Exited(None, 6, 1), crashed, (), LLAMA, None, served=False).code == "proof.engine_crashed"
    assert why_ended(Exited(None, 6, 1), None, (), LLAMA, None, served=False).code == "engine.signalled"
    assert why_ended(Exited(0, None, 1), None, (), LLAMA, None, served=True).code == "engine.exited"


@pytest.mark.parametrize(("served", "code"), [(False, "proof.out_of_gpu_memory"), (True, "engine.out_of_vram")])
def test_video_memory_runs_out_while_loading_or_while_serving(served: bool, code: str) -> None:
    cause = Reason(ReasonCode.OUT_OF_GPU_MEMORY, line="CUDA error: out of memory")
    assert why_ended(Exited(None, 6, 0), cause, (), LLAMA, None, served=served).code == code


def test_what_was_wanted_when_video_memory_ran_out_goes_along() -> None:
    """A remedy is reckoned with it."""
    cause = Reason(ReasonCode.OUT_OF_GPU_MEMORY, line="cudaMalloc failed", params={"wanted_bytes": 300 << 20})
    found = why_ended(Exited(1, None, 0), cause, ("tail",), LLAMA, CLEARANCE, served=True)
    assert found == problem("engine.out_of_vram", "cudaMalloc failed", "tail", wanted_bytes=300 << 20)
