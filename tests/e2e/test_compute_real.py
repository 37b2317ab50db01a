"""The compute buffer and llama.cpp's own estimate, by the real programs, for tiny models of every kind."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan import GgufPlanned, PlanRequest
from kotaro_bridge.domain.planning.plan_llama import llama_costs
from kotaro_bridge.domain.planning.second_opinion import question
from kotaro_bridge.domain.profile import KvType, Profile
from kotaro_bridge.domain.units import MIB
from tests.helpers.server_log import header, log_until_listening
from tests.helpers.tiny_shapes import ALL, LLAMA, write_shape

pytestmark = pytest.mark.e2e

_COMPUTE = re.compile(r"CPU compute buffer size =\s+([\d.]+) MiB")
_UBATCH = 512


def logged_mib(server: Path, model: Path, context: int, parallel: int) -> float:
    """The buffer on the CPU. It also holds what on a card is the host's: the embedded tokens, one row of the width."""
    size = ("-c", str(context * parallel), "-np", str(parallel))
    text = log_until_listening(server, model, *size)
    found = _COMPUTE.search(text)
    assert found, text
    return float(found[1])


@pytest.mark.parametrize("name", ALL)
def test_the_formula_is_not_below_what_the_server_allocates(name: str, llama_server: Path, tmp_path: Path) -> None:
    path = write_shape(tmp_path / "model.gguf", ALL[name])
    model = header(path)
    for context, parallel in ((8192, 1), (4096, 3)):
        request = PlanRequest(Engine.LLAMA_SERVER, context, parallel)
        costs = llama_costs(GgufPlanned(model), request, Learned())
        ours = replace(costs, scores=0).logged(context) / MIB  # the CPU has flash attention for every head size
        theirs = logged_mib(llama_server, path, context, parallel) - model.embedding_length * _UBATCH * 4 / MIB
        assert -0.05 < ours - theirs < 1, (context, parallel)


@pytest.mark.parametrize("parallel", [1, 3])
def test_the_second_opinion_takes_our_question(parallel: int, llama_server: Path, tmp_path: Path) -> None:
    """A CPU build has no row for a card; the host's has the KV cache that we compute."""
    path = write_shape(tmp_path / "model.gguf", LLAMA)
    profile = Profile(
        title="t", engine=Engine.LLAMA_SERVER, executable=str(llama_server), model=str(path), served_name="m",
        context=8192, port=8080, parallel=parallel, kv_type=KvType.Q8_0,
    )  # fmt: skip
    asked = question(profile)
    assert asked is not None
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("Host "))
    request = PlanRequest(Engine.LLAMA_SERVER, 8192, parallel, KvType.Q8_0)
    kv = llama_costs(GgufPlanned(header(path)), request, Learned()).kv(8192).bytes
    assert int(row[2]) == kv // MIB
