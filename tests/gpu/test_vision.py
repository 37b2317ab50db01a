"""On a real NVIDIA GPU: a projector is part of the promise. Accepted on the card, refused beside it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.helpers.gpu import HONEST_ANSWERS, Product, assert_vram_is_back, vram_used
from tests.helpers.wrapped_engine import wrapper

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(180)]


def test_a_model_with_a_projector_is_accepted(
    product: Product, cuda_llama_server: Path, vision_pair: tuple[Path, Path]
) -> None:
    before = vram_used()
    model, projector = vision_pair
    product.profile(cuda_llama_server, model, projector=str(projector), context=2048)
    ready = product.ready()
    assert ready["verdict"] == "gpu"
    assert product.running is not None
    product.running.send_signal(signal.SIGINT)
    assert product.running.wait(60) == 0, product.said
    assert_vram_is_back(before)


@pytest.mark.parametrize("more", ["--no-mmproj-offload", "-mmdev none"])
def test_a_projector_on_the_cpu_is_stopped(
    product: Product, cuda_llama_server: Path, vision_pair: tuple[Path, Path], tmp_path: Path, more: str
) -> None:
    model, projector = vision_pair
    script = f'{HONEST_ANSWERS}exec "$server" "$@" {more}'
    product.profile(wrapper(tmp_path, cuda_llama_server, script), model, projector=str(projector), context=2048)
    ended = product.run()
    assert ended.states[-1] == "failed"
    assert ended.names("proof.vision_on_cpu")
    assert "CLIP using CPU backend" in ended.said
