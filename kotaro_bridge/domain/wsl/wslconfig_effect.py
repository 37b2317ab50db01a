"""What became of a .wslconfig: what it asks for beside what Linux shows, and who is met by a restart of WSL.

Owns the values; `wslconfig_proof.py` has the rules. Must not ask Linux or WSL.
"""

from __future__ import annotations

from dataclasses import dataclass

from kotaro_bridge.domain.errors import Problem


@dataclass(frozen=True, slots=True)
class Affected:
    """What a restart of WSL stops.

    Args:
        distros: names of those that run; runs: titles of our runs that serve or load.
        docker: Docker Desktop runs in WSL.
    """

    distros: tuple[str, ...]
    runs: tuple[str, ...]
    docker: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """One setting of the file beside what Linux shows, both as people read them.

    Args:
        key: canonical name.
        ok: None where it could not be told.
        why: what explains a difference, or why nothing can be told; None where all is well.
    """

    key: str
    wanted: str
    found: str
    ok: bool | None
    why: Problem | None


@dataclass(frozen=True, slots=True)
class EffectReport:
    """The proof that a file took effect."""

    effects: tuple[Effect, ...]

    @property
    def ok(self) -> bool:
        """True if nothing differs; what could not be told does not count."""
        return all(effect.ok is not False for effect in self.effects)
