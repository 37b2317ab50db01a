"""Windows performance counters of the GPU: missing, present, and which adapters count."""

from __future__ import annotations

import json

import pytest

from kotaro_bridge.domain.units import format_mib
from tests.helpers.words import pattern
from tests.windows.lab import Windows
from tests.windows.product import LLAMA, WindowsProduct
from tests.windows.relay import LUID, Relay

READ = """
import json, os
from kotaro_bridge.host.win_counters import WindowsCounters
probe = WindowsCounters()
told = probe.read()
holders = told and [[each.pid, each.name, each.dedicated, each.shared] for each in told.processes]
print(json.dumps(told and [told.shared, holders]))
"""
ADAPTERS = """
from kotaro_bridge.host.win_adapters import nvidia_luids
from kotaro_bridge.host.win_counters import gpu_counters
luids = nvidia_luids()
print(luids)
ours = "%s"
print(gpu_counters({ours: 7}, {}, {}, luids, str).shared)
"""


def test_present(windows_lab: Windows, simulated_card: Relay) -> None:
    shared, processes = json.loads(windows_lab.python(READ))
    here = simulated_card.pc.counters.read()
    assert here is not None
    assert shared == here.shared
    assert [(pid, dedicated) for pid, _, dedicated, _ in processes] == [(p.pid, p.dedicated) for p in here.processes]


def test_without_the_driver_that_brings_them(windows_lab: Windows, relay: Relay) -> None:
    """The pdh.dll of that Windows itself, which knows no counter of a GPU."""
    with windows_lab.without("pdh.dll"):
        assert json.loads(windows_lab.python(READ)) is None


def test_switched_off(windows_lab: Windows, simulated_card: Relay) -> None:
    simulated_card.pc.set(counters="missing")
    assert json.loads(windows_lab.python(READ)) is None


def test_the_graphics_kernel_is_asked_which_adapters_are_nvidias(windows_lab: Windows, simulated_card: Relay) -> None:
    """This Windows knows no NVIDIA adapter, and where none is named all count."""
    luids, counted = windows_lab.python(ADAPTERS % LUID).splitlines()
    assert (luids, counted) == ("None", "7")


def test_nothing_is_proved_where_spill_cannot_be_seen(product: WindowsProduct, relay: Relay) -> None:
    product.builtin(LLAMA)
    relay.pc.set(counters="missing")
    ended = product.call("run", LLAMA)
    assert (ended.code, "/v1" in ended.out) == (1, False)
    assert pattern("proof.shared_unknown").match(ended.err)
    assert product.left() == []


@pytest.mark.parametrize("relay", ["spill"], indirect=True)
def test_spill_stops_the_start(product: WindowsProduct, relay: Relay) -> None:
    product.builtin(LLAMA)
    ended = product.call("run", LLAMA)
    assert (ended.code, "/v1" in ended.out) == (1, False)
    assert pattern("proof.spill").match(ended.err)
    assert product.left() == []


@pytest.mark.parametrize("relay", ["vram-taken"], indirect=True)
def test_who_holds_the_card_is_named(product: WindowsProduct, relay: Relay) -> None:
    product.builtin(LLAMA)
    counters = relay.pc.counters.read()
    assert counters is not None
    largest = counters.processes[0]
    done = product.call("check", "--profile", LLAMA)
    assert done.code == 1
    assert f"pid {largest.pid} ({format_mib(largest.dedicated)})" in done.err
