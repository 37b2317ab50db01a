"""A model over two cards of the simulated PC: run, refused by the fuller card, and stopped where a card is left out."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from kotaro_bridge.simulator.card import MIB
from tests.e2e.conftest import Station
from tests.helpers.cli import Done, free_port, started
from tests.helpers.simulated import until
from tests.helpers.words import phase, sentence
from tests.helpers.wrapped_engine import without, wrapper

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("shared_station", ["two-cards"], indirect=True)]

LLAMA, VLLM = "qwen2.5-14b-q4_k_m", "qwen2.5-14b-awq"
BIG = "qwen2.5-32b-q4_k_m"
BOTH = [0, 1]
RUN_S = 25.0
PLAIN = 'exec "$server" "$@"'
GAME = {"name": "game.exe", "pid": 4711, "mib": 6000, "card": 1}


def said(done: Done, code: str) -> bool:
    """Whether a problem was told in its sentence, whatever its figures."""
    return all(part.strip() in done.err for part in sentence(code).what.split("?"))


def assert_refused(done: Done) -> None:
    """Nothing was spawned."""
    assert done.code == 1, done
    assert done.out.splitlines()[:2] == [phase("checking"), phase("refused")]


def used(station: Station) -> list[int]:
    """Bytes in use on each card."""
    return [card.used or 0 for card in station.pc.gpu.snapshot()]


def runs(station: Station, profile: str) -> tuple[dict[str, object], list[int]]:
    """The status of a run that came to READY, and what it took of each card; stopped clean."""
    before = used(station)
    with started(station.line, "run", profile) as running:
        running.wait_for(phase("ready"), RUN_S)
        status = station.line.call("status", "--json").json["runs"][0]
        taken = [now - then for now, then in zip(used(station), before, strict=True)]
        done = running.end(signal.SIGINT)
    assert done.code == 0, done
    assert used(station) == before
    return status, taken


def test_a_model_that_no_card_holds_alone_runs_on_both(station: Station) -> None:
    """18.5 GiB of weights; each card has 12 GB."""
    profile = station.line.builtin(BIG, gpus=BOTH, context=4096, need=None)
    check = station.line.call("check", "--profile", profile, "--json").json
    assert check["ok"], check
    status, taken = runs(station, profile)
    assert status["verdict"] == "gpu"
    assert not status["slow"]
    assert min(taken) > 8000 * MIB, "both hold a part of it"
    assert status["vram_taken"] == sum(taken)


def test_one_card_alone_is_too_small_for_it(station: Station) -> None:
    profile = station.line.builtin(BIG, context=4096, need=None)
    done = station.line.call("run", profile)
    assert_refused(done)
    assert said(done, "gate.vram.too_small")


def test_the_second_card_alone(station: Station) -> None:
    profile = station.line.builtin(LLAMA, gpus=[1], need=None)
    _, taken = runs(station, profile)
    assert taken[0] == 0
    assert taken[1] > 9000 * MIB


def test_layers_follow_the_room_of_each_card(station: Station) -> None:
    """The desktop is on the first card, a game on the second."""
    profile = station.line.builtin(LLAMA, gpus=BOTH, need=None)
    station.pc.set(programs=[GAME])
    _, taken = runs(station, profile)
    assert taken[0] > taken[1] + 2000 * MIB


def test_tensor_parallel_takes_as_much_of_each_card(station: Station) -> None:
    profile = station.line.builtin(VLLM, gpus=BOTH, need={"vram_mib": 17000, "source": "computed: test"})
    status, taken = runs(station, profile)
    assert status["verdict"] == "gpu"
    assert taken[0] == taken[1] > 6000 * MIB


def test_a_card_that_others_hold_is_named(station: Station) -> None:
    profile = station.line.builtin(BIG, gpus=BOTH, context=4096, need=None)
    station.pc.set(programs=[GAME])
    done = station.line.call("run", profile)
    assert_refused(done)
    assert "1 (NVIDIA GeForce RTX 4070)" in done.err
    assert "game.exe" in done.err
    assert said(done, "gate.vram.card_held")


def test_a_card_that_is_not_there_is_refused(station: Station) -> None:
    profile = station.line.builtin(LLAMA, gpus=[0, 2], need=None)
    done = station.line.call("run", profile)
    assert_refused(done)
    assert said(done, "gate.no_such_gpu")


needs_sh = pytest.mark.skipif(sys.platform == "win32", reason="the stood-in Linux side has no sh, which wraps engines")


def wrapped(station: Station, engine: str, script: str) -> str:
    """An executable around a simulated engine, as a path of the target."""
    folder = station.pc.home / "wrapped"
    folder.mkdir(exist_ok=True)
    return f"~/wrapped/{wrapper(folder, station.pc.home / engine, script).name}"


LEAVES_OUT = {
    "llama-server": (
        LLAMA,
        "llama.cpp/build/bin/llama-server",
        f'case " $* " in *" -m "*) {without("--device", "-ts")} set -- "$@" --device CUDA0 ;; esac\n{PLAIN}',
        "offloaded 49/49 layers to GPU",
    ),
    "vllm": (
        VLLM,
        "vllm/bin/vllm",
        f"{without('--tensor-parallel-size')}{PLAIN}",
        "tensor_parallel_size=1",
    ),
}


@needs_sh
@pytest.mark.parametrize("engine", LEAVES_OUT)
def test_an_engine_that_leaves_a_card_out_is_stopped(station: Station, engine: str) -> None:
    """What was planned for two cards on one: stopped by the line that tells, before its address is offered."""
    profile, program, script, line = LEAVES_OUT[engine]
    executable = wrapped(station, program, script)
    need = {"vram_mib": 17000, "source": "computed: test"} if engine == "vllm" else None
    station.line.builtin(profile, gpus=BOTH, executable=executable, need=need)
    if engine == "vllm":  # the gate asks the Python beside the program
        python = Path(station.pc.home / "wrapped" / "python")
        if not python.exists():
            python.symlink_to(station.pc.home / "vllm/bin/python")
    done = station.line.call("run", profile, deadline_s=RUN_S)
    assert done.code == 1
    assert phase("ready") not in done.out.splitlines()
    assert said(done, "proof.cards_unused"), done
    assert line in done.err


@needs_sh
def test_an_engine_that_sees_one_card_is_refused_before_the_spawn(station: Station) -> None:
    executable = wrapped(station, "llama.cpp/build/bin/llama-server", f"CUDA_VISIBLE_DEVICES=0 {PLAIN}")
    profile = station.line.builtin(LLAMA, gpus=BOTH, executable=executable, need=None)
    done = station.line.call("run", profile)
    assert_refused(done)
    assert said(done, "engine.devices_missing")


def test_two_models_on_a_card_each_do_not_see_each_other(station: Station) -> None:
    first = station.line.builtin(LLAMA, gpus=[0], context=2048, need=None)
    with started(station.line, "run", first) as running:
        running.wait_for(phase("ready"), RUN_S)
        station.line.builtin("qwen2.5-7b-awq", gpus=[1], port=free_port())
        check = station.line.call("check", "--profile", "qwen2.5-7b-awq", "--json").json
        assert check["ok"], check
        assert running.end(signal.SIGINT).code == 0
    until(lambda: used(station)[0] < 2000 * MIB, what="the memory is free again")
