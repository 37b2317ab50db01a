"""What stands in for the Linux side's model files and downloads on Windows, beside the real scripts and client."""

from __future__ import annotations

import copy
import hashlib
import os
import queue
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge.domain.engine.engine_log import LogLine
from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.hub import FetchJob, FetchMessage, HubFile, read_message
from kotaro_bridge.domain.ports import ChannelClosed, Cleaned, Exited, ProcessEvent
from kotaro_bridge.host.launcher_wsl import WslLauncher
from kotaro_bridge.host.model_files import TargetModels, models_argv, parse_listings
from kotaro_bridge.simulator.hub import COMMIT, MIB, TOKEN, Hub, Trouble
from kotaro_bridge.simulator.pc import SimulatedPC
from tests.helpers.hubs import GATED, GGUF, MODELS, SAFETENSORS, SIZE
from tests.helpers.simulated import simulated_pc, until, wsl

if sys.platform == "win32":
    pytest.skip("there is no real Linux side to compare with", allow_module_level=True)

pytestmark = pytest.mark.e2e

CLIENTS = ("~/vllm/bin/vllm",)
BOTH = ("real", "stand-in")


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[SimulatedPC]:
    with simulated_pc(tmp_path / "pc", linux_side="stand-in") as opened:
        yield opened


def models_of(pc: SimulatedPC, hub: Hub | None = None) -> TargetModels:
    """Model files of the distro, through the emulated wsl.exe."""
    more = {"HF_ENDPOINT": hub.address, "WSLENV": "HF_ENDPOINT"} if hub is not None else {}
    return TargetModels(WslLauncher(pc.wsl_argv, None, {**pc.env, **more}))


def on_both(pc: SimulatedPC, ask: Callable[[], Any]) -> list[Any]:
    """What each side answers; a refusal by its code."""
    said: list[Any] = []
    for side in BOTH:
        pc.set(linux_side=side)
        try:
            said.append(ask())
        except ProblemError as error:
            said.append(error.problem.code)
    return said


def _said(pc: SimulatedPC, argv: list[str]) -> str:
    return wsl(pc, "--cd", "~", "--exec", *argv).stdout.decode()


def test_a_list_of_model_files(pc: SimulatedPC) -> None:
    """The cache of the official client with its links, odd names, what is half there, a link that leads nowhere."""
    cache = pc.home / ".cache/huggingface/hub/models--org--name"
    for folder in ("blobs", "refs", f"snapshots/{COMMIT}", "snapshots/other"):
        (cache / folder).mkdir(parents=True)
    (cache / "blobs/abc").write_bytes(b"GGUF-and-more")
    (cache / "blobs/def.incomplete").write_bytes(b"half")
    (cache / "refs/main").write_text(f"{COMMIT}\n")
    (cache / f"snapshots/{COMMIT}/m.gguf").symlink_to("../../blobs/abc")
    (cache / "snapshots/other/m.gguf").symlink_to("../../blobs/gone")
    (cache / "snapshots/other/empty").symlink_to("../../refs")
    own = pc.home / "models"
    (own / "a b").mkdir()
    (own / "a b" / "日本語 'q'.gguf").write_bytes(b"GG")
    os.link(own / "a b" / "日本語 'q'.gguf", own / "second.gguf")
    (pc.home / "elsewhere").symlink_to(own)
    for folders, found in (((), 1), (("~/models", "~/elsewhere/", "/nowhere", "~/none"), 3), (("~",), 2)):
        argv = models_argv("list", *folders)
        real, stand_in = on_both(pc, partial(_said, pc, argv))
        assert sorted(stand_in.splitlines()) == sorted(real.splitlines())
        home, listings = parse_listings(stand_in)
        assert home == str(pc.home)
        assert len(listings) == found


