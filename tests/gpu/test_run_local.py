"""On a real NVIDIA GPU, target `local`, nothing simulated: the clean start is accepted, whatever lies around it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.gguf import read_gguf
from tests.helpers.gpu import MIB, Product, assert_vram_is_back, marks_start, vram_taken, vram_used
from tests.helpers.wrapped_engine import wrapper

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(180)]


def stop(product: Product, before: int) -> None:
    """Ctrl-C: ends with 0, and gives the memory back."""
    assert product.running is not None
    product.running.send_signal(signal.SIGINT)
    assert product.running.wait(60) == 0, product.said
    assert_vram_is_back(before)


def test_ready_on_the_gpu_and_stopped_clean(product: Product, cuda_llama_server: Path, gpu_model: Path) -> None:
    before = vram_used()
    product.profile(cuda_llama_server, gpu_model)
    check = product.json("check", "--profile", "gpu-test")
    assert check["ok"], check
    ready = product.ready()
    assert ready["verdict"] == "gpu"
    body = {"model": "gpu-test", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 32}
    answer = httpx.post(f"{ready['base_url']}/chat/completions", json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200
    stop(product, before)
    print(product.said)


def test_each_model_is_proved_and_measured_twice(
    product: Product, cuda_llama_server: Path, gpu_models: list[Path], record: Callable[[dict[str, Any]], None]
) -> None:
    """The second start knows the speed of the first."""
    for model in gpu_models:
        size = model.stat().st_size
        product.profile(cuda_llama_server, model)
        for start in (1, 2):
            before = vram_used()
            begin = time.monotonic()
            ready = product.ready()
            seconds = time.monotonic() - begin
            record({"model": model.name, "bytes": size, "start": start, "seconds_to_ready": seconds, **ready})
            assert ready["verdict"] == "gpu"
            assert ready["vram_taken"] > weights_on_gpu(model)
            assert ready["warm_up_tokens_per_s"] > 0
            assert 0 < ready["of_limit"] < 1
            stop(product, before)


def weights_on_gpu(model: Path) -> int:
    """Bytes of the tensors that have to be on the card, by the file's own header."""
    with model.open("rb") as file:

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        try:
            return read_gguf(read_at, model.stat().st_size).weights_on_gpu
        except ProblemError as error:
            pytest.fail(f"{model}: {error.problem}")


def test_what_lies_around_a_start_does_not_move_the_model(
    product: Product, cuda_llama_server: Path, gpu_model: Path
) -> None:
    """Variables and a configuration file that would each take the model off the card, if they reached the engine."""
    before = vram_used()
    product.profile(cuda_llama_server, gpu_model)
    for folder in (product.folder / "config", product.folder / ".config"):
        (folder / "llama.cpp").mkdir(parents=True)
        (folder / "llama.cpp" / "config.ini").write_text("no-kv-offload = true\nn-cpu-ffn = 99\n", encoding="utf-8")
    dirty = {
        "LLAMA_ARG_NO_KV_OFFLOAD": "1",
        "LLAMA_ARG_N_CPU_FFN": "99",
        "LLAMA_ARG_OVERRIDE_TENSOR": ".*=CPU",
        "LLAMA_ARG_CTX_SIZE": "512",
        "GGML_CUDA_ENABLE_UNIFIED_MEMORY": "1",
        "GGML_CUDA_NO_PINNED": "1",
        "MTMD_BACKEND_DEVICE": "CPU",
        "CUDA_VISIBLE_DEVICES": "",
    }
    ready = product.ready(dirty)
    assert ready["verdict"] == "gpu"
    stop(product, before)


def test_a_killed_owner_leaves_no_vram_taken(product: Product, cuda_llama_server: Path, gpu_model: Path) -> None:
    before = vram_used()
    product.profile(cuda_llama_server, gpu_model)
    product.ready()
    assert product.running is not None
    product.running.kill()
    product.running.wait()
    assert_vram_is_back(before, deadline_s=30)


def test_more_than_any_card_has_is_refused(product: Product) -> None:
    done = product.call("check", "--need", "500GiB")
    assert done.returncode == 1
    assert "500" in done.stderr or "512,000" in done.stderr


def test_vram_that_others_hold_is_refused_before_the_spawn(
    product: Product, cuda_llama_server: Path, gpu_model: Path, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    script = marks_start(started) + 'exec "$server" "$@"'
    product.profile(wrapper(tmp_path, cuda_llama_server, script), gpu_model)
    assert product.json("check", "--profile", "gpu-test")["ok"]
    with vram_taken(gpu_model.stat().st_size // 2 // MIB):
        before = vram_used()
        check = product.json("check", "--profile", "gpu-test")
        assert [one["id"] for one in check["checks"] if one["status"] in ("failed", "unknown")] == ["vram"]
        ended = product.run()
        assert ended.states == ["checking", "refused"]
        assert vram_used() - before < 64 * MIB
    assert not started.exists()
