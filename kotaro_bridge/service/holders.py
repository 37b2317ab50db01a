"""Who holds video memory: Windows programs, runs of ours, Ollama's models and what else runs in WSL.

Owns who is asked, and that nobody is counted twice: the virtual machine of WSL holds our runs too. Only asked when a
start is refused for it: a start that passes must not pay. Frees nothing (`service/remedies.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.gpu import GpuCounters
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.run.other_programs import WSL_MACHINE
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.service.machine import Machine

_OLLAMA_PROCESSES = "ollama"
# Between the growth that a proof saw and what Windows counts now: less is no further holder.
_REST_WORTH_NAMING = 256 * MIB


@dataclass(frozen=True, slots=True)
class Serving:
    """A run that serves.

    Args:
        vram_taken: bytes by which VRAM grew with it, where known.
    """

    profile: Profile
    vram_taken: int | None

    @property
    def holder(self) -> Holder:
        """The run as a holder of video memory."""
        return Holder(HolderKind.RUN, self.profile.title, self.vram_taken, self.profile.id)


class Holders:
    """Looks who holds the memory of one machine's cards.

    Args:
        serving: the runs of this user that serve now, whoever owns them.
    """

    def __init__(self, machine: Machine, serving: Callable[[], tuple[Serving, ...]]) -> None:
        self._machine = machine
        self._serving = serving

    def others(self, profile: Profile) -> tuple[Serving, ...]:
        """Runs of ours on the same card, but for the profile's own."""
        return tuple(s for s in self._serving() if s.profile.id != profile.id and profile.shares_card(s.profile))

    def serves(self, profile: Profile) -> bool:
        """True if the profile's own run serves now."""
        return any(each.profile.id == profile.id for each in self._serving())

    def find(
        self, profile: Profile | None, others: tuple[Serving, ...], counters: GpuCounters | None, *, wsl: bool
    ) -> tuple[Holder, ...]:
        """Everybody, largest first, unknown sizes last. Blocking, up to some seconds.

        Args:
            profile: what was to be started; None for a question about the card alone.
            wsl: WSL answers and may be asked.
        """
        found = [each.holder for each in others]
        models = self._machine.ollama.loaded()
        on_card = [model for model in models if model.vram_bytes != 0]
        found += [Holder(HolderKind.OLLAMA, model.name, model.vram_bytes, model.name) for model in on_card]
        in_wsl, ollama_on_windows = 0, False
        for process in counters.processes if counters else ():
            name = process.name.lower()
            if name.startswith(WSL_MACHINE):
                in_wsl += process.dedicated
            elif name.startswith(_OLLAMA_PROCESSES) and on_card:
                ollama_on_windows = True
            elif process.dedicated:
                found.append(Holder(HolderKind.PROCESS, process.name, process.dedicated))
        if wsl:
            known = sum(s.vram_taken or 0 for s in others if not s.profile.is_local)
            if not ollama_on_windows:
                known += sum(model.vram_bytes or 0 for model in on_card)
            found += self._in_wsl(profile, in_wsl, in_wsl - known)
        return tuple(sorted(found, key=lambda holder: (holder.bytes is None, -(holder.bytes or 0))))

    def _in_wsl(self, profile: Profile | None, counted: int, rest: int) -> list[Holder]:
        """The virtual machine by what Windows counts for it; where it counts nothing, the distros that run."""
        try:
            running = self._machine.running_distros()
            if counted:
                names = ", ".join(running)
                enough = rest >= _REST_WORTH_NAMING
                return [Holder(HolderKind.DISTRO, f"WSL ({names})" if names else "WSL", rest)] if enough else []
            if profile is None or not running:
                return []
            target = profile.distro or self._machine.installed_distros()[0]
        except ProblemError:
            return []
        return [Holder(HolderKind.DISTRO, f"WSL ({name})", None) for name in running if name.lower() != target.lower()]