@pytest.mark.parametrize(
    "paths",
    [
        ("deep/er/a b.gguf", "other.gguf"),
        ("deep",),
        ("none.gguf",),
        ("linked.gguf", "folder-link"),
        ("deep/er/a b.gguf", "../outside"),
        ("/etc/x",),
        ("deep/./er",),
        ("deep//er",),
        ("deep/er/..",),
        ("",),
    ],
)
def test_removing_model_files(pc: SimulatedPC, paths: tuple[str, ...]) -> None:
    def ask() -> tuple[Any, ...]:
        root = pc.home / "own"
        (root / "deep/er").mkdir(parents=True, exist_ok=True)
        for name in ("deep/er/a b.gguf", "other.gguf", "kept.gguf"):
            (root / name).write_bytes(b"GGUF")
        for link, to in (("linked.gguf", "kept.gguf"), ("folder-link", "deep")):
            if not (root / link).is_symlink():
                (root / link).symlink_to(to)
        argv = models_argv("remove", "~/own")
        done = wsl(pc, "--cd", "~", "--exec", *argv, stdin="".join(f"{path}\n" for path in paths).encode())
        return done.returncode, sorted(str(path.relative_to(root)) for path in root.rglob("*"))

    real, stand_in = on_both(pc, ask)
    assert stand_in == real


def test_removing_where_nothing_is(pc: SimulatedPC) -> None:
    assert on_both(pc, lambda: models_of(pc).remove("~/nowhere", ["x"])) == ["models.not_removed"] * 2


def test_receiving_a_file(pc: SimulatedPC) -> None:
    """Taken over, kept, in the way, cut, wrong, and too large for the disk."""
    data = bytes(range(256)) * 4000
    right = hashlib.sha256(data).hexdigest()

    def ask() -> list[Any]:
        shutil.rmtree(pc.home / "in", ignore_errors=True)
        target = models_of(pc)
        said: list[Any] = []
        for path, size, digest, chunks in (
            ("~/in/deep/m.gguf", len(data), right, [data[:1000], data[1000:]]),
            ("~/in/deep/m.gguf", len(data), right, []),
            ("~/in/deep/m.gguf", len(data), "0" * 64, []),
            ("~/in/cut.gguf", len(data), right, [data[:1000]]),
            ("~/in/wrong.gguf", len(data), "0" * 64, [data]),
            ("~/in/huge.gguf", 1 << 62, right, [data]),
        ):
            try:
                said.append(target.receive(path, size, digest, chunks))
            except ProblemError as error:
                said.append(error.problem.code)
        return [*said, sorted(str(path.relative_to(pc.home)) for path in (pc.home / "in").rglob("*"))]

    real, stand_in = on_both(pc, ask)
    assert stand_in == real
    assert real[:3] == [True, False, "models.copy_exists"]


def test_what_the_hub_has_and_what_is_there(pc: SimulatedPC) -> None:
    """Of models that are there, gated and unknown, and to a wrong token."""
    with Hub(MODELS) as hub:
        target = models_of(pc, hub)
        for repo, revision, token in (
            (SAFETENSORS.id, "", None),
            (GGUF.id, COMMIT, TOKEN),
            (GATED.id, "", None),
            (GATED.id, "", TOKEN),
            (GATED.id, "", "hf_stranger"),
            ("org/none", "", None),
            (GGUF.id, "no-such", None),
            (GGUF.id, "", "hf_wrong"),
        ):
            job = FetchJob("list", repo, revision, token=token, clients=CLIENTS)
            real, stand_in = on_both(pc, partial(_asked, target, job))
            assert stand_in == real
        files = tuple(HubFile(name, 700) for name in ("config.json", "sub/a.txt", "../x"))
        for taken in (files[:2], files):
            job = FetchJob("measure", SAFETENSORS.id, COMMIT, "~/models/x 虎", taken, clients=CLIENTS)
            real, stand_in = on_both(pc, partial(_asked, target, job))
            assert stand_in == real
    nobody = FetchJob("list", GGUF.id)
    pc.set(linux_side="stand-in")
    assert plain(target.ask(nobody)) == ("no_client", 0, "")


