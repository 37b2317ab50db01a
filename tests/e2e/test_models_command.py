"""`kotaro-bridge models ...` on the simulated PC: the real client, the stand-in of the hub, a keyring of the test's."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kotaro_bridge.simulator.hub import MIB, TOKEN, Hub
from tests.e2e.conftest import Station, ctrl_c
from tests.helpers.cli import CommandLine
from tests.helpers.hubs import MODELS, SIZE
from tests.helpers.simulated import processes_of, until

pytestmark = pytest.mark.e2e


class Person:
    """Somebody at the terminal, with a hub of the test's own."""

    def __init__(self, station: Station, hub: Hub, tmp_path: Path) -> None:
        self.line: CommandLine = station.line
        self.pc = station.pc
        self.hub = hub
        self.models = station.pc.home / "models"
        self.env = {
            "HF_ENDPOINT": hub.address,
            "WSLENV": "HF_ENDPOINT",
            "PYTHON_KEYRING_BACKEND": "tests.helpers.file_keyring.FileKeyring",
            "KOTARO_TEST_KEYRING": str(tmp_path / "keyring"),
        }

    def call(self, *arguments: str):  # type: ignore[no-untyped-def]
        return self.line.call("models", *arguments, env=self.env)

    def parts(self) -> int:
        return sum(path.stat().st_size for path in self.models.rglob("*.part"))

    def files(self) -> dict[str, str]:
        """Condition of each model, by id."""
        document = self.call("files", "--start", "--json").json
        return {model["id"]: model["condition"] for model in document["models"]}


@pytest.fixture
def person(station: Station, tmp_path: Path) -> Iterator[Person]:
    station.pc.boot("Ubuntu")
    before = set((station.pc.home / "models").iterdir())
    with Hub(MODELS) as hub:
        yield Person(station, hub, tmp_path)
    for path in set((station.pc.home / "models").iterdir()) - before:
        if path.is_file():
            path.unlink()


def test_download_look_and_delete(person: Person) -> None:
    done = person.call("download", "org/gguf", "*q4*")
    assert done.code == 0, done.err
    assert "m-q4_k_m.gguf" in done.err
    assert (person.models / "m-q4_k_m.gguf").stat().st_size == SIZE
    assert person.files()["~/models/m-q4_k_m.gguf"] == "whole"
    asked = person.call("remove", "m-q4_k_m.gguf")
    assert asked.code == 1
    assert "--yes" in asked.err
    assert (person.models / "m-q4_k_m.gguf").exists()
    gone = person.call("remove", "m-q4_k_m.gguf", "--yes", "--json")
    assert gone.json == {
        "id": "~/models/m-q4_k_m.gguf",
        "target": "wsl:Ubuntu",
        "freed": SIZE,
        "removed": ["m-q4_k_m.gguf"],
    }
    assert not (person.models / "m-q4_k_m.gguf").exists()


def test_a_simulated_pc_has_a_hub_of_its_own(person: Person) -> None:
    refused = person.line.call("models", "download", "openbmb/MiniCPM-V-2_6")
    assert refused.code == 1
    assert "https://huggingface.co/openbmb/MiniCPM-V-2_6" in refused.err
    assert person.hub.asked == []
    several = person.line.call("models", "download", "Qwen/Qwen2.5-7B-Instruct-GGUF")
    assert "qwen2.5-7b-instruct-q4_k_m.gguf" in several.err


@ctrl_c
def test_ctrl_c_pauses_and_the_same_command_goes_on(person: Person) -> None:
    person.hub.trouble.rate = 3 * MIB
    running = person.line.start("models", "download", "org/gguf", "*q4*", env=person.env)
    until(lambda: person.parts() > MIB, what="it transfers", deadline_s=40)
    ended = running.end(signal.SIGINT)
    assert ended.code == 130, ended.err
    assert person.line.left() == []
    kept, sent = person.parts(), person.hub.sent
    assert kept > 0
    assert person.files()["~/models/m-q4_k_m.gguf"] == "partial"
    person.hub.trouble.rate = None
    done = person.call("download", "org/gguf", "*q4*", "--json")
    assert (done.code, done.json["state"], done.json["bytes"]) == (0, "done", SIZE)
    assert person.hub.sent - sent <= SIZE - kept


def test_a_killed_command_leaves_nothing_running(person: Person) -> None:
    person.hub.trouble.rate = MIB
    running = person.line.start("models", "download", "org/gguf", "*q8*", env=person.env)
    until(lambda: person.parts() > 0, what="it transfers", deadline_s=40)
    running.process.kill()
    running.end()
    until(
        lambda: not any("fetch" in line for line in processes_of(person.line.folder)),
        what="the client ends",
        deadline_s=20,
    )
    if sys.platform == "win32":  # the stood-in guardian is in the job of the command: the next owner forgets its run
        assert person.line.call("stop").code == 0
    person.line.assert_quiet()


