"""Fixtures of the Windows tests: a Windows to run programs on, the relay behind its wsl.exe, and the simulated card."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.simulated import simulated_pc
from tests.windows import desktop, lab
from tests.windows.desktop import Desktop
from tests.windows.lab import Windows
from tests.windows.product import WindowsProduct
from tests.windows.relay import Relay

SCENARIO = "rtx4070-12gb"


@pytest.fixture(scope="session")
def windows_lab() -> Iterator[Windows]:
    """The Windows of this session; what tests installed there goes at its end, or at the beginning of the next."""
    if (reason := lab.missing_reason()) is not None:
        pytest.skip(reason)
    made = lab.windows()
    ended = made.run("py", "-c", "")
    if (ended.code, ended.out, ended.err) != (0, b"", b""):
        pytest.exit(f"the Windows lab adds to what a program says (has it a screen?): {ended}")
    lab.clear(made)
    made.inside("remove", *lab.STAND_INS)
    yield made
    made.remove()


@pytest.fixture
def windows(windows_lab: Windows) -> Windows:
    """A Windows without WSL and without a card; `relay` and `simulated_card` add them."""
    windows_lab.env = {}
    windows_lab.remove()
    return windows_lab


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that both sides see."""
    with lab.scratch("test") as folder:
        yield folder


@pytest.fixture
def relay(request: pytest.FixtureRequest, windows_lab: Windows, scratch: Path) -> Iterator[Relay]:
    """A Windows with WSL: wsl.exe in System32, and behind it a simulated PC (`indirect` parameters name a scenario)."""
    windows_lab.install("wsl.exe")
    with simulated_pc(scratch / "pc", getattr(request, "param", SCENARIO)) as pc:
        pc.set(**pc.scenario.switches)
        with Relay(pc) as made:
            windows_lab.env = made.env
            yield made
            windows_lab.env = {}


@pytest.fixture
def simulated_card(windows_lab: Windows, relay: Relay) -> Relay:
    """A Windows with WSL and an NVIDIA card: nvml.dll and pdh.dll tell the figures of the relay's PC."""
    windows_lab.install("nvml.dll", "pdh.dll")
    return relay


@pytest.fixture
def product(windows_lab: Windows, simulated_card: Relay, scratch: Path) -> WindowsProduct:
    """The product as a Windows program on that Windows, with folders of its own."""
    return WindowsProduct(windows_lab, simulated_card, scratch)


@pytest.fixture
def desk(product: WindowsProduct) -> Desktop:
    """The desktop of that Windows, for a program in the tray."""
    if (reason := desktop.missing_reason()) is not None:
        pytest.skip(reason)
    return Desktop(product, os.environ[desktop.VARIABLE])


@pytest.fixture
def measured(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[[float], None]:
    """Puts the seconds until the card was free into the test's report, and on the screen."""

    def note(seconds: float) -> None:
        # Not `record_property`, which warns of the kind of XML that is usual.
        request.node.user_properties.append(("seconds_until_the_card_is_free", round(seconds, 2)))
        with capsys.disabled():
            print(f" {seconds:.2f} s", end="")

    return note
