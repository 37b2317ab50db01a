"""Target `local`: the engine runs on this machine itself (Linux)."""

from __future__ import annotations

from collections.abc import Sequence

from kotaro_bridge.domain.errors import Problem, problem
from kotaro_bridge.domain.ports import Completed
from kotaro_bridge.host.launcher import TargetLauncher


class LocalLauncher(TargetLauncher):
    """Runs commands directly.

    Args:
        env: environment of what is started; None inherits.
    """

    def __init__(self, env: dict[str, str] | None = None) -> None:
        super().__init__(env)

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` itself."""
        return list(argv)

    def failure(self, completed: Completed) -> Problem | None:
        """Nothing stands between us and the command; only the time-out is ours."""
        hangs = problem("launch.hangs", asked=completed.asked, seconds=round(completed.limit_s))
        return hangs if completed.timed_out else None

    def reachable_now(self) -> bool:
        """This machine is always there."""
        return True
