"""Downloads with the real Hugging Face client from the stand-in of the hub: cuts, lies, refusals, ends of all kinds."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kotaro_bridge.domain.engine.engine_log import LogLine
from kotaro_bridge.domain.model.hub import FetchJob, FetchMessage, HubFile, choose, fetch_problem, read_message
from kotaro_bridge.domain.ports import ChannelClosed, Cleaned, ProcessEvent
from kotaro_bridge.host.guardian import target_script
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.model_files import TargetModels, fetch_argv
from kotaro_bridge.simulator.hub import COMMIT, MIB, TOKEN, Hub, HubModel
from tests.helpers.feed_server import FeedServer
from tests.helpers.hubs import GATED, GGUF, MODELS, SAFETENSORS, SIZE, target, user
from tests.helpers.simulated import processes_of, until

if sys.platform == "win32":
    pytest.skip("the client runs on the Linux side", allow_module_level=True)

FAST = 0.01


class Client:
    """A user with the real client, and what it said."""

    def __init__(self, home: Path, hub: Hub, **more: str) -> None:
        self.home, self.hub = home, hub
        self.environment = {**user(home, hub.address), **more}
        self.models = target(self.environment)
        self.said: list[FetchMessage] = []
        self.lines: list[str] = []
        self.events: queue.SimpleQueue[ProcessEvent] = queue.SimpleQueue()

    def job(self, model: HubModel = SAFETENSORS, *wanted: str, token: str | None = None) -> FetchJob:
        """The download of a model, as its list says."""
        answer = self.models.ask(FetchJob("list", model.id, token=token))
        assert answer.listing is not None, answer
        choice = choose(model.id, answer.listing, wanted)
        return FetchJob("fetch", model.id, COMMIT, choice.folder, choice.files, token, wait_s=FAST)

    def start(self, job: FetchJob) -> object:
        self.said.clear()
        return self.models.fetch(f"download-{os.getpid()}", job, self._hear, self.events.put)

    def _hear(self, line: LogLine) -> None:
        self.lines.append(line.text)
        if (message := read_message(line.text)) is not None:
            self.said.append(message)

    def end(self) -> list[ProcessEvent]:
        seen = [self.events.get(timeout=60)]
        while not isinstance(seen[-1], ChannelClosed):
            seen.append(self.events.get(timeout=60))
        return seen

    def fetch(self, job: FetchJob) -> str:
        """Run a download to its end: the code of its problem, or "" when it is done."""
        self.start(job)
        self.end()
        error = next((message.error for message in self.said if message.error), None)
        if error is not None:
            return fetch_problem(job.repo, error, token=job.token is not None).code
        assert self.said[-1].done == str(self.home / "models" / job.folder.removeprefix("~/models").strip("/")).rstrip(
            "/"
        )
        return ""

    def transferred(self) -> int:
        """Bytes that are in unfinished files."""
        return sum(path.stat().st_size for path in self.home.rglob("*.part"))

    @property
    def files(self) -> dict[str, int]:
        """What is there of models, with sizes."""
        root = self.home / "models"
        return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(MODELS) as made:
        yield made


@pytest.fixture
def client(tmp_path: Path, hub: Hub) -> Client:
    return Client(tmp_path, hub)


WHOLE = {"model/config.json": 700, "model/model.safetensors": SIZE, "model/sub/a.txt": 3}


def test_a_model_arrives_with_its_folders_and_right_checksums(client: Client) -> None:
    assert client.fetch(client.job()) == ""
    assert client.files == WHOLE
    told = [message.bytes for message in client.said if message.bytes is not None]
    assert told == sorted(told)
    assert told[-1] == SIZE + 703


def test_the_client_takes_the_proxy_that_wsl_writes_into_the_environment(tmp_path: Path, hub: Hub) -> None:
    with FeedServer() as proxy:
        far = Client(tmp_path, hub, HF_ENDPOINT="http://hub.example", http_proxy=proxy.url, no_proxy="localhost")
        assert far.models.ask(FetchJob("list", SAFETENSORS.id)).error is not None
    assert proxy.paths
    assert all(path.startswith(f"http://hub.example/api/models/{SAFETENSORS.id}") for path in proxy.paths)


def test_a_second_time_nothing_is_transferred(client: Client) -> None:
    assert client.fetch(client.job()) == ""
    before = client.hub.sent
    assert client.fetch(client.job()) == ""
    assert client.hub.sent == before


def test_a_line_that_breaks_is_taken_up_where_it_broke(client: Client) -> None:
    client.hub.trouble.cuts = [2 * MIB, 5 * MIB]
    assert client.fetch(client.job(GGUF, "*q4*")) == ""
    assert client.files == {"m-q4_k_m.gguf": SIZE}
    assert client.hub.sent < SIZE + 2 * MIB  # of a chunk of the client at most the rest is lost


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ended_at_any_time_it_goes_on_from_there(client: Client, number: int) -> None:
    client.hub.trouble.rate = 4 * MIB
    job = client.job(GGUF, "*q4*")
    client.start(job)
    until(lambda: client.transferred() > 2 * MIB, what="some of it is there", deadline_s=30)
    runs = client.home / ".local" / "state" / "kotaro-bridge" / "runs"
    os.kill(int(next(runs.iterdir()).read_text().split()[0]), number)
    assert Cleaned(()) in client.end()
    kept, sent = client.transferred(), client.hub.sent
    client.hub.trouble.rate = None
    measured = client.models.ask(FetchJob("measure", job.repo, COMMIT, job.folder, job.files)).measured
    assert measured is not None
    assert measured.have == (kept,)
    assert client.fetch(job) == ""
    assert client.files == {"m-q4_k_m.gguf": SIZE}
    assert client.hub.sent - sent <= SIZE - kept


def test_an_owner_that_is_killed_leaves_nothing_running(client: Client, tmp_path: Path) -> None:
    client.hub.trouble.rate = MIB
    job = client.job(GGUF, "*q4*")
    guardian = target_script("environment.sh", "guardian.sh")
    argv = ["/bin/sh", "-c", guardian, "g", "tell", "download-x", "2", "", "", "--", *fetch_argv(())]
    owner = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=client.environment)
    assert owner.stdin is not None
    owner.stdin.write(f"{job.line}\n".encode())
    owner.stdin.flush()
    until(lambda: client.transferred() > 0, what="it transfers", deadline_s=30)
    owner.kill()
    owner.communicate()
    until(lambda: not processes_of(tmp_path), what=f"nothing runs: {processes_of(tmp_path)}", deadline_s=20)


def test_wrong_bytes_are_thrown_away(client: Client) -> None:
    client.hub.trouble.corrupt = {"model.safetensors"}
    assert client.fetch(client.job()) == "download.checksum"
    assert "model/model.safetensors" not in client.files
    assert client.transferred() == 0
    client.hub.trouble.corrupt = set()
    assert client.fetch(client.job()) == ""
    assert client.files == WHOLE


def test_wrong_bytes_of_a_small_file_are_noticed_as_well(client: Client) -> None:
    client.hub.trouble.corrupt = {"config.json"}
    assert client.fetch(client.job()) == "download.checksum"


def test_a_busy_hub_is_waited_for_and_asked_again(client: Client) -> None:
    job = client.job(GGUF, "*q4*")
    client.hub.trouble.answers = [(503, {}), (502, {}), (503, {"Retry-After": "1"})]
    began = time.monotonic()
    assert client.fetch(job) == ""
    assert [message.waiting for message in client.said if message.waiting is not None] == [FAST, 2 * FAST, 1]
    assert time.monotonic() - began > 1


def test_too_many_requests_are_waited_for_as_the_hub_says(client: Client) -> None:
    job = client.job(GGUF, "*q4*")
    client.hub.trouble.answers = [(429, {"Retry-After": "1"})]
    assert client.fetch(job) == ""
    assert any("429" in (message.note or "") for message in client.said)


def test_a_hub_that_stays_broken_is_named(client: Client) -> None:
    job = client.job(GGUF, "*q4*")
    client.hub.trouble.answers = [(503, {})] * 20
    assert client.fetch(job) == "download.hub_down"


def test_nobody_waits_an_hour_without_being_told(client: Client) -> None:
    job = client.job(GGUF, "*q4*")
    client.hub.trouble.answers = [(503, {"Retry-After": "3600"})]
    assert client.fetch(job) == "download.hub_down"


@pytest.mark.parametrize(
    ("answer", "code"),
    [((429, {"Retry-After": "90"}), "download.too_many"), ((503, {}), "download.hub_down")],
)
def test_the_list_is_refused(client: Client, answer: tuple[int, dict[str, str]], code: str) -> None:
    client.hub.trouble.listings = [answer]
    said = client.models.ask(FetchJob("list", "org/model")).error
    assert said is not None
    problem = fetch_problem("org/model", said, token=False)
    assert problem.code == code
    assert problem.params.get("seconds", 90) == 90


@pytest.mark.parametrize(
    ("model", "token", "revision", "code"),
    [
        ("org/none", None, "", "download.not_found"),
        ("org/gated", None, "", "download.gated_no_token"),
        ("org/gated", "hf_stranger", "", "download.gated"),
        ("org/gated", "hf_wrong", "", "download.token_refused"),
        ("org/model", None, "v9", "download.no_revision"),
    ],
)
def test_what_may_not_be_had_is_told_before_anything_is_transferred(
    client: Client, model: str, token: str | None, revision: str, code: str
) -> None:
    said = client.models.ask(FetchJob("list", model, revision, token=token)).error
    assert said is not None
    assert fetch_problem(model, said, token=token is not None).code == code


def test_a_gated_model_comes_with_the_right_token_which_nobody_sees(client: Client) -> None:
    client.hub.trouble.rate = 2 * MIB
    client.start(client.job(GATED, token=TOKEN))
    until(lambda: client.transferred() > 0, what="it transfers", deadline_s=30)
    seen = [path for path in Path("/proc").glob("[0-9]*") if str(client.home) in text_of(path / "environ")]
    assert seen
    for process in seen:
        assert TOKEN not in text_of(process / "cmdline") + text_of(process / "environ")
    client.hub.trouble.rate = None
    client.end()
    assert client.files == {"gated/config.json": 700, "gated/model.safetensors": 5 * MIB}
    assert not any(TOKEN in line for line in client.lines)
    holding = [path for path in client.home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert holding == []
    # The place where large files come from is another origin: it gets no token.
    storage = [headers for _, path, headers in client.hub.asked if "signed" in path]
    assert storage
    assert not any("authorization" in map(str.lower, headers) for headers in storage)


def text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_no_network(tmp_path: Path, hub: Hub) -> None:
    client = Client(tmp_path, hub, HF_ENDPOINT="http://127.0.0.1:9")
    said = client.models.ask(FetchJob("list", "org/model")).error
    assert said is not None
    assert fetch_problem("org/model", said, token=False).code == "download.no_network"


def test_offline_mode_of_engines_does_not_count(tmp_path: Path, hub: Hub) -> None:
    client = Client(tmp_path, hub, HF_HUB_OFFLINE="1")
    assert client.models.ask(FetchJob("list", "org/model")).listing is not None


def test_a_server_without_ranges_sends_the_file_anew(client: Client) -> None:
    client.hub.trouble.cuts = [3 * MIB]
    client.hub.trouble.no_ranges = True
    assert client.fetch(client.job(GGUF, "*q4*")) == ""
    assert client.files == {"m-q4_k_m.gguf": SIZE}


def test_another_file_of_that_name_stays(client: Client) -> None:
    own = client.home / "models" / "model" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert client.fetch(client.job()) == "download.other_file"
    assert own.read_text() == "mine"


def test_a_second_download_into_the_folder_is_told_so(client: Client) -> None:
    client.hub.trouble.rate = MIB
    job = client.job(GGUF, "*q4*")
    process = client.models.fetch("download-one", job, lambda _: None, lambda _: None)
    until(lambda: client.transferred() > 0, what="the first one transfers", deadline_s=30)
    assert client.fetch(job) == "download.busy"
    process.kill()
    until(lambda: not processes_of(client.home), what="the first one ends", deadline_s=20)


def test_a_path_that_leads_out_of_the_folder_is_refused_there_as_well(client: Client) -> None:
    job = FetchJob("fetch", "org/model", COMMIT, "~/models/m", (HubFile("../x", 3),), wait_s=FAST)
    assert client.fetch(job) == "download.unsafe_path"
    assert not (client.home / "models" / "x").exists()


def test_a_folder_that_cannot_be_written(client: Client) -> None:
    (client.home / "models").write_text("a file")
    job = FetchJob("fetch", "org/model", COMMIT, "~/models/m", (HubFile("config.json", 3),), wait_s=FAST)
    assert client.fetch(job) == "download.failed"


def test_without_a_client_it_is_said_how_to_get_one(tmp_path: Path, hub: Hub) -> None:
    environment = user(tmp_path, hub.address, client=False)
    if subprocess.run(
        ["/usr/bin/env", "python3", "-c", "import huggingface_hub"], env=environment, check=False
    ).returncode:
        said = TargetModels(LocalLauncher(environment)).ask(FetchJob("list", "org/model")).error
        assert said is not None
        assert fetch_problem("org/model", said, token=False).code == "download.no_client"


def test_the_client_of_vllm_comes_first(tmp_path: Path, hub: Hub) -> None:
    place = tmp_path / "vllm" / "bin"
    place.mkdir(parents=True)
    (place / "vllm").write_text(f"#!{sys.executable}\n")
    environment = user(tmp_path, hub.address, client=False)
    answer = TargetModels(LocalLauncher(environment)).ask(FetchJob("list", "org/model", clients=("~/vllm/bin/vllm",)))
    assert answer.listing is not None
    assert {file.path for file in answer.listing.files} == {"config.json", "model.safetensors", "sub/a.txt"}


def described() -> dict[str, object]:
    """The functions of the program, without running it."""
    names: dict[str, object] = {}
    code = target_script("fetch.py").rpartition("\nmain()")[0]
    exec(compile(code, "fetch.py", "exec"), names)  # noqa: S102 - our own program
    return names


def test_a_full_disk_has_its_own_word() -> None:
    describe = described()["describe"]
    assert callable(describe)
    assert describe(OSError(28, "No space left on device"))["kind"] == "disk_full"
    assert describe(PermissionError(13, "Permission denied"))["kind"] == "unwritable"
    assert describe(ConnectionResetError(104, "reset"))["kind"] == "network"
    assert describe(ValueError("odd"))["kind"] == "other"
