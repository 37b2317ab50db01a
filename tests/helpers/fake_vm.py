"""WSL's virtual machine by hand, implementing `WslVm`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kotaro_bridge.domain.errors import Problem, ProblemError
from kotaro_bridge.domain.units import GIB
from kotaro_bridge.domain.wsl.wsl_vm import VmFacts

FACTS = VmFacts("boot-1", 1000, 20 * GIB - 400 * 2**20, 16, 5 * GIB, "Nat", "initrd=x panic=-1", "6.6")


class FakeVm:
    """A VM that runs the distros in `names`. Each start gives it another boot id.

    `fails`: what the method of that name ends with; `calls`: methods in the order in which they were called.
    """

    def __init__(self, *names: str, facts: VmFacts = FACTS) -> None:
        self.names = names
        self.shown = facts
        self.reached: bool | None = True
        self.fails: dict[str, Problem] = {}
        self.calls: list[str] = []
        self.asked: list[tuple[str | None, tuple[str, ...]]] = []
        self.survives = False
        self.back: tuple[str, ...] = ()
        self._boots = 1

    def running(self) -> tuple[str, ...]:
        self._call("running")
        return self.names

    def shutdown(self, timeout_s: float) -> None:
        self._call("shutdown")
        self.names = self.back
        if not self.survives:
            self._boots += 1
            self.shown = replace(self.shown, boot_id=f"boot-{self._boots}")

    def facts(self, distro: str | None, models: Sequence[str], timeout_s: float) -> VmFacts:
        self._call("facts")
        self.asked.append((distro, tuple(models)))
        self.names = self.names or ("Ubuntu",)
        return self.shown

    def reaches(self, distro: str | None, timeout_s: float) -> bool | None:
        self._call("reaches")
        return self.reached

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise ProblemError(self.fails[name])
