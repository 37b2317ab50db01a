"""The models on the machine: where is looked, what may be removed, what an import copies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine, LogLine
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.hub import FetchJob, FetchMessage
from kotaro_bridge.domain.model.model_files import Condition, FileEntry, FolderListing, Place, StoredModel
from kotaro_bridge.domain.model.model_stores import OllamaBlob, OllamaManifest
from kotaro_bridge.domain.ports import EngineProcess, ProcessEvent
from kotaro_bridge.domain.profile import Profile
from kotaro_bridge.service.model_ports import ModelPorts
from kotaro_bridge.service.model_shelf import Copied, Shelf, folders_of

HOME = "/home/k"
COMMIT = "a1" * 20
GIB = 1 << 30


def profile(model: str, name: str = "p", target: str = "wsl:") -> Profile:
    return Profile(name, Engine.LLAMA_SERVER, "x", model, "s", 4096, 8080, id=name, target=target)


def folder(*names: str) -> FolderListing:
    entries = tuple(FileEntry(name, 100, f"f:{name}") for name in names)
    return FolderListing(Place.FOLDER, f"{HOME}/models", entries, {})


def cache() -> FolderListing:
    repo = "models--org--m"
    entries = (
        FileEntry(f"{repo}/blobs/w", 50, "w"),
        FileEntry(f"{repo}/snapshots/{COMMIT}/m.safetensors", 50, "w", link="../../blobs/w"),
    )
    return FolderListing(Place.HUB_CACHE, f"{HOME}/.cache/huggingface/hub", entries, {})


class Target:
    """One target: what is in it, and what was done to it."""

    def __init__(self, *listings: FolderListing) -> None:
        self.found = listings
        self.failure: ProblemError | None = None
        self.asked: list[tuple[str, ...]] = []
        self.removed: list[tuple[str, tuple[str, ...]]] = []
        self.received: list[tuple[str, bytes]] = []
        self.known: set[str] = set()

    def listings(self, folders: Sequence[str]) -> tuple[str, tuple[FolderListing, ...]]:
        self.asked.append(tuple(folders))
        if self.failure is not None:
            raise self.failure
        return HOME, self.found

    def remove(self, root: str, paths: Sequence[str]) -> None:
        self.removed.append((root, tuple(paths)))

    def receive(self, path: str, size: int, sha256: str, chunks: Iterable[bytes]) -> bool:
        if path in self.known:
            return False
        data = b"".join(chunks)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256)
        self.received.append((path, data))
        return True

    def ask(self, question: FetchJob) -> FetchMessage:
        raise NotImplementedError

    def fetch(
        self,
        run_id: str,
        job: FetchJob,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> EngineProcess:
        raise NotImplementedError


class Stores:
    """Ollama with two files of one model."""

    def __init__(self) -> None:
        self.data = {hashlib.sha256(data).hexdigest(): data for data in (b"GGUF-model", b"GGUF-mmproj")}

    def models(self) -> tuple[StoredModel, ...]:
        return (StoredModel("q:1", Place.OLLAMA, "windows", "C:/o", "C:/", "gguf", (), Condition.WHOLE),)

    def ollama(self) -> tuple[OllamaManifest, ...]:
        blobs = [OllamaBlob(digest, len(data)) for digest, data in self.data.items()]
        return (OllamaManifest("q:latest", blobs[0], (blobs[1],)),)

    def read(self, sha256: str, size: int) -> Iterator[bytes]:
        yield self.data[sha256][:4]
        yield self.data[sha256][4:]


class NoToken:
    def get(self) -> str | None:
        return None

    def set(self, token: str) -> None:
        raise NotImplementedError

    def forget(self) -> bool:
        return False


@dataclass
class Pc:
    """A PC with two distros of its own; Ubuntu is the default one and runs."""

    targets: dict[str, Target] = field(default_factory=dict)
    running: tuple[str, ...] = ("Ubuntu",)
    wsl: ProblemError | None = None
    profiles: tuple[Profile, ...] = ()
    busy: frozenset[str] = frozenset()
    downloading: tuple[tuple[str, str], ...] = ()
    drive: int | None = None
    local: bool = False

    def _names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        if self.wsl is not None:
            raise self.wsl
        return names

    def shelf(self) -> Shelf:
        ports = ModelPorts(
            lambda target: self.targets[target],
            Stores(),
            NoToken(),
            lambda _: self.drive,
            None if self.local else lambda: self._names(("Ubuntu", "docker-desktop", "Debian")),
            None if self.local else lambda: self._names(self.running),
        )
        return Shelf(ports, lambda: self.profiles, lambda: self.busy, lambda: self.downloading)


@pytest.fixture
def ubuntu() -> Target:
    return Target(folder("a.gguf", "b.gguf"), cache())


@pytest.fixture
def pc(ubuntu: Target) -> Pc:
    return Pc({"wsl:Ubuntu": ubuntu, "wsl:Debian": Target(folder("a.gguf"))})


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(ProblemError) as raised:
        act()
    return raised.value.problem.code


def test_only_distros_that_run_are_looked_into(pc: Pc) -> None:
    found = pc.shelf().files()
    assert [(model.target, model.id) for model in found.models] == [
        ("wsl:Ubuntu", "~/models/a.gguf"),
        ("wsl:Ubuntu", "~/models/b.gguf"),
        ("wsl:Ubuntu", "org/m"),
        ("windows", "q:1"),
    ]
    assert found.not_running == ("Debian",)
    assert found.problems == ()


def test_the_default_distro_is_started_only_if_somebody_says_so(pc: Pc) -> None:
    pc.running = ()
    assert pc.shelf().files().not_running == ("Ubuntu", "Debian")
    assert pc.shelf().files(start=True).not_running == ("Debian",)


def test_profiles_of_the_default_distro_name_models_in_it(pc: Pc, ubuntu: Target) -> None:
    pc.profiles = (profile("~/models/a.gguf"), profile("/data/x/y.gguf", "q", "wsl:Ubuntu"), profile("~/z.gguf", "r"))
    used = {model.id: model.used_by for model in pc.shelf().files().models}
    assert used["~/models/a.gguf"] == ("p",)
    assert ubuntu.asked == [("/data/x", "~/models")]


def test_a_target_that_does_not_answer_hides_nothing_else(pc: Pc, ubuntu: Target) -> None:
    pc.running = ("Ubuntu", "Debian")
    ubuntu.failure = ProblemError(problem("wsl.hangs"))
    found = pc.shelf().files()
    assert [one.code for one in found.problems] == ["wsl.hangs"]
    assert {model.target for model in found.models} == {"wsl:Debian", "windows"}


def test_without_wsl_there_are_other_programs_models(pc: Pc) -> None:
    pc.wsl = ProblemError(problem("wsl.missing"))
    pc.profiles = (profile("~/models/a.gguf"),)
    found = pc.shelf().files()
    assert [one.code for one in found.problems] == ["wsl.missing"]
    assert [model.id for model in found.models] == ["q:1"]


def test_on_linux_models_are_on_this_machine(ubuntu: Target) -> None:
    pc = Pc({"local": ubuntu}, local=True, profiles=(profile("~/models/a.gguf", target="local"),))
    found = pc.shelf().files()
    assert {model.target for model in found.models} == {"local", "windows"}
    assert found.models[0].used_by == ("p",)


@pytest.mark.parametrize("name", ["~/models/b.gguf", "b.gguf"])
def test_a_model_is_removed_as_agreed(pc: Pc, ubuntu: Target, name: str) -> None:
    planned = pc.shelf().plan_removal(name)
    assert (planned.model.id, planned.removal.freed_bytes) == ("~/models/b.gguf", 100)
    assert ubuntu.removed == []
    assert pc.shelf().remove(planned) == 100
    assert ubuntu.removed == [(f"{HOME}/models", ("b.gguf",))]


def test_a_revision_is_removed(pc: Pc, ubuntu: Target) -> None:
    planned = pc.shelf().plan_removal("org/m", COMMIT[:4])
    assert planned.revision == COMMIT
    assert pc.shelf().remove(planned) == 50
    assert refused(lambda: pc.shelf().plan_removal("org/m", "ff")) == "models.no_revision"
    assert refused(lambda: pc.shelf().plan_removal("org/m", "")) == "models.no_revision"


def test_what_may_not_be_removed(pc: Pc) -> None:
    pc.profiles = (profile("~/models/a.gguf"),)
    pc.running = ("Ubuntu", "Debian")
    shelf = pc.shelf()
    assert refused(lambda: shelf.plan_removal("c.gguf")) == "models.unknown"
    assert refused(lambda: shelf.plan_removal("a.gguf")) == "models.ambiguous"
    assert refused(lambda: shelf.plan_removal("q:1")) == "models.read_only"
    pc.running = ("Ubuntu",)
    assert shelf.plan_removal("a.gguf").model.used_by == ("p",)
    pc.busy = frozenset({"p"})
    assert refused(lambda: shelf.plan_removal("a.gguf")) == "models.in_use"
    pc.downloading = (("wsl:Ubuntu", f"{HOME}/models"),)
    assert refused(lambda: shelf.plan_removal("b.gguf")) == "models.being_downloaded"
    assert shelf.plan_removal("org/m").removal.freed_bytes == 50


def test_what_has_changed_since_the_question_is_not_removed(pc: Pc, ubuntu: Target) -> None:
    planned = pc.shelf().plan_removal("b.gguf")
    ubuntu.found = (FolderListing(Place.FOLDER, f"{HOME}/models", (FileEntry("b.gguf", 999, "other"),), {}),)
    assert refused(lambda: pc.shelf().remove(planned)) == "models.changed"
    ubuntu.found = ()
    assert refused(lambda: pc.shelf().remove(planned)) == "models.changed"
    assert ubuntu.removed == []


def test_a_model_of_ollama_is_copied_with_its_projector(pc: Pc, ubuntu: Target) -> None:
    told: list[tuple[int, int, str]] = []
    copied = pc.shelf().import_ollama("q", "wsl:Ubuntu", "~/models", lambda *words: told.append(words))
    assert copied == (Copied("~/models/q-latest.gguf", True), Copied("~/models/q-latest-mmproj.gguf", True))
    assert ubuntu.received == [
        ("~/models/q-latest.gguf", b"GGUF-model"),
        ("~/models/q-latest-mmproj.gguf", b"GGUF-mmproj"),
    ]
    assert told[0] == (4, 21, "q-latest.gguf")
    assert told[-1] == (21, 21, "q-latest-mmproj.gguf")


def test_what_is_there_is_not_copied_again(pc: Pc, ubuntu: Target) -> None:
    ubuntu.known = {"~/models/q-latest.gguf", "~/models/q-latest-mmproj.gguf"}
    assert [each.new for each in pc.shelf().import_ollama("q:latest", "wsl:Ubuntu")] == [False, False]


def test_an_import_wants_the_model_and_room(pc: Pc) -> None:
    assert refused(lambda: pc.shelf().import_ollama("z", "wsl:Ubuntu")) == "models.ollama_unknown"
    pc.drive = GIB
    assert refused(lambda: pc.shelf().import_ollama("q", "wsl:Ubuntu")) == "download.no_space_windows"
    assert [manifest.name for manifest in pc.shelf().ollama()] == ["q:latest"]


def test_folders_to_look_into() -> None:
    models = ["~/models/deep/a.gguf", "~/b.gguf", "/c.gguf", "/data/d/e.gguf", "Qwen/Qwen2.5-7B", "/data/d/f/g.gguf"]
    assert folders_of([profile(model) for model in models], ["/more/"]) == ("/data/d", "/more", "~/models")
