"""On a real NVIDIA GPU: an engine that moves something off the card behind our back is stopped, with its own reason.

Each case is a wrapper around the real llama-server that changes the command line or the surroundings. None may come to
READY; each names the stage at which it ended and the line that proves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.gpu import HONEST_ANSWERS, MIB, Product, marks_start, ram_available, takes_vram, vram_total
from tests.helpers.wrapped_engine import without, wrapper

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(180)]

PLAIN = 'exec "$server" "$@"'


@dataclass(frozen=True, slots=True)
class Case:
    """One way off the card.

    Args:
        script: what the wrapper does at a start.
        codes: the problems it may be refused with; builds differ in which line comes first.
        line: a part of the line that proves it.
        stage: the state from which it failed.
    """

    script: str
    codes: tuple[str, ...]
    line: str = ""
    stage: str = "loading"


HOST_WEIGHTS = ("proof.weights_on_cpu", "proof.no_gpu_device")
CASES = {
    "device-none": Case(f"{PLAIN} --device none", HOST_WEIGHTS, "model buffer size"),
    "no-main-gpu": Case(f"{PLAIN} -mg -1", HOST_WEIGHTS, "model buffer size"),
    "no-layers": Case(f"{PLAIN} -ngl 0", ("proof.layers_on_cpu",), "offloaded 0/"),
    "ten-layers": Case(f"{PLAIN} -ngl 10", ("proof.layers_on_cpu",), "offloaded 10/"),
    "kv-in-ram": Case(f"{PLAIN} -nkvo", ("proof.kv_on_cpu",), "KV buffer size"),
    "card-hidden": Case(
        f'export CUDA_VISIBLE_DEVICES=""\n{PLAIN}',
        ("proof.cuda_init_failed", "proof.device_invalid"),
        "no CUDA-capable device",
    ),
    "card-hidden-and-not-named": Case(
        f'export CUDA_VISIBLE_DEVICES=""\n{without("--device")}{PLAIN}',
        ("proof.cuda_init_failed", "proof.no_gpu_device"),
        "no CUDA-capable device",
    ),
    "one-tensor": Case(
        f"{PLAIN} -ot 'blk\\.0\\.ffn_up\\.weight=CPU'", ("proof.tensor_override",), "tensor overrides to CPU"
    ),
    "one-tensor-unmapped": Case(
        f"{PLAIN} --load-mode none -ot 'blk\\.0\\.ffn_up\\.weight=CPU'",
        ("proof.weights_on_cpu", "proof.splits_too_many"),
    ),
    "dense-layers": Case(
        f"{PLAIN} --n-cpu-ffn 2", ("proof.tensor_override", "proof.weights_on_cpu"), "tensor overrides to CPU"
    ),
    "kv-pair-without-a-kernel": Case(
        f"{PLAIN} -ctk q8_0 -ctv f16 -fa on", ("proof.splits_too_many", "proof.kv_incomplete"), stage=""
    ),
    "split-by-tensor": Case(f"{PLAIN} -sm tensor -fa on", ("proof.device_unexpected",), "using device Meta"),
    "draft-on-the-cpu": Case(
        f'model=\nlast=\nfor arg in "$@"; do [ "$last" != -m ] || model=$arg; last=$arg; done\n'
        f'{PLAIN} -md "$model" -ngld 0 --spec-type draft-simple',
        ("proof.layers_on_cpu", "proof.weights_on_cpu"),
    ),
    "variables-in-the-wrapper": Case(
        f"export LLAMA_ARG_N_CPU_FFN=2 LLAMA_ARG_KV_OFFLOAD=0\n{PLAIN}",
        ("proof.tensor_override", "proof.kv_on_cpu", "proof.weights_on_cpu"),
    ),
    "log-too-quiet": Case(f"{PLAIN} -lv 3", ("proof.placement_not_logged",), stage="proving"),
    "shorter-context": Case(f"{PLAIN} -c 4096", ("proof.context_reduced", "proof.kv_incomplete"), stage="proving"),
    "router": Case('exec "$server" --host 127.0.0.1 --port 18080 -lv 4', ("proof.router_mode",), "router"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_that_leaves_the_gpu_is_stopped(
    product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path, case: str
) -> None:
    expected = CASES[case]
    product.profile(wrapper(tmp_path, cuda_llama_server, HONEST_ANSWERS + expected.script), gpu_model)
    ended = product.run()
    assert ended.states[:3] == ["checking", "launching", "loading"]
    assert ended.states[-1] == "failed"
    assert ended.names(*expected.codes)
    assert expected.line in ended.said
    if expected.stage:
        before_the_end = [state for state in ended.states if state not in ("stopping", "killing", "failed")]
        assert before_the_end[-1] == expected.stage


def test_unified_memory_is_stopped(product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path) -> None:
    """The engine then takes the system's free memory for the card's: a contradiction where that is more than the card
    has. On a machine with less it is prevented only, by the variable that no engine inherits.
    """
    if ram_available() <= vram_total():
        pytest.skip("less system memory is free than the card has: what the engine says is no contradiction")
    script = f"{HONEST_ANSWERS}export GGML_CUDA_ENABLE_UNIFIED_MEMORY=1\n{PLAIN}"
    product.profile(wrapper(tmp_path, cuda_llama_server, script), gpu_model)
    ended = product.run()
    assert ended.states[-1] == "failed"
    assert ended.names("proof.unified_memory")
    assert "MiB free" in ended.said


def test_a_hidden_card_is_refused_by_the_engines_own_list(
    product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path
) -> None:
    """Asked for its devices the engine names none: nothing is spawned."""
    started = tmp_path / "started"
    script = f'{marks_start(started)}export CUDA_VISIBLE_DEVICES=""\n{PLAIN}'
    product.profile(wrapper(tmp_path, cuda_llama_server, script), gpu_model)
    ended = product.run()
    assert ended.states == ["checking", "refused"]
    assert ended.names("engine.no_cuda_device")
    assert not started.exists()


FITTED = HONEST_ANSWERS + without("-ngl", "--fit")


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        (HONEST_ANSWERS, ("proof.out_of_gpu_memory",)),
        (FITTED, ("proof.layers_on_cpu",)),
    ],
    ids=["our-own-command", "fit-on"],
)
def test_vram_that_is_taken_behind_the_gates_back(
    product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path, script: str, codes: tuple[str, ...]
) -> None:
    """Our command fails for lack of memory; the engine's own defaults would have gone on, partly on the CPU."""
    leave_mib = max(2560, gpu_model.stat().st_size * 6 // 10 // MIB)
    script = f"{script}{takes_vram(leave_mib, tmp_path)}{PLAIN}"
    product.profile(wrapper(tmp_path, cuda_llama_server, script), gpu_model)
    ended = product.run()
    assert (tmp_path / "taken").exists()
    assert ended.states[-1] == "failed"
    assert ended.names(*codes)
