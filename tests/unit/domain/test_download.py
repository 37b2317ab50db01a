"""Speed and time left of a download."""

from __future__ import annotations

from kotaro_bridge.domain.model.download import Speedometer


def test_nothing_is_said_of_one_sample_or_of_no_time() -> None:
    meter = Speedometer()
    assert meter.bytes_per_s is None
    meter.add(1.0, 100)
    assert meter.bytes_per_s is None
    assert meter.left_s(10) is None
    meter.add(1.0, 200)
    assert meter.bytes_per_s is None


def test_speed_and_time_left() -> None:
    meter = Speedometer()
    meter.add(0.0, 0)
    meter.add(2.0, 200)
    assert meter.bytes_per_s == 100
    assert meter.left_s(300) == 3
    assert meter.left_s(0) == 0


def test_only_the_last_ten_seconds_count() -> None:
    meter = Speedometer()
    for second in range(30):
        meter.add(float(second), second * 10 if second < 20 else 190 + (second - 19) * 100)
    assert meter.bytes_per_s == 100


def test_a_file_that_begins_anew_is_no_negative_speed() -> None:
    meter = Speedometer()
    meter.add(0.0, 500)
    meter.add(1.0, 0)
    assert meter.bytes_per_s is None
    meter.add(2.0, 0)
    assert meter.bytes_per_s == 0
    assert meter.left_s(10) is None
