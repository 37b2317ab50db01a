"""Windows performance counters of the GPU: memory in system RAM, and who holds the card.

NVML cannot tell either under WDDM. Read through PDH by way of pywin32 (`win32pdh`), which is a dependency on Windows
anyway and knows English counter names (a Japanese Windows translates the others) and whole arrays of instances;
by ctypes the same would be a hundred lines of structures.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess
from kotaro_bridge.host.bounded_calls import BoundedCalls
from kotaro_bridge.host.win_adapters import nvidia_luids

log = logging.getLogger(__name__)

_LIMIT_S = 10.0  # PDH answers within milliseconds

_ADAPTER_SHARED = r"\GPU Adapter Memory(*)\Shared Usage"
_PROCESS_DEDICATED = r"\GPU Process Memory(*)\Dedicated Usage"
_PROCESS_SHARED = r"\GPU Process Memory(*)\Shared Usage"

_INSTANCE = re.compile(r"(?:pid_(\d+)_)?luid_0x([0-9A-F]{1,8})_0x([0-9A-F]{1,8})_phys_\d+", re.IGNORECASE)


class WindowsCounters:
    """Implements `domain.ports.CountersProbe`. May be asked from several threads; no counters on other systems."""

    def __init__(self) -> None:
        self._calls = BoundedCalls(_LIMIT_S)
        self._query: _Query | None = None
        self._adapters: frozenset[int] = frozenset()
        self._nvidia: frozenset[int] | None = None

    def read(self) -> GpuCounters | None:
        """The counters now; None where there are none (not Windows, counters switched off, broken or hanging)."""
        if sys.platform != "win32":
            return None
        try:
            return self._calls.call(self._read)
        except TimeoutError:
            log.warning("Windows' performance counters did not answer within %g s", self._calls.limit_s)
            return None

    def _read(self) -> GpuCounters | None:
        import pywintypes
        import win32pdh

        try:
            if self._query is None:
                self._query = _Query()
            shared, dedicated, shared_by_process = self._query.collect()
        except (pywintypes.error, win32pdh.counter_status_error):
            self._close()
            return None
        return gpu_counters(shared, dedicated, shared_by_process, self._counted(shared), process_name)

    def _counted(self, adapter_shared: Mapping[str, int]) -> frozenset[int] | None:
        """LUIDs of the NVIDIA cards, asked for again when the adapters change: a restarted driver gets new ones."""
        adapters = frozenset(found[1] for name in adapter_shared if (found := parse_instance(name)) is not None)
        if adapters != self._adapters:
            self._adapters, self._nvidia = adapters, nvidia_luids()
        return self._nvidia

    def close(self) -> None:
        """Let the counters go; the next question opens them again."""
        with contextlib.suppress(TimeoutError):
            self._calls.call(self._close)

    def _close(self) -> None:
        if self._query is not None:
            self._query.close()
            self._query = None


class _Query:
    """An open PDH query over the three counters. Windows only."""

    def __init__(self) -> None:
        import win32pdh

        self._pdh: Any = win32pdh
        self._handle: Any = win32pdh.OpenQuery()
        paths = (_ADAPTER_SHARED, _PROCESS_DEDICATED, _PROCESS_SHARED)
        self._counters = [win32pdh.AddEnglishCounter(self._handle, path) for path in paths]

    def collect(self) -> list[dict[str, int]]:
        """Instance name -> bytes for each of the three counters."""
        self._pdh.CollectQueryData(self._handle)
        return [self._pdh.GetFormattedCounterArray(counter, self._pdh.PDH_FMT_LARGE) for counter in self._counters]

    def close(self) -> None:
        self._pdh.CloseQuery(self._handle)


def parse_instance(name: str) -> tuple[int | None, int] | None:
    """(process id, LUID) of a counter's instance such as `pid_1234_luid_0x00000000_0x0000C3D2_phys_0`.

    The id is None for an adapter's instance; the whole is None for a name of another form.
    """
    match = _INSTANCE.match(name)
    if match is None:
        return None
    pid, high, low = match.groups()
    return (None if pid is None else int(pid)), int(high, 16) << 32 | int(low, 16)


def gpu_counters(
    adapter_shared: Mapping[str, int],
    process_dedicated: Mapping[str, int],
    process_shared: Mapping[str, int],
    luids: frozenset[int] | None,
    name_of: Callable[[int], str],
) -> GpuCounters:
    """The counters of some adapters, from instance name -> bytes.

    Args:
        luids: adapters that count; None for all.
        name_of: name of a process by its id.
    """

    def counted(values: Mapping[str, int]) -> dict[int | None, int]:
        sums: dict[int | None, int] = {}
        for name, size in values.items():
            instance = parse_instance(name)
            if instance is not None and (luids is None or instance[1] in luids):
                sums[instance[0]] = sums.get(instance[0], 0) + size
        return sums

    dedicated, shared = counted(process_dedicated), counted(process_shared)
    processes = (
        GpuProcess(pid, name_of(pid), dedicated.get(pid, 0), shared.get(pid, 0))
        for pid in dedicated.keys() | shared.keys()
        if pid is not None and (dedicated.get(pid) or shared.get(pid))
    )
    largest_first = sorted(processes, key=lambda process: (-process.dedicated, -process.shared, process.pid))
    return GpuCounters(counted(adapter_shared).get(None), tuple(largest_first))


def process_name(pid: int) -> str:
    """Name of a process, `pid 1234` where Windows does not tell (it ended, or belongs to the system)."""
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return f"pid {pid}"