def _asked(target: TargetModels, job: FetchJob) -> Any:
    return plain(target.ask(job))


def plain(message: FetchMessage) -> Any:
    """What both clients must say alike: no free room, no words of the library's own."""
    if message.error is not None:
        return message.error.kind, message.error.status, message.error.code
    if message.measured is not None:
        return message.measured.folder, message.measured.have
    return message.listing


class Fetched:
    """A download under the guardian, to its end."""

    def __init__(self, pc: SimulatedPC, hub: Hub, job: FetchJob, run_id: str = "download-1") -> None:
        self.said: list[FetchMessage] = []
        self.events: queue.SimpleQueue[ProcessEvent] = queue.SimpleQueue()
        self.process = models_of(pc, hub).fetch(run_id, job, self._hear, self.events.put)

    def _hear(self, line: LogLine) -> None:
        if (message := read_message(line.text)) is not None:
            self.said.append(message)

    def end(self) -> list[ProcessEvent]:
        seen = [self.events.get(timeout=30)]
        while not isinstance(seen[-1], ChannelClosed):
            seen.append(self.events.get(timeout=30))
        return seen[1:-1]

    def outcome(self) -> tuple[Any, ...]:
        """How it ended, as far as both sides must agree."""
        ended = self.end()
        told = next((message for message in self.said if message.done or message.error), None)
        return (ended, plain(told) if told is not None and told.error else told)


def _sent(hub: Hub, size: int) -> bool:
    return hub.sent > size


def fetch_job(pc: SimulatedPC, hub: Hub, folder: str) -> FetchJob:
    listing = models_of(pc, hub).ask(FetchJob("list", SAFETENSORS.id, clients=CLIENTS)).listing
    assert listing is not None
    return FetchJob("fetch", SAFETENSORS.id, COMMIT, folder, listing.files, clients=CLIENTS, wait_s=0.01)


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(),
        Trouble(cuts=[2 * MIB, 5 * MIB]),
        Trouble(answers=[(503, {}), (429, {"Retry-After": "0"})]),
        Trouble(answers=[(404, {})]),
        Trouble(cuts=[MIB], no_ranges=True),
        Trouble(corrupt={"model.safetensors"}),
    ],
)
def test_a_download(pc: SimulatedPC, trouble: Trouble) -> None:
    ended = []
    for side in BOTH:
        pc.set(linux_side=side)
        with Hub(MODELS) as hub:
            job = fetch_job(pc, hub, "~/fetched")
            hub.trouble = copy.deepcopy(trouble)
            ended.append(Fetched(pc, hub, job).outcome())
            folder = pc.home / "fetched"
            sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*.*")}
            ended[-1] += (sizes,)
        shutil.rmtree(folder)
    assert ended[1] == ended[0]
    assert not list((pc.home / ".local/state/kotaro-bridge/runs").iterdir())


def test_a_download_that_is_paused_goes_on_and_is_alone(pc: SimulatedPC) -> None:
    seen = []
    for side in BOTH:
        pc.set(linux_side=side)
        with Hub(MODELS, Trouble(rate=4 * MIB)) as hub:
            job = fetch_job(pc, hub, "~/paused")
            first = Fetched(pc, hub, job)
            until(partial(_sent, hub, 2 * MIB), what="some of it is there", deadline_s=30)
            assert Fetched(pc, hub, job, "download-2").outcome()[1] == ("busy", 0, "")
            first.process.stop(3)
            paused = first.outcome()
            kept = sum(path.stat().st_size for path in (pc.home / "paused").rglob("*.part"))
            assert MIB < kept < SIZE
            hub.trouble.rate, before = None, hub.sent
            seen.append((paused, Fetched(pc, hub, job).outcome()))
            assert hub.sent - before <= SIZE + 703 - kept
        shutil.rmtree(pc.home / "paused")
    assert seen[1] == seen[0]
    assert seen[0][0] == ([Exited(None, 15, 0), Cleaned(())], None)
