"""The real profile desk on real files in a folder of its own; what a model takes and how a try ends says the test."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kotaro_bridge.domain.engine.reasons import Judgement
from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.gpu import GpuSnapshot
from kotaro_bridge.domain.planning.plan import PlannedModel
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.domain.profile_form import form_keys
from kotaro_bridge.domain.run.run_state import Phase
from kotaro_bridge.domain.run.run_view import PhaseChanged, RunView, Speed
from kotaro_bridge.host.catalogue_store import load_catalogue
from kotaro_bridge.host.profile_store import ProfileFolder, new_text
from kotaro_bridge.service.profile_desk import Choices, ProfileDesk, Shape
from kotaro_bridge.service.supervisor import TRIAL
from kotaro_bridge.service.trial import TrialEnd, TrialResult

if TYPE_CHECKING:
    from tests.ui.fake_desk import FakeSupervisor

WAIT_S = 10.0


def planned(entry_id: str) -> PlannedModel:
    """A model of the catalogue, as a plan needs it."""
    return next(entry.planned for entry in load_catalogue() if entry.id == entry_id)


Q14_SHAPE = "qwen2.5-14b-instruct-q4_k_m"
A14_SHAPE = "qwen2.5-14b-instruct-awq"


class FakeTrial:
    """A try that goes through its phases when asked, and ends as the test says."""

    def __init__(self, world: FakeProfiles, profile: Profile) -> None:
        self.profile = profile
        self.ended = threading.Event()
        self._world = world
        self._stop = threading.Event()

    def run(self) -> TrialResult:
        old = Phase.IDLE
        for phase in (Phase.CHECKING, Phase.LOADING):
            self._world.tell(old, RunView(TRIAL, phase, 1, 0.0))
            old = phase
        while not self._stop.is_set() and not self._world.go_on.wait(0.01):
            pass
        self.ended.set()
        if self._stop.is_set():
            return TrialResult(TrialEnd.CANCELLED, RunView(TRIAL, Phase.STOPPED, 1, 0.0))
        return self._world.result

    def cancel(self) -> None:
        self._stop.set()


class FakeProfiles(ProfileDesk):
    """See the module."""

    def __init__(self, supervisor: FakeSupervisor, judgement: Judgement) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kotaro-profiles-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        files = ProfileFolder(self.folder)
        machine, runs = cast(Any, None), cast(Any, supervisor)
        super().__init__(machine, runs, files, new_text, load_catalogue, lambda: (), lambda: "wsl:")
        self.files = files
        self.fake = supervisor
        supervisor.read = files.read
        for profile in supervisor.profiles():
            files.create(profile.id, new_text(form_keys(profile)), replace=True)
        supervisor.adopt(tuple(files.read(profile.id) for profile in supervisor.profiles()))
        self.models: dict[str, PlannedModel] = {}
        self.unread: Problem | None = None
        self.asleep = False
        self.asked: list[tuple[str, bool]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.save_error: Problem | None = None
        self.names = ("wsl:", "wsl:Ubuntu-24.04")
        self.trials: list[FakeTrial] = []
        self.go_on = threading.Event()
        self.go_on.set()
        proved = RunView(
            TRIAL, Phase.READY, 1, 0.0, judgement=judgement, speed=Speed(38.2, 0.63), vram_taken=10405 << 20
        )
        self.result = TrialResult(TrialEnd.PROVED, proved)

    def shape(self, profile: Profile, *, wake: bool = False) -> Shape:
        self.asked.append((profile.model, wake))
        assert self.hold.wait(WAIT_S)
        if self.asleep and not wake:
            return Shape(self.models.get(profile.model), asleep=True)
        if self.unread is not None:
            return Shape(self.models.get(profile.model), problem=self.unread)
        default = planned(A14_SHAPE if profile.engine == "vllm" else Q14_SHAPE)
        return Shape(self.models.get(profile.model, default))

    def targets(self) -> tuple[str, ...]:
        return self.names

    def choices(self, card: GpuSnapshot | None) -> Choices:
        assert self.hold.wait(WAIT_S)
        return super().choices(card)

    def save(self, opened: Any, changes: Any) -> Any:
        assert self.hold.wait(WAIT_S)
        if self.save_error is not None:
            raise ProblemError(self.save_error)
        return super().save(opened, changes)

    def trial(self, profile: Profile) -> Any:
        if self.trials and not self.trials[-1].ended.is_set():
            raise ProblemError(problem("editor.trial_running"))
        made = FakeTrial(self, profile)
        self.trials.append(made)
        return made

    def tell(self, old: Phase, view: RunView) -> None:
        self.fake.bus.publish(PhaseChanged(old, view))

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
