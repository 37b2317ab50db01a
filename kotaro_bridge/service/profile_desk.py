"""Profiles as a person edits them: opened, planned, saved, copied, tried, handed on, taken over and deleted.

Owns the order of these steps and that nothing is overwritten that changed meanwhile. What a profile may say is
`domain/profile_form.py`'s business, what fits the plan's. Every method blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from kotaro_bridge.domain.engine.arguments import checked_extra_args
from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuSnapshot, cards_at
from kotaro_bridge.domain.planning.learned import Learned
from kotaro_bridge.domain.planning.plan import PlannedModel, planned_card
from kotaro_bridge.domain.profile import Profile, decode_profile
from kotaro_bridge.domain.profile_edit import EXECUTABLES, PORTS, Changes, Value
from kotaro_bridge.domain.profile_form import CONTEXT, form_keys, new_id
from kotaro_bridge.service.learning import learned_for
from kotaro_bridge.service.machine import Machine
from kotaro_bridge.service.model_ports import LOCAL
from kotaro_bridge.service.planning import Planning
from kotaro_bridge.service.supervisor import Supervisor
from kotaro_bridge.service.trial import Trial

if TYPE_CHECKING:
    from kotaro_bridge.domain.model.catalogue import CatalogueEntry
    from kotaro_bridge.domain.model.model_files import StoredModel
    from kotaro_bridge.domain.planning.catalogue_rank import Ranked
    # What the catalogue needs is loaded where it is asked for: a tray without this window stays small.

_MOST_BYTES = 1 << 16


class ProfileFiles(Protocol):
    """The files of the profiles, the user's own and those that come with the product. All raise ProblemError."""

    def read(self, profile_id: str) -> Profile:
        """A profile as its file is now."""

    def text(self, profile_id: str) -> str:
        """Its file with its comments."""

    def file(self, profile_id: str) -> Path:
        """Where the user's file of it is, or would be."""

    def is_own(self, profile_id: str) -> bool:
        """True if there is a file of the user for it."""

    def is_builtin(self, profile_id: str) -> bool:
        """True if one of that name comes with the product."""

    def change(self, profile_id: str, changes: Changes) -> Profile:
        """Set keys of the user's file; a built-in profile is copied to the user first."""

    def create(self, profile_id: str, text: str, *, replace: bool = False) -> Profile:
        """Write a new one."""

    def remove(self, profile_id: str) -> None:
        """Delete one of the user's."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A profile that is being edited.

    Args:
        text: its file as it was read; "" for one that is not stored yet.
        file: where it is, or would be.
        own: there is a file of the user for it; replaces_builtin: in the place of one that comes with the product.
    """

    profile: Profile
    text: str
    file: Path
    own: bool
    replaces_builtin: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What a plan is made from.

    Args:
        model: None where it is not known.
        learned: earlier starts on this PC.
        problem: why the files could not be read. There may be a model all the same, that of the catalogue.
        asleep: the target was not asked, since that would start it.
    """

    model: PlannedModel | None
    learned: Learned = field(default_factory=Learned)
    problem: Problem | None = None
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """Models to choose from: those on the machine, and the catalogue's, the best for the card first."""

    here: tuple[StoredModel, ...]
    catalogue: tuple[Ranked, ...]


