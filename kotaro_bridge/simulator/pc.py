"""A simulated PC as the product holds it: made from a scenario in a state folder, opened by one process or several.

Implements the probes of `domain.ports`; everything else of the PC are programs that are reached through `wsl_argv` and
`local_env`. Ends with the last process that has it open.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.gpu import GpuCounters, GpuProcess, GpuSnapshot
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.domain.wsl.wslconfig_recommend import HostFacts
from kotaro_bridge.domain.wsl.wslconfig_values import read_value
from kotaro_bridge.own_program import module_argv
from kotaro_bridge.simulator import (
    card,
    engine_question,
    loopback,
    models,
    owners,
    procs,
    vm_client,
    vm_stand_in,
)
from kotaro_bridge.simulator.scenario import Scenario, load
from kotaro_bridge.simulator.server_program import HUB, OLLAMA
from kotaro_bridge.simulator.state import ENGINES, VLLM_PYTHON, VMSTAT, State, python_environment, read_json, write_json

CLOSE_S = 10.0
NVML_FAILURES = {  # switch `nvml`: code, NVML's words
    "missing": ("gpu.no_driver", "NVML Shared Library Not Found"),
    "lost": ("gpu.driver_lost", "GPU is lost"),
    "failed": ("gpu.nvml_failed", "Unknown Error"),
}
VMMEM = ("vmmemWSL", 3988)  # what Windows shows for everything inside WSL2


class SimulatedPC:
    """One PC. Make it with `open`; `close` when done.

    Args:
        state: the state folder, which is a simulated PC's already.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.scenario = msgspec.convert(state.scenario, Scenario)
        self.gpu = SimulatedGpu(state)
        self.counters = SimulatedCounters(state)
        owners.attach(state)

    @classmethod
    def open(cls, scenario_name: str, folder: Path) -> SimulatedPC:
        """The PC in `folder`: the one that another process has open, as it is, or else a fresh one from the scenario.

        A PC that nobody had open was switched off: its switches and its clock start anew, its files (`.wslconfig` and
        the home folders) are those of last time.

        Raises:
            ProblemError: no such scenario, or a broken one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = str(folder.resolve())
        with _alone(path):
            if not owners.anybody(State(path)):
                _make(path, load(scenario_name))
            pc = cls(State(path))
        for distro in pc.scenario.distros:
            if distro.running and distro.name not in pc.running():
                pc.boot(distro.name)
        if pc._state.switches()["ollama"]:
            OLLAMA.start(pc._state)
        return pc

    @property
    def folder(self) -> Path:
        """The state folder."""
        return Path(self._state.folder)

    @property
    def language(self) -> str:
        """Language of this Windows: `ja` or `en`."""
        return self.scenario.language

    @property
    def wsl_argv(self) -> list[str]:
        """wsl.exe as a command; wants `env`."""
        return module_argv("kotaro_bridge.simulator.wsl")

    @property
    def env(self) -> dict[str, str]:
        """What the environment of `wsl_argv`, and of a guardian for the target `local`, needs in addition."""
        return {**python_environment(self._state.folder), VMSTAT: self._state.vmstat_path}

    @property
    def local_env(self) -> dict[str, str]:
        """The same for programs of the machine itself, for the target `local`: with the simulated card's nvidia-smi."""
        return {**self.env, "NVIDIA_SMI": self._state.path("wsl-lib", "nvidia-smi")}

    @property
    def ollama_address(self) -> str | None:
        """Base URL of Ollama on the simulated Windows; None where it does not run."""
        return OLLAMA.address(self._state)

    def hub_address(self) -> str:
        """Base URL of the stand-in of the Hugging Face hub, started if it does not run; `HF_ENDPOINT` counts first."""
        return os.environ.get("HF_ENDPOINT") or HUB.start(self._state)

    @property
    def wslconfig_path(self) -> Path:
        """`.wslconfig` of the Windows user."""
        return Path(self._state.wslconfig_path)

    def host_facts(self) -> HostFacts:
        """Memory, processors and networking of this Windows; of its disks nothing is known."""
        networking, _ = read_value("wsl2.networkingMode", self.scenario.networking)
        return HostFacts(self.scenario.host_ram_gib * GIB, self.scenario.processors, None, str(networking))

    def drive_free(self) -> int | None:
        """Bytes free on the Windows drive that the distros' disks grow on; None where this Windows does not tell."""
        free = self._state.switches()["drive_free_mib"]
        return None if free is None else int(free) * card.MIB

    @property
    def home(self) -> Path:
        """Home folder of the default distro's user, with the engines and the models."""
        distro = self._state.distro(None)
        return self.folder / "home" if distro is None else Path(self._state.home(distro))

    def windows_port_free(self, port: int) -> bool:
        """Whether 127.0.0.1:port can be bound on Windows. Both sides share one loopback here."""
        if port in self._state.switches()["windows_ports_taken"]:
            return False
        return loopback.port_free(port)

    def set(self, **switches: Any) -> None:
        """Change switches (`state.SWITCHES`) while the PC runs."""
        self._state.change(**switches)
        if "nvidia_smi" in switches:
            _place_nvidia_smi(self._state)

    def advance(self, seconds: float) -> None:
        """Let the PC's clock jump and wait until the VM has acted on it."""
        self._state.advance(seconds)
        vm_client.poke(self._state)
        vm_client.poke(self._state)  # the first answer may come from before the timers were looked at

    def boot(self, distro: str) -> None:
        """Somebody else uses a distro: it runs until it is stopped."""
        link, _ = vm_client.start(self._state)
        if link is not None:
            link.close()
        vm_client.request(self._state, {"op": "boot", "distro": distro})

    def restart_vm(self) -> None:
        """Somebody else shuts WSL down and starts it again; everything that ran is gone."""
        vm_client.request(self._state, {"op": "shutdown"})
        for each in self.scenario.distros:
            if each.default:
                self.boot(each.name)

    def running(self) -> list[str]:
        """Distros that run."""
        return vm_client.running_distros(self._state)

    def close(self) -> None:
        """Let go of the PC; the last one to do so ends everything in it. Safe to call twice."""
        owners.detach(self._state)
        if owners.anybody(self._state):
            return
        OLLAMA.stop(self._state)
        vm_client.request(self._state, {"op": "shutdown"})
        deadline = time.monotonic() + CLOSE_S
        holders = (claim["pid"] for claim in card.live_claims(self._state))
        left = [*_vm_pids(self._state), *(pid for pid in holders if pid != os.getpid())]
        while (alive := [pid for pid in left if procs.start_ticks(pid) is not None]) and time.monotonic() < deadline:
            for pid in alive:
                procs.kill(pid, procs.KILL)
            time.sleep(0.01)


