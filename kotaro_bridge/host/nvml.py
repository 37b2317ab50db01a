"""NVML: the first witness, on the machine that owns the card (Windows, local Linux).

Owns the library's life: loaded at the first question, initialised once, again after the driver was lost. Under WDDM
`used` counts everything on the card, the desktop too; who holds it is in the performance counters (`win_counters.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.host.bounded_calls import BoundedCalls

T = TypeVar("T")

LIMIT_S = 10.0
"""A driver answers within milliseconds; one that takes longer than this hangs."""

# Error names of pynvml (nvml.h, nvmlReturn_t) by what they mean for us.
_NO_DRIVER = ("NVML_ERROR_LIBRARY_NOT_FOUND", "NVML_ERROR_DRIVER_NOT_LOADED", "NVML_ERROR_LIB_RM_VERSION_MISMATCH")
_LOST = ("NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_RESET_REQUIRED")
_GONE_IF_IT_WORKED = (*_NO_DRIVER, "NVML_ERROR_UNKNOWN", "NVML_ERROR_UNINITIALIZED", "NVML_ERROR_GPU_NOT_FOUND")
_NOT_TOLD = (
    "NVML_ERROR_NOT_SUPPORTED",
    "NVML_ERROR_NO_PERMISSION",
    "NVML_ERROR_NOT_FOUND",
    "NVML_ERROR_FUNCTION_NOT_FOUND",
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH",
    "NVML_ERROR_INVALID_ARGUMENT",
    "NVML_ERROR_NO_DATA",
    "NVML_ERROR_NOT_READY",
    "NVML_ERROR_DEPRECATED",
)


class NvmlProbe:
    """Implements `domain.ports.GpuProbe`. May be asked from several threads.

    Args:
        nvml: the binding to use; None imports `pynvml` at the first question.
        limit_s: how long a driver may take.
    """

    def __init__(self, nvml: Any = None, limit_s: float = LIMIT_S) -> None:
        self._nvml: Any = _Noted(nvml) if nvml is not None else None
        self._calls = BoundedCalls(limit_s)
        self._initialised = False
        self._worked = False

    def snapshot(self) -> tuple[GpuSnapshot, ...]:
        """All cards now; what a card does not tell is None.

        Raises:
            ProblemError: `gpu.no_driver`, `gpu.driver_lost` (it had worked), `gpu.driver_hangs` (with the function of
                NVML that does not return), `gpu.nvml_failed` (with `detail`).
        """
        try:
            return self._calls.call(self._snapshot)
        except TimeoutError as error:
            asked = self._nvml.function if self._nvml is not None else ""
            hangs = problem("gpu.driver_hangs", function=asked, seconds=round(self._calls.limit_s))
            raise ProblemError(hangs) from error

    def _snapshot(self) -> tuple[GpuSnapshot, ...]:
        if self._nvml is None:
            import pynvml

            self._nvml = _Noted(pynvml)
        try:
            self._initialise()
            cards = self._cards()
        except self._nvml.NVMLError as error:
            raise ProblemError(self._failed(error)) from error
        self._worked = True
        return cards

    def close(self) -> None:
        """Let the driver go, unless it hangs; the next question takes it up again."""
        with contextlib.suppress(TimeoutError):
            self._calls.call(self._shut_down)

    def _initialise(self) -> None:
        if not self._initialised:
            self._nvml.nvmlInit()
            self._initialised = True

    def _shut_down(self) -> None:
        if self._initialised:
            self._initialised = False
            try:
                self._nvml.nvmlShutdown()
            except self._nvml.NVMLError:
                return  # a lost driver cannot be let go of; the next nvmlInit starts afresh all the same

    def _failed(self, error: Any) -> Problem:
        """The problem of an NVML error. NVML starts again at the next question: a driver update needs that."""
        self._shut_down()
        value = error.value
        if self._is(value, _LOST) or (self._worked and self._is(value, _GONE_IF_IT_WORKED)):
            return problem("gpu.driver_lost", detail=str(error))
        if self._is(value, _NO_DRIVER):
            return problem("gpu.no_driver", detail=str(error))
        return problem("gpu.nvml_failed", detail=str(error))

    def _is(self, value: int, names: tuple[str, ...]) -> bool:
        return any(value == getattr(self._nvml, name) for name in names)

    def _told(self, ask: Callable[[], T]) -> T | None:
        """An answer, or None where this card or driver does not give one."""
        try:
            return ask()
        except self._nvml.NVMLError as error:
            if self._is(error.value, _NOT_TOLD):
                return None
            raise

    def _cards(self) -> tuple[GpuSnapshot, ...]:
        nvml = self._nvml
        driver = self._told(nvml.nvmlSystemGetDriverVersion)
        return tuple(self._card(index, driver) for index in range(nvml.nvmlDeviceGetCount()))

    def _card(self, index: int, driver: str | None) -> GpuSnapshot:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._memory(handle)
        capability = self._told(lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle))
        busy = self._told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        power_mw = self._told(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return GpuSnapshot(
            index=index,
            uuid=self._told(lambda: nvml.nvmlDeviceGetUUID(handle)) or "",
            name=self._told(lambda: nvml.nvmlDeviceGetName(handle)) or "",
            total=memory.total,
            free=memory.free,
            used=memory.used,
            driver=driver,
            compute_cap=None if capability is None else ".".join(map(str, capability)),
            utilization=None if busy is None else busy.gpu / 100,
            temperature_c=self._told(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            power_w=None if power_mw is None else power_mw / 1000,
            memory_clock_max_mhz=self._told(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            bus_width_bits=self._told(lambda: nvml.nvmlDeviceGetMemoryBusWidth(handle)),
        )

    def _memory(self, handle: Any) -> Any:
        """Total, free and used. Version 1 counts what the driver reserves as used (captures nvidia-smi/nvml.txt)."""
        nvml = self._nvml
        second = self._told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2))
        return second if second is not None else nvml.nvmlDeviceGetMemoryInfo(handle)


class _Noted:
    """The binding, and the function of it that was called last."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.function = "nvmlInit"

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._nvml, name)
        if name.startswith("nvml") and callable(found):
            self.function = name
        return found