class ProfileDesk:
    """Profiles of one user on one machine.

    Args:
        compose: the text of a file with these keys.
        catalogue: its entries; models: those on the machine that can be listed without starting anything.
        default_target: where engines run on this PC.
    """

    def __init__(
        self,
        machine: Machine,
        supervisor: Supervisor,
        files: ProfileFiles,
        compose: Callable[[Mapping[str, Value]], str],
        catalogue: Callable[[], tuple[CatalogueEntry, ...]],
        models: Callable[[], tuple[StoredModel, ...]],
        default_target: Callable[[], str],
    ) -> None:
        self._machine = machine
        self._supervisor = supervisor
        self._files = files
        self._compose = compose
        self._catalogue = catalogue
        self._models = models
        self._default_target = default_target

    # What is edited

    def opened(self, profile_id: str) -> Opened:
        """A profile as its file is now."""
        files = self._files
        profile, own = files.read(profile_id), files.is_own(profile_id)
        replaces = own and files.is_builtin(profile_id)
        return Opened(profile, files.text(profile_id), files.file(profile_id), own, replaces)

    def is_there(self, profile_id: str) -> bool:
        """False if no file is left of a profile."""
        return self._files.is_own(profile_id) or self._files.is_builtin(profile_id)

    def blank(self) -> Opened:
        """A profile that is not stored yet, with what is usual."""
        engine = Engine.LLAMA_SERVER
        made = Profile("", engine, EXECUTABLES[engine], "", "", CONTEXT, PORTS[engine], target=self._default_target())
        return self._unstored(made)

    def copied(self, profile_id: str, title: str) -> Opened:
        """A profile that is not stored yet, with everything as in another one but its title."""
        source = self._files.read(profile_id)
        return self._unstored(msgspec.structs.replace(source, title=title, id="", builtin=False))

    def imported(self, path: Path) -> Opened:
        """Somebody's file as a profile that is not stored yet: a person sees first what it would run.

        Raises:
            ProblemError: `profile.too_large`, `profile.unreadable`, or it is no profile.
        """
        try:
            with path.open("rb") as stream:
                data = stream.read(_MOST_BYTES + 1)
            text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ProblemError(problem("profile.unreadable", file=str(path), detail=str(error))) from error
        if len(data) > _MOST_BYTES:
            raise ProblemError(problem("profile.too_large", file=str(path), most=_MOST_BYTES))
        found = decode_profile(text, file=str(path), profile_id=new_id(path.stem, ()))
        return self._unstored(msgspec.structs.replace(found, id=""))

    def _unstored(self, profile: Profile) -> Opened:
        return Opened(profile, "", Path(), False)

    # What it would take

    def shape(self, profile: Profile, *, wake: bool = False) -> Shape:
        """What a plan of the profile is made from. Never raises.

        Args:
            wake: ask a distro that is off, which starts it.
        """
        entry = next((each for each in self._catalogue() if _names(profile, each)), None)
        known = entry.planned if entry is not None else None
        try:
            if not profile.is_local and not wake and not self._is_running(profile):
                return Shape(known, asleep=True)
            model = Planning(self._machine).model(profile)
        except ProblemError as error:
            return Shape(known, problem=error.problem)
        return Shape(model, self._learned(profile))

    def _learned(self, profile: Profile) -> Learned:
        try:
            cards = cards_at(self._machine.gpu.snapshot(), profile.gpus)
        except ProblemError:
            return Learned()
        return learned_for(self._machine, profile, cards[0] if cards else None)

    def _is_running(self, profile: Profile) -> bool:
        running = {name.lower() for name in self._machine.running_distros()}
        if profile.distro is not None:
            return profile.distro.lower() in running
        installed = self._machine.installed_distros()
        return bool(installed) and installed[0].lower() in running

    def choices(self, card: GpuSnapshot | None) -> Choices:
        """Models to choose from, for this card."""
        from kotaro_bridge.domain.planning.catalogue_rank import CardNow, rank

        entries = self._catalogue()
        try:
            here = self._models()
        except ProblemError:
            here = ()
        if card is None:
            return Choices(here, ())
        return Choices(here, rank(entries, CardNow(planned_card(card), bandwidth=card.bandwidth())))

    def targets(self) -> tuple[str, ...]:
        """Where engines can run on this PC, as a profile names it."""
        try:
            names = self._machine.installed_distros()
        except ProblemError:
            names = ()
        usual = self._default_target()
        local = (LOCAL,) if usual == LOCAL else ()
        return tuple(dict.fromkeys((usual, "wsl:", *(f"wsl:{name}" for name in names), *local)))

    # What becomes of it

    def save(self, opened: Opened, changes: Changes) -> Opened | None:
        """Write the changes into the profile's file; None, and nothing is written, if it is not as it was read.

        Raises:
            ProblemError: the file cannot be read or written, or would be no profile. It is as it was then.
        """
        profile_id = opened.profile.id
        if self._files.text(profile_id) != opened.text:
            return None
        self._files.change(profile_id, changes)
        self._supervisor.reload(profile_id)
        return self.opened(profile_id)

    def create(self, profile: Profile) -> Opened:
        """Store a new profile under an id of its own, made from its title. Raises ProblemError."""
        checked_extra_args(profile)
        profile_id = new_id(profile.title, self._ids())
        self._files.create(profile_id, self._compose(form_keys(profile)))
        self._supervisor.reload(profile_id)
        return self.opened(profile_id)

    def _ids(self) -> tuple[str, ...]:
        broken = (Path(str(each.params.get("file", ""))).stem for each in self._supervisor.profile_problems())
        return (*(profile.id for profile in self._supervisor.profiles()), *broken)

    def remove(self, profile_id: str) -> None:
        """Delete a profile of the user's own; a built-in one of that name is there again.

        Raises:
            ProblemError: `profile.running`, `profile.builtin_stays`, or it cannot be deleted.
        """
        self._supervisor.check_resting(profile_id)
        self._files.remove(profile_id)
        self._supervisor.forget(profile_id)

    def export(self, profile_id: str, path: Path) -> None:
        """Write a profile's file, comments and all, where a person wants it. Raises ProblemError."""
        text = self._files.text(profile_id)
        try:
            path.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise ProblemError(problem("profile.not_saved", file=str(path), detail=str(error))) from error

    def trial(self, profile: Profile) -> Trial:
        """A try of a profile, stored or not. Raises ProblemError `editor.trial_running`."""
        return Trial(self._supervisor, profile)


def _names(profile: Profile, entry: CatalogueEntry) -> bool:
    """True if a profile's model is that of the catalogue, by its id or by the name of its file or folder."""
    if entry.engine is not profile.engine:
        return False
    name = profile.model.rstrip("/").rpartition("/")[2]
    return name == (entry.files[0].name if entry.files else entry.repository.rpartition("/")[2])
