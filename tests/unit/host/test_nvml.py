"""NVML: this machine as it is, mostly without a driver; the rest over a hand-written library."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pynvml
import pytest

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.host.nvml import NvmlProbe

T = TypeVar("T")
H100_TOTAL, H100_RESERVED = 85_520_809_984, 503_316_480  # captures nvidia-smi/nvml.txt


class Library:
    """Stands for the pynvml module: one H100 as in captures nvidia-smi/nvml.txt, with errors where a test puts them."""

    NVMLError = pynvml.NVMLError
    nvmlMemory_v2 = pynvml.nvmlMemory_v2
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM

    def __init__(self) -> None:
        self.errors: dict[str, int] = {}
        self.inits = 0
        self.initialised = False
        self.inside = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("NVML_ERROR_"):
            return getattr(pynvml, name)
        raise AttributeError(name)

    def _answer(self, function: str, value: T) -> T:
        if not self.initialised:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        if function in self.errors:
            raise pynvml.NVMLError(self.errors[function])
        return value

    def nvmlInit(self) -> None:
        if "Init" in self.errors:
            raise pynvml.NVMLError(self.errors["Init"])
        self.inits += 1
        self.initialised = True

    def nvmlShutdown(self) -> None:
        self._answer("Shutdown", None)
        self.initialised = False

    def nvmlSystemGetDriverVersion(self) -> str:
        return self._answer("DriverVersion", "580.159.04")

    def nvmlDeviceGetCount(self) -> int:
        with self._alone():
            return self._answer("Count", 1)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return self._answer("Handle", index)

    def nvmlDeviceGetUUID(self, _: int) -> str:
        return self._answer("UUID", "GPU-1")

    def nvmlDeviceGetName(self, _: int) -> str:
        return self._answer("Name", "NVIDIA H100 80GB HBM3")

    def nvmlDeviceGetMemoryInfo(self, _: int, version: int | None = None) -> Any:
        memory = self._answer("Memory2" if version else "Memory", pynvml.c_nvmlMemory_v2_t())
        memory.total, memory.free = H100_TOTAL, H100_TOTAL - H100_RESERVED
        memory.used = 0 if version else H100_RESERVED
        return memory

    def nvmlDeviceGetCudaComputeCapability(self, _: int) -> tuple[int, int]:
        return self._answer("Capability", (9, 0))

    def nvmlDeviceGetUtilizationRates(self, _: int) -> Any:
        rates = self._answer("Utilization", pynvml.c_nvmlUtilization_t())
        rates.gpu = 25
        return rates

    def nvmlDeviceGetPowerUsage(self, _: int) -> int:
        return self._answer("Power", 69_815)

    def nvmlDeviceGetTemperature(self, _: int, sensor: int) -> int:
        return self._answer("Temperature", 35 + sensor)

    def nvmlDeviceGetMaxClockInfo(self, _: int, clock: int) -> int:
        return self._answer("Clock", {pynvml.NVML_CLOCK_MEM: 2619}[clock])

    def nvmlDeviceGetMemoryBusWidth(self, _: int) -> int:
        return self._answer("BusWidth", 5120)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Notices two threads inside the library at once."""
        self.inside += 1
        try:
            assert self.inside == 1
            yield
        finally:
            self.inside -= 1


H100 = GpuSnapshot(
    index=0,
    uuid="GPU-1",
    name="NVIDIA H100 80GB HBM3",
    total=H100_TOTAL,
    free=H100_TOTAL - H100_RESERVED,
    used=0,
    driver="580.159.04",
    compute_cap="9.0",
    utilization=0.25,
    temperature_c=35,
    power_w=69.815,
    memory_clock_max_mhz=2619,
    bus_width_bits=5120,
)


def code_of(ask: Callable[[], object]) -> str:
    with pytest.raises(ProblemError) as caught:
        ask()
    return caught.value.problem.code


def test_this_machine() -> None:
    probe = NvmlProbe()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert code_of(probe.snapshot) == "gpu.no_driver"
    else:
        assert len(probe.snapshot()) == pynvml.nvmlDeviceGetCount()
        pynvml.nvmlShutdown()
        probe.close()


