"""What the windows need from the rest of the product, handed over once by the composition root.

Owns the Protocols between windows and use cases. Must not import Qt: a `Desk` is built without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from kotaro_bridge.domain.errors import Problem
    from kotaro_bridge.domain.gpu import GpuSnapshot
    from kotaro_bridge.domain.model.catalogue import CatalogueEntry
    from kotaro_bridge.domain.model.download import DownloadRequest, DownloadView
    from kotaro_bridge.domain.model.model_files import StoredModel
    from kotaro_bridge.domain.profile import Profile
    from kotaro_bridge.domain.profile_edit import Changes
    from kotaro_bridge.domain.run.remedy import Remedy
    from kotaro_bridge.domain.run.run_view import Endpoint, RunView, Sample
    from kotaro_bridge.domain.settings import LoginStart, OpenedSettings, Settings, SettingValue
    from kotaro_bridge.domain.update import UpdateView
    from kotaro_bridge.domain.wsl.wslconfig_effect import Affected, EffectReport
    from kotaro_bridge.service.bus import Bus
    from kotaro_bridge.service.card_sight import CardSight
    from kotaro_bridge.service.log_ring import LogRing
    from kotaro_bridge.service.model_shelf import OnMachine, PlannedRemoval
    from kotaro_bridge.service.profile_desk import Choices, Opened, Shape
    from kotaro_bridge.service.trial import TrialResult
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

    def end_all(self) -> None:
        """Ask every run to stop; nothing starts any more."""

    def live(self) -> tuple[RunView, ...]:
        """The runs that do not rest, a try among them."""

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

    def sleeps(self) -> None:
        """The PC is about to sleep."""

    def wakes(self) -> None:
        """The PC has woken up: what serves is proved again."""


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


class ModelsPort(Protocol):
    """Models: what fits, what is on the machine, what is on its way. All blocks but for what says otherwise."""

    def entries(self) -> tuple[CatalogueEntry, ...]:
        """The catalogue. Raises ProblemError."""

    def card(self, index: int = 0) -> CardSight:
        """A card now, with who could make room on it. Raises ProblemError where no card answers."""

    def resolve(self, name: str) -> CatalogueEntry:
        """Any model: an id of Hugging Face, a file, a folder or an address. Raises ProblemError."""

    def files(self, *, start: bool = False) -> OnMachine:
        """The models on the machine; `start`: look into the default distro even if that starts it."""

    def plan_removal(self, model: StoredModel) -> PlannedRemoval:
        """What deleting a model would do. Raises ProblemError for what runs or is not ours."""

    def remove(self, agreed: PlannedRemoval) -> int:
        """Delete what was agreed to; bytes freed. Raises ProblemError."""

    def has_token(self) -> bool:
        """True if a Hugging Face token is kept. Raises ProblemError for a keyring that cannot be used."""

    def keep_token(self, token: str) -> None:
        """Keep a token. Raises ProblemError."""

    def forget_token(self) -> bool:
        """Forget it; False if there was none. Raises ProblemError."""

    @property
    def default_target(self) -> str:
        """Where a model goes. Does not block."""

    def download(self, request: DownloadRequest) -> str:
        """Ask for a download; what comes of it arrives on the bus. Raises ProblemError."""

    def import_ollama(self, name: str) -> str:
        """Copy one of Ollama's models; what comes of it arrives on the bus. Does not block."""

    def transfers(self) -> tuple[DownloadView, ...]:
        """All downloads and copies. Does not block."""

    def busy(self) -> bool:
        """True if something is on its way. Does not block."""

    def pause(self, name: str) -> None:
        """Pause a download, or end a copy, of which nothing stays."""

    def resume(self, name: str) -> None:
        """Go on with a download. Does not block."""

    def drop(self, name: str) -> None:
        """Show a transfer that rests no longer. Does not block."""

    def cancel(self, name: str) -> int:
        """End a download and delete what is there of it; bytes freed. Raises ProblemError."""


