"""Downloads: one at a time, paused and resumed, with room checked first, and told on the way."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import LogLine, Stream
from kotaro_bridge.domain.errors import ProblemError, problem
from kotaro_bridge.domain.model.download import DownloadRequest, DownloadState, DownloadView
from kotaro_bridge.domain.model.hub import FetchError, FetchJob, FetchMessage, HubFile, HubListing, Measured
from kotaro_bridge.domain.model.model_files import FolderListing, StoredModel
from kotaro_bridge.domain.model.model_stores import OllamaManifest
from kotaro_bridge.domain.ports import ChannelClosed, Cleaned, Exited, ProcessEvent, Started
from kotaro_bridge.host.download_memory import DownloadMemoryFile
from kotaro_bridge.service.downloads import Downloads
from kotaro_bridge.service.model_ports import ModelPorts

S = DownloadState
GIB = 1 << 30
SIZE = 4 * GIB
LISTING = HubListing("c" * 40, (HubFile("m.gguf", SIZE, "a" * 64),))
WAIT_S = 10.0


class Transfer:
    """A client at work that says what a test has it say."""

    def __init__(self, job: FetchJob, say: Callable[[LogLine], None], event: Callable[[ProcessEvent], None]) -> None:
        self.job = job
        self.stopped = threading.Event()
        self._say, self._event = say, event
        self._event(Started(1))

    def says(self, text: str) -> None:
        self._say(LogLine(Stream.STDOUT, 1, text))

    def ends(self, code: int = 0, *tail: str) -> None:
        for event in (Exited(code, None), Cleaned(()), ChannelClosed(code, True, tail)):
            self._event(event)

    def stop(self, grace_s: float) -> None:
        self.stopped.set()
        self.ends(143)

    kill = abandon = lambda self: None


class Target:
    """A target whose answers a test sets."""

    def __init__(self) -> None:
        self.listing: FetchMessage | Exception = FetchMessage(listing=LISTING)
        self.measured = Measured("/home/k/models", 100 * GIB, (0,))
        self.silent = False
        self.hold = threading.Event()
        self.hold.set()
        self.asked: list[FetchJob] = []
        self.transfers: list[Transfer] = []
        self.begun = threading.Condition()

    def ask(self, question: FetchJob) -> FetchMessage:
        self.asked.append(question)
        assert self.hold.wait(WAIT_S)
        if isinstance(self.listing, Exception):
            raise self.listing
        if question.verb == "list":
            return self.listing
        return FetchMessage() if self.silent else FetchMessage(measured=self.measured)

    def fetch(
        self,
        run_id: str,
        job: FetchJob,
        on_line: Callable[[LogLine], None],
        on_event: Callable[[ProcessEvent], None],
    ) -> Transfer:
        assert run_id.startswith("download-")
        with self.begun:
            self.transfers.append(Transfer(job, on_line, on_event))
            self.begun.notify_all()
            return self.transfers[-1]

    def transfer(self, number: int = 1) -> Transfer:
        with self.begun:
            assert self.begun.wait_for(lambda: len(self.transfers) >= number, WAIT_S)
            return self.transfers[number - 1]

    def listings(self, folders: Sequence[str]) -> tuple[str, tuple[FolderListing, ...]]:
        raise NotImplementedError

    def remove(self, root: str, paths: Sequence[str]) -> None:
        raise NotImplementedError

    def receive(self, path: str, size: int, sha256: str, chunks: Iterable[bytes]) -> bool:
        raise NotImplementedError


class Empty:
    """No other program has models."""

    def models(self) -> tuple[StoredModel, ...]:
        return ()

    def ollama(self) -> tuple[OllamaManifest, ...]:
        return ()

    def read(self, sha256: str, size: int) -> Iterable[bytes]:
        return ()


class Token:
    """A keyring with this token in it; None for one that is locked."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def get(self) -> str | None:
        if self.token is None:
            raise ProblemError(problem("token.keyring", detail="locked"))
        return self.token

    def set(self, token: str) -> None:
        raise NotImplementedError

    def forget(self) -> bool:
        raise NotImplementedError


