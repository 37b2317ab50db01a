"""Sizes and bandwidth."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kotaro_bridge.domain.gpu import GpuSnapshot, cards_at, together
from kotaro_bridge.domain.units import GIB, MIB, format_gib, format_mib, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10GiB", 10 * GIB),
        (" 10 GiB ", 10 * GIB),
        ("1.5g", 3 * GIB // 2),
        ("512MiB", 512 * MIB),
        ("1GB", 10**9),
        ("7", 7),
        ("7B", 7),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["GiB", "10 XB", "-1GiB", "1e9", "10GiB free", "٣GiB!"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_size(text)


def test_sizes_are_printed_in_binary_units() -> None:
    assert format_mib(10405 * MIB) == "10,405 MiB"
    assert format_gib(12 * GIB) == "12.0 GiB"


def test_bandwidth_is_width_times_clock_times_two() -> None:
    card = GpuSnapshot(0, "", "RTX 4070", 12 * GIB, memory_clock_max_mhz=10501, bus_width_bits=192)
    assert card.bandwidth() == pytest.approx(504e9, rel=0.001)  # the data sheet's 504 GB/s
    assert GpuSnapshot(0, "", "x", 1).bandwidth() is None
    assert GpuSnapshot(0, "", "x", 1, memory_clock_max_mhz=1).bandwidth() is None


ONE = GpuSnapshot(0, "GPU-1", "RTX", 12, 9, 3, "580", "8.9", 0.5, 50, 100.0)
TWO = GpuSnapshot(1, "GPU-2", "RTX", 24, 20, 4, "580", "8.6", 0.1, 60, 50.0)


def test_cards_in_the_order_asked_for_or_none() -> None:
    assert cards_at((ONE, TWO), (1, 0)) == (TWO, ONE)
    assert cards_at((ONE,), (0, 1)) == ()


def test_several_cards_are_shown_as_one() -> None:
    found = together((ONE, TWO))
    assert found is not None
    assert (found.name, found.total, found.free, found.used) == ("2 × RTX", 36, 29, 7)
    assert (found.utilization, found.temperature_c, found.power_w) == (0.3, 60, 150.0)
    assert together((ONE,)) is ONE
    assert together(()) is None
    other = together((ONE, replace(TWO, name="GTX", used=None, utilization=None, temperature_c=None)))
    assert other is not None
    assert (other.name, other.used, other.utilization, other.temperature_c) == ("RTX + GTX", None, None, 50)


def test_a_size_is_told_in_the_unit_that_it_fills() -> None:
    assert (format_size(5 * GIB + GIB // 5), format_size(192 * MIB)) == ("5.2 GiB", "192 MiB")
