"""NVML on Windows: missing, present, failing, and a card that is lost while a model serves."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pytest

from tests.helpers.cli import Done, started
from tests.helpers.simulated import until
from tests.helpers.words import sentence
from tests.windows.lab import Windows
from tests.windows.product import LLAMA, WindowsProduct
from tests.windows.relay import Relay

SNAPSHOT = """
from dataclasses import asdict
from kotaro_bridge.host.nvml import NvmlProbe
import json
print(json.dumps([asdict(card) for card in NvmlProbe().snapshot()]))
"""
TWICE = """
import sys
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.host.nvml import NvmlProbe
probe = NvmlProbe()
for _ in sys.stdin:
    try:
        print(len(probe.snapshot()), flush=True)
    except ProblemError as error:
        print(error.problem.code, flush=True)
"""


def checks(done: Done) -> dict[str, str]:
    """Id of each check -> how it ended."""
    return {check["id"]: check["status"] for check in done.json["checks"]}


def test_every_figure_of_the_card(windows_lab: Windows, simulated_card: Relay) -> None:
    (card,) = json.loads(windows_lab.python(SNAPSHOT))
    (here,) = simulated_card.pc.gpu.snapshot()
    assert card == asdict(here) | {"power_w": pytest.approx(here.power_w, abs=0.01)}


@pytest.mark.parametrize("relay", ["two-cards"], indirect=True)
def test_two_cards(windows_lab: Windows, simulated_card: Relay) -> None:
    cards = json.loads(windows_lab.python(SNAPSHOT))
    assert [card["uuid"] for card in cards] == [card.uuid for card in simulated_card.pc.gpu.snapshot()]
    assert len(cards) == 2


def test_no_driver_at_all(product: WindowsProduct) -> None:
    with product.windows.without("nvml.dll"):
        done = product.call("check", "--json")
    assert (done.code, done.json["gpus"]) == (1, [])
    assert checks(done)["driver"] == "failed"
    assert sentence("gpu.no_driver").what in done.err


@pytest.mark.parametrize(
    ("mode", "code"), [("missing", "gpu.no_driver"), ("failed", "gpu.nvml_failed"), ("lost", "gpu.driver_lost")]
)
def test_a_driver_that_does_not_answer(product: WindowsProduct, relay: Relay, mode: str, code: str) -> None:
    relay.pc.set(nvml=mode)
    done = product.call("check", "--json")
    assert (done.code, done.json["gpus"], checks(done)["driver"]) == (1, [], "failed")
    assert sentence(code, detail="Unknown Error").what in done.err


def test_lost_and_found_again_in_one_process(windows_lab: Windows, simulated_card: Relay) -> None:
    """A driver update: NVML is started again at the next question."""
    told = []
    with windows_lab.start("py", "-c", TWICE) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        for mode in ("normal", "lost", "missing", "normal"):
            simulated_card.pc.set(nvml=mode)
            stdin.write(b"?\n")
            stdin.flush()
            told.append(stdout.readline().decode().strip())
        stdin.close()
        assert process.wait(20) == 0
    assert told == ["1", "gpu.driver_lost", "gpu.driver_lost", "1"]


HANGS: dict[str, str | int] = {"function": "nvmlDeviceGetCount", "seconds": 10}


def test_a_driver_that_hangs_is_given_up_and_named(product: WindowsProduct, relay: Relay) -> None:
    relay.pc.set(nvml="hang")
    begin = time.monotonic()
    done = product.call("check", "--json")
    assert time.monotonic() - begin < 40, "two questions are asked, and one is waited for"
    assert (done.code, done.json["gpus"], checks(done)["driver"]) == (1, [], "failed")
    assert sentence("gpu.driver_hangs", **HANGS).what in done.err


@pytest.mark.parametrize(
    ("mode", "code", "params"), [("lost", "gpu.driver_lost", {}), ("hang", "gpu.driver_hangs", HANGS)]
)
def test_gone_while_a_model_serves(
    product: WindowsProduct, relay: Relay, mode: str, code: str, params: dict[str, str | int]
) -> None:
    product.builtin(LLAMA)
    with started(product, "run", LLAMA) as running:
        running.wait_for("/v1")
        relay.pc.set(nvml=mode)
        until(lambda: running.process.poll() is not None, what="the run ends", deadline_s=60)
        ended = running.end()
    assert ended.code == 1
    assert sentence(code, **params).what in ended.err
    relay.pc.set(nvml="normal")
    assert product.left() == []