def test_a_card() -> None:
    library = Library()
    probe = NvmlProbe(library)
    assert probe.snapshot() == (H100,)
    assert probe.snapshot() == (H100,)
    assert library.inits == 1
    probe.close()
    assert not library.initialised


def test_memory_of_version_1_where_there_is_no_other() -> None:
    library = Library()
    library.errors = {"Memory2": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
    assert NvmlProbe(library).snapshot()[0].used == H100_RESERVED


def test_what_a_card_does_not_tell_is_unknown() -> None:
    library = Library()
    optional = ("Utilization", "Power", "Temperature", "Clock", "BusWidth", "Capability", "UUID", "Name")
    library.errors = dict.fromkeys((*optional, "DriverVersion"), pynvml.NVML_ERROR_NOT_SUPPORTED)
    (gpu,) = NvmlProbe(library).snapshot()
    assert gpu == GpuSnapshot(index=0, uuid="", name="", total=H100_TOTAL, free=H100.free, used=0)
    assert gpu.bandwidth() is None


@pytest.mark.parametrize(
    "error",
    [
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    ],
)
def test_no_driver(error: int) -> None:
    library = Library()
    library.errors = {"Init": error}
    assert code_of(NvmlProbe(library).snapshot) == "gpu.no_driver"


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("Memory2", pynvml.NVML_ERROR_GPU_IS_LOST),
        ("Memory2", pynvml.NVML_ERROR_RESET_REQUIRED),
        ("Count", pynvml.NVML_ERROR_UNKNOWN),
        ("Init", pynvml.NVML_ERROR_DRIVER_NOT_LOADED),
    ],
)
def test_a_lost_driver_is_told_apart_and_comes_back(function: str, error: int) -> None:
    library = Library()
    probe = NvmlProbe(library)
    probe.snapshot()
    if function == "Init":
        probe.close()
    library.errors = {function: error, "Shutdown": error}
    assert code_of(probe.snapshot) == "gpu.driver_lost"
    assert code_of(probe.snapshot) == "gpu.driver_lost"
    library.errors = {}
    assert probe.snapshot() == (H100,)


def test_a_lost_card_is_lost_from_the_first_question_on() -> None:
    library = Library()
    library.errors = {"Memory2": pynvml.NVML_ERROR_GPU_IS_LOST}
    assert code_of(NvmlProbe(library).snapshot) == "gpu.driver_lost"


@pytest.mark.parametrize("function", ["Count", "Memory"])
def test_other_errors_keep_their_text(function: str) -> None:
    library = Library()
    library.errors = {function: pynvml.NVML_ERROR_UNKNOWN, "Memory2": pynvml.NVML_ERROR_NOT_SUPPORTED}
    with pytest.raises(ProblemError) as caught:
        NvmlProbe(library).snapshot()
    assert caught.value.problem.code == "gpu.nvml_failed"
    assert caught.value.problem.params == {"detail": "Unknown Error"}


def test_a_driver_that_hangs_keeps_nobody_and_says_which_question(monkeypatch: pytest.MonkeyPatch) -> None:
    library, freed, over = Library(), threading.Event(), threading.Event()
    count = library.nvmlDeviceGetCount

    def hangs() -> int:
        freed.wait(30)
        over.set()
        return count()

    monkeypatch.setattr(library, "nvmlDeviceGetCount", hangs)
    probe = NvmlProbe(library, limit_s=0.5)
    for _ in range(3):
        with pytest.raises(ProblemError) as caught:
            probe.snapshot()
        assert caught.value.problem == problem("gpu.driver_hangs", function="nvmlDeviceGetCount", seconds=0)
    probe.close()
    assert sum(thread.name == "bounded" for thread in threading.enumerate()) == 1, "one thread is lost, no more"
    assert not over.is_set()
    freed.set()
    assert over.wait(10)
    patient = time.monotonic() + 10
    while time.monotonic() < patient:
        with contextlib.suppress(ProblemError):
            assert probe.snapshot() == (H100,)
            break
    else:
        pytest.fail("it answers again")


def test_several_threads_take_turns() -> None:
    probe = NvmlProbe(Library())
    found: list[tuple[GpuSnapshot, ...]] = []
    threads = [threading.Thread(target=lambda: found.extend(probe.snapshot() for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(H100,)] * 200
