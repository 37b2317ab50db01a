"""What a person calls a model: files, folders, addresses, ids of the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kotaro_bridge.domain.errors import ProblemError
from kotaro_bridge.domain.model.hf_weights import computed_weights, stored_bytes
from kotaro_bridge.domain.planning.plan import GgufPlanned, HfPlanned
from kotaro_bridge.host.model_source import Hub, resolve_model
from tests.helpers.gguf_header import Q7, Tensor, Value, pack_header, qwen2_shape, tensor_bytes
from tests.helpers.hf_models import QWEN_SMALL, text
from tests.helpers.range_server import Manner, RangeServer, Served, redirect
from tests.helpers.safetensors_file import header_of, qwen2_tensors

SMALL = (24, 896, 4864, 14, 2, 151_936)
INDEX = "model.safetensors.index.json"
KEY = "hf_abc"
REPO = "Kotaro/Small-1"


def sparse(path: Path, header: bytes, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(size)
    return path


def problem_of(argument: str | Path, hub: Hub | None = None) -> tuple[str, dict[str, Any]]:
    with pytest.raises(ProblemError) as caught:
        resolve_model(str(argument), hub)
    return caught.value.problem.code, dict(caught.value.problem.params)


def gguf(argument: str | Path, hub: Hub | None = None) -> GgufPlanned:
    found = resolve_model(str(argument), hub)
    assert isinstance(found, GgufPlanned)
    return found


def hf(argument: str | Path, hub: Hub | None = None) -> HfPlanned:
    found = resolve_model(str(argument), hub)
    assert isinstance(found, HfPlanned)
    return found


_BASE: dict[str, Value | bytes] = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 4096,
    "llama.embedding_length": 256,
    "llama.attention.head_count": 4,
}
_ONE_TENSOR: list[Tensor] = [("output_norm.weight", (64,), "F32")]


def small_gguf(values: dict[str, Value | bytes] | None = None, tensors: Sequence[Tensor] = _ONE_TENSOR) -> bytes:
    """A whole file, data included."""
    size = sum(-(-tensor_bytes(dims, kind) // 32) * 32 for _, dims, kind in tensors)
    return pack_header(_BASE if values is None else values, tensors) + bytes(size)


def split_files(stem: str = "m", count: int = 3) -> dict[str, bytes]:
    files = {}
    for number in range(count):
        numbers: dict[str, Value | bytes] = {"split.no": number, "split.count": count, "split.tensors.count": count}
        tensors: list[Tensor] = [(f"blk.{number}.w", (64,), "F32")]
        name = f"{stem}-{number + 1:05}-of-{count:05}.gguf"
        files[name] = small_gguf((_BASE if number == 0 else {}) | numbers, tensors)
    return files


PROJECTOR = small_gguf({"general.architecture": "clip"}, [("v.patch", (1000,), "F32")])


def shards(count: int) -> dict[str, tuple[bytes, int]]:
    """Files of a safetensors model: header and whole size of each."""
    tensors = qwen2_tensors(*SMALL, tied=True)
    files = {}
    for number in range(count):
        header, size = header_of(tensors[number::count])
        files[f"model-{number + 1:05}-of-{count:05}.safetensors"] = (header, len(header) + size)
    return files


def index_of(names: list[str]) -> bytes:
    return json.dumps(
        {"metadata": {}, "weight_map": {f"t{number}": name for number, name in enumerate(names)}}
    ).encode()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


# --- files


def test_a_gguf_file(tmp_path: Path) -> None:
    found = gguf(sparse(tmp_path / "q7.gguf", qwen2_shape(*Q7), 5 * 10**9))
    assert (found.name, found.model.block_count, found.projector_bytes) == ("q7.gguf", 28, 0)


def test_a_gguf_file_under_another_name(tmp_path: Path) -> None:
    assert gguf(write(tmp_path, {"sha256-0123": small_gguf()}) / "sha256-0123").model.block_count == 2


def test_a_split_model(tmp_path: Path) -> None:
    found = gguf(write(tmp_path, split_files()) / "m-00001-of-00003.gguf")
    assert (found.model.weights_total, found.model.is_whole, found.name) == (768, True, "m-00001-of-00003.gguf")


def test_a_part_of_a_split_model_that_is_missing_or_another_one(tmp_path: Path) -> None:
    folder = write(tmp_path, split_files())
    (folder / "m-00003-of-00003.gguf").write_bytes(split_files()["m-00002-of-00003.gguf"])
    assert problem_of(folder / "m-00001-of-00003.gguf") == ("model.foreign_part", {"number": 3})
    (folder / "m-00002-of-00003.gguf").unlink()
    first = folder / "m-00001-of-00003.gguf"
    assert problem_of(first) == ("model.part_missing", {"name": "m-00002-of-00003.gguf"})
    assert problem_of(folder / "m-00003-of-00003.gguf") == ("model.split_part", {})
    first.rename(folder / "m.gguf")
    assert problem_of(folder / "m.gguf") == ("model.part_name", {"name": "m.gguf", "parts": 3})


def test_a_part_that_is_damaged_is_said_to_be(tmp_path: Path) -> None:
    folder = write(tmp_path, split_files() | {"m-00002-of-00003.gguf": b"GGUF"})
    assert problem_of(folder / "m-00001-of-00003.gguf")[0] == "model.truncated"


@pytest.mark.parametrize(
    "name",
    [
        "models/none.gguf",
        "/nowhere/x",
        "C:\\models\\x.gguf",
        "~nobody-here/x.gguf",
        "\\\\wsl.localhost\\Ubuntu\\x.gguf",
        "none",
        "",
    ],
)
def test_what_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert problem_of(name)[0] == ("model.missing" if name else "model.no_model")


def test_a_header_that_takes_nothing_is_damaged(tmp_path: Path) -> None:
    """It would fit any card: no tensors, or no heads that keep what was read."""
    folder = write(
        tmp_path,
        {
            "empty.gguf": small_gguf(tensors=()),
            "heads.gguf": small_gguf(_BASE | {"llama.attention.head_count": 0}),
            "kv.gguf": small_gguf(_BASE | {"llama.attention.head_count_kv": 0}),
        },
    )
    heads = "llama.attention.head_count"
    for name, what in (("empty.gguf", "tensors"), ("heads.gguf", heads), ("kv.gguf", heads)):
        code, params = problem_of(folder / name)
        assert (name, code, params["what"]) == (name, "model.broken", what)


# --- folders


def test_a_folder_with_one_gguf_and_its_projector(tmp_path: Path) -> None:
    folder = write(tmp_path, {"m.gguf": small_gguf(), "mmproj-m-f16.gguf": PROJECTOR, "readme.md": b""})
    assert (gguf(folder).projector_bytes, gguf(folder).name) == (4000, "m.gguf")
    assert gguf(folder / "m.gguf").projector_bytes == 0  # a file alone is taken as it is
    write(folder, {"mmproj-m-q8.gguf": PROJECTOR})
    assert gguf(folder).projector_bytes == 0  # which of the two is a person's choice


def test_a_folder_with_a_split_model(tmp_path: Path) -> None:
    assert gguf(write(tmp_path, split_files())).model.is_whole


def test_a_folder_with_several_models(tmp_path: Path) -> None:
    folder = write(tmp_path, {"a.gguf": small_gguf(), "b.gguf": small_gguf()})
    with pytest.raises(ProblemError) as caught:
        resolve_model(str(folder))
    assert (caught.value.problem.code, caught.value.problem.evidence) == ("model.several_gguf", ("a.gguf", "b.gguf"))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert problem_of(tmp_path) == ("model.no_model", {"path": str(tmp_path)})
    write(tmp_path, {"mmproj.gguf": PROJECTOR})
    assert problem_of(tmp_path)[0] == "model.no_model"


def test_a_config_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "Small-1", {"config.json": text(QWEN_SMALL)})
    for argument in (folder, folder / "config.json"):
        found = hf(argument)
        assert (found.name, found.stored, found.model.layers) == ("Small-1", None, 24)
    write(folder, {INDEX: index_of(["model-00001-of-00002.safetensors"])})
    assert hf(folder).stored is None  # nothing was downloaded yet


def test_a_config_beside_a_gguf_file(tmp_path: Path) -> None:
    folder = write(tmp_path, {"config.json": text(QWEN_SMALL), "m.gguf": small_gguf()})
    assert gguf(folder).name == "m.gguf"
    header, size = header_of(qwen2_tensors(*SMALL, tied=True))
    sparse(folder / "model.safetensors", header, len(header) + size)
    assert hf(folder).stored is not None


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_a_folder_with_tensors(tmp_path: Path, count: int, with_index: bool) -> None:
    files = {"config.json": text(QWEN_SMALL)} | ({INDEX: index_of(list(shards(count)))} if with_index else {})
    folder = write(tmp_path, files)
    for name, (header, size) in shards(count).items():
        sparse(folder / name, header, size)
    sparse(folder / "consolidated.safetensors", *shards(1)["model-00001-of-00001.safetensors"])
    for argument in (folder, folder / next(iter(shards(count)))):
        found = hf(argument)
        assert found.stored is not None
        assert stored_bytes(found.model, found.stored).total == computed_weights(found.model)


def test_one_file_in_the_layout_of_mistral(tmp_path: Path) -> None:
    folder = write(tmp_path, {"config.json": text(QWEN_SMALL)})
    sparse(folder / "consolidated.safetensors", *shards(1)["model-00001-of-00001.safetensors"])
    assert hf(folder).stored is not None


def test_a_download_that_ended_half_way(tmp_path: Path) -> None:
    folder = write(tmp_path, {"config.json": text(QWEN_SMALL), INDEX: index_of(list(shards(3)))})
    name, (header, size) = next(iter(shards(3).items()))
    sparse(folder / name, header, size)
    assert problem_of(folder)[0] == "model.part_missing"
    sparse(folder / name, header, size - 1)
    write(folder, {INDEX: index_of([name])})
    assert problem_of(folder)[0] == "model.truncated"


def test_a_part_without_the_list_of_parts_is_not_the_model(tmp_path: Path) -> None:
    """The index comes last in many downloads: the name of a part says how many there are."""
    folder = write(tmp_path, {"config.json": text(QWEN_SMALL)})
    files = shards(3)
    for number in (0, 2):
        name = list(files)[number]
        header, size = files[name]
        sparse(folder / name, header, size)
    missing = list(files)[1]
    for argument in (folder, folder / next(iter(files))):
        assert problem_of(argument) == ("model.part_missing", {"name": missing})
    sparse(folder / missing, *files[missing])
    assert len(hf(folder).stored or ()) == len(qwen2_tensors(*SMALL, tied=True))
    (folder / "model-00001-of-99999.safetensors").touch()
    assert problem_of(folder)[0] == "model.part_count"


def test_an_adapter_is_not_the_model(tmp_path: Path) -> None:
    folder = write(tmp_path, {"config.json": text(QWEN_SMALL)})
    header, size = header_of(qwen2_tensors(*SMALL, tied=True)[:1])
    sparse(folder / "adapter_model.safetensors", header, len(header) + size)
    assert hf(folder).stored is None  # the weights are computed from the config
    write(folder, {"m.gguf": small_gguf()})
    assert gguf(folder).name == "m.gguf"


def test_wrong_files_in_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path, {"config.json": b"{", "model.safetensors": b"x"})
    assert problem_of(folder)[0] == "model.config_broken"
    write(folder, {"config.json": b'{"x": "' + b"y" * (3 << 20) + b'"}'})
    assert problem_of(folder)[0] == "model.config_broken"
    write(folder, {"config.json": text(QWEN_SMALL)})
    assert problem_of(folder)[0] == "model.not_safetensors"
    write(folder, {INDEX: b"[]"})
    assert problem_of(folder)[0] == "model.index_broken"


# --- the network


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    with RangeServer({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/mirror/")
        yield server


def publish(server: RangeServer, files: dict[str, Served], repo: str = REPO) -> None:
    """As the hub does: a list of the files, and for each an address that leads to another one."""
    base = f"/mirror/{repo}/resolve/0123abcd/"
    listing = {"sha": "0123abcd", "siblings": [{"rfilename": name} for name in files]}
    server.files[f"/mirror/api/models/{repo}"] = Served(json.dumps(listing).encode())
    for name, served in files.items():
        server.files[f"/blobs/{name}?sign=1"] = served
        for path in (base + name, base.replace("0123abcd", "main") + name):
            server.files[path] = redirect(f"{server.url}/blobs/{name}?sign=1")


def test_an_id_with_tensors(server: RangeServer) -> None:
    files = {name: Served(header, size=size) for name, (header, size) in shards(3).items()}
    index = {INDEX: Served(index_of(list(shards(3))))}
    publish(server, {"config.json": Served(text(QWEN_SMALL)), "README.md": Served(), **files, **index})
    for argument in (REPO, f"{server.url}/mirror/{REPO}", f"{server.url}/mirror/{REPO}/"):
        found = hf(argument)
        assert found.stored is not None
        assert (found.name, sum(t.bytes for t in found.stored)) == (REPO, computed_weights(found.model))
    page = hf(f"{server.url}/mirror/{REPO}/blob/main/config.json")
    assert page.stored is not None


def test_an_id_with_a_config_alone(server: RangeServer) -> None:
    publish(server, {"config.json": Served(text(QWEN_SMALL)), "pytorch_model.bin": Served(b"x")})
    assert hf(REPO).stored is None
    assert hf(f"{server.url}/mirror/{REPO}/resolve/main/config.json").stored is None


def test_an_id_with_gguf_files(server: RangeServer) -> None:
    many = {f"m-{kind}.gguf": Served(qwen2_shape(*Q7), size=5 * 10**9) for kind in ("Q4_K_M", "Q5_K_M", "Q8_0")}
    publish(server, {**many, "mmproj-m.gguf": Served(PROJECTOR), "config.json": Served(text(QWEN_SMALL))})
    code, params = problem_of(REPO)
    assert (code, params["id"]) == ("download.which_file", REPO)
    for wanted in ("m-Q4_K_M.gguf", "Q4_K_M", "q4_k_m", "*Q4*"):
        found = gguf(f"{REPO}:{wanted}")
        assert (found.name, found.model.block_count, found.projector_bytes) == ("m-Q4_K_M.gguf", 28, 4000)
    assert problem_of(f"{REPO}:Q3_K")[0] == "download.no_file"
    assert problem_of(f"{REPO}:*.gguf")[0] == "model.several_gguf"
    page = gguf(f"{server.url}/mirror/{REPO}/blob/main/m-Q5_K_M.gguf?download=true")
    assert (page.name, page.projector_bytes) == ("m-Q5_K_M.gguf", 0)


def test_an_id_with_a_split_model_in_a_folder(server: RangeServer) -> None:
    publish(server, {f"Q8_0/{name}": Served(data) for name, data in split_files().items()})
    for argument in (REPO, f"{REPO}:Q8_0/m-00001-of-00003.gguf", f"{REPO}:*Q8_0*"):
        assert gguf(argument).model.weights_total == 768
    assert gguf(f"{server.url}/mirror/{REPO}/resolve/main/Q8_0/m-00001-of-00003.gguf").model.is_whole
    del server.files["/blobs/Q8_0/m-00003-of-00003.gguf?sign=1"]
    assert problem_of(REPO) == ("model.part_missing", {"name": "Q8_0/m-00003-of-00003.gguf"})


@pytest.mark.parametrize(
    ("served", "code"),
    [
        (Served(status=401, headers={"X-Error-Code": "GatedRepo"}), "download.gated"),
        (Served(status=401), "download.token_refused"),
        (Served(status=404, headers={"X-Error-Code": "RepoNotFound"}), "download.not_found"),
        (Served(status=429, headers={"Retry-After": "3"}), "model.url_busy"),
        (Served(status=503), "model.url_busy"),
        (Served(b"<html>"), "model.hub_answer"),
        (Served(b"[" * 1_000_000), "model.hub_answer"),
        (Served(b'{"siblings": []}'), "download.no_model"),
        (Served(b"", Manner.CUT_AT_ONCE, size=5), "model.url_unreachable"),
    ],
)
def test_what_the_hub_refuses(server: RangeServer, served: Served, code: str) -> None:
    server.files[f"/mirror/api/models/{REPO}"] = served
    assert problem_of(REPO, Hub(token=KEY))[0] == code


def test_the_token_is_for_the_hub_alone(server: RangeServer) -> None:
    with RangeServer({"/m.gguf": Served(small_gguf())}) as other:
        publish(server, {"m.gguf": Served(small_gguf())})
        server.files[f"/mirror/{REPO}/resolve/0123abcd/m.gguf"] = redirect(f"{other.url}/m.gguf")
        hub = Hub(token=KEY)
        gguf(REPO, hub)
        gguf(f"{other.url}/m.gguf", hub)
        assert {asked[2] for asked in other.asked} == {""}
    assert {asked[2] for asked in server.asked} == {f"Bearer {KEY}"}


def test_an_address_outside_the_hub(server: RangeServer) -> None:
    for name, data in split_files("a b").items():
        server.files[f"/files/{name.replace(' ', '%20')}?key=1"] = Served(data)
    found = gguf(f"{server.url}/files/a%20b-00001-of-00003.gguf?key=1")
    assert (found.name, found.model.weights_total) == ("a b-00001-of-00003.gguf", 768)
    server.files["/small/config.json"] = Served(text(QWEN_SMALL))
    assert hf(f"{server.url}/small/config.json").stored is None
    header, size = shards(1)["model-00001-of-00001.safetensors"]
    server.files["/small/model.safetensors"] = Served(header, size=size)
    for name in ("config.json", "model.safetensors"):
        whole = hf(f"{server.url}/small/{name}")
        assert whole.stored is not None
        assert whole.name == "small"
    url = f"{server.url}/none.gguf"
    assert problem_of(url) == ("model.url_not_found", {"url": url})


def test_a_server_in_trouble_is_not_taken_for_a_missing_file(server: RangeServer) -> None:
    server.files["/small/config.json"] = Served(text(QWEN_SMALL))
    server.files[f"/small/{INDEX}"] = Served(status=500)
    assert problem_of(f"{server.url}/small/config.json")[0] == "model.url_failed"
    del server.files[f"/small/{INDEX}"]
    server.files["/small/model.safetensors"] = Served(status=500)
    assert problem_of(f"{server.url}/small/config.json")[0] == "model.url_failed"