class SimulatedGpu:
    """NVML on the simulated Windows; implements `domain.ports.GpuProbe`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def snapshot(self) -> tuple[GpuSnapshot, ...]:
        """The cards now, as NVML reports it (`used` without the driver's reserve, as version 2 of the memory call).

        Raises:
            ProblemError: `gpu.no_driver`, `gpu.driver_lost` or `gpu.nvml_failed`, as the switch `nvml` says.
        """
        mode = self._state.switches()["nvml"]
        if mode in NVML_FAILURES:
            code, detail = NVML_FAILURES[mode]
            raise ProblemError(problem(code, detail=detail))
        return tuple(self._card(index, gpu) for index, gpu in enumerate(card.cards(self._state)))

    def _card(self, index: int, gpu: dict[str, Any]) -> GpuSnapshot:
        usage = card.Usage(self._state, index)
        idle_w, busy_w = gpu["power_limit_w"] * 0.07, gpu["power_limit_w"] * 0.92
        return GpuSnapshot(
            index=index,
            uuid=gpu["uuid"],
            name=gpu["name"],
            total=usage.total,
            free=usage.free,
            used=usage.dedicated,
            driver=card.driver_version(self._state),
            compute_cap=gpu["compute_cap"],
            utilization=usage.busy,
            temperature_c=round(38 + 29 * usage.busy),
            power_w=round(idle_w + (busy_w - idle_w) * usage.busy, 2),
            memory_clock_max_mhz=gpu["memory_clock_mhz"],
            bus_width_bits=gpu["bus_width_bits"],
        )


class SimulatedCounters:
    """Windows performance counters of the simulated card; implements `domain.ports.CountersProbe`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def read(self) -> GpuCounters | None:
        """Shared GPU memory and who holds VRAM, largest first; everything inside WSL2 is one process. None where the
        switch `counters` says that Windows has none.
        """
        if self._state.switches()["counters"] == "missing":
            return None
        indices = range(len(card.cards(self._state)))
        usages = [card.Usage(self._state, index) for index in indices]
        holders = [
            GpuProcess(each["pid"], each["name"], each["mib"] * card.MIB, each.get("shared_mib", 0) * card.MIB)
            for index in indices
            for each in card.desktop_processes(self._state, index)
        ]
        dedicated, shared = sum(each.engine_dedicated for each in usages), sum(each.engine_shared for each in usages)
        if dedicated or shared:
            name, pid = VMMEM
            holders.append(GpuProcess(pid, name, dedicated, shared))
        holders.sort(key=lambda holder: -holder.dedicated)
        return GpuCounters(sum(each.shared for each in usages), tuple(holders))


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Only one process at a time looks whether a PC is open, makes it, and opens it."""
    with open(os.path.join(path, "open.lock"), "wb") as lock:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(path: str, scenario: Scenario) -> None:
    """Lay a PC out; `scenario.json` comes last, so that nobody opens half of one."""
    plain = msgspec.to_builtins(scenario)
    state = State(path)
    state.scenario = plain
    for name in ("clock.json", "switches.json", "vm.json"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(state.path(name))
    os.makedirs(state.path("gpu", "claims"), exist_ok=True)
    for folder in ("bin", "wsl-lib"):
        os.makedirs(state.path(folder), exist_ok=True)
    state.change(**scenario.switches)
    Path(state.vmstat_path).write_text("oom_kill 0\n", encoding="ascii")
    os.makedirs(os.path.dirname(state.wslconfig_path), exist_ok=True)
    if scenario.wslconfig is not None and not os.path.exists(state.wslconfig_path):
        Path(state.wslconfig_path).write_text(scenario.wslconfig.lstrip("\n"), encoding="utf-8")
    vm_stand_in.forget(state)
    _program(state, "bin/wslinfo", "wslinfo")
    _executable(state, "bin/ldd", engine_question.ldd_script(state))
    _place_nvidia_smi(state)
    for distro in plain["distros"]:
        _make_distro(state, distro)
    write_json(state.path("scenario.json"), plain)


def _make_distro(state: State, distro: dict[str, Any]) -> None:
    inside = f"distros/{distro['name']}"
    for folder in (
        state.home(distro),
        state.home(distro, "root"),
        state.path(inside, "mnt/c/Users", state.windows_user),
    ):
        os.makedirs(folder, exist_ok=True)
    if distro["default"]:
        home = f"{inside}/home/{distro['user']}"
        for place, module in ENGINES.items():
            _program(state, f"{home}/{place}", module, before=_quick_answer(state) if module == "engine_llama" else "")
        _program(state, f"{home}/{VLLM_PYTHON}", "engine_question", "python")
        models.write_models(Path(state.path(home, "models")))


def _program(state: State, place: str, module: str, *first: str, before: str = "") -> None:
    """A program file of the Linux side that runs one of our modules, with `first` before its arguments, and keeps its
    process id. `before`: lines of sh that come first.
    """
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in python_environment(state.folder).items())
    _executable(state, place, f'#!/bin/sh\nexport {exports}\n{before}exec {_command(module, *first)} "$@"\n')


def _command(module: str, *first: str) -> str:
    return shlex.join([*module_argv(f"kotaro_bridge.simulator.{module}"), *first])


def _quick_answer(state: State) -> str:
    """The question for the devices is put at every start: it is not worth the imports of a whole server."""
    switches = shlex.quote(state.path("switches.json"))
    return (
        f'case " $* ${{KOTARO_SIM_ENGINE:-$(cat {switches})}}" in\n*old-build*) ;;\n'
        f'*" --list-devices "*) exec {_command("engine_question", "devices")} ;;\nesac\n'
    )


def _executable(state: State, place: str, script: str) -> None:
    path = Path(state.path(place))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)


def _place_nvidia_smi(state: State) -> None:
    if state.switches()["nvidia_smi"] == "missing":
        with contextlib.suppress(FileNotFoundError):
            os.remove(state.path("wsl-lib", "nvidia-smi"))
    else:
        _program(state, "wsl-lib/nvidia-smi", "nvidia_smi")


def _vm_pids(state: State) -> list[int]:
    noted = read_json(state.path("vm.json")) or {"pid": None, "inits": []}
    return [pid for pid in (noted["pid"], *noted["inits"]) if pid is not None]
