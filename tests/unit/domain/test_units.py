"""Sizes and bandwidth."""

from __future__ import annotations

import re

import pytest

from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.units import GIB, MIB, format_gib, format_mib, parse_size


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
