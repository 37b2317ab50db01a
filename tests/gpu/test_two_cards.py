"""On a machine with two real NVIDIA GPUs, target `local`: a model over both is proved on each of them, or refused.

What is measured goes to KOTARO_GPU_RECORD: bytes that each card took beside the plan's, and the log's own figures.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.model.gguf import read_gguf
from kotaro_bridge.domain.planning.plan import GgufPlanned, PlanCard, PlanRequest, plan
from tests.helpers.gpu import (
    CONTEXT,
    HONEST_ANSWERS,
    MIB,
    Product,
    assert_vram_is_back_on_each,
    marks_start,
    vram_taken,
    vram_total,
    vram_used_each,
)
from tests.helpers.wrapped_engine import without, wrapper

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300), pytest.mark.usefixtures("two_cards")]

BOTH = [0, 1]
PLAIN = 'exec "$server" "$@"'
CUDA_CONTEXT = 400 * MIB
"""Less than any CUDA context that was measured (captures: 525 MiB); each card of a run has one."""


def stop(product: Product, before: list[int]) -> None:
    """Ctrl-C: ends with 0, and gives the memory of each card back."""
    assert product.running is not None
    product.running.send_signal(signal.SIGINT)
    assert product.running.wait(60) == 0, product.said
    assert_vram_is_back_on_each(before)


def taken_since(before: list[int]) -> list[int]:
    """Bytes by which the memory of each card has grown."""
    return [now - then for now, then in zip(vram_used_each(), before, strict=True)]


def verdict(product: Product, engine: str) -> dict[str, Any]:
    """What the log of the newest run says by itself."""
    folder = product.folder / "state" / "kotaro-bridge" / "log"
    newest = max(folder.glob("gpu-test*.log"), key=lambda path: path.stat().st_mtime)
    return product.json("verdict", engine, str(newest))


def planned(model: Path) -> tuple[int, ...]:
    """Bytes on each of two like and empty cards, by the plan."""
    with model.open("rb") as file:

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        header = read_gguf(read_at, model.stat().st_size)
    cards = tuple(PlanCard("", vram_total(card), vram_total(card)) for card in BOTH)
    request = PlanRequest(engine=Engine.LLAMA_SERVER, context=CONTEXT, cards=2)
    return plan(GgufPlanned(header), request, cards).per_card


def test_a_model_over_two_cards_is_proved_on_each(
    product: Product, cuda_llama_server: Path, gpu_models: list[Path], record: Callable[[dict[str, Any]], None]
) -> None:
    for model in gpu_models:
        before = vram_used_each()
        product.profile(cuda_llama_server, model, gpus=BOTH)
        check = product.json("check", "--profile", "gpu-test")
        assert check["ok"], check
        ready = product.ready()
        taken = taken_since(before)
        judged = verdict(product, "llama-server")
        facts, wanted = judged["facts"], planned(model)
        record({"model": model.name, "cards": 2, "taken": taken, "planned": wanted, **ready, "facts": facts})
        assert ready["verdict"] == judged["verdict"] == "gpu"
        assert facts["splits"] == 3, "the host's lookup and one for each card"
        assert facts["devices_used"] == ["CUDA0", "CUDA1"]
        for card, name in enumerate(("CUDA0", "CUDA1")):
            claimed = sum(facts["devices"][name].values())
            assert claimed + CUDA_CONTEXT < taken[card]
        assert all(0.99 * size <= most for size, most in zip(taken, wanted, strict=True)), (taken, wanted)
        stop(product, before)


def test_the_second_card_alone(product: Product, cuda_llama_server: Path, gpu_model: Path) -> None:
    before = vram_used_each()
    product.profile(cuda_llama_server, gpu_model, gpus=[1])
    assert product.ready()["verdict"] == "gpu"
    first, second = taken_since(before)[:2]
    assert first < 64 * MIB
    assert second > gpu_model.stat().st_size // 2
    stop(product, before)


def test_the_cards_may_be_named_in_any_order(product: Product, cuda_llama_server: Path, gpu_model: Path) -> None:
    before = vram_used_each()
    product.profile(cuda_llama_server, gpu_model, gpus=[1, 0])
    assert product.ready()["verdict"] == "gpu"
    assert min(taken_since(before)[:2]) > CUDA_CONTEXT
    stop(product, before)


ONE_CARD = {
    "device": f'{without("--device", "-ts")}set -- "$@" --device CUDA0\n{PLAIN}',
    "main-card": f'{without("-sm", "-ts")}set -- "$@" -sm none -mg 0\n{PLAIN}',
}


@pytest.mark.parametrize("way", ONE_CARD)
def test_a_wrapper_that_leaves_a_card_out_is_stopped(
    product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path, way: str
) -> None:
    product.profile(wrapper(tmp_path, cuda_llama_server, HONEST_ANSWERS + ONE_CARD[way]), gpu_model, gpus=BOTH)
    ended = product.run()
    assert ended.states[:3] == ["checking", "launching", "loading"]
    assert ended.states[-1] == "failed"
    assert ended.names("proof.cards_unused")
    assert "offloaded" in ended.said


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        # v0.5.0 on two H200: "device CUDA0 does not support split buffers". One that did would be seen in its log.
        (
            f'{without("-sm", "-ts")}set -- "$@" -sm row\n{PLAIN}',
            ("proof.model_load_failed", "proof.device_unexpected", "proof.evidence_missing"),
        ),
        (f"{PLAIN} -nkvo", ("proof.kv_on_cpu",)),
        (f"{PLAIN} -ngl 10", ("proof.layers_on_cpu",)),
        (f'{without("-ts")}set -- "$@" -ts 1,0\n{PLAIN}', ("proof.evidence_missing", "proof.cards_unused")),
    ],
    ids=["split-by-rows", "kv-in-ram", "ten-layers", "all-layers-on-one"],
)
def test_what_leaves_the_cards_is_stopped(
    product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path, script: str, codes: tuple[str, ...]
) -> None:
    product.profile(wrapper(tmp_path, cuda_llama_server, HONEST_ANSWERS + script), gpu_model, gpus=BOTH)
    ended = product.run()
    assert ended.states[-1] == "failed"
    assert ended.names(*codes)


def test_an_engine_that_sees_one_card_is_refused_before_the_spawn(
    product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    script = f"{marks_start(started)}export CUDA_VISIBLE_DEVICES=0\n{PLAIN}"
    product.profile(wrapper(tmp_path, cuda_llama_server, script), gpu_model, gpus=BOTH)
    ended = product.run()
    assert ended.states == ["checking", "refused"]
    assert ended.names("engine.devices_missing")
    assert not started.exists()


def test_a_card_that_others_hold_is_named_or_gets_fewer_layers(
    product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path
) -> None:
    """Little more than a CUDA context is free on card 1; with room for a part on it, the rest goes to card 0."""
    started = tmp_path / "started"
    product.profile(wrapper(tmp_path, cuda_llama_server, marks_start(started) + PLAIN), gpu_model, gpus=BOTH)
    with vram_taken(700, card=1):
        check = product.json("check", "--profile", "gpu-test")
        assert [one["id"] for one in check["checks"] if one["status"] in ("failed", "unknown")] == ["vram"]
        ended = product.run()
        assert ended.states == ["checking", "refused"]
        assert not started.exists()
    with vram_taken(3 * 1024, card=1):
        before = vram_used_each()
        assert product.ready()["verdict"] == "gpu"
        first, second = taken_since(before)[:2]
        assert first > second > CUDA_CONTEXT
        stop(product, before)


def test_a_killed_owner_leaves_no_vram_taken_on_either(
    product: Product, cuda_llama_server: Path, gpu_model: Path
) -> None:
    before = vram_used_each()
    product.profile(cuda_llama_server, gpu_model, gpus=BOTH)
    product.ready()
    assert product.running is not None
    product.running.kill()
    product.running.wait()
    assert_vram_is_back_on_each(before, deadline_s=30)


@pytest.mark.timeout(900)
def test_vllm_spreads_each_layer_over_both(
    product: Product, vllm: tuple[Path, Path], record: Callable[[dict[str, Any]], None]
) -> None:
    """Random weights in the true shape; the budget is 8 GiB of each card."""
    program, model = vllm
    before = vram_used_each()
    product.profile(
        program,
        model,
        engine="vllm",
        gpus=BOTH,
        context=2048,
        extra_args=["--load-format", "dummy"],
        need={"vram_mib": 16 * 1024, "source": "stated: test"},
    )
    ready = product.ready(ready_s=600)
    taken = taken_since(before)
    judged = verdict(product, "vllm")
    record({"model": model.name, "cards": 2, "taken": taken, **ready, "facts": judged["facts"]})
    assert ready["verdict"] == judged["verdict"] == "gpu"
    claimed = judged["facts"]["weights"] + judged["facts"]["available_kv"]
    assert all(each > claimed for each in taken[:2])
    stop(product, before)
