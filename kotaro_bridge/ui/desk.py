"""What the windows need from the rest of the product, handed over once by the composition root.

Owns the Protocols between windows and use cases. Must not import Qt: a `Desk` is built without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kotaro_bridge.domain.errors import Problem
    from kotaro_bridge.domain.profile import Profile
    from kotaro_bridge.domain.remedy import Remedy
    from kotaro_bridge.domain.run_view import Endpoint, RunView, Sample
    from kotaro_bridge.domain.wslconfig_effect import Affected, EffectReport
    from kotaro_bridge.service.bus import Bus
    from kotaro_bridge.service.log_ring import LogRing
    from kotaro_bridge.service.wslconfig_edit import Editor
    from kotaro_bridge.texts import Texts


class SupervisorPort(Protocol):
    """All runs. No method blocks."""

    def profiles(self) -> tuple[Profile, ...]:
        """The profiles that can be started, in the order in which they are shown."""

    def profile_problems(self) -> tuple[Problem, ...]:
        """What is wrong with profile files that could not be read."""

    def view(self, profile_id: str) -> RunView:
        """The run of one profile as it is now."""

    def start(self, profile_id: str) -> None:
        """Ask for a start; what comes of it arrives on the bus."""

    def stop(self, profile_id: str) -> None:
        """Ask for a stop; accepted in every state."""

    def apply(self, profile_id: str, remedy: Remedy) -> None:
        """Change what was refused, then ask for a start; what comes of it arrives on the bus."""

    def log(self, profile_id: str) -> LogRing:
        """The newest lines of the profile's engine."""

    def stop_all(self) -> None:
        """Ask every run to stop."""

    def all_resting(self) -> bool:
        """True if nothing runs and nothing is left over."""


class TelemetryPort(Protocol):
    """Numbers of the cards and of the runs."""

    def latest(self) -> Sample | None:
        """The newest sample; None before the first."""

    def history(self) -> tuple[Sample, ...]:
        """The last ten minutes, oldest first."""

    def set_watched(self, watched: bool) -> None:
        """True while a window with live numbers is visible: samples then come faster."""


class ChatPiece(Protocol):
    """A part of a streamed answer; the numbers are known with the last one."""

    @property
    def text(self) -> str:
        """What was added to the answer."""

    @property
    def done(self) -> bool:
        """True for the last piece."""

    @property
    def tokens_per_s(self) -> float | None:
        """Speed so far, where known."""

    @property
    def first_token_s(self) -> float | None:
        """Seconds until the first token, where known."""


class ConnectPort(Protocol):
    """Requests as a chat client sends them."""

    def test_chat(self, endpoint: Endpoint, *, with_image: bool) -> Iterator[ChatPiece]:
        """Stream a short answer. Blocks between pieces, so it is iterated on a worker thread.

        Raises:
            ProblemError: the address does not answer, or not as it should.
        """


class WslConfigPort(Protocol):
    """This user's .wslconfig, and WSL restarted with it."""

    def editor(self) -> Editor:
        """An editor of the file as it is now, for the thread that asks.

        Raises:
            ProblemError: the file cannot be read.
        """

    def affected(self) -> Affected:
        """What a restart of WSL would stop. Blocks.

        Raises:
            ProblemError: WSL does not answer.
        """

    def restart(self, progress: Callable[[str], None]) -> EffectReport:
        """Stop what runs in order, restart WSL, start again what ran, and compare Linux with the file. Blocks.

        Args:
            progress: called with the name of each step when it begins.

        Raises:
            ProblemError: a step failed; the sentence says what is left to do.
        """

    def effects(self) -> EffectReport:
        """What the file says beside what Linux shows now. Blocks.

        Raises:
            ProblemError: WSL does not answer.
        """

    def pending(self) -> bool:
        """True if the file was changed and WSL still runs with what it said before. Does not block."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything the windows work with.

    Args:
        bus: publishes `PhaseChanged` and `Sample` from any thread.
        submit: runs a blocking call on a worker thread.
        simulated: name of the scenario on the simulated PC; None on a real one.
    """

    supervisor: SupervisorPort
    telemetry: TelemetryPort
    connect: ConnectPort
    bus: Bus
    submit: Callable[[Callable[[], None]], None]
    texts: Texts
    simulated: str | None
    version: str
    wslconfig: WslConfigPort
