"""A model of the catalogue and the files on the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kotaro_bridge.domain.model.catalogue import CatalogueEntry, ModelFile
from kotaro_bridge.domain.model.catalogue_files import (
    download_named,
    profile_of,
    profile_of_files,
    request_for_download,
    stored_of,
    unfinished_of,
)
from kotaro_bridge.domain.model.download import DownloadRequest, DownloadState, DownloadView
from kotaro_bridge.domain.model.model_files import Condition, FileEntry, Place, StoredModel
from kotaro_bridge.domain.planning.closable import enough_of
from kotaro_bridge.domain.planning.plan_parts import PlanRequest
from kotaro_bridge.domain.profile import VllmOptions
from kotaro_bridge.domain.run.holders import Holder, HolderKind
from kotaro_bridge.domain.units import MIB
from kotaro_bridge.host.catalogue_store import load_catalogue

ENTRIES = {entry.id: entry for entry in load_catalogue()}
Q14 = ENTRIES["qwen2.5-14b-instruct-q4_k_m"]
A7 = ENTRIES["qwen2.5-7b-instruct-awq"]


def stored(
    path: str,
    *names: str,
    condition: Condition = Condition.WHOLE,
    place: Place = Place.FOLDER,
    projectors: tuple[str, ...] = (),
) -> StoredModel:
    kind = "gguf" if ".gguf" in f"{path}{names}" else "safetensors"
    files = tuple(FileEntry(name, 1, name) for name in (*names, *projectors))
    target = "wsl:Ubuntu"
    return StoredModel(path, place, target, path, "/home/k/models", kind, files, condition, projectors=projectors)


WHOLE = stored("~/models/Qwen2.5-14B-Instruct-Q4_K_M.gguf", "Qwen2.5-14B-Instruct-Q4_K_M.gguf")
SPLIT = stored(f"~/models/{Q14.files[0].name}", *(file.name for file in Q14.files))
PART = stored("~/models/x", f"{Q14.files[0].name}.0123456789abcdef.part", condition=Condition.PARTIAL)


@pytest.mark.parametrize("model", [WHOLE, SPLIT, PART])
def test_a_gguf_is_known_by_its_name_whole_or_split(model: StoredModel) -> None:
    assert stored_of(Q14, [stored("~/models/other.gguf", "other.gguf"), model]) is model
    assert stored_of(ENTRIES["qwen2.5-14b-instruct-q5_k_m"], [model]) is None


def test_a_whole_one_comes_first_and_other_programs_files_do_not_count() -> None:
    assert stored_of(Q14, [PART, WHOLE]) is WHOLE
    assert stored_of(Q14, [replace(WHOLE, place=Place.LM_STUDIO)]) is None


def test_safetensors_are_known_by_their_folder_or_their_id() -> None:
    folder = stored("~/models/Qwen2.5-7B-Instruct-AWQ", "model.safetensors")
    cache = stored("Qwen/Qwen2.5-7B-Instruct-AWQ", "model.safetensors", place=Place.HUB_CACHE)
    other = stored("else/Qwen2.5-7B-Instruct-AWQ", "model.safetensors", place=Place.HUB_CACHE)
    assert stored_of(A7, [other, folder]) is folder
    assert stored_of(A7, [cache]) is cache
    assert stored_of(replace(A7, repository=""), [folder]) is None


def test_a_pattern_is_no_other_models_file() -> None:
    asked = replace(Q14, repository="org/Wonder-GGUF", files=(ModelFile("*Q4_K_M*.gguf", 1),))
    own = stored("~/models/wonder-q4_k_m.gguf", "wonder-q4_k_m.gguf")
    assert stored_of(asked, [WHOLE, own]) is own


def test_what_is_downloaded_for_an_entry() -> None:
    request = request_for_download(Q14, "wsl:")
    assert request == DownloadRequest(Q14.repository, "wsl:", tuple(file.name for file in Q14.files))
    seeing = ENTRIES["minicpm-v-2.6-q4_k_m"]
    assert seeing.projector is not None
    found = request_for_download(seeing, "local")
    assert found is not None
    assert seeing.projector.name in found.files
    assert request_for_download(replace(Q14, repository=""), "wsl:") is None


@pytest.mark.parametrize(
    ("name", "repo", "files"),
    [
        ("org/m", "org/m", ()),
        ("org/m:Q4_K_M", "org/m", ("*Q4_K_M*.gguf",)),
        ("org/m:m-q8_0.gguf", "org/m", ("m-q8_0.gguf",)),
        ("https://huggingface.co/org/m", "org/m", ()),
        ("https://huggingface.co/org/m/blob/main/m.gguf", "org/m", ("m.gguf",)),
        ("https://huggingface.co/org/m/resolve/main/config.json", "org/m", ()),
    ],
)
def test_what_is_downloaded_for_a_name(name: str, repo: str, files: tuple[str, ...]) -> None:
    assert download_named(name, "wsl:") == DownloadRequest(repo, "wsl:", files)


@pytest.mark.parametrize("name", ["/home/k/m.gguf", "m.gguf", "https://example.org/a/b/c/m.gguf"])
def test_a_file_is_not_downloaded(name: str) -> None:
    assert download_named(name, "wsl:") is None


def test_a_profile_of_an_entry() -> None:
    made = profile_of(Q14, WHOLE, PlanRequest(Q14.engine, 6144, 4))
    assert (made.model, made.context, made.parallel, made.port) == (WHOLE.path, 6144, 4, 8080)
    assert (made.target, made.vllm, made.projector) == ("wsl:Ubuntu", None, "")
    plain = profile_of(A7, stored("~/models/Qwen2.5-7B-Instruct-AWQ"), PlanRequest(A7.engine, 4096))
    assert plain.vllm == VllmOptions()


def test_a_profile_of_a_model_that_sees() -> None:
    full, quantized = ENTRIES["minicpm-v-2.6-fp16"], ENTRIES["minicpm-v-2.6-q4_k_m"]
    made = profile_of(full, stored("~/models/MiniCPM-V-2_6"), PlanRequest(full.engine, 4096))
    assert made.vllm == VllmOptions(images=True, trust_remote_code=True)
    files = stored("~/models/V/m.gguf", "V/m.gguf", projectors=("V/mmproj-model-f16.gguf",))
    with_projector = profile_of(quantized, files, PlanRequest(quantized.engine, 4096))
    assert with_projector.projector == "~/models/V/mmproj-model-f16.gguf"
    assert profile_of(quantized, WHOLE, PlanRequest(quantized.engine, 4096)).projector == ""


def test_a_profile_of_files_alone() -> None:
    gguf = profile_of_files(stored("~/models/My Model.gguf", "My Model.gguf"))
    assert (gguf.title, gguf.served_name, gguf.port) == ("My Model (llama.cpp)", "my-model", 8080)
    folder = profile_of_files(stored("~/models/日本/", "model.safetensors"))
    assert (folder.title, folder.served_name, folder.vllm) == ("日本 (vLLM)", "model", VllmOptions())


def _view(entry: CatalogueEntry, folder: str, file: str = "") -> DownloadView:
    request = request_for_download(entry, "wsl:Ubuntu")
    assert request is not None
    return DownloadView("d", request, DownloadState.PAUSED, file=file, folder=folder)


def test_what_a_download_has_left_behind_is_surely_its_own() -> None:
    begun = stored("~/models/Qwen2.5-7B-Instruct-AWQ", "config.json", condition=Condition.PARTIAL)
    assert unfinished_of(_view(A7, "/home/k/models/Qwen2.5-7B-Instruct-AWQ"), [WHOLE, begun]) is begun
    assert unfinished_of(_view(A7, "/home/k/models/elsewhere"), [begun]) is None
    assert unfinished_of(_view(Q14, "/home/k/models"), [begun, PART]) is PART
    assert unfinished_of(_view(Q14, "/home/k/models"), [replace(PART, target="wsl:Other")]) is None


def test_the_fewest_to_close() -> None:
    small, large = (Holder(HolderKind.PROCESS, f"{size}.exe", size * MIB) for size in (100, 500))
    assert enough_of((small, large), 400 * MIB) == (large,)
    assert enough_of((small, large), 600 * MIB) == (large, small)
    assert enough_of((small, large), 601 * MIB) == ()
    assert enough_of((Holder(HolderKind.DISTRO, "WSL", None),), 1) == ()