class TrialPort(Protocol):
    """One try of a profile."""

    def run(self) -> TrialResult:
        """Start, prove, measure and stop. Blocks until nothing of it runs any more, or is reported as left over."""

    def cancel(self) -> None:
        """Stop it wherever it is. Returns at once; any thread."""


class ProfilesPort(Protocol):
    """Profiles as a person edits them. Every method blocks; all but `shape` may raise ProblemError."""

    def opened(self, profile_id: str) -> Opened:
        """A profile as its file is now."""

    def is_there(self, profile_id: str) -> bool:
        """False if no file is left of a profile."""

    def blank(self) -> Opened:
        """A profile that is not stored yet, with what is usual."""

    def copied(self, profile_id: str, title: str) -> Opened:
        """A profile that is not stored yet, with everything as in another one but its title."""

    def imported(self, path: Path) -> Opened:
        """Somebody's file as a profile that is not stored yet."""

    def shape(self, profile: Profile, *, wake: bool = False) -> Shape:
        """What a plan of the profile is made from; `wake`: even if that starts a distro."""

    def choices(self, card: GpuSnapshot | None) -> Choices:
        """Models to choose from, for this card."""

    def targets(self) -> tuple[str, ...]:
        """Where engines can run on this PC, as a profile names it."""

    def save(self, opened: Opened, changes: Changes) -> Opened | None:
        """Write the changes into the profile's file; None if it is not as it was read."""

    def create(self, profile: Profile) -> Opened:
        """Store a new profile under an id of its own."""

    def remove(self, profile_id: str) -> None:
        """Delete a profile of the user's own."""

    def export(self, profile_id: str, path: Path) -> None:
        """Write a profile's file where a person wants it."""

    def trial(self, profile: Profile) -> TrialPort:
        """A try of a profile, stored or not."""


class SettingsPort(Protocol):
    """The settings of the application, and its start at login. All of it blocks for a file or the registry."""

    def read(self) -> OpenedSettings:
        """The settings, and what is wrong with their file. Never raises."""

    def change(self, changes: Mapping[str, SettingValue]) -> Settings:
        """Write some keys. Raises ProblemError `settings.*`; the file is as it was then."""

    def at_login(self) -> LoginStart:
        """What the system says of the start at login. Never raises."""

    def set_at_login(self, enabled: bool) -> None:
        """Start at login, or not. Raises ProblemError `autostart.*`."""


class UpdatesPort(Protocol):
    """Newer versions of this program. No method blocks; each change arrives on the bus as an `UpdateView`."""

    def state(self) -> UpdateView:
        """The search as it is now."""

    def check(self) -> None:
        """Ask the feed, whatever the setting: a person clicked."""

    def download(self) -> None:
        """Download the release that is offered, and compare its checksum."""

    def cancel(self) -> None:
        """Stop the download; what is there of it stays for the next one."""

    def install(self) -> None:
        """Compare the checksum once more and start the installer, which ends this program in order; or show the zip
        that a person unpacks.
        """


class DiagnosticsPort(Protocol):
    """What helps to find out what went wrong."""

    def write(self, path: Path) -> Path:
        """Write the ZIP file there; where it is. Blocks. Raises ProblemError."""


@dataclass(frozen=True, slots=True)
class About:
    """What this program is, and what a person may want to see of it.

    Args:
        licences: file or folder, of this program and its parts.
        commit: of the build; "" where it runs from source.
        official: made by the release workflow; made_with: Python and system that made the build.
    """

    logs: Path
    licences: Path
    commit: str = ""
    official: bool = False
    made_with: str = ""


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything the windows work with.

    Args:
        bus: publishes `PhaseChanged` and `Sample` from any thread.
        submit: runs a blocking call on a worker thread.
        system_language: what the system's own menus speak, `en` or `ja`.
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
    models: ModelsPort
    profiles: ProfilesPort
    settings: SettingsPort
    updates: UpdatesPort
    diagnostics: DiagnosticsPort
    about: About
    system_language: str
