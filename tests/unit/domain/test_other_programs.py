"""Which programs certainly are not WSL, and what they account for."""

from __future__ import annotations

import pytest

from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess
from kotaro_bridge.domain.run.other_programs import Growth, dedicated_growth, explained, is_other, shared_growth
from kotaro_bridge.domain.units import MIB


def counters(*processes: tuple[int, str, int, int]) -> GpuCounters:
    """Counters of (pid, name, dedicated MiB, shared MiB)."""
    held = tuple(GpuProcess(pid, name, dedicated * MIB, shared * MIB) for pid, name, dedicated, shared in processes)
    return GpuCounters(0, held)


@pytest.mark.parametrize("name", ["msedge.exe", "dwm.exe", "Game.EXE", "SystemSettings.exe", "虎.exe"])
def test_programs(name: str) -> None:
    assert is_other(name)


@pytest.mark.parametrize(
    "name",
    [
        *("vmmem", "vmmemWSL", "vmwp.exe", "vmcompute.exe", "wsl.exe", "WSLHost.exe", "wslservice.exe", "msrdc.exe"),
        *("System", "Registry", "Memory Compression", "pid 4711", ""),
    ],
)
def test_what_may_carry_the_share_of_wsl(name: str) -> None:
    assert not is_other(name)


def test_the_processes_of_a_program_are_counted_together() -> None:
    before = counters((1, "msedge.exe", 100, 10), (2, "msedge.exe", 50, 0), (3, "dwm.exe", 400, 90))
    now = counters(
        (1, "msedge.exe", 200, 20), (9, "msedge.exe", 300, 5), (3, "dwm.exe", 410, 80), (4, "vmmem", 9999, 9)
    )
    assert dedicated_growth(before, now) == (
        Growth("msedge.exe", 350 * MIB, 500 * MIB),
        Growth("dwm.exe", 10 * MIB, 410 * MIB),
    )
    assert shared_growth(before, now) == (Growth("msedge.exe", 15 * MIB, 25 * MIB),)


def test_what_a_program_gave_back_is_room_for_a_spill() -> None:
    before = counters((1, "game.exe", 0, 500), (2, "msedge.exe", 0, 0))
    assert explained(before, counters((2, "msedge.exe", 0, 500))) == 0
    assert explained(before, counters((1, "game.exe", 0, 400), (2, "msedge.exe", 0, 500))) == 400 * MIB
    assert explained(before, counters()) == 0


def test_wsl_never_explains_its_own_rise() -> None:
    assert explained(counters(), counters((1, "vmmemWSL", 0, 900), (2, "System", 0, 900), (3, "pid 3", 0, 900))) == 0