class Desk:
    """Downloads of a PC with one distro, and everything that was published."""

    def __init__(
        self,
        token: str | None = "hf_x",  # noqa: S107 - no secret
        drive: int | None = None,
        memory: Path | None = None,
    ) -> None:
        self.target = Target()
        self.seen: list[DownloadView] = []
        self.now = 0.0
        ports = ModelPorts(
            lambda _: self.target, Empty(), Token(token), lambda _: drive, lambda: ("Ubuntu",), lambda: ("Ubuntu",)
        )
        self.downloads = Downloads(
            ports,
            self.seen.append,
            lambda _: ("~/vllm/bin/vllm",),
            clock=self._clock,
            memory=DownloadMemoryFile(memory) if memory is not None else None,
        )

    def _clock(self) -> float:
        self.now += 1.0
        return self.now

    def start(self, repo: str = "org/m", revision: str = "") -> str:
        return self.downloads.start(DownloadRequest(repo, "wsl:", revision=revision))

    def rests(self, name: str) -> DownloadView:
        return self.downloads.wait(name, WAIT_S)

    def states(self, name: str) -> list[DownloadState]:
        found: list[DownloadState] = []
        for view in self.seen:
            if view.id == name and (not found or found[-1] is not view.state):
                found.append(view.state)
        return found


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.downloads.close()


def problem_of(view: DownloadView) -> str:
    assert view.state is S.FAILED
    assert view.problem is not None
    return view.problem.code


def test_from_the_question_to_the_end(desk: Desk) -> None:
    name = desk.start()
    transfer = desk.target.transfer()
    for size in (1, 2):
        transfer.says(f'@fetch {{"bytes": {size * GIB}, "file": "m.gguf"}}')
    transfer.says("a line that is none of ours")
    transfer.says('@fetch {"note": "slow"}')
    transfer.says('@fetch {"waiting": 4, "said": "503"}')
    transfer.says(f'@fetch {{"bytes": {3 * GIB}, "file": "m.gguf"}}')
    transfer.says('@fetch {"checking": "m.gguf"}')
    transfer.says('@fetch {"done": "/home/k/models"}')
    transfer.ends()
    view = desk.rests(name)
    assert (view.state, view.bytes, view.total, view.folder) == (S.DONE, SIZE, SIZE, "/home/k/models")
    assert desk.states(name) == [S.LOOKING, S.RUNNING, S.WAITING, S.RUNNING, S.CHECKING, S.DONE]
    moving = [(view.speed, view.eta) for view in desk.seen if view.speed]
    assert moving[0] == (GIB, 2.0)
    waiting = next(view for view in desk.seen if view.state is S.WAITING)
    assert waiting.waits_s == 4
    assert waiting.problem is not None
    assert waiting.problem.code == "download.waits"
    assert view.problem is None


def test_the_client_is_asked_for_one_commit_with_the_token(desk: Desk) -> None:
    name = desk.start(revision="v1")
    transfer = desk.target.transfer()
    transfer.says('@fetch {"done": "/x"}')
    transfer.ends()
    desk.rests(name)
    listed, measured, fetched = *desk.target.asked, transfer.job
    assert [job.verb for job in (listed, measured, fetched)] == ["list", "measure", "fetch"]
    assert [job.revision for job in (listed, measured, fetched)] == ["v1", "c" * 40, "c" * 40]
    assert {job.token for job in (listed, measured, fetched)} == {"hf_x"}
    assert {job.clients for job in (listed, fetched)} == {("~/vllm/bin/vllm",)}
    assert desk.downloads.views()[0].request.target == "wsl:Ubuntu"