def test_an_owner_that_starts_leaves_a_download_alone(person: Person) -> None:
    person.hub.trouble.rate = 2 * MIB
    running = person.line.start("models", "download", "org/gguf", "*q4*", env=person.env)
    until(lambda: person.parts() > 0, what="it transfers", deadline_s=40)
    stopped = person.line.call("stop")
    assert stopped.code == 0, stopped.err
    person.hub.trouble.rate = None
    done = running.end()
    assert done.code == 0, done.err


def test_the_licence_the_token_and_nowhere_a_trace_of_it(person: Person) -> None:
    refused = person.call("download", "org/gated", "--lang", "ja")
    assert refused.code == 1
    assert "ライセンス" in refused.err
    argv, environment = person.line.argv("models", "token", "set"), {**person.line.env, **person.env}
    subprocess.run(argv, input=f"{TOKEN}\n".encode(), env=environment, check=True, capture_output=True)
    done = person.call("download", "org/gated", "--json")
    assert done.code == 0, done.err
    assert (person.models / "gated" / "model.safetensors").exists()
    traces = [
        path
        for path in person.line.folder.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and path.stat().st_size < 50 * MIB
        and TOKEN.encode() in path.read_bytes()
    ]
    assert traces == []
    assert person.call("token", "forget").code == 0
    assert person.call("remove", "~/models/gated", "--yes").code == 0
    assert person.call("download", "org/gated").code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("download", "nonsense"), 1, "ORG/NAME"),
        (("download", "org/none"), 1, "org/none"),
        (("download", "org/gguf"), 1, "m-q8_0.gguf"),
        (("download", "org/gguf", "*q5*"), 1, "*q5*"),
        (("download", "org/model", "--target", "wsl:Nowhere"), 1, "Nowhere"),
        (("download",), 2, "ID"),
        (("remove", "nothing"), 1, "nothing"),
        (("import-ollama", "nothing"), 1, "nothing"),
        (("token", "set"), 1, "hf_"),
    ],
)
def test_wrong_words(person: Person, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = person.call(*arguments)
    assert (done.code, "Traceback" in done.err) == (code, False)
    assert said in done.err


def test_no_room_on_the_windows_drive(person: Person) -> None:
    person.pc.set(drive_free_mib=100)
    try:
        done = person.call("download", "org/model")
    finally:
        person.pc.set(drive_free_mib=None)
    assert done.code == 1
    assert "Windows" in done.err
    assert not (person.models / "model").exists()


def test_a_model_of_ollama_comes_into_the_distro(person: Person) -> None:
    store = person.pc.wslconfig_path.parent / ".ollama" / "models"
    data = b"GGUF" + bytes(range(256)) * 4000
    digest = hashlib.sha256(data).hexdigest()
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / "qwen2.5" / "7b"
    for folder in (manifest.parent, store / "blobs"):
        folder.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(data)}
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [layer]}))
    blob = store / "blobs" / f"sha256-{digest}"
    blob.write_bytes(data)
    assert person.call("import-ollama", "--json").json == {"models": [{"name": "qwen2.5:7b", "size": len(data)}]}
    done = person.call("import-ollama", "qwen2.5:7b")
    assert done.code == 0, done.err
    assert (person.models / "qwen2.5-7b.gguf").read_bytes() == data
    again = person.call("import-ollama", "qwen2.5:7b", "--json")
    assert again.json["files"] == [{"path": "~/models/qwen2.5-7b.gguf", "new": False}]
    assert blob.read_bytes() == data
    assert person.files()["qwen2.5:7b"] == "whole"
    blob.write_bytes(data[:-1] + b"!")
    (person.models / "qwen2.5-7b.gguf").unlink()
    refused = person.call("import-ollama", "qwen2.5:7b")
    assert refused.code == 1
    assert not (person.models / "qwen2.5-7b.gguf").exists()


def test_a_model_that_runs_stays(person: Person) -> None:
    name = person.line.builtin("qwen2.5-14b-q4_k_m")
    running = person.line.start("run", name)
    try:
        running.wait_for("http://")
        refused = person.call("remove", "Qwen2.5-14B-Instruct-Q4_K_M.gguf", "--yes")
    finally:
        running.end(signal.SIGINT)
    assert refused.code == 1
    assert name in refused.err
    assert (person.models / "Qwen2.5-14B-Instruct-Q4_K_M.gguf").exists()
