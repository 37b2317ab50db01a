"""Ids, the choice of files and what the client tells."""

from __future__ import annotations

import json

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.hub import (
    FetchError,
    FetchJob,
    HubFile,
    HubListing,
    checked_id,
    choose,
    fetch_problem,
    read_message,
    unsafe,
)


def listing(*paths: str) -> HubListing:
    return HubListing("c" * 40, tuple(HubFile(path, 10) for path in paths))


def chosen(paths: list[str], *wanted: str) -> list[str]:
    return [file.path for file in choose("o/m", listing(*paths), wanted).files]


def refused(paths: list[str], *wanted: str) -> tuple[str, tuple[str, ...]]:
    with pytest.raises(ProblemError) as raised:
        choose("o/m", listing(*paths), wanted)
    return raised.value.problem.code, raised.value.problem.evidence


@pytest.mark.parametrize(
    "text", ["Qwen/Qwen2.5-7B", "https://huggingface.co/Qwen/Qwen2.5-7B", "hf.co/Qwen/Qwen2.5-7B/", "Qwen/Qwen2.5-7B/"]
)
def test_an_id_or_the_address_of_its_page(text: str) -> None:
    assert checked_id(text) == "Qwen/Qwen2.5-7B"


@pytest.mark.parametrize(
    "text", ["", "qwen", "a/b/c", "a/../b", "a/b;rm", "-x/y", "a/b--c", "a/b c", "a/b\n", "日本/m"]
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ProblemError) as raised:
        checked_id(text)
    assert raised.value.problem.code == "download.bad_id"


def test_of_a_model_for_vllm_everything_that_it_reads() -> None:
    paths = [".gitattributes", "config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "m.gguf"]
    assert chosen(paths) == ["config.json", "model.safetensors"]


def test_weights_that_are_there_twice_are_taken_once() -> None:
    paths = ["config.json", "model-00001-of-00001.safetensors", "consolidated.safetensors"]
    assert chosen(paths) == ["config.json", "model-00001-of-00001.safetensors"]
    assert chosen(["params.json", "consolidated.safetensors"]) == ["params.json", "consolidated.safetensors"]


def test_the_only_gguf_with_all_parts_and_its_projector() -> None:
    paths = ["README.md", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj-f16.gguf", "mmproj-f32.gguf"]
    assert chosen(paths) == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj-f16.gguf"]


def test_of_several_gguf_a_person_has_to_choose() -> None:
    code, evidence = refused(["m-q4.gguf", "m-q8.gguf"])
    assert code == "download.which_file"
    assert [line.split()[0] for line in evidence] == ["m-q4.gguf", "m-q8.gguf"]


def test_without_weights_there_is_no_model() -> None:
    assert refused(["README.md", "model.bin"]) == ("download.no_model", ("README.md", "model.bin"))


def test_names_and_patterns_and_all_parts_of_one() -> None:
    paths = ["a-Q4_K_M-00001-of-00002.gguf", "a-Q4_K_M-00002-of-00002.gguf", "a-Q8_0.gguf", "README.md"]
    assert chosen(paths, "*q8_0*") == ["a-Q8_0.gguf"]
    assert chosen(paths, "a-Q4_K_M-00002-of-00002.gguf", "README.md") == [paths[0], paths[1], "README.md"]
    assert refused(paths, "*q5*")[0] == "download.no_file"


def test_where_it_goes() -> None:
    assert choose("o/m", listing("m.gguf")).folder == "~/models"
    assert choose("o/m", listing("m.gguf", "mmproj.gguf")).folder == "~/models/m"
    assert choose("o/m", listing("config.json", "model.safetensors")).folder == "~/models/m"
    assert choose("o/m", listing("m.gguf", "x.json"), ["*"]).total_bytes == 20


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a//b", "a/../b", "a\\b", "C:/x", "a\nb", ""])
def test_a_path_that_leads_out_of_the_folder_ends_everything(path: str) -> None:
    assert unsafe(path)
    assert refused(["model.safetensors", path])[0] == "download.unsafe_path"


def test_lines_of_the_client() -> None:
    message = read_message('@fetch {"bytes": 5, "file": "a"}')
    assert message is not None
    assert (message.bytes, message.file) == (5, "a")
    assert read_message("warning") is None
    assert read_message("@fetch {") is None


def test_the_token_is_sent_and_never_shown() -> None:
    job = FetchJob("fetch", "o/m", files=(HubFile("a", 1),), token="hf_secret")  # noqa: S106 - no secret
    assert json.loads(job.line)["token"] == "hf_secret"  # noqa: S105
    assert "hf_secret" not in repr(job)
    assert "\n" not in job.line


@pytest.mark.parametrize(
    ("error", "token", "code"),
    [
        (FetchError("http", 401, "GatedRepo"), False, "download.gated_no_token"),
        (FetchError("http", 403, "GatedRepo", detail="no"), True, "download.gated"),
        (FetchError("http", 403), True, "download.gated"),
        (FetchError("http", 401), True, "download.token_refused"),
        (FetchError("http", 401, "RepoNotFound"), False, "download.not_found"),
        (FetchError("http", 404, "RepoNotFound"), True, "download.not_found"),
        (FetchError("http", 404, "EntryNotFound"), False, "download.no_file"),
        (FetchError("http", 404, "RevisionNotFound"), False, "download.no_revision"),
        (FetchError("http", 429, retry_after=7), False, "download.too_many"),
        (FetchError("http", 429), False, "download.too_many"),
        (FetchError("http", 503), False, "download.hub_down"),
        (FetchError("http", 418), False, "download.failed"),
        (FetchError("network", detail="ConnectError"), False, "download.no_network"),
        (FetchError("short", detail="cut"), False, "download.no_network"),
        (FetchError("disk_full"), False, "download.disk_full"),
        (FetchError("unwritable", detail="x"), False, "download.unwritable"),
        (FetchError("checksum", file="f"), False, "download.checksum"),
        (FetchError("other_file", file="f"), False, "download.other_file"),
        (FetchError("busy", file="d"), False, "download.busy"),
        (FetchError("unsafe", file="f"), False, "download.unsafe_path"),
        (FetchError("no_client"), False, "download.no_client"),
        (FetchError("other", detail="KeyError"), False, "download.failed"),
    ],
)
def test_what_a_person_is_told(error: FetchError, token: bool, code: str) -> None:
    assert fetch_problem("o/m", error, token=token).code == code


def test_the_wait_that_the_hub_asks_for_is_named() -> None:
    assert fetch_problem("o/m", FetchError("http", 429, retry_after=7), token=False).params["seconds"] == 7
    assert fetch_problem("o/m", FetchError("http", 429), token=False).params["seconds"] == 60
