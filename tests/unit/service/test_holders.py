"""Who holds video memory: everybody once, largest first, and nobody who cannot be asked."""

from __future__ import annotations

import msgspec
import pytest

from kotaro_bridge.domain.errors import problem
from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess
from kotaro_bridge.domain.ports import OllamaModel
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.service.holders import Holders, Serving
from tests.helpers.machine import LLAMA, Machine

OTHER = Serving(msgspec.structs.replace(LLAMA, id="other", title="7B"), 5 * GIB)
OURS = Holder(HolderKind.RUN, "7B", 5 * GIB, "other")
MODEL = OllamaModel("qwen3:8b", 6 * GIB)
UNLOADABLE = Holder(HolderKind.OLLAMA, "qwen3:8b", 6 * GIB, "qwen3:8b")
GAME = GpuProcess(1, "game.exe", 3 * GIB, 0)
BROWSER = GpuProcess(2, "browser.exe", 200 * MIB, 0)


def find(
    machine: Machine,
    *processes: GpuProcess,
    others: tuple[Serving, ...] = (),
    wsl: bool = True,
    profile: Profile | None = LLAMA,
) -> tuple[Holder, ...]:
    counters = GpuCounters(0, processes) if processes else None
    return Holders(machine.ports, lambda: ()).find(profile, others, counters, wsl=wsl)


def test_everybody_largest_first() -> None:
    machine = Machine()
    machine.ollama.models = (MODEL, OllamaModel("tiny", None), OllamaModel("on-cpu", 0))
    machine.running = ("Ubuntu", "Debian")
    assert find(machine, BROWSER, GAME, GpuProcess(3, "idle.exe", 0, 0), others=(OTHER,)) == (
        UNLOADABLE,
        OURS,
        Holder(HolderKind.PROCESS, "game.exe", 3 * GIB),
        Holder(HolderKind.PROCESS, "browser.exe", 200 * MIB),
        Holder(HolderKind.OLLAMA, "tiny", None, "tiny"),
        Holder(HolderKind.DISTRO, "WSL (Debian)", None),
    )


@pytest.mark.parametrize("name", ["vmmemWSL", "vmmem", "vmwp.exe"])
def test_the_virtual_machine_is_named_as_wsl_without_what_is_ours(name: str) -> None:
    machine = Machine()
    machine.running = ("Ubuntu", "Debian")
    vm = GpuProcess(9, name, 9 * GIB, 0)
    assert find(machine, vm) == (Holder(HolderKind.DISTRO, "WSL (Ubuntu, Debian)", 9 * GIB),)
    assert find(machine, vm, others=(OTHER,)) == (OURS, Holder(HolderKind.DISTRO, "WSL (Ubuntu, Debian)", 4 * GIB))
    assert find(machine, GpuProcess(9, name, 5 * GIB + 100 * MIB, 0), others=(OTHER,)) == (OURS,)
    machine.running = ()
    assert find(machine, vm) == (Holder(HolderKind.DISTRO, "WSL", 9 * GIB),)


def test_a_run_of_this_machine_itself_is_not_in_the_virtual_machine() -> None:
    local = Serving(msgspec.structs.replace(OTHER.profile, target="local"), 5 * GIB)
    assert find(Machine(), GpuProcess(9, "vmmem", 9 * GIB, 0), others=(local,))[0].bytes == 9 * GIB


def test_ollama_is_counted_once_wherever_it_runs() -> None:
    machine = Machine()
    machine.ollama.models = (MODEL,)
    program = GpuProcess(4, "ollama.exe", 6 * GIB, 0)
    assert find(machine, program) == (UNLOADABLE,)
    assert find(machine, program, GpuProcess(9, "vmmem", GIB, 0)) == (
        UNLOADABLE,
        Holder(HolderKind.DISTRO, "WSL (Ubuntu)", GIB),
    )
    assert find(machine, GpuProcess(9, "vmmem", 6 * GIB, 0)) == (UNLOADABLE,)


def test_an_ollama_that_cannot_be_asked_is_a_program_like_others() -> None:
    assert find(Machine(), GpuProcess(4, "ollama.exe", 6 * GIB, 0))[0].kind is HolderKind.PROCESS


def test_other_distros_where_windows_counts_nothing_for_wsl() -> None:
    machine = Machine()
    machine.running, machine.distros = ("ubuntu", "Debian"), ("Debian", "Ubuntu")
    assert find(machine) == (Holder(HolderKind.DISTRO, "WSL (Debian)", None),)
    default = msgspec.structs.replace(LLAMA, target="wsl:")
    assert find(machine, profile=default) == (Holder(HolderKind.DISTRO, "WSL (ubuntu)", None),)
    assert find(machine, profile=None) == ()
    machine.running = ()
    assert find(machine) == ()


def test_a_wsl_that_does_not_answer_names_no_distros() -> None:
    machine = Machine()
    machine.running = problem("wsl.hangs")
    assert find(machine, GAME, GpuProcess(9, "vmmem", GIB, 0)) == (Holder(HolderKind.PROCESS, "game.exe", 3 * GIB),)
    machine.running = AssertionError("must not be asked")
    assert find(machine, wsl=False) == ()
