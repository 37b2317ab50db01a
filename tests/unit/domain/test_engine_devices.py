"""What an engine says of its devices before a start: each evidence has its own reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kotaro_bridge.domain.engine.engine_devices import CUDA_NEEDS, TIMED_OUT, DeviceAnswer, judge_devices
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.units import GIB

CARD = GpuSnapshot(0, "GPU-1", "NVIDIA GeForce RTX 4070", 12 * GIB, driver="566.36", compute_cap="8.9")
PASCAL = replace(CARD, name="NVIDIA GeForce GTX 1080", compute_cap="6.1")
PATH = "~/llama-server"

NONE = ("Available devices:", "  (none)")
LISTED = ("Available devices:", "  CUDA0: NVIDIA GeForce RTX 4070 (11863 MiB, 11338 MiB free)")
CUDA_13 = ("libggml-cuda.so.0 => /opt/libggml-cuda.so.0 (0x1)", "libcudart.so.13 => /usr/lib/libcudart.so.13 (0x2)")
CUDA_12 = ("libcudart.so.12 => /usr/lib/libcudart.so.12 (0x2)",)
INIT = "ggml_cuda_init: failed to initialize CUDA: "
INSUFFICIENT = INIT + "CUDA driver version is insufficient for CUDA runtime version"
NOT_LOADED = "llama-server: error while loading shared libraries: {}: cannot open shared object file: No such file"


def llama(
    *said: str, code: int | None = 0, links: tuple[str, ...] | None = (), card: GpuSnapshot | None = CARD
) -> str | Problem:
    return judge_devices(Engine.LLAMA_SERVER, DeviceAnswer(code, said, links), (card,) if card else (), 1, PATH)


def refused(answer: str | Problem) -> tuple[str, dict[str, object]]:
    assert isinstance(answer, Problem)
    return answer.code, dict(answer.params)


@pytest.mark.parametrize("links", [CUDA_13, CUDA_12, (), None])
@pytest.mark.parametrize("card", [CARD, None, replace(CARD, compute_cap=None), replace(CARD, compute_cap="[N/A]")])
def test_a_listed_cuda_device_passes_with_its_name(links: tuple[str, ...] | None, card: GpuSnapshot | None) -> None:
    assert llama(*LISTED, links=links, card=card) == "NVIDIA GeForce RTX 4070"
    assert llama("ggml_cuda_init: found 1 CUDA devices", *LISTED, links=links, card=card) == "NVIDIA GeForce RTX 4070"


def test_a_device_without_figures_has_its_name_too() -> None:
    assert llama("Available devices:", "  CUDA0: NVIDIA H100 80GB HBM3") == "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("said", "code", "links", "expected", "params"),
    [
        (NONE, 0, ("libggml-cuda.so => /x (0x1)", "libcudart.so.12 => not found"), "engine.cuda_library_missing",
         {"libraries": "libcudart.so.12", "cuda": 12}),
        (NONE, 0, ("/opt/libggml-cuda.so", "libcublas.so.13 => not found", "libcudart.so.13 => not found",
                   "libcuda.so.1 => not found"), "engine.cuda_library_missing",
         {"libraries": "libcublas.so.13, libcudart.so.13", "cuda": 13}),
        ((NOT_LOADED.format("libcudart.so.13"),), 127, ("libcudart.so.13 => not found",), "engine.cuda_library_missing",
         {"libraries": "libcudart.so.13", "cuda": 13}),
        ((NOT_LOADED.format("libcublasLt.so.12"),), 127, None, "engine.cuda_library_missing",
         {"libraries": "libcublasLt.so.12", "cuda": 12}),
        (NONE, 0, ("libcuda.so.1 => not found", *CUDA_13), "engine.driver_library_missing",
         {"library": "libcuda.so.1"}),
        ((NOT_LOADED.format("libgomp.so.1"),), 127, None, "engine.library_missing", {"libraries": "libgomp.so.1"}),
        (NONE, 0, ("libnccl.so.2 => not found", *CUDA_13), "engine.library_missing", {"libraries": "libnccl.so.2"}),
        (NONE, 0, (), "engine.cpu_build", {"path": PATH}),
        (NONE, 0, None, "engine.no_gpu", {"path": PATH}),  # a script: the loader can tell nothing of it
        (NONE, 0, CUDA_13, "engine.no_gpu", {"path": PATH}),
        (("Available devices:", "  Vulkan0: llvmpipe (LLVM 17) (7 MiB, 6 MiB free)", "  RPC0: 10.0.0.2:50052"), 0, (),
         "engine.other_backend", {"path": PATH, "devices": "Vulkan0: llvmpipe (LLVM 17), RPC0: 10.0.0.2:50052"}),
        ((INSUFFICIENT, *NONE), 0, CUDA_13, "engine.driver_too_old", {"driver": "566.36", "cuda": 13, "needed": 580}),
        ((INSUFFICIENT, *NONE), 0, CUDA_12, "engine.driver_too_old", {"driver": "566.36", "cuda": 12, "needed": 525}),
        ((INSUFFICIENT, *NONE), 0, (), "engine.driver_outdated", {"driver": "566.36"}),
        ((INIT + "no CUDA-capable device is detected", *NONE), 0, CUDA_13, "engine.no_cuda_device", {"path": PATH}),
        ((INIT + "unknown error", *NONE), 0, CUDA_13, "engine.cuda_failed", {"detail": "unknown error"}),
        ((INIT + "unknown error", "  Vulkan0: x"), 0, CUDA_13, "engine.cuda_failed", {"detail": "unknown error"}),
        (("error: invalid argument: --list-devices",), 1, CUDA_13, "engine.too_old", {"path": PATH}),
        (("boom",), 139, CUDA_13, "engine.crashed", {"path": PATH, "signal": 11}),
        (("exec format error",), 126, None, "engine.broken", {"path": PATH, "code": 126}),
        (LISTED, 1, CUDA_13, "engine.broken", {"path": PATH, "code": 1}),
        (("hello",), 0, (), "engine.devices.unknown", {"path": PATH}),
        ((), 0, (), "engine.devices.unknown", {"path": PATH}),
        (LISTED, TIMED_OUT, CUDA_13, "engine.devices_late.unknown", {"path": PATH}),
        ((), None, None, "engine.python_missing", {"path": PATH}),
    ],
)  # fmt: skip
def test_each_evidence_has_its_reason(
    said: tuple[str, ...], code: int | None, links: tuple[str, ...] | None, expected: str, params: dict[str, object]
) -> None:
    assert refused(llama(*said, code=code, links=links)) == (expected, params)


def test_a_second_card_alone_is_not_the_one_that_a_start_would_use() -> None:
    assert refused(llama("Available devices:", "  CUDA1: RTX (1 MiB, 1 MiB free)", links=CUDA_13))[0] != "CUDA1"


def test_what_was_said_is_the_evidence() -> None:
    answer = llama(*NONE, links=("libcudart.so.12 => not found",))
    assert isinstance(answer, Problem)
    assert answer.evidence == (*NONE, "libcudart.so.12 => not found")


@pytest.mark.parametrize("said", [LISTED, NONE, (INSUFFICIENT, *NONE)])
def test_a_card_that_the_cuda_of_the_build_has_no_code_for(said: tuple[str, ...]) -> None:
    """Such a build lists the card and then fails at its first kernel; a driver for it would not help either."""
    code, params = refused(llama(*said, links=CUDA_13, card=PASCAL))
    assert code == "engine.card_too_old"
    assert params == {"name": PASCAL.name, "capability": "6.1", "cuda": 13, "needed": "7.5"}
    assert llama(*LISTED, links=CUDA_12, card=PASCAL) == "NVIDIA GeForce RTX 4070"
    assert llama(*LISTED, links=CUDA_13, card=replace(PASCAL, compute_cap="12.0")) == "NVIDIA GeForce RTX 4070"


def test_an_unknown_driver_is_no_number() -> None:
    assert refused(llama(INSUFFICIENT, *NONE, links=CUDA_13, card=None))[1]["driver"] == "?"
    assert refused(llama(INSUFFICIENT, *NONE, links=CUDA_13, card=replace(CARD, driver=None)))[1]["driver"] == "?"


LINES = st.sampled_from(
    [*NONE, *CUDA_13, INSUFFICIENT, "CUDA0", "CUDA0: x", "", "  CPU: x", "error", "  Vulkan0: CUDA0"]
)


@given(st.lists(LINES).map(tuple), st.sampled_from([0, 1, 124, 127, 139]), st.none() | st.lists(LINES).map(tuple))
def test_nothing_passes_without_the_line_of_the_device(
    said: tuple[str, ...], code: int, links: tuple[str, ...] | None
) -> None:
    assert isinstance(llama(*said, code=code, links=links), Problem)


# --- vLLM -------------------------------------------------------------------------------------------------------------

EMPTY: Mapping[str, str | None] = {}
SEEN = {
    "vllm": "0.25.0",
    "torch": "2.15.0+cu132",
    "cuda": "13.2",
    "library": "ok",
    "driver": "ok",
    "init": "0",
    "driver_cuda": "13000",
    "count": "1",
    "device": "8.9 NVIDIA GeForce RTX 4070",
}


def vllm(changes: Mapping[str, str | None] = EMPTY, code: int = 0) -> str | Problem:
    facts = {word: value for word, value in {**SEEN, **changes}.items() if value is not None}
    said = tuple(f"{word} {value}" for word, value in facts.items())
    return judge_devices(Engine.VLLM, DeviceAnswer(code, said), (CARD,), 1, "~/vllm/bin/vllm")


def test_a_cuda_torch_that_sees_the_card_passes_with_its_name() -> None:
    assert vllm() == "NVIDIA GeForce RTX 4070"
    # A driver for an older minor version of the same CUDA will do.
    assert vllm({"torch": "2.8.0", "cuda": "12.9", "driver_cuda": "12040"}) == "NVIDIA GeForce RTX 4070"
    assert vllm({"torch": "2.6.0", "cuda": "11.8"}) == "NVIDIA GeForce RTX 4070"


@pytest.mark.parametrize(
    ("changes", "expected", "params"),
    [
        ({"vllm": None}, "engine.package_missing", {"package": "vllm", "path": "~/vllm/bin/vllm"}),
        ({"torch": None, "cuda": None}, "engine.package_missing", {"package": "torch", "path": "~/vllm/bin/vllm"}),
        ({"vllm": "0.25.0+cpu"}, "engine.package_for_cpu", {"package": "vLLM 0.25.0+cpu"}),
        ({"torch": "2.15.0+cpu", "cuda": "None"}, "engine.package_for_cpu", {"package": "torch 2.15.0+cpu"}),
        ({"cuda": None}, "engine.package_for_cpu", {"package": "torch 2.15.0+cu132"}),
        ({"library": "libcudart.so.13: cannot open"}, "engine.torch_library_missing",
         {"detail": "libcudart.so.13: cannot open", "version": "2.15.0+cu132"}),
        ({"library": None}, "engine.torch_library_missing",
         {"detail": "libc10_cuda.so", "version": "2.15.0+cu132"}),
        ({"driver": "libcuda.so.1: cannot open"}, "engine.driver_library_missing", {"library": "libcuda.so.1"}),
        ({"driver": None}, "engine.driver_library_missing", {"library": "libcuda.so.1"}),
        ({"driver_cuda": "12070"}, "engine.driver_too_old", {"driver": "566.36", "cuda": 13, "needed": 580}),
        ({"driver_cuda": "12070", "init": "803"}, "engine.driver_too_old",
         {"driver": "566.36", "cuda": 13, "needed": 580}),
        ({"init": "100", "count": None, "device": None}, "engine.no_cuda_device", {"path": "~/vllm/bin/vllm"}),
        ({"count": "0", "device": None}, "engine.no_cuda_device", {"path": "~/vllm/bin/vllm"}),
        ({"init": "999", "count": None}, "engine.cuda_failed", {"detail": "cuInit: 999"}),
        ({"init": None, "driver_cuda": None}, "engine.cuda_failed", {"detail": "cuInit: ?"}),
        ({"device": None}, "engine.devices.unknown", {"path": "~/vllm/bin/vllm"}),
        ({"device": "6.1 GTX 1080"}, "engine.card_too_old_for_vllm",
         {"name": "GTX 1080", "capability": "6.1", "needed": "7.5"}),
        ({"device": "7.0 V100", "cuda": "12.8"}, "engine.card_too_old_for_vllm",
         {"name": "V100", "capability": "7.0", "needed": "7.5"}),
    ],
)  # fmt: skip
def test_each_lack_of_vllm_has_its_reason(
    changes: dict[str, str | None], expected: str, params: dict[str, object]
) -> None:
    assert refused(vllm(changes)) == (expected, params)


def test_a_probe_that_broke_off_is_no_answer() -> None:
    assert refused(vllm(code=1))[0] == "engine.broken"
    assert refused(vllm(code=TIMED_OUT))[0] == "engine.devices_late.unknown"


@given(st.sets(st.sampled_from(sorted(SEEN)), min_size=1))
def test_no_line_of_the_probe_can_be_missing(lost: set[str]) -> None:
    kept = lost <= {"count", "driver_cuda"}  # a device that is named is there, and its driver did begin
    assert isinstance(vllm(dict.fromkeys(lost)), str) is kept


def test_newer_cuda_needs_newer_drivers_and_cards() -> None:
    needs = [CUDA_NEEDS[major] for major in sorted(CUDA_NEEDS)]
    assert [(each.driver, each.capability) for each in needs] == sorted((n.driver, n.capability) for n in needs)


TWO = ("Available devices:", "  CUDA0: RTX (1 MiB, 1 MiB free)", "  CUDA1: GTX (1 MiB, 1 MiB free)")


def test_all_cards_of_the_profile_have_to_be_listed() -> None:
    def asked(said: tuple[str, ...], wanted: int) -> str | Problem:
        return judge_devices(Engine.LLAMA_SERVER, DeviceAnswer(0, said, ()), (CARD, CARD), wanted, PATH)

    assert asked(TWO, 2) == "RTX, GTX"
    assert asked(TWO, 1) == "RTX"
    missing = asked(TWO, 3)
    assert isinstance(missing, Problem)
    assert missing.code == "engine.devices_missing"
    assert (missing.params["found"], missing.params["wanted"], missing.params["names"]) == (2, 3, "RTX, GTX")


def test_each_card_has_to_be_new_enough_for_vllm() -> None:
    said = ("vllm 0.25.0", "torch 2.11.0", "cuda 13.0", "library ok", "driver ok", "init 0", "driver_cuda 13000")

    def asked(*devices: str) -> str | Problem:
        return judge_devices(Engine.VLLM, DeviceAnswer(0, (*said, "count 2", *devices)), (CARD, CARD), 2, "vllm")

    assert asked("device 8.9 RTX", "device 9.0 H100") == "RTX, H100"
    old = asked("device 8.9 RTX", "device 7.0 V100")
    assert isinstance(old, Problem)
    assert (old.code, old.params["name"]) == ("engine.card_too_old_for_vllm", "V100")
    one = asked("device 8.9 RTX")
    assert isinstance(one, Problem)
    assert one.code == "engine.devices_missing"
