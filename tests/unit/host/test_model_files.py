"""Model files of a Linux user, for real under sh: listing, removing, receiving."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.hub import FetchJob
from kotaro_bridge.domain.model.model_files import Condition, Place, StoredModel, models_in, removal
from kotaro_bridge.host.launcher_local import LocalLauncher
from kotaro_bridge.host.model_files import TargetModels, models_argv, parse_listings
from kotaro_bridge.simulator.hub import COMMIT, Hub
from tests.helpers.hubs import MODELS, SIZE, target, user

if sys.platform == "win32":
    pytest.skip("the scripts run on the Linux side", allow_module_level=True)

DATA = b"GGUF" + bytes(range(256)) * 4000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home of kotaro"


@pytest.fixture
def models(home: Path) -> TargetModels:
    home.mkdir()
    return target(user(home, "http://127.0.0.1:9", client=False))


def found(models: TargetModels, *folders: str) -> dict[str, StoredModel]:
    _, listings = models.listings(folders or ("~/models",))
    return {model.id: model for listing in listings for model in models_in(listing, "local")}


def write(path: Path, size: int = 10, content: bytes = b"GGUF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.ljust(size, b"x")[:size])
    return path


def test_a_user_without_models(models: TargetModels, home: Path) -> None:
    assert models.listings(["~/models", "/nowhere"]) == (str(home), ())


def test_folders_with_odd_names(models: TargetModels, home: Path) -> None:
    write(home / "models" / "a b" / "日本語 $(x) 'q'.gguf", 100)
    write(home / "models" / "cut.gguf", 3, b"<ht")
    os.link(home / "models" / "a b" / "日本語 $(x) 'q'.gguf", home / "models" / "second.gguf")
    (home / "models" / "l.gguf").symlink_to("second.gguf")
    (home / "models" / "lost.gguf").symlink_to("/nowhere")
    root = f"{home}/models"
    seen = found(models)
    assert {model.path.removeprefix(f"{root}/"): model.condition for model in seen.values()} == {
        "a b/日本語 $(x) 'q'.gguf": Condition.WHOLE,
        "cut.gguf": Condition.BROKEN,
        "l.gguf": Condition.WHOLE,
        "lost.gguf": Condition.BROKEN,
        "second.gguf": Condition.WHOLE,
    }
    assert len({seen[f"{root}/{name}"].files[0].identity for name in ("l.gguf", "second.gguf")}) == 1
    assert seen[f"{root}/l.gguf"].bytes == 100


def test_a_folder_that_is_a_link(models: TargetModels, home: Path, tmp_path: Path) -> None:
    write(tmp_path / "disk" / "m.gguf", 5)
    (home / "models").symlink_to(tmp_path / "disk")
    assert list(found(models)) == [f"{tmp_path}/disk/m.gguf"]


def test_removing_leaves_everything_else(models: TargetModels, home: Path) -> None:
    write(home / "models" / "deep" / "er" / "a b.gguf", 10)
    other = write(home / "models" / "other.gguf", 10)
    _, (listing,) = models.listings(["~/models"])
    planned = removal(next(m for m in models_in(listing, "local") if "a b" in m.id), listing)
    models.remove(planned.root, planned.paths)
    assert not (home / "models" / "deep").exists()
    assert other.exists()


@pytest.mark.parametrize("path", ["../outside", "/etc/x", "a/../../outside", "./x", "a/.."])
def test_a_path_that_leads_out_removes_nothing(models: TargetModels, home: Path, path: str) -> None:
    outside = write(home / "outside", 1)
    inside = write(home / "models" / "m.gguf", 1)
    with pytest.raises(ProblemError) as raised:
        models.remove("~/models", ["m.gguf", path])
    assert raised.value.problem.code == "models.not_removed"
    assert outside.exists()
    assert inside.exists()


def test_what_is_not_there_cannot_be_removed(models: TargetModels) -> None:
    with pytest.raises(ProblemError) as raised:
        models.remove("/nowhere", ["m.gguf"])
    assert raised.value.problem.code == "models.not_removed"


@pytest.fixture
def cached(home: Path) -> Iterator[TargetModels]:
    """A user whose cache the official client has filled."""
    home.mkdir()
    with Hub(MODELS) as hub:
        environment = {**user(home, hub.address), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
        code = "from huggingface_hub import snapshot_download as s; s('org/model')"
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
        yield target(environment)


def test_the_cache_as_the_official_client_writes_it(cached: TargetModels, home: Path) -> None:
    model = found(cached)["org/model"]
    assert (model.place, model.condition, model.revisions) == (Place.HUB_CACHE, Condition.WHOLE, (COMMIT,))
    assert SIZE + 703 <= model.bytes < SIZE + 5000
    assert model.root == f"{home}/.cache/huggingface/hub"


def test_a_revision_is_removed_as_the_client_would(cached: TargetModels, home: Path) -> None:
    hub = home / ".cache" / "huggingface" / "hub"
    repo = hub / "models--org--model"
    old = repo / "snapshots" / ("0" * 40)
    old.mkdir()
    (old / "model.safetensors").symlink_to(os.readlink(repo / "snapshots" / COMMIT / "model.safetensors"))
    write(repo / "blobs" / "only-old", 50)
    (old / "config.json").symlink_to("../../blobs/only-old")
    _, (listing,) = cached.listings(["~/models"])
    (model,) = models_in(listing, "local")
    planned = removal(model, listing, "0" * 40)
    cached.remove(planned.root, planned.paths)
    assert planned.freed_bytes == 50
    assert not old.exists()
    assert not (repo / "blobs" / "only-old").exists()
    code = "from huggingface_hub import scan_cache_dir as s; r, = s().repos; print(r.nb_files, len(r.revisions))"
    environment = user(home, "http://127.0.0.1:9")
    told = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["3", "1"]
    _, (listing,) = cached.listings([])
    planned = removal(models_in(listing, "local")[0], listing)
    cached.remove(planned.root, planned.paths)
    assert not repo.exists()
    assert hub.exists()


def test_a_file_is_received_under_its_name_only_if_it_is_right(models: TargetModels, home: Path) -> None:
    path = home / "models" / "new" / "m.gguf"
    assert models.receive("~/models/new/m.gguf", len(DATA), SHA256, [DATA[:1000], DATA[1000:]])
    assert path.read_bytes() == DATA

    def unread() -> Iterator[bytes]:
        raise AssertionError("a file that is there is not read again")
        yield b""

    assert not models.receive("~/models/new/m.gguf", len(DATA), SHA256, unread())


@pytest.mark.parametrize(
    ("content", "size", "sha256", "code"),
    [
        ([DATA[:-1]], len(DATA), SHA256, "models.copy_cut"),
        ([DATA[:-1] + b"!"], len(DATA), SHA256, "models.copy_differs"),
        ([DATA], 1 << 60, SHA256, "models.copy_no_room"),
    ],
)
def test_a_file_that_is_not_right_gets_no_name(
    models: TargetModels, home: Path, content: list[bytes], size: int, sha256: str, code: str
) -> None:
    with pytest.raises(ProblemError) as raised:
        models.receive("~/models/m.gguf", size, sha256, content)
    assert raised.value.problem.code == code
    assert not (home / "models" / "m.gguf").exists()
    left = [model.condition for model in found(models).values()]
    assert left == ([Condition.PARTIAL] if code == "models.copy_cut" else [])


def test_another_file_of_that_name_is_left_alone(models: TargetModels, home: Path) -> None:
    own = write(home / "models" / "m.gguf", 7)
    with pytest.raises(ProblemError) as raised:
        models.receive("~/models/m.gguf", len(DATA), SHA256, [DATA])
    assert raised.value.problem.code == "models.copy_exists"
    assert own.stat().st_size == 7


def test_a_place_where_nothing_can_be_written(models: TargetModels, home: Path) -> None:
    (home / "models").write_text("no folder")
    with pytest.raises(ProblemError) as raised:
        models.receive("~/models/m.gguf", len(DATA), SHA256, [DATA])
    assert raised.value.problem.code == "models.copy_failed"


def test_a_copy_that_its_owner_gives_up_ends(models: TargetModels, home: Path) -> None:
    def given_up() -> Iterator[bytes]:
        yield DATA[:10]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.receive("~/models/m.gguf", len(DATA), SHA256, given_up())
    assert not (home / "models" / "m.gguf").exists()


def test_lines_that_are_none_are_left_out() -> None:
    said = "noise\nhome\t/h\nfile\t1:2\t1\t5\torphan\nroot\tfolder\t/h/models\n"
    said += "file\t1:2\tx\t5\ta\nfile\nleads\t1:1\t5\tb\nmagic\tzz\tc\n"
    home, (listing,) = parse_listings(said + "file\t1:2\t1\t5\tc\nmagic\tzz\tc\nline two of a name\n")
    assert home == "/h"
    assert [entry.path for entry in listing.entries] == ["c"]


def test_a_program_that_is_not_there(home: Path) -> None:
    class Nowhere(LocalLauncher):
        def command(self, argv: object) -> list[str]:
            return ["/nowhere/wsl.exe"]

    nowhere = TargetModels(Nowhere({}))
    for ask in (lambda: nowhere.listings([]), lambda: nowhere.receive("a", 1, "b", [b""])):
        with pytest.raises(ProblemError) as raised:
            ask()
        assert raised.value.problem.code == "launch.not_started"


def test_a_client_that_says_nothing_is_a_problem(home: Path) -> None:
    home.mkdir()
    environment = user(home, "http://127.0.0.1:9")
    (home / ".local" / "bin" / "hf").write_text("#!/bin/sh\n")
    python = home / "bin" / "python3"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    environment["PATH"] = f"{python.parent}:/usr/bin:/bin"
    with pytest.raises(ProblemError) as raised:
        target(environment).ask(FetchJob("list", "org/model"))
    assert raised.value.problem.code == "download.failed"


def test_the_command_lines_fit_into_what_windows_allows() -> None:
    from kotaro_bridge.domain.ports import EngineCommand
    from kotaro_bridge.host.guardian import run_argv
    from kotaro_bridge.host.model_files import fetch_argv

    command = EngineCommand(tuple(fetch_argv(["~/vllm/bin/vllm"] * 5)), {}, (), ())
    for argv in (models_argv("list", *["~/models"] * 20), run_argv("download-0123456789ab", command, 10, told=True)):
        assert len(subprocess.list2cmdline(argv).encode("utf-16-le")) // 2 < 30_000