def test_paused_and_resumed(desk: Desk) -> None:
    name = desk.start()
    desk.target.transfer().says(f'@fetch {{"bytes": {GIB}, "file": "m.gguf"}}')
    assert desk.downloads.busy_folders() == (("wsl:Ubuntu", "/home/k/models"),)
    desk.downloads.pause(name)
    paused = desk.rests(name)
    assert (paused.state, paused.bytes, paused.speed, paused.problem) == (S.PAUSED, GIB, None, None)
    assert desk.downloads.busy_folders() == ()
    desk.downloads.pause(name)
    desk.downloads.resume(name)
    again = desk.target.transfer(2)
    again.says('@fetch {"done": "/x"}')
    again.ends()
    assert desk.rests(name).state is S.DONE
    desk.downloads.resume(name)
    assert desk.rests(name).state is S.DONE


def test_paused_while_the_hub_is_asked(desk: Desk) -> None:
    desk.target.hold.clear()
    name = desk.start()
    desk.downloads.pause(name)
    desk.target.hold.set()
    assert desk.rests(name).state is S.PAUSED
    assert desk.target.transfers == []


def test_one_at_a_time_and_a_queued_one_can_be_paused(desk: Desk) -> None:
    first, second, third = desk.start("org/a"), desk.start("org/b"), desk.start("org/c")
    transfer = desk.target.transfer()
    assert [view.state for view in desk.downloads.views()][1:] == [S.QUEUED, S.QUEUED]
    desk.downloads.pause(second)
    assert desk.rests(second).state is S.PAUSED
    transfer.says('@fetch {"done": "/x"}')
    transfer.ends()
    assert desk.rests(first).state is S.DONE
    assert desk.target.transfer(2).job.repo == "org/c"
    desk.downloads.pause(third)
    desk.rests(third)


def test_the_same_request_again_is_the_same_download(desk: Desk) -> None:
    name = desk.start()
    desk.target.transfer()
    assert desk.start() == name
    desk.downloads.pause(name)
    desk.rests(name)
    assert desk.start("https://huggingface.co/org/m") == name
    transfer = desk.target.transfer(2)
    transfer.says('@fetch {"done": "/x"}')
    transfer.ends()
    desk.rests(name)
    desk.downloads.forget(name)
    assert desk.downloads.views() == ()
    desk.downloads.forget(name)
    desk.downloads.pause(name)
    desk.downloads.resume(name)


def test_what_the_client_refuses_is_told(desk: Desk) -> None:
    desk.target.listing = FetchMessage(error=FetchError("http", 403, "GatedRepo"))
    assert problem_of(desk.rests(desk.start())) == "download.gated"


def test_without_a_keyring_nothing_is_sent_as_a_token() -> None:
    desk = Desk(token=None)
    desk.target.listing = FetchMessage(error=FetchError("http", 401, "GatedRepo"))
    assert problem_of(desk.rests(desk.start())) == "download.gated_no_token"
    desk.downloads.close()


def test_an_error_in_the_middle_and_another_try(desk: Desk) -> None:
    name = desk.start()
    transfer = desk.target.transfer()
    transfer.says('@fetch {"error": {"kind": "checksum", "file": "m.gguf"}}')
    transfer.ends(1)
    assert problem_of(desk.rests(name)) == "download.checksum"
    desk.downloads.resume(name)
    again = desk.target.transfer(2)
    again.says('@fetch {"done": "/x"}')
    again.ends()
    done = desk.rests(name)
    assert (done.state, done.problem) == (S.DONE, None)


def test_an_end_without_a_word(desk: Desk) -> None:
    name = desk.start()
    desk.target.transfer().ends(137, "wsl: gone")
    view = desk.rests(name)
    assert problem_of(view) == "download.ended"
    assert view.problem is not None
    assert view.problem.evidence == ("wsl: gone",)


