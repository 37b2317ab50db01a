"""What a listing of folders says: which models, how whole, how large, and what a removal frees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kotaro_bridge.domain.engine.engine_log import Engine
from kotaro_bridge.domain.model.model_files import (
    Condition,
    FileEntry,
    FolderListing,
    Place,
    StoredModel,
    models_in,
    removal,
    uses,
    with_users,
)
from kotaro_bridge.domain.profile import Profile

OLD, NEW = "a" * 40, "b" * 40
REPO = "models--Qwen--Qwen2.5-7B"


def file(path: str, size: int = 10, identity: str = "", **more: object) -> FileEntry:
    return FileEntry(path, size, identity or path, **more)  # type: ignore[arg-type]


def link(path: str, leads: str, size: int | None = 10, identity: str = "") -> FileEntry:
    return FileEntry(path, size, identity or leads, link=leads)


def hub(*entries: FileEntry, refs: dict[str, str] | None = None) -> FolderListing:
    return FolderListing(Place.HUB_CACHE, "/home/k/.cache/huggingface/hub", entries, refs or {})


def folder(*entries: FileEntry) -> FolderListing:
    return FolderListing(Place.FOLDER, "/home/k/models", entries, {})


def only(listing: FolderListing) -> StoredModel:
    (model,) = models_in(listing, "wsl:Ubuntu")
    return model


def two_revisions() -> FolderListing:
    """Two commits of a model that share their weights; each has a config of its own."""
    return hub(
        file(f"{REPO}/blobs/w", 1000, "w"),
        file(f"{REPO}/blobs/c1", 1, "c1"),
        file(f"{REPO}/blobs/c2", 2, "c2"),
        link(f"{REPO}/snapshots/{OLD}/model.safetensors", "../../blobs/w", 1000, "w"),
        link(f"{REPO}/snapshots/{OLD}/config.json", "../../blobs/c1", 1, "c1"),
        link(f"{REPO}/snapshots/{NEW}/model.safetensors", "../../blobs/w", 1000, "w"),
        link(f"{REPO}/snapshots/{NEW}/config.json", "../../blobs/c2", 2, "c2"),
        file(f"{REPO}/refs/main", 40),
        refs={f"{REPO}/refs/main": NEW, f"{REPO}/refs/old": OLD},
    )


def test_a_model_of_the_cache_counts_each_blob_once() -> None:
    model = only(two_revisions())
    assert (model.id, model.path, model.place) == ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B", Place.HUB_CACHE)
    assert model.bytes == 1000 + 1 + 2 + 40
    assert (model.condition, model.format) == (Condition.WHOLE, "safetensors")
    assert model.revisions == (OLD, NEW)
    assert model.removable


def test_what_is_no_model_in_the_cache_is_none() -> None:
    assert models_in(hub(file("version.txt"), file("datasets--a--b/blobs/x"), file("blobs/ab/abc")), "local") == ()


@pytest.mark.parametrize(
    ("entries", "condition"),
    [
        ([link(f"{REPO}/snapshots/{NEW}/model.safetensors", "../../blobs/gone", None)], Condition.BROKEN),
        ([file(f"{REPO}/blobs/w.1234.incomplete", 700)], Condition.PARTIAL),
        ([link(f"{REPO}/snapshots/{NEW}/config.json", "x"), file(f"{REPO}/blobs/w.incomplete", 7)], Condition.PARTIAL),
        ([link(f"{REPO}/snapshots/{NEW}/m-00001-of-00002.safetensors", "x")], Condition.PARTIAL),
        (
            [link(f"{REPO}/snapshots/{NEW}/m-0000{n}-of-00002.safetensors", f"x{n}") for n in (1, 2)],
            Condition.WHOLE,
        ),
        (
            [link(f"{REPO}/snapshots/{NEW}/m.gguf", "x"), file(f"{REPO}/blobs/other.incomplete", 7)],
            Condition.WHOLE,  # another file of it that nobody waits for
        ),
    ],
)
def test_how_whole_a_model_of_the_cache_is(entries: list[FileEntry], condition: Condition) -> None:
    model = only(hub(*entries))
    assert model.condition is condition
    assert model.unfinished_bytes == sum(e.size or 0 for e in entries if e.path.endswith(".incomplete"))


def test_removing_a_model_of_the_cache_frees_all_of_it() -> None:
    listing = two_revisions()
    planned = removal(only(listing), listing)
    assert planned.paths == (REPO,)
    assert planned.freed_bytes == 1043


def test_removing_a_revision_leaves_what_the_other_one_needs() -> None:
    listing = two_revisions()
    planned = removal(only(listing), listing, OLD)
    assert planned.paths == (
        f"{REPO}/blobs/c1",
        f"{REPO}/refs/old",
        f"{REPO}/snapshots/{OLD}/config.json",
        f"{REPO}/snapshots/{OLD}/model.safetensors",
    )
    assert planned.freed_bytes == 1


def shared_store(*repos: str) -> FolderListing:
    entries = [file("blobs/ab/abcd", 500, "s"), file("blobs/ab/abcd.refs", 3)]
    for repo in repos:
        entries.append(link(f"{repo}/blobs/etag", "../../blobs/ab/abcd", 500, "s"))
        entries.append(link(f"{repo}/snapshots/{NEW}/m.safetensors", "../../blobs/etag", 500, "s"))
    return hub(*entries)


def test_the_common_store_of_newer_clients_keeps_what_another_model_uses() -> None:
    listing = shared_store(REPO, "models--o--copy")
    planned = removal(models_in(listing, "local")[0], listing)
    assert planned.freed_bytes == 0
    assert not [path for path in planned.paths if path.startswith("blobs/")]


def test_the_common_store_loses_what_nobody_uses_any_more() -> None:
    listing = shared_store(REPO)
    planned = removal(only(listing), listing)
    assert planned.paths == ("blobs/ab/abcd", "blobs/ab/abcd.refs", REPO)
    assert planned.freed_bytes == 503


def test_files_and_folders_of_models() -> None:
    listing = folder(
        file("q.gguf", 100, magic=b"GGUF"),
        file("big-00001-of-00002.gguf", 60),
        file("big-00002-of-00002.gguf", 40),
        file("awq/config.json", 1),
        file("awq/model.safetensors", 50),
        file("awq/.cache/huggingface/download/model.safetensors.metadata", 2),
        file("notes.txt"),
    )
    found = {model.path: model for model in models_in(listing, "local")}
    assert set(found) == {
        "/home/k/models/q.gguf",
        "/home/k/models/big-00001-of-00002.gguf",
        "/home/k/models/awq",
    }
    assert [found[path].bytes for path in sorted(found)] == [53, 100, 100]
    assert {model.condition for model in found.values()} == {Condition.WHOLE}
    assert found["/home/k/models/awq"].format == "safetensors"


def test_a_projector_is_named_with_the_models_beside_it() -> None:
    listing = folder(file("v/m.gguf"), file("v/mmproj-m-f16.gguf"), file("other.gguf"))
    found = {model.path.rpartition("/")[2]: model.projectors for model in models_in(listing, "local")}
    assert found == {"m.gguf": ("v/mmproj-m-f16.gguf",), "mmproj-m-f16.gguf": (), "other.gguf": ()}


def test_safetensors_in_the_top_folder_are_a_model_without_the_others_in_it() -> None:
    listing = folder(
        file("model.safetensors", 5),
        file("config.json", 1),
        file("sub/x.safetensors", 7),
        file(".cache/huggingface/x", 2),
    )
    found = {model.path: model.bytes for model in models_in(listing, "local")}
    assert found == {"/home/k/models": 8, "/home/k/models/sub": 7}


@pytest.mark.parametrize(
    ("entries", "condition"),
    [
        ([file("m.gguf", magic=b"<!DO")], Condition.BROKEN),
        ([link("m.gguf", "/mnt/d/gone.gguf", None)], Condition.BROKEN),
        ([file("m.gguf.0123456789abcdef.part", 3)], Condition.PARTIAL),
        ([file("m.gguf.part", 3)], Condition.PARTIAL),
        ([file("m-00001-of-00002.gguf"), file("m-00002-of-00002.gguf.0123456789abcdef.part")], Condition.PARTIAL),
        ([file("d/.cache/huggingface/download/xyz.etag.12345678.incomplete", 3)], Condition.PARTIAL),
        ([file("d/model.safetensors"), file("d/tokenizer.json.0123456789abcdef.part")], Condition.PARTIAL),
        ([file("m.gguf"), file("m.gguf.0123456789abcdef.part")], Condition.WHOLE),
    ],
)
def test_how_whole_a_model_of_a_folder_is(entries: list[FileEntry], condition: Condition) -> None:
    assert only(folder(*entries)).condition is condition


def test_an_unfinished_file_has_the_name_that_it_will_have() -> None:
    model = only(folder(file("m.gguf.0123456789abcdef.part", 3)))
    assert (model.path, model.unfinished_bytes) == ("/home/k/models/m.gguf", 3)


def test_removing_a_link_frees_nothing_and_a_second_name_keeps_the_bytes() -> None:
    listing = folder(
        link("l.gguf", "/mnt/d/x.gguf", 70, "far"),
        file("h.gguf", 30, "same", links=2),
        file("t.gguf", 40, "twice", links=2),
        file("u.gguf", 40, "twice", links=2),
        file("a.gguf", 20),
    )
    freed = {m.path.rpartition("/")[2]: removal(m, listing).freed_bytes for m in models_in(listing, "local")}
    assert freed == {"a.gguf": 20, "h.gguf": 0, "l.gguf": 0, "t.gguf": 0, "u.gguf": 0}
    assert removal(models_in(listing, "local")[0], listing).paths == ("a.gguf",)


def profile(model: str, target: str = "wsl:Ubuntu", projector: str = "") -> Profile:
    return Profile("T", Engine.LLAMA_SERVER, "x", model, "s", 4096, 8080, id="p", target=target, projector=projector)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (profile("~/models/q.gguf"), True),
        (profile("/home/k/models/q.gguf"), True),
        (profile("~/models/q.gguf", "wsl:Debian"), False),
        (profile("~/models/other.gguf"), False),
        (profile("~/x.gguf", projector="~/models/q.gguf"), True),
    ],
)
def test_a_profile_uses_the_model_that_it_names(named: Profile, found: bool) -> None:
    assert uses(named, only(folder(file("q.gguf"))), "/home/k") is found


def test_models_are_shown_with_their_profiles_and_paths_from_home() -> None:
    listing = folder(file("q.gguf"))
    (shown,) = with_users(models_in(listing, "wsl:Ubuntu"), [profile("~/models/q.gguf")], {"wsl:Ubuntu": "/home/k"})
    assert (shown.id, shown.path, shown.used_by) == ("~/models/q.gguf", "~/models/q.gguf", ("p",))
    (elsewhere,) = with_users(models_in(listing, "wsl:Ubuntu"), [profile("~/models/q.gguf")], {})
    assert (elsewhere.path, elsewhere.used_by) == ("/home/k/models/q.gguf", ())


def test_a_model_of_the_cache_is_used_by_its_id() -> None:
    model = only(two_revisions())
    (shown,) = with_users([model], [profile("Qwen/Qwen2.5-7B")], {"wsl:Ubuntu": "/home/k"})
    assert (shown.id, shown.used_by) == ("Qwen/Qwen2.5-7B", ("p",))


def test_other_programs_own_their_files() -> None:
    assert not replace(only(two_revisions()), place=Place.OLLAMA).removable
