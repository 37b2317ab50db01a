"""`kotaro-bridge check|run|status|stop|logs` as Windows programs on the real setting, with both engines."""

from __future__ import annotations

import pytest

from tests.helpers.cli import listens, started
from tests.helpers.words import phase, sentence
from tests.windows.product import LLAMA, VLLM, WindowsProduct
from tests.windows.relay import Relay

GIB = 1 << 30


@pytest.mark.parametrize("profile", [LLAMA, VLLM])
def test_up_to_ready_and_down_again(product: WindowsProduct, relay: Relay, profile: str) -> None:
    product.builtin(profile)
    assert product.call("check", "--profile", profile).code == 0
    free = relay.pc.gpu.snapshot()[0].free
    with started(product, "run", profile) as running:
        running.wait_for(f"http://127.0.0.1:{product.port_of(profile)}/v1")
        status = product.call("status", "--json").json
        logs = product.call("logs", profile, "--json").json
        stopped = product.call("stop", profile, "--json")
        ended = running.end()
    (run,), (card,) = status["runs"], status["gpus"]
    assert status["owner"] is True
    assert (run["profile"], run["state"], run["verdict"]) == (profile, "ready", "gpu")
    assert run["vram_taken"] > 7 * GIB
    assert card["used"] > 8 * GIB
    assert len(logs["logs"][profile]) > 20
    assert (stopped.code, [each["state"] for each in stopped.json["stopped"]]) == (0, ["stopped"])
    assert (ended.code, ended.err, ended.out.splitlines()[-1]) == (0, "", phase("stopped"))
    assert relay.pc.gpu.snapshot()[0].free == free
    assert not listens(product.port_of(profile))
    assert product.left() == []


def test_logs_of_a_run_that_is_over(product: WindowsProduct) -> None:
    product.builtin(LLAMA)
    with started(product, "run", LLAMA) as running:
        running.wait_for("/v1")
        assert product.call("stop").code == 0
        running.end()
    done = product.call("logs", LLAMA, "-n", "5")
    assert (done.code, len(done.out.splitlines())) == (0, 5)


def test_a_second_owner_is_refused(product: WindowsProduct) -> None:
    product.builtin(LLAMA)
    product.builtin(VLLM)
    with started(product, "run", LLAMA) as running:
        running.wait_for("/v1")
        second = product.call("run", VLLM)
        assert product.call("stop").code == 0
        running.end()
    assert second.code == 1
    assert sentence("owner.taken").what in second.err