@pytest.mark.parametrize(
    ("free", "have", "code"),
    [(SIZE, 0, "download.no_space"), (SIZE + GIB, 0, ""), (GIB + 1, SIZE - 1, ""), (0, SIZE, "")],
)
def test_room_in_the_distro(desk: Desk, free: int, have: int, code: str) -> None:
    desk.target.measured = Measured("/home/k/models", free, (have,))
    name = desk.start()
    if code:
        assert problem_of(desk.rests(name)) == code
        assert desk.target.transfers == []
    else:
        transfer = desk.target.transfer()
        transfer.says('@fetch {"done": "/x"}')
        transfer.ends()
        assert desk.rests(name).state is S.DONE


def test_room_on_the_drive_where_the_disk_grows() -> None:
    desk = Desk(drive=SIZE)
    view = desk.rests(desk.start())
    assert problem_of(view) == "download.no_space_windows"
    assert view.problem is not None
    assert view.problem.params == {"need_bytes": SIZE, "free_bytes": SIZE}
    desk.downloads.close()


@pytest.mark.parametrize(
    ("failure", "code"),
    [(ProblemError(problem("wsl.missing")), "wsl.missing"), (ValueError("odd"), "run.internal")],
)
@pytest.mark.allow_log("download", reason="an error of ours is logged")
def test_what_cannot_be_reached_or_breaks(desk: Desk, failure: Exception, code: str) -> None:
    desk.target.listing = failure
    assert problem_of(desk.rests(desk.start())) == code


def test_a_client_that_answers_something_else(desk: Desk) -> None:
    desk.target.silent = True
    assert problem_of(desk.rests(desk.start())) == "download.failed"


def test_closing_pauses_and_takes_nothing_more() -> None:
    desk = Desk()
    name = desk.start()
    desk.target.transfer()
    desk.downloads.close()
    assert desk.rests(name).state is S.PAUSED
    late = desk.start("org/late")
    assert desk.downloads.wait(late, 0.01).state is S.QUEUED
    assert len(desk.target.transfers) == 1


def test_what_is_no_id_is_refused_at_once(desk: Desk) -> None:
    with pytest.raises(ProblemError):
        desk.start("no id")


# --- over an end of the application -----------------------------------------------------------------------------------


def test_what_was_paused_is_listed_after_a_restart_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "downloads.json"
    first = Desk(memory=file)
    name = first.start()
    first.target.transfer().says(f'@fetch {{"bytes": {GIB}, "file": "m.gguf"}}')
    first.downloads.pause(name)
    paused = first.rests(name)
    first.downloads.close()
    again = Desk(memory=file)
    (view,) = again.downloads.views()
    assert again.seen == [view], "a window that is open hears of it"
    assert view == replace(paused, file=view.file)
    assert again.start() == name, "the same request goes on"
    transfer = again.target.transfer()
    transfer.says('@fetch {"done": "/x"}')
    transfer.ends()
    assert again.rests(name).state is S.DONE
    again.downloads.close()
    assert Desk(memory=file).downloads.views() == ()


def test_what_ran_when_the_application_was_killed_is_paused(tmp_path: Path) -> None:
    file = tmp_path / "downloads.json"
    killed = Desk(memory=file)
    name = killed.start()
    killed.target.transfer()
    left = Path(shutil.copy(file, tmp_path / "left.json"))  # from here on a killed program writes nothing
    killed.downloads.close()
    again = Desk(memory=left)
    assert [(view.id, view.state) for view in again.downloads.views()] == [(name, S.PAUSED)]
    again.downloads.forget(name)
    assert Desk(memory=left).downloads.views() == ()


@pytest.mark.allow_log("no memory of downloads", reason="a broken file is put there on purpose")
@pytest.mark.parametrize("content", [b"", b"[{}]", b"\xff", b"[1"])
def test_a_memory_that_is_none_counts_as_not_there(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "downloads.json"
    file.write_bytes(content)
    desk = Desk(memory=file)
    assert desk.downloads.views() == ()
    name = desk.start()
    transfer = desk.target.transfer()
    transfer.says('@fetch {"done": "/x"}')
    transfer.ends()
    desk.rests(name)
    desk.downloads.close()
    assert file.read_bytes() == b"[]"
