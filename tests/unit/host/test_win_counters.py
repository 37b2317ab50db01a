"""GPU counters of Windows: names of instances, sums and order everywhere; the counters themselves on Windows."""

from __future__ import annotations

import os
import sys

import pytest

from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.host.win_adapters import nvidia_luids
from kotaro_bridge.host.win_counters import WindowsCounters, gpu_counters, parse_instance, process_name

CARD, OTHER = 0xC3D2, 0x1_0000_D1C4
ON_CARD, ON_OTHER = "luid_0x00000000_0x0000C3D2_phys_0", "luid_0x00000001_0x0000D1C4_phys_0"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"pid_1234_{ON_CARD}", (1234, CARD)),
        (ON_CARD, (None, CARD)),
        (f"pid_4_{ON_OTHER}", (4, OTHER)),
        (f"pid_4_{ON_CARD.lower()}_eng_3", (4, CARD)),
        ("_Total", None),
        ("pid_x_luid_0x0_0x0_phys_0", None),
        ("", None),
    ],
)
def test_instance_names(name: str, expected: tuple[int | None, int] | None) -> None:
    assert parse_instance(name) == expected


def test_processes_of_the_card_largest_first() -> None:
    dedicated = {
        f"pid_10_{ON_CARD}": 300 * MIB,
        f"pid_11_{ON_CARD}": 7000 * MIB,
        f"pid_11_{ON_OTHER}": 50 * MIB,
        f"pid_12_{ON_OTHER}": 900 * MIB,
        f"pid_13_{ON_CARD}": 0,
    }
    shared = {f"pid_10_{ON_CARD}": 5 * MIB, f"pid_13_{ON_CARD}": 0, f"pid_14_{ON_CARD}": 2 * MIB, "_Total": 9 * MIB}
    adapters = {ON_CARD: 64 * MIB, ON_OTHER: 2000 * MIB}
    assert gpu_counters(adapters, dedicated, shared, frozenset({CARD}), "process {}".format) == GpuCounters(
        64 * MIB,
        (
            GpuProcess(11, "process 11", 7000 * MIB, 0),
            GpuProcess(10, "process 10", 300 * MIB, 5 * MIB),
            GpuProcess(14, "process 14", 0, 2 * MIB),
        ),
    )


def test_all_adapters_where_none_is_known_to_be_ours() -> None:
    counters = gpu_counters({ON_CARD: 1, ON_OTHER: 2}, {f"pid_1_{ON_OTHER}": 3}, {}, None, str)
    assert counters == GpuCounters(3, (GpuProcess(1, "1", 3, 0),))


def test_shared_memory_of_a_card_without_a_counter_is_unknown_not_zero() -> None:
    assert gpu_counters({ON_OTHER: 2}, {}, {}, frozenset({CARD}), str) == GpuCounters(None, ())


def test_names_of_processes() -> None:
    assert process_name(os.getpid()).lower().startswith(("python", "pytest"))
    assert process_name(2**22 + 1) == f"pid {2**22 + 1}"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has counters")
def test_no_counters_on_other_systems() -> None:
    counters = WindowsCounters()
    assert counters.read() is None
    assert nvidia_luids() is None
    counters.close()


@pytest.mark.skipif(sys.platform != "win32", reason="performance counters are Windows'")
def test_the_counters_of_this_windows() -> None:
    counters = WindowsCounters()
    first = counters.read()
    assert first is None or all(process.name for process in first.processes)
    counters.close()
    assert (counters.read() is None) is (first is None)
    counters.close()
