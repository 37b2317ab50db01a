"""Models for window tests: the real catalogue on a card of the test's, files and downloads that the test moves."""

from __future__ import annotations

import threading
from dataclasses import replace

from kotaro_bridge.domain.errors import Problem, ProblemError, problem
from kotaro_bridge.domain.model.catalogue import CatalogueEntry, entry_of
from kotaro_bridge.domain.model.download import COPY_PREFIX, DownloadRequest, DownloadState, DownloadView
from kotaro_bridge.domain.model.model_files import Condition, FileEntry, Place, Removal, StoredModel
from kotaro_bridge.domain.planning.catalogue_rank import CardNow
from kotaro_bridge.domain.planning.plan_parts import PlanCard
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.units import GIB, MIB
from kotaro_bridge.host.catalogue_store import load_catalogue
from kotaro_bridge.service.bus import Bus
from kotaro_bridge.service.card_sight import CardSight
from kotaro_bridge.service.model_shelf import OnMachine, PlannedRemoval

CARD = PlanCard("NVIDIA GeForce RTX 4070", 12048 * MIB, 10998 * MIB, (8, 9))
CLOSABLE = (
    Holder(HolderKind.PROCESS, "msedge.exe", 268 * MIB),
    Holder(HolderKind.OLLAMA, "qwen3:8b", 640 * MIB, "qwen3:8b"),
)


def stored(
    path: str,
    size: int,
    condition: Condition = Condition.WHOLE,
    place: Place = Place.FOLDER,
    used_by: tuple[str, ...] = (),
    target: str = "wsl:Ubuntu",
) -> StoredModel:
    """A model of one file on the machine."""
    name = path.rpartition("/")[2]
    kind = "gguf" if ".gguf" in name or place is Place.OLLAMA else "safetensors"
    files = (FileEntry(name, size, name),)
    return StoredModel(path, place, target, path, "/home/kotaro/models", kind, files, condition, used_by=used_by)


Q14_FILE = stored("~/models/Qwen2.5-14B-Instruct-Q4_K_M.gguf", 9 * GIB, used_by=("qwen2.5-14b-q4",))
OTHERS = (
    Q14_FILE,
    stored("~/models/Mistral-Small-Q4_K_M.gguf", 3 * GIB, Condition.PARTIAL),
    stored("~/models/broken.gguf", 12 * MIB, Condition.BROKEN),
    stored("org/some-model", 5 * GIB, place=Place.HUB_CACHE),
    stored("lm-studio:lmstudio-community/gemma.gguf", 4 * GIB, place=Place.LM_STUDIO, target="windows"),
    stored("qwen3:8b", 5 * GIB, place=Place.OLLAMA, target="windows"),
)


class FakeModels:
    """Answers at once, or when `hold` is set again; calls are kept in `asked`."""

    default_target = "wsl:"

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.sight = CardSight(0, CardNow(CARD, 908 * MIB, 504e9), CLOSABLE, {})
        self.on_machine = OnMachine((), (), ())
        self.views: dict[str, DownloadView] = {}
        self.asked: list[tuple[str, object]] = []
        self.kept: str | None = None
        self.error: Problem | None = None
        self.hold = threading.Event()
        self.hold.set()

    def _answers(self) -> None:
        assert self.hold.wait(10)
        if self.error is not None:
            raise ProblemError(self.error)

    def entries(self) -> tuple[CatalogueEntry, ...]:
        return load_catalogue()

    def card(self, index: int = 0) -> CardSight:
        self._answers()
        self.asked.append(("card", index))
        return replace(self.sight, index=index)

    def resolve(self, name: str) -> CatalogueEntry:
        self._answers()
        if "/" not in name:
            raise ProblemError(problem("models.unresolved", name=name))
        known = next(entry for entry in load_catalogue() if entry.id == "qwen2.5-7b-instruct-awq")
        return replace(entry_of(known.planned, name), title=name, repository=name)

    def files(self, *, start: bool = False) -> OnMachine:
        self._answers()
        self.asked.append(("files", start))
        if start and self.on_machine.not_running:
            self.on_machine = replace(self.on_machine, models=OTHERS, not_running=())
        return self.on_machine

    def plan_removal(self, model: StoredModel) -> PlannedRemoval:
        self._answers()
        return PlannedRemoval(model, None, Removal(model.root, (model.files[0].path,), model.bytes))

    def remove(self, agreed: PlannedRemoval) -> int:
        self._answers()
        self.asked.append(("remove", agreed.model.id))
        left = tuple(model for model in self.on_machine.models if model != agreed.model)
        self.on_machine = replace(self.on_machine, models=left)
        return agreed.removal.freed_bytes

    def has_token(self) -> bool:
        self._answers()
        return self.kept is not None

    def keep_token(self, token: str) -> None:
        if not token.startswith("hf_"):
            raise ProblemError(problem("token.no_token"))
        self.kept = token

    def forget_token(self) -> bool:
        had, self.kept = self.kept is not None, None
        return had

    def download(self, request: DownloadRequest) -> str:
        self._answers()
        self.asked.append(("download", request))
        self.move("download-1", DownloadState.QUEUED, request=request)
        return "download-1"

    def import_ollama(self, name: str) -> str:
        self.asked.append(("import", name))
        self.move(f"{COPY_PREFIX}1", DownloadState.RUNNING, request=DownloadRequest(name, "wsl:"))
        return f"{COPY_PREFIX}1"

    def transfers(self) -> tuple[DownloadView, ...]:
        return tuple(self.views.values())

    def busy(self) -> bool:
        return any(view.state not in _REST for view in self.views.values())

    def pause(self, name: str) -> None:
        self.asked.append(("pause", name))
        self.move(name, DownloadState.PAUSED)

    def resume(self, name: str) -> None:
        self.asked.append(("resume", name))
        self.move(name, DownloadState.RUNNING)

    def drop(self, name: str) -> None:
        self.views.pop(name, None)

    def cancel(self, name: str) -> int:
        self.asked.append(("cancel", name))
        return self.views.pop(name).bytes

    def move(self, name: str, state: DownloadState, **more: object) -> None:
        """A download is elsewhere now, as its worker would tell."""
        old = self.views.get(name) or DownloadView(name, DownloadRequest("", ""), state)
        view = self.views[name] = replace(old, state=state, **more)  # type: ignore[arg-type]
        self.bus.publish(view)


_REST = (DownloadState.PAUSED, DownloadState.DONE, DownloadState.FAILED)
