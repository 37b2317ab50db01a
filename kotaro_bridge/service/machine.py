"""The PC that the use cases work on: the adapters in one bundle, handed in by the composition root.

Real Windows, a Linux box and the simulated PC differ only in what stands behind these ports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kotaro_bridge.domain.ports import CountersProbe, GpuProbe, Launcher, Ollama, SpeedHistory, StartHistory
from kotaro_bridge.domain.ports_http import EngineHttp
from kotaro_bridge.domain.profile import Profile


@dataclass(frozen=True, slots=True)
class Machine:
    """Ports of one PC.

    Args:
        gpu: NVML of the machine that owns the card.
        counters: Windows performance counters (shared GPU memory).
        launcher: the way to a profile's target.
        http: a client for a profile's engine.
        port_free: True if nothing listens on 127.0.0.1:port on this side and it can be bound.
        wslconfig: bytes of `.wslconfig`; None if there is no such file.
        installed_distros: names, the default first; raises ProblemError where WSL does not answer.
        running_distros: names of those that run; raises like `installed_distros`.
        ollama: the Ollama of this machine, if there is one.
        speeds: what proved runs were measured at; starts: what their starts took of the card.
    """

    gpu: GpuProbe
    counters: CountersProbe
    launcher: Callable[[Profile], Launcher]
    http: Callable[[Profile], EngineHttp]
    port_free: Callable[[int], bool]
    wslconfig: Callable[[], bytes | None]
    installed_distros: Callable[[], tuple[str, ...]]
    running_distros: Callable[[], tuple[str, ...]]
    ollama: Ollama
    speeds: SpeedHistory
    starts: StartHistory
